"""Changes to a batch: mirrored, zoomed, other colours, night. On tensors, so that it costs little on any device."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from defeat_ros.training.config import AugmentConfig

LUMA = (0.299, 0.587, 0.114)
BRIGHT_ENOUGH = 0.2
"""Mean grey level in [0, 1] above which a sample may be turned into night; what is dark already stays as it is."""
# Contrast and brightness within 20 %, hue within 10 % of a turn: Monodepth2, sec. 4; saturation likewise.
COLOR_SPREAD, HUE_SPREAD = 0.2, 0.1
ZOOM, STRETCH = 1.5, 1.3
"""Largest factors: of the view's magnification, and of its height by its width either way."""


@dataclass
class Batch:
    """Samples on the training device.

    Attributes:
        frames: (F, B, 3, H, W) clean images in [0, 1]: the target first, then its support frames.
        seen: the same as the networks see them.
        K: (B, 3, 3) intrinsics, px.
        depth: (B, 1, H, W) true depth of the target, m, NaN where unknown, +Inf sky; None where not asked for.
        support_from_target: (F - 1, B, 4, 4) true motion, m, NaN where unknown; None where not asked for.
        support_depth: (F - 1, B, 1, H, W) true depth of the support frames, as `depth`; None where not asked for.
        tracks: (F - 1, B, M, 4) corners x, y in the target and x, y in the support frame, px, NaN for none; None where
            not asked for.
    """

    frames: Tensor
    seen: Tensor
    K: Tensor
    depth: Tensor | None = None
    support_from_target: Tensor | None = None
    tracks: Tensor | None = None
    support_depth: Tensor | None = None


def augment(batch: Batch, config: AugmentConfig, generator: torch.Generator) -> Batch:
    """A changed batch; the same generator state gives the same changes.

    All frames of a sample share their mirroring, colours and darkness; noise differs, as it does in a camera.
    """
    size = batch.K.shape[0]

    def chance(probability: float) -> Tensor:
        return _uniform((size,), generator, 0.0, 1.0) < probability

    flip, color, night = chance(config.flip), chance(config.color), chance(config.night)
    batch = _mirrored(batch, flip.to(batch.K.device))
    if config.zoom:
        batch = _zoomed(batch, chance(config.zoom), generator)
    seen = batch.frames
    if config.color:
        seen = _recolored(seen, color, generator)
    if config.night:
        seen = _darkened(seen, night, generator)
    return replace(batch, seen=seen)


def _uniform(shape: tuple[int, ...], generator: torch.Generator, low: float, high: float) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device) * (high - low) + low


def _mirrored(batch: Batch, which: Tensor) -> Batch:
    """Mirror some samples: pixel x becomes W - 1 - x, and so does cx; motions are conjugated with diag(-1, 1, 1)."""
    if not bool(which.any()):
        return batch
    width = batch.frames.shape[-1]
    mask = which[:, None, None, None]
    frames = torch.where(mask, batch.frames.flip(-1), batch.frames)
    K = batch.K.clone()
    K[:, 0, 2] = torch.where(which, width - 1 - K[:, 0, 2], K[:, 0, 2])
    depth, support_depth = (
        None if maps is None else torch.where(mask, maps.flip(-1), maps) for maps in (batch.depth, batch.support_depth)
    )
    motion = batch.support_from_target
    if motion is not None:
        mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0], device=motion.device))
        motion = torch.where(which[:, None, None], mirror @ motion @ mirror, motion)
    tracks = batch.tracks
    if tracks is not None:
        other = torch.stack(
            (width - 1 - tracks[..., 0], tracks[..., 1], width - 1 - tracks[..., 2], tracks[..., 3]), -1
        )
        tracks = torch.where(which[:, None, None], other, tracks)
    return Batch(frames, frames, K, depth, motion, tracks, support_depth)


