"""Reflection padding that keeps the memory layout, several times faster on CPUs than PyTorch's own.

PyTorch pads channels-last images by way of a copy in its other layout; in training the feature net then spends more
time padding than convolving.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ReflectPad(nn.Module):
    """`nn.ReflectionPad2d` of the same width on all sides, with the same values.

    Attributes:
        width: of the padding, px; less than either side of the image.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H + 2 width, W + 2 width)."""
        if torch.jit.is_tracing() or torch.compiler.is_compiling():  # exporters know the operator, not our copies
            return F.pad(x, (self.width,) * 4, mode="reflect")
        padded: Tensor = _Reflect.apply(x, self.width)
        return padded

    def extra_repr(self) -> str:
        return str(self.width)


class _Reflect(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, width: int) -> Tensor:
        ctx.width = width
        batch, channels, height, length = x.shape
        if not width < min(height, length):
            raise RuntimeError(f"padding is {width}, expected less than the sides of {length}x{height}")
        shape = (batch, channels, height + 2 * width, length + 2 * width)
        out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=_layout(x))
        inner = slice(width, width + length)
        out[:, :, width : width + height, inner] = x
        for i in range(width):
            out[:, :, i, inner] = x[:, :, width - i]
            out[:, :, width + height + i, inner] = x[:, :, height - 2 - i]
        for i in range(width):
            out[..., i] = out[..., 2 * width - i]
            out[..., width + length + i] = out[..., width + length - 2 - i]
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        width = ctx.width
        height, length = grad.shape[2] - 2 * width, grad.shape[3] - 2 * width
        rows = grad[:, :, width : width + height].clone()
        for i in range(width):
            rows[:, :, width - i] += grad[:, :, i]
            rows[:, :, height - 2 - i] += grad[:, :, width + height + i]
        inner = rows[..., width : width + length].clone(memory_format=_layout(grad))
        for i in range(width):
            inner[..., width - i] += rows[..., i]
            inner[..., length - 2 - i] += rows[..., width + length + i]
        return inner, None


def _layout(x: Tensor) -> torch.memory_format:
    plain = x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last)
    return torch.contiguous_format if plain else torch.channels_last
