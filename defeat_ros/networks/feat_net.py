"""Feature network: one image to dense descriptors that hold by day and night."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defeat_ros.errors import ConfigError, FrameError
from defeat_ros.networks.blocks import (
    ACTIVATIONS,
    SPP_BRANCHES,
    ConvBlock,
    ResidualBlock,
    check_images,
    features_min_side,
    resize_like,
)


class FeatNet(nn.Module):
    """Residual encoder at 1/4 of the size with spatial pyramid pooling, brought back to the full size.

    Attributes:
        n_dims: channels of the features.
        spp_branches: edge lengths of the average-pooling windows, px at 1/4 of the size; any number of them.
        activation: 'relu' or 'elu'.
        im_pad: reflection padding of the image, px, cropped again from the features; None for none.
        norm: whether the features have unit length.
    """

    def __init__(
        self,
        n_dims: int = 3,
        spp_branches: Sequence[int] | None = None,
        activation: str = "relu",
        im_pad: int | None = None,
        norm: bool = True,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ConfigError(f"activation is {activation!r}, expected one of {', '.join(ACTIVATIONS)}")
        act = ACTIVATIONS[activation]
        self.n_dims, self.activation, self.im_pad, self.norm = n_dims, activation, im_pad, norm
        self.spp_branches = list(spp_branches or SPP_BRANCHES)

        self.first_conv = nn.Sequential()
        for i, (channels, stride) in enumerate(((3, 2), (32, 1), (32, 1)), start=1):
            self.first_conv.add_module(f"block{i}", ConvBlock(channels, 32, 3, stride, activation=act))
        self.layer1 = _residuals(3, 32, 32, act)
        self.layer2 = _residuals(16, 32, 64, act, stride=2)
        self.layer3 = _residuals(3, 64, 128, act)
        self.layer4 = _residuals(3, 128, 128, act, dilation=2)
        self.spp_module = nn.ModuleList(_pooling(window, act) for window in self.spp_branches)
        self.last_conv = nn.Sequential()
        self.last_conv.add_module("block", ConvBlock(64 + 128 + 32 * len(self.spp_branches), 128, 3, activation=act))
        self.last_conv.add_module("conv", nn.Conv2d(128, 32, 1, bias=False))
        self.feature_conv = nn.Conv2d(32, n_dims, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Describe every pixel.

        Args:
            images: (B, 3, H, W) in [0, 1]; neither side shorter than four times the largest pooling window
                (128 px), less the padding.

        Returns:
            (B, n_dims, H, W), of unit length over the channels where `norm` is set.

        Raises:
            FrameError: the images have another shape or are too small.
        """
        self._check(images)
        pad = self.im_pad or 0
        x = F.pad(images, (pad,) * 4, mode="reflect") if pad else images
        half = self.first_conv(x)
        joined = resize_like(self.join(half), half)
        features = self.feature_conv(resize_like(self.last_conv(joined) + half, x))
        if pad:
            features = features[..., pad:-pad, pad:-pad]
        return F.normalize(features) if self.norm else features

    def join(self, half: Tensor) -> Tensor:
        """The first convolutions' map, at 1/2 of the size, to all that is found at 1/4, also pooled over windows."""
        quarter = self.layer2(self.layer1(half))
        deep = self.layer4(self.layer3(quarter))
        pooled = [resize_like(branch(deep), quarter) for branch in self.spp_module]
        return torch.cat((quarter, deep, *pooled), dim=1)

    def _check(self, images: Tensor) -> None:
        height, width = check_images(images)
        least = max(features_min_side(self.spp_branches, self.im_pad), (self.im_pad or 0) + 1)
        if min(height, width) < least:
            raise FrameError(f"image size is {width}x{height}, expected at least {least} px on both sides for features")


def _residuals(
    count: int, in_channels: int, channels: int, activation: type[nn.Module], stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """A row of residual blocks; the first one changes channels and size."""
    row = nn.Sequential()
    row.add_module("block1", ResidualBlock(in_channels, channels, activation, stride, dilation))
    for i in range(2, count + 1):
        row.add_module(f"block{i}", ResidualBlock(channels, channels, activation, 1, dilation))
    return row


def _pooling(window: int, activation: type[nn.Module]) -> nn.Sequential:
    branch = nn.Sequential()
    branch.add_module("pool", nn.AvgPool2d(window, stride=window))
    branch.add_module("block", ConvBlock(128, 32, 1, activation=activation))
    return branch
