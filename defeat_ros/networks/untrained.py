"""Weights to try the software with before any training: random, the same for everyone, with mild outputs."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from defeat_ros.networks.blocks import PaddedConv, ResidualBlock

UNTRAINED = {
    "trained": False,
    "note": "UNTRAINED random weights to try the software with: depth, motion and features mean nothing",
}


@torch.no_grad()
def fill_untrained(model: nn.Module, seed: int) -> None:
    """Give every tensor of a `DeFeatNet` a value that depends on the seed and its name alone.

    Args:
        model: the model, on the CPU.
        seed: 0 to 2^64 - 1.
    """
    for name, tensor in model.state_dict().items():
        if tensor.ndim < 2:
            tensor.fill_(1 if name.endswith("running_var") else 0)
            continue
        # numpy's generators give the same numbers on every machine; torch's depend on the processor.
        generator = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(name.encode())]))
        # Keeps the variance through a rectified layer (He et al. 2015).
        scale = np.float32(np.sqrt(2 / np.prod(tensor.shape[1:])))
        tensor.copy_(torch.from_numpy(scale * generator.standard_normal(tuple(tensor.shape), dtype=np.float32)))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    for module in model.modules():
        # Norms without statistics do not tame the sums of residuals, which would grow with every block.
        last = _last_norm(module)
        if last is not None:
            last.weight.fill_(0.2)
    _temper(model)


def _temper(model: Any) -> None:
    """Bring the outputs near what a drive looks like: depth 5.3 in a range of 0.1 to 100, small motions."""
    for head in model.depth_net.decoder:
        if isinstance(head, PaddedConv):
            head.conv.weight.mul_(0.1)
            bias: Any = head.conv.bias
            bias.fill_(-4.0)  # sigmoid 0.018
    model.pose_net.decoder[-1].weight.mul_(0.1)


def _last_norm(module: nn.Module) -> Any:
    if isinstance(module, BasicBlock):
        return module.bn2
    if isinstance(module, Bottleneck):
        return module.bn3
    return module.block2.layers.bn if isinstance(module, ResidualBlock) else None
