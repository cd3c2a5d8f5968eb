"""The three networks in the form that runs: from uint8 images to what the engine takes, with less arithmetic.

Every runtime gets these modules. They compute what `networks` computes (a test holds them to rounding), but fold batch
norm into the convolutions, leave out the scales of the disparity that nobody reads, and do at a coarse size what
commutes with the up-sampling behind it: features take 83 instead of 98.7 GFLOP at 480x352. (The same was tried for
the last stage of the depth decoder, which then runs at half the size with four times the channels: no faster.)
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from defeat_ros.networks import DeFeatNet
from defeat_ros.networks.blocks import IMAGE_MEAN, IMAGE_STD, encode_normalised, resize_like
from defeat_ros.networks.depth_net import DepthNet
from defeat_ros.networks.feat_net import FeatNet
from defeat_ros.networks.pose_net import PoseNet

NETWORKS = ("disp", "pose", "features")
"""Names of the graphs: what they give."""


class Graph(nn.Module):
    """A network without batch norm; its floating-point type is that of its weights."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = fold_batch_norm(copy.deepcopy(net).eval())

    def to_input(self, images: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
        """uint8 (B, h, w, 3) to (B, 3, h, w), scaled to [0, 1] and normalised before anything is rounded."""
        x = images.permute(0, 3, 1, 2).to(torch.float32) * (1 / (255.0 * std)) - mean / std
        return x.to(next(self.parameters()).dtype)


class DepthGraph(Graph):
    """uint8 images (B, h, w, 3) to sigmoid disparity (B, h, w) float32."""

    net: DepthNet

    def forward(self, images: Tensor) -> Tensor:
        x = self.to_input(images, IMAGE_MEAN, IMAGE_STD)
        logits = self.net.decode(encode_normalised(self.net.encoder, x), [0])[0]
        return torch.sigmoid(logits.float())[:, 0]


class PoseGraph(Graph):
    """Two batches of uint8 images (B, h, w, 3), later and earlier, to axis-angle and translation (B, 6) float32."""

    net: PoseNet

    def forward(self, later: Tensor, earlier: Tensor) -> Tensor:
        x = torch.cat([self.to_input(images, IMAGE_MEAN, IMAGE_STD) for images in (later, earlier)], dim=1)
        return self.net.decode(encode_normalised(self.net.encoder, x)[-1]).float()[:, :6]


class FeatureGraph(Graph):
    """uint8 images (B, h, w, 3) to features (B, h, w, C) float32.

    The published network doubles 320 channels in both directions and convolves them, a third of its arithmetic.
    Doubling the columns commutes with the convolution along the rows: that one runs on half the columns, for the left,
    middle and right column of the kernel apart, and its results are doubled, shifted and added. The 1x1 convolution
    that makes the features runs before the last doubling, whose weights sum to one.
    """

    net: FeatNet
    columns: Tensor
    bias: Tensor

    def __init__(self, net: FeatNet) -> None:
        super().__init__(net)
        layers: Any = self.net.last_conv.block.layers  # type: ignore[union-attr]
        self.register_buffer("columns", torch.cat(layers.conv.weight.detach().split(1, dim=3)))
        self.register_buffer("bias", layers.conv.bias.detach()[:, None, None])
        self.activation = layers.act

    def forward(self, images: Tensor) -> Tensor:
        net: Any = self.net
        x = self.to_input(images)
        pad = net.im_pad or 0
        x = F.pad(x, (pad,) * 4, mode="reflect") if pad else x
        half = net.first_conv(x)
        joined = net.join(half)
        height, width = half.shape[2:]
        tall = F.interpolate(joined, size=(height, joined.shape[3]), mode="bilinear", align_corners=True)
        tall = torch.cat((tall[:, :, 1:2], tall, tall[:, :, -2:-1]), dim=2)
        wide = F.interpolate(F.conv2d(tall, self.columns), size=(height, width), mode="bilinear", align_corners=True)
        left, middle, right = wide.chunk(3, dim=1)
        left = torch.cat((left[..., 1:2], left[..., :-1]), dim=3)
        right = torch.cat((right[..., 1:], right[..., -2:-1]), dim=3)
        sharp = net.last_conv.conv(self.activation(left + middle + right + self.bias))
        features = resize_like(net.feature_conv(sharp + half).float(), x)
        if pad:
            features = features[..., pad:-pad, pad:-pad]
        return (F.normalize(features) if net.norm else features).permute(0, 2, 3, 1)


def graph_of(model: DeFeatNet, name: str) -> Graph:
    """The graph of one of `NETWORKS`; the model stays as it is."""
    if name == "disp":
        return DepthGraph(model.depth_net)
    return PoseGraph(model.pose_net) if name == "pose" else FeatureGraph(model.feat_net)


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """Multiply every batch norm in eval mode into the convolution right before it, in place.

    Its place is taken by the identity.
    """
    before: tuple[str, nn.Module] | None = None
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d) and before is not None and isinstance(before[1], nn.Conv2d):
            setattr(module, before[0], fuse_conv_bn_eval(before[1], child))
            setattr(module, name, nn.Identity())
        else:
            fold_batch_norm(child)
        before = name, child
    return module
