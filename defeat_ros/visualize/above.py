"""What lies ahead, seen from above."""

from __future__ import annotations

import cv2
import numpy as np

from defeat_ros.visualize.pictures import BACKGROUND, MUTED, text

RINGS_M = 5.0
FLAT_M = 0.3
"""Points lower than this above the road are the road."""
ROAD, LOW, HIGH = (96, 102, 116), np.array([90, 200, 160]), np.array([255, 110, 70])
HIGH_M = 2.5


def points_above(
    points: np.ndarray, size_hw: tuple[int, int], reach_m: float, camera_height_m: float, caption: str = ""
) -> np.ndarray:
    """A cloud from above, the camera at the foot in the middle, ahead is up.

    Args:
        points: (N, 3) in the optical frame: x right, y down, z ahead, m.
        size_hw: of the picture, px.
        reach_m: how far ahead it shows, m.
        camera_height_m: above the road; the road is grey, what rises from it green to red at 2.5 m.
        caption: a line at the foot.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = size_hw
    canvas = np.full((height, width, 3), BACKGROUND, np.uint8)
    scale, foot = (height - 40) / reach_m, (width / 2, height - 28)
    for ring in np.arange(RINGS_M, reach_m + 0.1, RINGS_M):
        centre, radius = tuple(round(side) for side in foot), round(ring * scale)
        cv2.circle(canvas, centre, radius, (44, 48, 58), 1, cv2.LINE_AA)
        canvas = text(canvas, [f"{ring:.0f} m"], (round(foot[0]) + 4, max(2, centre[1] - radius + 2)), 12, MUTED)
    rise = camera_height_m - points[:, 1]
    columns = np.round(foot[0] + points[:, 0] * scale).astype(int)
    rows = np.round(foot[1] - points[:, 2] * scale).astype(int)
    inside = (columns >= 0) & (columns < width - 1) & (rows >= 0) & (rows < height - 1)
    order = np.flatnonzero(inside)[np.argsort(rise[inside], kind="stable")]  # what stands high is drawn last
    share = np.clip((rise[order] - FLAT_M) / (HIGH_M - FLAT_M), 0.0, 1.0)[:, None]
    colors = np.where(rise[order, None] < FLAT_M, np.array(ROAD), LOW + share * (HIGH - LOW)).astype(np.uint8)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        canvas[rows[order] + row, columns[order] + column] = colors
    return text(canvas, [caption], (10, height - 22), 14, MUTED) if caption else canvas
