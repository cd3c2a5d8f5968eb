"""Edge-aware smoothness of disparity."""

from __future__ import annotations

import torch
from torch import Tensor

from defeat_ros.errors import FrameError
from defeat_ros.warp import at_least_float32


@at_least_float32
def smoothness_loss(disp: Tensor, images: Tensor) -> Tensor:
    """Gradients of the disparity over its mean, less where the image has edges (Godard et al. 2019, eq. 3).

    The division by the mean keeps the loss from shrinking the disparity towards zero (Wang et al. 2018).

    Args:
        disp: (B, 1, H, W) in [0, 1].
        images: (B, C, H, W) in [0, 1].

    Returns:
        scalar, at least 0: mean over pixels of |dx d| e^-|dx I| + |dy d| e^-|dy I|.

    Raises:
        FrameError: the sizes differ.
    """
    if disp.ndim != 4 or images.ndim != 4 or disp.shape[1] != 1 or disp[:, 0].shape != images[:, 0].shape:
        shapes = f"{tuple(disp.shape)} and {tuple(images.shape)}"
        raise FrameError(f"disparity and images are {shapes}, expected (B, 1, H, W) and (B, C, H, W)")
    relative = disp / (disp.mean((2, 3), keepdim=True) + 1e-7)
    total = relative.new_zeros(())
    for dim in (3, 2):
        edges = torch.exp(-images.diff(dim=dim).abs().mean(1, keepdim=True))
        total = total + (relative.diff(dim=dim).abs() * edges).sum()
    return total / disp.numel()
