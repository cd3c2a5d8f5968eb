"""Photometric error of warped frames: SSIM and L1, the minimum over frames, the automask."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from defeat_ros.errors import FrameError
from defeat_ros.warp import at_least_float32

C1, C2 = 0.01**2, 0.03**2
"""Constants of SSIM for values in [0, 1] (Wang et al. 2004)."""

CACHED = 2**17
"""Values computed at a time on a CPU; about ten such arrays stay within the 1 to 2 MB of a core's cache."""


def box(x: Tensor, adjoint: bool = False) -> Tensor:
    """Mean over 3x3 pixels of (..., H, W), the border reflected; a sixth of the time of avg_pool2d on a CPU.

    The adjoint is what a gradient passes back: the same sums, but what the border mirrored goes where it came from.
    """
    for dim in (-1, -2):
        last = x.shape[dim] - 1
        total = torch.empty_like(x)
        torch.add(x.narrow(dim, 0, last - 1), x.narrow(dim, 2, last - 1), out=total.narrow(dim, 1, last - 1))
        for edge, inner in ((0, 1), (last, last - 1)):
            torch.mul(x.select(dim, inner), 1 if adjoint else 2, out=total.select(dim, edge))
        total.add_(x)
        if adjoint:
            total.select(dim, 1).add_(x.select(dim, 0))
            total.select(dim, last - 1).add_(x.select(dim, last))
        x = total
    return x.mul_(1 / 9)


class Target:
    """Images to compare with, and what SSIM needs of them, computed once for several comparisons.

    Args:
        images: (B, C, H, W) in [0, 1], or features; H and W at least 2.

    Raises:
        FrameError: another shape.
    """

    def __init__(self, images: Tensor) -> None:
        if images.ndim != 4 or min(images.shape[2:]) < 2:
            raise FrameError(f"images are {tuple(images.shape)}, expected (B, C, H, W) with sides of at least 2 px")
        self.images = images = images.contiguous()  # channels-last here, contiguous there crawls
        with torch.no_grad():  # the gradient of the whole error is written out below
            self.mean = box(images)
            self.square = box(images.square())


