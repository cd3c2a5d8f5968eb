"""Depth network: one image to disparity at several scales."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defeat_ros.errors import ConfigError
from defeat_ros.networks.blocks import (
    EluConv,
    PaddedConv,
    check_images,
    check_size,
    encode,
    encoder_channels,
    resnet_encoder,
)

DECODER_CHANNELS = (16, 32, 64, 128, 256)
STAGES = range(len(DECODER_CHANNELS) - 1, -1, -1)  # from 1/32 of the size to the full one


def check_scales(scales: Iterable[int]) -> list[int]:
    """The scales as a list, in their order.

    Raises:
        ConfigError: there is none, one occurs twice or is not 0 to 4.
    """
    # A range in a file may claim any length; a few more than there can be are enough to refuse it.
    listed = list(scales[:9] if isinstance(scales, range) else scales)
    valid = all(isinstance(s, int) and not isinstance(s, bool) and 0 <= s < len(DECODER_CHANNELS) for s in listed)
    if not valid or not listed or len(set(listed)) != len(listed):
        raise ConfigError(f"scales is {scales!r}, expected distinct numbers from 0 to {len(DECODER_CHANNELS) - 1}")
    return listed


class DepthNet(nn.Module):
    """ResNet encoder and U-shaped decoder with a disparity head at every scale.

    Attributes:
        num_layers: depth of the ResNet: 18, 34, 50, 101 or 152.
        preres: kept because checkpoints carry it; says that training started from ImageNet. Nothing is downloaded.
        scales: scale s has 1/2^s of the image size.
        use_skips: whether the decoder sees the encoder's maps of its own size.
    """

    def __init__(
        self, num_layers: int = 18, preres: bool = False, scales: Sequence[int] = range(4), use_skips: bool = True
    ) -> None:
        super().__init__()
        self.num_layers, self.preres, self.use_skips = num_layers, preres, use_skips
        self.scales = check_scales(scales)
        self.encoder = resnet_encoder(num_layers)
        self.decoder = nn.ModuleList()
        self._add_stages(encoder_channels(num_layers))
        self.decoder.extend(PaddedConv(DECODER_CHANNELS[scale], 1) for scale in self.scales)
        # Stages below the finest scale exist in every checkpoint, but compute nothing: they are out of training.
        for stage in range(min(self.scales)):
            first = 2 * (STAGES.start - stage)
            self.decoder[first : first + 2].requires_grad_(False)

    def _add_stages(self, skips: Sequence[int]) -> None:
        channels = skips[-1]
        for stage in STAGES:
            out = DECODER_CHANNELS[stage]
            joined = out + (skips[stage - 1] if self.use_skips and stage > 0 else 0)
            self.decoder.extend([EluConv(channels, out), EluConv(joined, out)])
            channels = out

    def forward(self, images: Tensor, scales: Iterable[int] | None = None) -> dict[tuple[str, int], Tensor]:
        """Predict disparity.

        Args:
            images: (B, 3, H, W) in [0, 1], H and W multiples of 32 from 64 on.
            scales: which of the network's scales to compute, None for all.

        Returns:
            ('disp', s): (B, 1, H / 2^s, W / 2^s), sigmoid disparity in (0, 1), near is large.

        Raises:
            FrameError: the images have another shape or a size that the network cannot take.
            ConfigError: the network has no such scale.
        """
        check_size(check_images(images))
        wanted = self.scales if scales is None else list(scales)
        if not wanted or not set(wanted) <= set(self.scales):
            raise ConfigError(f"scales is {wanted}, expected some of the network's {self.scales}")
        logits = self.decode(encode(self.encoder, images), wanted)
        return {("disp", scale): torch.sigmoid(logits[scale]) for scale in sorted(logits, reverse=True)}

    def decode(self, maps: Sequence[Tensor], wanted: Sequence[int]) -> dict[int, Tensor]:
        """The encoder's maps to the wanted scales of the disparity before the sigmoid; nothing finer is computed."""
        x, found = maps[-1], {}
        for stage in range(STAGES.start, min(wanted) - 1, -1):
            first = 2 * (STAGES.start - stage)
            x = F.interpolate(self.decoder[first](x), scale_factor=2.0, mode="nearest")
            if self.use_skips and stage > 0:
                x = torch.cat((x, maps[stage - 1]), dim=1)
            x = self.decoder[first + 1](x)
            if stage in wanted:
                found[stage] = self.decoder[2 * len(STAGES) + self.scales.index(stage)](x)
        return found
