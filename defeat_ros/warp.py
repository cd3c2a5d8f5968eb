"""Rigid motions, projection and sampling on tensors: `geometry` for batches, with gradients.

Everything is computed in float32 at least, under autocast too: a bfloat16 pixel coordinate is off by up to 2 px.
Transforms are (B, 4, 4) named `<to>_from_<from>`; pixel coordinates are x then y, whole at the pixels' centres.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from defeat_ros.errors import ConfigError, FrameError

P = ParamSpec("P")
R = TypeVar("R")

LEAST_RELATIVE_Z = 1e-3
"""A point nearer to the support camera than this times its depth in the target is projected as if it were there."""


def at_least_float32(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function so that its tensors, in containers too, come as float32 or float64, with autocast off."""

    @functools.wraps(function)
    def precise(*args: P.args, **kwargs: P.kwargs) -> R:
        given = [*args, *kwargs.values()]
        device = next((a.device.type for a in given if isinstance(a, Tensor)), "cpu")
        with torch.autocast(device, enabled=False):
            return function(*map(_precise, args), **_precise(kwargs))

    return precise


@at_least_float32
def motion(axisangle: Tensor, translation: Tensor, invert: bool = False) -> Tensor:
    """Rodrigues' formula for batches, smooth at zero rotation.

    Args:
        axisangle: (B, 3) axis times angle, rad.
        translation: (B, 3) scene units.
        invert: give the exact inverse of the motion.

    Returns:
        (B, 4, 4): rotate, then translate; or its inverse.

    Raises:
        FrameError: the shapes are others.
    """
    if axisangle.ndim != 2 or axisangle.shape[1] != 3 or axisangle.shape != translation.shape:
        shapes = f"{tuple(axisangle.shape)} and {tuple(translation.shape)}"
        raise FrameError(f"axis-angle and translation are {shapes}, expected (B, 3) both")
    squared = axisangle.square().sum(1)[:, None, None]
    # sin(a) / a and (1 - cos(a)) / a^2 have series in a^2, so their gradients exist where the angle's does not.
    near_zero = squared < 1e-2
    angle = squared.masked_fill(near_zero, 1.0).sqrt()
    sine = torch.where(near_zero, _series(squared, 6.0, 20.0, 42.0, 72.0), angle.sin() / angle)
    cosine = torch.where(near_zero, _series(squared, 12.0, 30.0, 56.0, 90.0) / 2, (1 - angle.cos()) / angle.square())
    x, y, z = axisangle.unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), 1).view(-1, 3, 3)
    eye = torch.eye(3, dtype=cross.dtype, device=cross.device)
    matrix = _compose(eye + sine * cross + cosine * (cross @ cross), translation[:, :, None])
    return invert_motion(matrix) if invert else matrix


@at_least_float32
def invert_motion(matrix: Tensor) -> Tensor:
    """The inverse of rigid transforms (B, 4, 4)."""
    rotation = matrix[:, :3, :3].transpose(1, 2)
    return _compose(rotation, -rotation @ matrix[:, :3, 3:])


@at_least_float32
def support_from_target(pose: tuple[Tensor, Tensor], offset: int, mean_inverse_depth: Tensor | None = None) -> Tensor:
    """The pose network's output as the transform that takes points of the target to a support frame.

    The network saw the later frame first and gives later_from_earlier, so an earlier support frame inverts it.

    Args:
        pose: axis-angle, rad, and translation, (B, 2, 1, 3) each; of the two motions the first is used.
        offset: of the support frame in time, negative for an earlier one.
        mean_inverse_depth: (B,) mean of 1 / depth over the target, by which the published training multiplies the
            translation; None takes the translation in scene units.

    Returns:
        (B, 4, 4).

    Raises:
        ConfigError: the offset is zero.
        FrameError: the pose has another shape.
    """
    axisangle, translation = pose
    if axisangle.ndim != 4 or axisangle.shape[1:] != (2, 1, 3) or axisangle.shape != translation.shape:
        shapes = f"{tuple(axisangle.shape)} and {tuple(translation.shape)}"
        raise FrameError(f"axis-angle and translation of a pose are {shapes}, expected (B, 2, 1, 3) both")
    if offset == 0:
        raise ConfigError("offset of a support frame is 0, expected a frame before (< 0) or after (> 0) the target")
    moved = translation[:, 0, 0]
    if mean_inverse_depth is not None:
        moved = moved * mean_inverse_depth[:, None]
    return motion(axisangle[:, 0, 0], moved, offset < 0)