class _Error(torch.autograd.Function):
    """The error of each channel and its gradient by hand, a few channels at a time, so that they stay in the cache.

    With means m, squares and product over the window, SSIM = A B / (E D), A = 2 m n + C1, B = 2 (product - m n) + C2,
    E = m^2 + n^2 + C1, D = variances + C2, for the image's m and the target's n.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, goal: Tensor, means: Tensor, squares: Tensor, ssim_weight: float) -> Tensor:
        """images (S, P, H, W); the rest (P, H, W): target, its means and mean squares. Returns (S, P, H, W)."""
        error = torch.empty_like(images)
        slopes = [torch.empty_like(images) if needed else None for needed in _needed(ctx)]
        for part in _parts(images):
            image, wanted, n = images[:, part], goal[part], means[part]
            mean = box(image)
            cross = mean * n
            b = box(image * wanted).sub_(cross).mul_(2).add_(C2)
            a = cross.mul_(2).add_(C1)
            e = torch.addcmul(n.square().add_(C1), mean, mean)
            d = box(image.square()).add_(squares[part] + (C1 + C2)).sub_(e)
            scale = (e * d).reciprocal_()
            ssim = (a * b).mul_(scale)
            # Derivatives by the product, either square, either mean; SSIM leaves [-1, 1] by rounding only.
            by_product, by_square, by_mean, by_goal_mean = (None if m is None else m[:, part] for m in slopes)
            if by_product is not None:
                scale.mul_(2)
                torch.mul(a, scale, out=by_product)
                torch.mul(ssim * -0.5, e * scale, out=by_square)
                b.sub_(a)
                e.sub_(d).mul_(ssim)
                for own, other, slope in ((mean, n, by_mean), (n, mean, by_goal_mean)):
                    if slope is not None:
                        torch.mul((e * own).addcmul_(b, other), scale, out=slope)
            difference = torch.sub(image, wanted, out=error[:, part]).abs_().mul_(1 - ssim_weight)
            difference.add_(ssim.clamp_(-1, 1).mul_(-0.5).add_(0.5), alpha=ssim_weight)
        ctx.ssim_weight = ssim_weight
        ctx.save_for_backward(images, goal, *slopes)
        return error

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        images, goal, by_product, by_square, by_mean, by_goal_mean = ctx.saved_tensors
        for_images = torch.empty_like(images) if ctx.needs_input_grad[0] else None
        for_goal = torch.empty_like(goal) if ctx.needs_input_grad[1] else None
        for part in _parts(images):
            image, wanted = images[:, part], goal[part]
            similar = grad[:, part] * (-0.5 * ctx.ssim_weight)
            absolute = (image - wanted).sign_().mul_(grad[:, part]).mul_(1 - ctx.ssim_weight)
            product = box(by_product[:, part] * similar, adjoint=True)
            square = box(by_square[:, part] * similar, adjoint=True).mul_(2)
            if for_images is not None:
                total = box(by_mean[:, part] * similar, adjoint=True).add_(absolute)
                torch.add(total.addcmul_(square, image), product * wanted, out=for_images[:, part])
            if for_goal is not None:
                total = box(by_goal_mean[:, part] * similar, adjoint=True).sub_(absolute)
                for_goal[part] = total.addcmul_(square, wanted).addcmul_(product, image).sum(0)
        return for_images, for_goal, None, None, None


def _needed(ctx: Any) -> tuple[bool, bool, bool, bool]:
    """Which derivatives of SSIM a gradient will ask for: by product, squares, the image's means, the target's."""
    of_image, of_goal = ctx.needs_input_grad[:2]
    return of_image or of_goal, of_image or of_goal, of_image, of_goal


def _parts(images: Tensor) -> Iterator[slice]:
    """Slices of the second dimension: small on a CPU, everything at once elsewhere."""
    count, one = images.shape[1], max(images[:, :1].numel(), 1)
    step = max(CACHED // one, 1) if images.device.type == "cpu" else count
    return (slice(start, start + step) for start in range(0, count, step))


@at_least_float32
def photometric_error(images: Tensor, target: Target, ssim_weight: float = 0.85) -> Tensor:
    """a (1 - SSIM) / 2 + (1 - a) L1 per pixel, SSIM over 3x3 windows (Godard et al. 2019, eq. 2).

    Args:
        images: (S * B, C, H, W), S frames for each of the B targets, frame by frame.
        target: the images they are compared with, (B, C, H, W).
        ssim_weight: a, 0 to 1.

    Returns:
        (S, B, H, W), mean over channels, in [0, 1] for images in [0, 1].

    Raises:
        FrameError: the shapes do not fit each other.
    """
    goal = target.images
    if images.shape[1:] != goal.shape[1:] or images.shape[0] % goal.shape[0]:
        shapes = f"{tuple(images.shape)} and {tuple(goal.shape)}"
        raise FrameError(f"images and target are {shapes}, expected (S * B, C, H, W) and (B, C, H, W)")
    planes = (part.flatten(0, 1) for part in (goal, target.mean, target.square))
    stacked = images.contiguous().view(-1, goal.shape[0] * goal.shape[1], *goal.shape[2:])
    error: Tensor = _Error.apply(stacked, *planes, ssim_weight)
    return error.view(-1, *goal.shape).mean(2)


def minimum_error(warped: Tensor, identity: Tensor | None) -> tuple[Tensor, Tensor]:
    """The smallest error of each pixel, so that a frame in which it is hidden does not count.

    Args:
        warped: (S, B, H, W) errors of the warped support frames.
        identity: the same for the frames as they are; where one of these is the smallest, the pixel moves with the
            camera or nothing moves, and it teaches nothing (automask, Godard et al. 2019, eq. 5). None for no mask.

    Returns:
        error (B, H, W), and index (B, H, W) into identity then warped errors, or into the warped ones alone.
    """
    if identity is None:
        return warped.min(0)
    still, still_index = identity.min(0)
    moved, moved_index = warped.min(0)
    return torch.minimum(still, moved), torch.where(still <= moved, still_index, moved_index + len(identity))
