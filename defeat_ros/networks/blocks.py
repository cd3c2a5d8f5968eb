"""What the three networks share: padded convolutions, ResNet encoders, limits on the image size.

Module names decide the state-dict keys and follow the published checkpoints, so they are part of the file format.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet

from defeat_ros.errors import ConfigError, FrameError
from defeat_ros.networks.padding import ReflectPad

RESNET_LAYERS = (18, 34, 50, 101, 152)
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "elu": nn.ELU}
SPP_BRANCHES = (32, 16, 8, 4)

# What depth and pose net normalise images with, all three channels alike.
IMAGE_MEAN, IMAGE_STD = 0.45, 0.225

# The encoder halves the image five times, and the decoder joins what it left at each size.
SIZE_MULTIPLE = 32
# Reflection padding by one pixel needs two pixels to reflect at 1/32 of the size.
DEPTH_MIN_SIDE = 64
# Reflection padding by two pixels (dilation 2) needs three at 1/4 of the size.
FEATURES_MIN_SIDE = 12


class ConvBlock(nn.Module):
    """Reflection padding that keeps the size, convolution without bias, batch norm and, if given, an activation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        activation: type[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        padding = dilation * (kernel // 2)
        if padding:
            self.layers.add_module("pad", ReflectPad(padding))
        self.layers.add_module(
            "conv", nn.Conv2d(in_channels, out_channels, kernel, stride, dilation=dilation, bias=False)
        )
        self.layers.add_module("bn", nn.BatchNorm2d(out_channels))
        if activation is not None:
            self.layers.add_module("act", activation(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        out: Tensor = self.layers(x)
        return out


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut; as published, nothing is rectified after the sum."""

    def __init__(
        self, in_channels: int, out_channels: int, activation: type[nn.Module], stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.block1 = ConvBlock(in_channels, out_channels, 3, stride, dilation, activation)
        self.block2 = ConvBlock(out_channels, out_channels, 3, 1, dilation)
        same = stride == 1 and in_channels == out_channels
        self.downsample = None if same else ConvBlock(in_channels, out_channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        shortcut: Tensor = x if self.downsample is None else self.downsample(x)
        residual: Tensor = self.block2(self.block1(x))
        return residual + shortcut


class PaddedConv(nn.Module):
    """A 3x3 convolution with bias behind one pixel of reflection padding."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.pad = ReflectPad(1)
        self.conv = nn.Conv2d(in_channels, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W)."""
        out: Tensor = self.conv(self.pad(x))
        return out


class EluConv(nn.Module):
    """`PaddedConv` and an ELU, the step of the depth decoder."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = PaddedConv(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W)."""
        return F.elu(self.conv(x), inplace=True)


class UnusedHead(nn.Module):
    """Place of the ImageNet classifier that published checkpoints carry and nothing computes with.

    Its tensors are buffers: they load and save under their published names, but an optimiser does not see them and
    distributed training does not wait for their gradients. A state dict may lack them.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, in_channels: int, classes: int = 1000) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(classes, in_channels))
        self.register_buffer("bias", torch.zeros(classes))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        for name, own in (("weight", self.weight), ("bias", self.bias)):
            state_dict.setdefault(prefix + name, torch.zeros_like(own))
        super()._load_from_state_dict(state_dict, prefix, *args)


def resnet_encoder(num_layers: int, images: int = 1) -> Any:
    """A torchvision ResNet for `images` stacked RGB images, randomly initialised: nothing is ever downloaded.

    Raises:
        ConfigError: there is no ResNet of that depth.
    """
    if num_layers not in RESNET_LAYERS or isinstance(num_layers, bool):
        raise ConfigError(f"num_layers is {num_layers!r}, expected one of {', '.join(map(str, RESNET_LAYERS))}")
    encoder = getattr(resnet, f"resnet{num_layers}")(weights=None)
    if images != 1:
        encoder.conv1 = nn.Conv2d(3 * images, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(encoder.conv1.weight, mode="fan_out", nonlinearity="relu")
    encoder.fc = UnusedHead(encoder.fc.in_features)
    return encoder


def encoder_channels(num_layers: int) -> tuple[int, ...]:
    """Channels of the five maps that `encode` returns."""
    widen = 4 if num_layers > 34 else 1
    return (64, *(widen * channels for channels in (64, 128, 256, 512)))


def encode(encoder: Any, images: Tensor) -> list[Tensor]:
    """Images (B, C, H, W) in [0, 1] to five feature maps, at 1/2, 1/4, 1/8, 1/16 and 1/32 of the size."""
    return encode_normalised(encoder, (images - IMAGE_MEAN) / IMAGE_STD)


def encode_normalised(encoder: Any, x: Tensor) -> list[Tensor]:
    """`encode` for images that have their mean and deviation removed already."""
    maps = [encoder.relu(encoder.bn1(encoder.conv1(x)))]
    maps.append(encoder.layer1(encoder.maxpool(maps[-1])))
    for layer in (encoder.layer2, encoder.layer3, encoder.layer4):
        maps.append(layer(maps[-1]))
    return maps


def resize_like(x: Tensor, reference: Tensor) -> Tensor:
    """Bilinear resampling of `x` to the height and width of `reference`, corners on corners."""
    return F.interpolate(x, size=reference.shape[-2:], mode="bilinear", align_corners=True)


def features_min_side(branches: Sequence[int] = SPP_BRANCHES, im_pad: int | None = None) -> int:
    """Shortest image side, px, that the feature net takes: its largest pooling window, at 1/4 of the padded size."""
    return max(FEATURES_MIN_SIDE, 4 * max(branches)) - 2 * (im_pad or 0)


def check_size(
    size_hw: Sequence[int],
    features: bool = False,
    branches: Sequence[int] = SPP_BRANCHES,
    im_pad: int | None = None,
) -> None:
    """Hold an image size against what the depth net and, with `features`, the feature net can take.

    Args:
        size_hw: height and width, px.
        features: whether features are computed too, which sets a larger lower limit.
        branches: pooling windows of the feature net.
        im_pad: its padding, px.

    Raises:
        FrameError: a side is not a multiple of 32, or too short.
    """
    height, width = size_hw
    least = max(DEPTH_MIN_SIDE, features_min_side(branches, im_pad)) if features else DEPTH_MIN_SIDE
    if height % SIZE_MULTIPLE or width % SIZE_MULTIPLE or min(height, width) < least:
        raise FrameError(f"image size is {width}x{height}, expected multiples of {SIZE_MULTIPLE}, at least {least} px")


def check_images(images: Tensor) -> tuple[int, int]:
    """Height and width of a batch of RGB images.

    Raises:
        FrameError: it is not (B, 3, H, W) of floating point.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise FrameError(f"images are {tuple(images.shape)} {images.dtype}, expected (B, 3, H, W) float in [0, 1]")
    return images.shape[2], images.shape[3]