@at_least_float32
def reproject(depth: Tensor, K: Tensor, support_from_target: Tensor) -> tuple[Tensor, Tensor]:
    """Where each pixel of the target lands in the support frame.

    With the ray r = K^-1 (x, y, 1), the point d r goes to K (R d r + t), which is proportional to
    (x, y, 1) + K (R - 1) r + K t / d: no motion leaves every pixel exactly where it is.

    Args:
        depth: (B, 1, H, W) of the target, positive, scene units.
        K: (B, 3, 3) intrinsics of both frames, px, without skew.
        support_from_target: (B, 4, 4).

    Returns:
        coordinates (B, 2, H, W), px, x then y, finite also where the point lies behind the support camera; and
        its depth there (B, 1, H, W), scene units, negative behind the camera.

    Raises:
        FrameError: the shapes do not fit each other.
    """
    batch = depth.shape[0]
    if depth.ndim != 4 or depth.shape[1] != 1 or K.shape != (batch, 3, 3) or support_from_target.shape != (batch, 4, 4):
        shapes = f"{tuple(depth.shape)}, {tuple(K.shape)} and {tuple(support_from_target.shape)}"
        raise FrameError(f"depth, K and transform are {shapes}, expected (B, 1, H, W), (B, 3, 3) and (B, 4, 4)")
    height, width = depth.shape[2:]
    eye = torch.eye(3, dtype=depth.dtype, device=depth.device)
    turned = eye + K @ (support_from_target[:, :3, :3] - eye) @ _inverse_camera(K)
    shift = (K @ support_from_target[:, :3, 3:])[..., None]
    x = torch.arange(width, dtype=depth.dtype, device=depth.device)
    y = torch.arange(height, dtype=depth.dtype, device=depth.device)[:, None]
    along, down, fixed = (turned[:, :, i, None, None] for i in range(3))
    relative = torch.addcmul(along * x + (down * y + fixed), shift, 1.0 / depth)
    z = relative[:, 2:]
    return relative[:, :2] / z.clamp(min=LEAST_RELATIVE_Z), z * depth


@at_least_float32
def project(points: Tensor, inverse_depth: Tensor, K: Tensor, support_from_target: Tensor) -> Tensor:
    """Where points of the target land in the support frame; `reproject` for single points.

    Args:
        points: (B, M, 2) px, x then y.
        inverse_depth: (B, M) of the target there, 1 / scene units.
        K: (B, 3, 3) intrinsics of both frames, px, without skew.
        support_from_target: (B, 4, 4).

    Returns:
        (B, M, 2) px, finite also where the point lies behind the support camera.
    """
    eye = torch.eye(3, dtype=points.dtype, device=points.device)
    turned = eye + K @ (support_from_target[:, :3, :3] - eye) @ _inverse_camera(K)
    shift = K @ support_from_target[:, :3, 3:]
    rays = torch.cat((points, torch.ones_like(points[..., :1])), -1)
    relative = rays @ turned.transpose(1, 2) + inverse_depth[..., None] * shift.transpose(1, 2)
    return relative[..., :2] / relative[..., 2:].clamp(min=LEAST_RELATIVE_Z)


@at_least_float32
def sample(images: Tensor, coords: Tensor, align_corners: bool = True) -> Tensor:
    """Read images bilinearly at pixel coordinates; beyond the border the border's colour goes on.

    Args:
        images: (B, C, h, w).
        coords: (B, 2, H, W) px, x then y.
        align_corners: True reads where the coordinates say. False is the published way, kept for comparison: it
            normalises by w - 1, h - 1 but reads as if by w, h, up to half a pixel away.

    Returns:
        (B, C, H, W).

    Raises:
        FrameError: the shapes do not fit each other.
    """
    if images.ndim != 4 or coords.ndim != 4 or coords.shape[:2] != (images.shape[0], 2):
        shapes = f"{tuple(images.shape)} and {tuple(coords.shape)}"
        raise FrameError(f"images and coordinates are {shapes}, expected (B, C, h, w) and (B, 2, H, W)")
    height, width = images.shape[2:]
    step = torch.tensor([2.0 / max(width - 1, 1), 2.0 / max(height - 1, 1)], dtype=coords.dtype, device=coords.device)
    grid = (coords * step[:, None, None] - 1.0).permute(0, 2, 3, 1)
    return F.grid_sample(images.to(grid.dtype), grid, "bilinear", "border", align_corners)


@at_least_float32
def half_camera(K: Tensor) -> Tensor:
    """Intrinsics (B, 3, 3), px, of images averaged over 2x2 blocks (see `geometry.resize_intrinsics`)."""
    halve = torch.tensor([[0.5, 0.0, -0.25], [0.0, 0.5, -0.25], [0.0, 0.0, 1.0]], dtype=K.dtype, device=K.device)
    return halve @ K


def _precise(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() and value.dtype != torch.float64 else value
    if type(value) in (list, tuple):
        return type(value)(map(_precise, value))
    return {key: _precise(item) for key, item in value.items()} if type(value) is dict else value


def _series(squared: Tensor, *divisors: float) -> Tensor:
    """1 - s / a (1 - s / b (1 - s / c (...)))."""
    total = torch.ones_like(squared)
    for divisor in reversed(divisors):
        total = 1 - squared / divisor * total
    return total


def _compose(rotation: Tensor, translation: Tensor) -> Tensor:
    """(B, 3, 3) and (B, 3, 1) to (B, 4, 4)."""
    last = rotation.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(len(rotation), 1, 4)
    return torch.cat((torch.cat((rotation, translation), 2), last), 1)


def _inverse_camera(K: Tensor) -> Tensor:
    fx, fy, cx, cy = K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2]
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    return torch.stack((1 / fx, zero, -cx / fx, zero, 1 / fy, -cy / fy, zero, zero, one), 1).view(-1, 3, 3)
