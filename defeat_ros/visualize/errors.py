"""Where a depth map is wrong: error colours with a legend, and the panel of image, prediction, truth and error."""

from __future__ import annotations

import cv2
import numpy as np

from defeat_ros.visualize.pictures import BACKGROUND, MUTED, captioned, depth_colors, text

WORST_SHOWN = 0.5
"""Relative error from which on everything has the last colour."""

NOTHING = (52, 54, 60)
"""Where there is no truth."""

_SPARSE = 0.3  # a smaller share of pixels with truth is lidar: its points are drawn larger
_PANEL_WIDTH = (480, 960)


def error_colors(relative: np.ndarray, worst: float = WORST_SHOWN) -> np.ndarray:
    """Small errors blue, large ones red (turbo).

    Args:
        relative: (H, W) float, |prediction - truth| / truth; NaN where there is no truth.
        worst: the error with the last colour.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    known = np.isfinite(relative)
    levels = np.clip(np.where(known, relative, 0.0) * (255.0 / worst), 0, 255).astype(np.uint8)
    colors: np.ndarray = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    colors[~known] = NOTHING
    return colors


def legend(label: str, width: int, colors: np.ndarray, ticks: dict[str, float]) -> np.ndarray:
    """A strip (40, width, 3) of colours with values below.

    Args:
        label: what the colours mean.
        width: px, at least 300.
        colors: (1, n, 3) uint8, from left to right.
        ticks: text to place, 0 (left) to 1 (right).
    """
    strip = np.full((40, width, 3), BACKGROUND, np.uint8)
    strip = text(strip, [label], (8, 12), 14, MUTED)
    left, right = 110, width - 40
    strip[6:20, left:right] = cv2.resize(colors, (right - left, 1), interpolation=cv2.INTER_NEAREST)
    for name, place in ticks.items():
        x = left + round((right - 1 - left) * place)
        strip[20:24, x] = MUTED
        strip = text(strip, [name], (x - 4 * len(name), 23), 12, MUTED)
    return strip


def _legends(width: int, nearest: float | None) -> np.ndarray:
    """Colours of depth on the left, of errors on the right."""
    marks = np.linspace(0, WORST_SHOWN, 6)
    ticks = {f"{value:.1f}{'+' if value == WORST_SHOWN else ''}": value / WORST_SHOWN for value in marks}
    errors = legend("relative error", width - width // 2, error_colors(np.linspace(0, WORST_SHOWN, 256)[None]), ticks)
    if nearest is None:
        return np.hstack([np.full((40, width // 2, 3), BACKGROUND, np.uint8), errors])
    share = np.linspace(1, 1 / 256, 256)  # of the greatest inverse depth
    places = {f"{nearest * times:.3g}": 1 - 1 / times for times in (1, 1.5, 2, 4, 10)}
    return np.hstack([legend("depth, m", width // 2, depth_colors(nearest / share[None], nearest), places), errors])


def depth_panel(
    image: np.ndarray,
    predicted: np.ndarray,
    truth: np.ndarray,
    relative: np.ndarray,
    captions: tuple[str, str, str, str],
) -> np.ndarray:
    """Image, prediction, truth and error map, two by two, prediction and truth in the same colours.

    Args:
        image: (h, w, 3) uint8 RGB of the same field of view, at any size.
        predicted: (H, W), m, in the scale of the truth.
        truth: (H, W), m; NaN none, +Inf sky.
        relative: (H, W), relative error, NaN where nothing was compared.
        captions: of the four, in this order.

    Returns:
        (h, w, 3) uint8 RGB, each of the four between 480 and 960 px wide.
    """
    with np.errstate(invalid="ignore"):
        measured = np.isfinite(truth) & (truth > 0)
    nearest = float(np.percentile(truth[measured], 5)) if measured.any() else None
    size = _shown_size((truth.shape[0], truth.shape[1]))
    truth_colors = depth_colors(np.where(measured | np.isposinf(truth), truth, np.nan), nearest)
    truth_colors[~(measured | np.isposinf(truth))] = NOTHING
    sparse = measured.mean() < _SPARSE and not np.isposinf(truth).any()
    maps = [truth_colors, error_colors(relative)]
    shown = [_resized(colors, size, cv2.INTER_NEAREST) for colors in maps]
    if sparse:
        backdrop = _resized(image // 5 + 20, size, cv2.INTER_AREA)
        known = (measured, np.isfinite(relative))
        shown = [_points(colors, where, backdrop) for colors, where in zip(maps, known, strict=True)]
    parts = [
        _resized(image, size, cv2.INTER_AREA),
        _resized(depth_colors(predicted, nearest), size, cv2.INTER_AREA),
        *shown,
    ]
    titled = [captioned(part, caption) for part, caption in zip(parts, captions, strict=True)]
    grid = np.vstack([np.hstack(titled[:2]), np.hstack(titled[2:])])
    return np.vstack([grid, _legends(grid.shape[1], nearest)])


def _shown_size(size_hw: tuple[int, int]) -> tuple[int, int]:
    width = int(np.clip(size_hw[1], *_PANEL_WIDTH))
    return round(size_hw[0] * width / size_hw[1]), width


def _resized(image: np.ndarray, size_hw: tuple[int, int], shrink: int) -> np.ndarray:
    if image.shape[:2] == size_hw:
        return image
    way = (
        shrink
        if image.shape[1] > size_hw[1]
        else (cv2.INTER_NEAREST if shrink == cv2.INTER_NEAREST else cv2.INTER_CUBIC)
    )
    return np.asarray(cv2.resize(image, size_hw[::-1], interpolation=way))


def _points(colors: np.ndarray, where: np.ndarray, backdrop: np.ndarray) -> np.ndarray:
    """The coloured pixels as dots of 3 px on a dim picture, so that single lidar returns can be seen."""
    canvas = backdrop.copy()
    height, width = canvas.shape[:2]
    rows, columns = np.nonzero(where)
    y, x = rows * height // where.shape[0], columns * width // where.shape[1]
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            canvas[np.clip(y + dy, 0, height - 1), np.clip(x + dx, 0, width - 1)] = colors[rows, columns]
    return canvas