def _zoomed(batch: Batch, which: Tensor, generator: torch.Generator) -> Batch:
    """Some samples as a camera with longer focal lengths and another principal point would see them.

    Pixel x becomes (x + 1/2) * s - left - 1/2 for a magnification s, and likewise y; depth and motion stay.
    """
    height, width = batch.frames.shape[-2:]
    count, device = len(which), batch.K.device
    magnify = _uniform((count,), generator, 1.0, ZOOM)
    stretch = torch.exp(_uniform((count,), generator, -1.0, 1.0) * math.log(STRETCH) / 2)
    scale = torch.stack((magnify / stretch, magnify * stretch), -1).clamp(min=1.0)
    scale = torch.where(which[:, None], scale, torch.ones(())).to(device)
    shift = _uniform((count, 2), generator, 0.0, 1.0).to(device) * (scale - 1) * scale.new_tensor([width, height])
    if not bool(which.any()):
        return batch

    def mapped(points: Tensor) -> Tensor:
        per_sample = (count,) + (1,) * (points.dim() - 2) + (2,)
        return (points + 0.5) * scale.reshape(per_sample) - shift.reshape(per_sample) - 0.5

    K = batch.K.clone()
    K[:, 0, 0], K[:, 1, 1] = K[:, 0, 0] * scale[:, 0], K[:, 1, 1] * scale[:, 1]
    K[:, :2, 2] = mapped(K[:, :2, 2])
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0], theta[:, 1, 1] = 1 / scale[:, 0], 1 / scale[:, 1]
    theta[:, :, 2] = (1 + 2 * shift / scale.new_tensor([width, height])) / scale - 1
    grid = F.affine_grid(theta, [count, 3, height, width], align_corners=False)
    frames = torch.stack([_taken(frame, grid, "bilinear") for frame in batch.frames])
    depth = None if batch.depth is None else _taken(batch.depth, grid, "nearest")
    support_depth = batch.support_depth
    if support_depth is not None:
        support_depth = torch.stack([_taken(maps, grid, "nearest") for maps in support_depth])
    tracks = batch.tracks
    if tracks is not None:
        tracks = torch.cat([mapped(ends) for ends in tracks.movedim(1, 0).split(2, -1)], -1).movedim(0, 1)
        here, most = tracks[..., :2], tracks.new_tensor([width - 0.5, height - 0.5])
        inside = ((here > -0.5) & (here < most)).all(-1, keepdim=True)
        tracks = torch.where(inside, tracks, torch.nan)
    return Batch(frames, frames, K, depth, batch.support_from_target, tracks, support_depth)


def _taken(maps: Tensor, grid: Tensor, mode: str) -> Tensor:
    return F.grid_sample(maps, grid, mode=mode, padding_mode="border", align_corners=False)


def _recolored(frames: Tensor, which: Tensor, generator: torch.Generator) -> Tensor:
    """Hue and saturation by one matrix per sample, in the YIQ space of NTSC, then brightness and contrast."""
    size = frames.shape[1]
    hue = _uniform((size,), generator, -HUE_SPREAD, HUE_SPREAD) * 2 * torch.pi
    saturation, brightness, contrast = (
        _uniform((size,), generator, 1 - COLOR_SPREAD, 1 + COLOR_SPREAD) for _ in range(3)
    )
    yiq_from_rgb = torch.tensor([LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)], device=hue.device)
    turn = torch.zeros(size, 3, 3, device=hue.device)
    turn[:, 0, 0] = 1.0
    turn[:, 1, 1] = turn[:, 2, 2] = saturation * hue.cos()
    turn[:, 1, 2], turn[:, 2, 1] = -saturation * hue.sin(), saturation * hue.sin()
    matrix = torch.linalg.inv(yiq_from_rgb) @ turn @ yiq_from_rgb
    gain = contrast * brightness
    matrix = torch.where(which[:, None, None], matrix * gain[:, None, None], torch.eye(3, device=hue.device))
    grey = _grey(frames).mean((0, 2, 3)).to(hue.device) * brightness
    lift = torch.where(which, (1 - contrast) * grey, torch.zeros_like(grey))
    matrix, lift = matrix.to(frames.device), lift.to(frames.device)
    mixed = torch.einsum("bij,fbjhw->fbihw", matrix, frames) + lift[:, None, None, None]
    return mixed.clamp_(0.0, 1.0)


def _darkened(frames: Tensor, which: Tensor, generator: torch.Generator) -> Tensor:
    """Night from day: a curve that crushes shadows, less light, then shot and read noise (Foi et al., TIP 2008)."""
    size = frames.shape[1]
    gamma = _uniform((size, 1, 1, 1), generator, 1.5, 3.0).to(frames.device)
    light = _uniform((size, 1, 1, 1), generator, 0.15, 0.7).to(frames.device)
    shot = _uniform((size, 1, 1, 1), generator, 0.0, 0.01).to(frames.device)
    read = _uniform((size, 1, 1, 1), generator, 0.0, 0.02).to(frames.device)
    bright = _grey(frames).mean((2, 3)).amin(0) > BRIGHT_ENOUGH
    which = which.to(frames.device) & bright  # all of its frames: twins are half dark
    if not bool(which.any()):
        return frames
    dark = frames[:, which].pow(gamma[which]) * light[which]
    noise = torch.randn(dark.shape, generator=generator, device=generator.device).to(frames.device)
    dark = dark + noise * (shot[which] * dark + read[which].square()).sqrt()
    changed = frames.clone()
    changed[:, which] = dark.clamp_(0.0, 1.0)
    return changed


def _grey(frames: Tensor) -> Tensor:
    """(F, B, 3, H, W) to (F, B, H, W)."""
    red, green, blue = LUMA
    return red * frames[:, :, 0] + green * frames[:, :, 1] + blue * frames[:, :, 2]
