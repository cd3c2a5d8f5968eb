"""Depth as a planner meets it: a grid of obstacles around the vehicle against that of the true world."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

CELL_M, RANGE_M = 0.2, 20.0
LOWEST_M, HIGHEST_M = 0.3, 2.0
"""Heights above the road between which something is an obstacle."""
TOLERANCE_M, TOLERANCE_SHARE = 0.2, 0.1
"""How far apart cells may lie and still be the same obstacle: one cell, and a tenth of the range, as depth errs."""
THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Of the confidence, at which the grid is made."""

_SIDE = round(RANGE_M / CELL_M)
_X, _Y = np.meshgrid((np.arange(_SIDE) + 0.5) * CELL_M, (np.arange(2 * _SIDE) + 0.5) * CELL_M - RANGE_M, indexing="ij")
_RANGES = np.hypot(_X, _Y)


def obstacle_grid(points: np.ndarray) -> np.ndarray:
    """Cells that hold an obstacle; (100, 200) bool, x ahead and y to the left.

    Args:
        points: (N, 3) m, x ahead, y left, z up from the road under the vehicle.
    """
    x, y, z = points.T
    keep = (z > LOWEST_M) & (z < HIGHEST_M) & (x > 0) & (np.hypot(x, y) < RANGE_M)
    rows = np.minimum((x[keep] / CELL_M).astype(int), _SIDE - 1)
    columns = np.minimum(((y[keep] + RANGE_M) / CELL_M).astype(int), 2 * _SIDE - 1)
    grid = np.zeros((_SIDE, 2 * _SIDE), bool)
    grid[rows, columns] = True
    return grid


def found_and_false(grid: np.ndarray, truth: np.ndarray) -> tuple[int, int, int]:
    """True obstacle cells that the grid has, those there are, and cells of the grid where the world has none."""
    tolerance = (TOLERANCE_M + TOLERANCE_SHARE * _RANGES) / CELL_M
    found = int((_distance(grid)[truth] <= tolerance[truth]).sum())
    false = int((_distance(truth)[grid] > tolerance[grid]).sum())
    return found, int(truth.sum()), false


def _distance(grid: np.ndarray) -> np.ndarray:
    """From each cell to the nearest one that is set, cells."""
    if not grid.any():
        return np.full(grid.shape, np.inf)
    return np.asarray(cv2.distanceTransform((~grid).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE))


@dataclass
class GridScores:
    """Sums over frames, for each of `THRESHOLDS`.

    Attributes:
        frames: number of frames.
        found, true, false: cells.
        sky: points whose true place is the sky, that became obstacles.
    """

    frames: int = 0
    found: np.ndarray = field(default_factory=lambda: np.zeros(len(THRESHOLDS)))
    true: np.ndarray = field(default_factory=lambda: np.zeros(len(THRESHOLDS)))
    false: np.ndarray = field(default_factory=lambda: np.zeros(len(THRESHOLDS)))
    sky: np.ndarray = field(default_factory=lambda: np.zeros(len(THRESHOLDS)))

    def add(self, points: np.ndarray, confidence: np.ndarray, is_sky: np.ndarray, true_points: np.ndarray) -> None:
        """Take a frame.

        Args:
            points: (N, 3) predicted, see `obstacle_grid`; confidence, is_sky: (N,) of each.
            true_points: (M, 3).
        """
        truth = obstacle_grid(true_points)
        self.frames += 1
        for index, threshold in enumerate(THRESHOLDS):
            sure = confidence >= threshold
            found, there, false = found_and_false(obstacle_grid(points[sure]), truth)
            self.found[index] += found
            self.true[index] += there
            self.false[index] += false
            self.sky[index] += int(obstacle_grid(points[sure & is_sky]).sum())

    def report(self) -> list[dict[str, Any]]:
        """A row for each threshold; recall is None where the world has no obstacles."""
        frames = max(self.frames, 1)
        return [
            {
                "confidence_min": threshold,
                "recall": float(self.found[i] / self.true[i]) if self.true[i] else None,
                "false_cells_per_frame": float(self.false[i]) / frames,
                "true_cells_per_frame": float(self.true[i]) / frames,
                "sky_cells_per_frame": float(self.sky[i]) / frames,
            }
            for i, threshold in enumerate(THRESHOLDS)
        ]
