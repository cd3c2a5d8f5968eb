"""Colours for depth and features, a trajectory from above, panels with captions."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

BACKGROUND = (18, 20, 26)
INK = (232, 234, 240)
MUTED = (140, 146, 160)
ACCENT = (255, 176, 64)
TRUTH = (96, 200, 255)


def depth_colors(depth: np.ndarray, nearest: float | None = None) -> np.ndarray:
    """Near is bright, far is dark: inverse depth in magma.

    Args:
        depth: (H, W) float, metres or scene units; NaN becomes grey, +Inf black, -Inf (too close) as
            bright as the nearest.
        nearest: depth from which on everything nearer has the brightest colour; None: the 5th percentile.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    with np.errstate(divide="ignore"):
        nearness = 1.0 / depth
    close = np.isneginf(depth)
    known = np.isfinite(nearness) & ~close
    if nearest is not None:
        top = 1.0 / nearest
    else:
        # Every 16th pixel is plenty for a percentile, and costs a hundredth.
        sample = nearness[::4, ::4][known[::4, ::4]]
        top = float(np.percentile(sample, 95)) if sample.size else 1.0
    levels = np.clip(np.where(known, nearness, 0.0) * (255.0 / max(top, 1e-12)), 0.0, 255.0).astype(np.uint8)
    levels[close] = 255
    colors: np.ndarray = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_MAGMA), cv2.COLOR_BGR2RGB)
    colors[np.isnan(depth)] = (70, 70, 70)
    return colors


class FeatureColors:
    """Shows dense features by their three main components, with axes and contrast that stay put over time.

    The mean and covariance are running averages over frames; each frame's axes are matched in order and sign to
    those of the frame before, so that a wall keeps its colour.
    """

    REMEMBERED = ("_mean", "_covariance", "_axes")

    def __init__(self, memory: float = 0.95) -> None:
        self._memory = memory
        self._mean: np.ndarray | None = None
        self._covariance: np.ndarray | None = None
        self._axes: np.ndarray | None = None

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(H, W, C) float to (H, W, 3) uint8 RGB."""
        channels = features.shape[2]
        sample = features[::4, ::4].reshape(-1, channels).astype(np.float64)
        mean, covariance = sample.mean(0), np.cov(sample, rowvar=False).reshape(channels, channels)
        if self._mean is None or self._covariance is None or self._mean.shape != mean.shape:
            self._mean, self._covariance, self._axes = mean, covariance, None
        keep = self._memory
        self._mean = keep * self._mean + (1.0 - keep) * mean
        self._covariance = keep * self._covariance + (1.0 - keep) * covariance
        variances, axes = np.linalg.eigh(self._covariance)
        axes, variances = axes[:, ::-1][:, :3], variances[::-1][:3]
        self._axes = axes = _aligned(axes, self._axes)
        variances = np.einsum("ck,cd,dk->k", axes, self._covariance, axes)
        scaled = ((features - self._mean) @ axes) / (3.0 * np.sqrt(np.maximum(variances, 1e-12)))
        rgb = np.full((*features.shape[:2], 3), 127, np.uint8)
        rgb[..., : scaled.shape[2]] = np.clip(scaled * 127.5 + 127.5, 0, 255).astype(np.uint8)
        return rgb


def _aligned(axes: np.ndarray, before: np.ndarray | None) -> np.ndarray:
    """Reorder and flip eigenvectors (columns) to follow those of the frame before."""
    if before is None:
        signs = np.sign(axes[np.argmax(np.abs(axes), axis=0), np.arange(axes.shape[1])])
        return np.asarray(axes * signs)
    likeness = before.T @ axes
    order: list[int] = []
    for row in np.abs(likeness):
        free = [k for k in range(axes.shape[1]) if k not in order]
        order.append(max(free, key=lambda k: row[k]))
    signs = np.where(likeness[np.arange(len(order)), order] < 0, -1.0, 1.0)
    return axes[:, order] * signs


@functools.cache
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)


def text(image: np.ndarray, lines: Sequence[str], xy: tuple[int, int], size_px: int = 16,
         color: tuple[int, int, int] = INK) -> np.ndarray:  # fmt: skip
    """A copy of (H, W, 3) uint8 with lines of text, the first one's top left at `xy`, px."""
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    for index, line in enumerate(lines):
        draw.text((xy[0], xy[1] + index * round(size_px * 1.4)), line, fill=color, font=_font(size_px))
    return np.array(canvas)


def captioned(image: np.ndarray, caption: str, size_px: int = 16) -> np.ndarray:
    """(H, W, 3) with a caption above it: (H + bar, W, 3)."""
    bar = np.full((round(size_px * 1.75), image.shape[1], 3), BACKGROUND, np.uint8)
    return np.vstack([text(bar, [caption], (8, round(size_px * 0.3)), size_px), image])


def trajectory(
    tracks: Sequence[tuple[str, np.ndarray, tuple[int, int, int]]], size_hw: tuple[int, int], caption: str = ""
) -> np.ndarray:
    """Paths seen from above, x up and y to the left as on a robot's map, all at one scale.

    Args:
        tracks: name, points (N, 2) of x and y, colour.
        size_hw: of the picture, px.
        caption: a line at the foot.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = size_hw
    canvas = np.full((height, width, 3), BACKGROUND, np.uint8)
    points = [track for _, track, _ in tracks if len(track)]
    spread = np.vstack(points) if points else np.zeros((1, 2))
    low, high = spread.min(0), spread.max(0)
    room = np.array([height - 90, width - 60])
    scale = float(np.min(room / np.maximum(high - low, 1e-6))) if np.any(high - low > 1e-6) else 1.0
    centre = (low + high) / 2
    for _, track, color in tracks:
        offset = (track - centre) * scale
        pixels = np.stack([width / 2 - offset[:, 1], height / 2 - offset[:, 0]], axis=1)
        fixed = np.round(pixels * 16).astype(np.int32)
        if len(fixed) > 1:
            cv2.polylines(canvas, [fixed.reshape(-1, 1, 2)], False, color, 2, cv2.LINE_AA, 4)
        if len(fixed):
            cv2.circle(canvas, tuple(int(v) for v in fixed[-1]), 5 * 16, color, -1, cv2.LINE_AA, 4)
    for index, (name, _, color) in enumerate(tracks):
        canvas = text(canvas, [name], (10, 8 + 20 * index), 15, color)
    return text(canvas, [caption], (10, height - 26), 14, MUTED) if caption else canvas
