"""Pose network: two images to the camera's motion between them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defeat_ros.errors import FrameError
from defeat_ros.networks.blocks import check_images, encode, encoder_channels, resnet_encoder

# Keeps the first steps of training close to the identity, where warping still finds the neighbouring pixels.
OUTPUT_SCALE = 0.01


class PoseNet(nn.Module):
    """ResNet over two stacked images and four convolutions, averaged over the image.

    Attributes:
        num_layers: depth asked for, 18, 34, 50, 101 or 152; the encoder has 18 for the first two, otherwise 50
            (the published network refuses all but 18 and 50).
        preres: kept because checkpoints carry it; nothing is downloaded.
    """

    def __init__(self, num_layers: int = 18, preres: bool = False) -> None:
        super().__init__()
        self.num_layers, self.preres = num_layers, preres
        own_layers = {34: 18, 101: 50, 152: 50}.get(num_layers, num_layers)
        self.encoder = resnet_encoder(own_layers, images=2)
        self.decoder = nn.ModuleList(
            [
                nn.Conv2d(encoder_channels(own_layers)[-1], 256, 1),
                nn.Conv2d(256, 256, 3, padding=1),
                nn.Conv2d(256, 256, 3, padding=1),
                nn.Conv2d(256, 12, 1),
            ]
        )

    def forward(self, later: Tensor, earlier: Tensor) -> tuple[Tensor, Tensor]:
        """Predict the motion between two images; the network was trained with the later one first.

        Args:
            later: (B, 3, H, W) in [0, 1].
            earlier: the same for the frame before.

        Returns:
            axis-angle, rad, and translation, in scene units times the mean inverse depth, both (B, 2, 1, 3): of the
            two motions only the first, [:, 0], is trained and used.

        Raises:
            FrameError: the images have another shape or differ in size.
        """
        if check_images(later) != check_images(earlier) or later.shape[0] != earlier.shape[0]:
            shapes = f"{tuple(later.shape)} and {tuple(earlier.shape)}"
            raise FrameError(f"images of a pair are {shapes}, expected the same shape")
        x = encode(self.encoder, torch.cat((later, earlier), dim=1))[-1]
        motion = self.decode(x).view(-1, 2, 1, 6)
        return motion[..., :3], motion[..., 3:]

    def decode(self, x: Tensor) -> Tensor:
        """The encoder's smallest map (B, C, h, w) to the two motions (B, 12)."""
        for conv in self.decoder[:-1]:
            x = F.relu(conv(x))
        motion: Tensor = OUTPUT_SCALE * self.decoder[-1](x).mean((2, 3))
        return motion
