"""The road's centre line: its heading and its height are sums of sines, so that it bends but never loops."""

from __future__ import annotations

import math

import numpy as np

STEP = 1.0  # metres between the samples of the table


class Road:
    """A centre line parametrised by arc length s; d is the offset to its left.

    Attributes:
        table: (M, 7) float64, x, y, cos and sin of the heading, curvature (1/m), elevation (m) and slope at
            s = start + i * STEP.
        start: s of the first sample, m.
        hills: slope that is nowhere exceeded; 0 for a road in the plane.

    Args:
        rng: draws the bends.
        start, end: first and last s, m.
        hills: see above.
        relief: draws the hills.
    """

    def __init__(
        self, rng: np.random.Generator, start: float, end: float, hills: float, relief: np.random.Generator
    ) -> None:
        self.start, self.end, self.hills = start, end, hills
        self._swells = 2.0 * math.pi / relief.uniform([160.0, 60.0], [420.0, 140.0])
        self._heights = hills * np.array([0.65, 0.35]) / self._swells
        self._rise = relief.uniform(0.0, 2.0 * math.pi, 2)
        wavelengths = rng.uniform([420.0, 210.0], [700.0, 330.0])
        # Amplitudes by peak curvature: together at least 110 m of radius.
        peaks = rng.uniform([0.0015, 0.001], [0.005, 0.004])
        self._waves = 2.0 * math.pi / wavelengths
        self._amplitudes = peaks / self._waves
        self._phases = rng.uniform(0.0, 2.0 * math.pi, 2)
        fine = np.arange(start, end + 2 * STEP, STEP / 8)
        heading = self.heading(fine)
        dx, dy = np.cos(heading), np.sin(heading)
        x = np.concatenate([[0.0], np.cumsum(0.5 * (dx[1:] + dx[:-1])) * STEP / 8])
        y = np.concatenate([[0.0], np.cumsum(0.5 * (dy[1:] + dy[:-1])) * STEP / 8])
        columns = np.stack([x, y, dx, dy, self.curvature(fine), self.elevation(fine), self.slope(fine)], axis=1)
        self.table = np.ascontiguousarray(columns[::8])

    def heading(self, s: np.ndarray | float) -> np.ndarray:
        """Direction of the road at s, rad."""
        s = np.asarray(s, dtype=np.float64)[..., None]
        heading: np.ndarray = (self._amplitudes * np.sin(self._waves * s + self._phases)).sum(-1)
        return heading

    def curvature(self, s: np.ndarray | float) -> np.ndarray:
        """Change of heading per metre, positive to the left, 1/m."""
        s = np.asarray(s, dtype=np.float64)[..., None]
        bend: np.ndarray = (self._amplitudes * self._waves * np.cos(self._waves * s + self._phases)).sum(-1)
        return bend

    def elevation(self, s: np.ndarray | float) -> np.ndarray:
        """Height of the road at s, m; across the road the ground is level."""
        s = np.asarray(s, dtype=np.float64)[..., None]
        height: np.ndarray = (self._heights * np.sin(self._swells * s + self._rise)).sum(-1)
        return height

    def slope(self, s: np.ndarray | float) -> np.ndarray:
        """Change of elevation per metre."""
        s = np.asarray(s, dtype=np.float64)[..., None]
        slope: np.ndarray = (self._heights * self._swells * np.cos(self._swells * s + self._rise)).sum(-1)
        return slope

    def nearest(self, points: np.ndarray) -> np.ndarray:
        """s (N,) of the points of the centre line that are nearest to points (N, 2), m."""
        i = ((points[:, None] - self.table[None, :, :2]) ** 2).sum(-1).argmin(1)
        x, y, c, s = self.table[i, :4].T
        along: np.ndarray = self.start + i * STEP + (points[:, 0] - x) * c + (points[:, 1] - y) * s
        return along

    def pose(self, s: float, d: float = 0.0) -> tuple[float, float, float]:
        """Position x, y (m) and heading (rad) of the point d metres left of the centre line at s."""
        u = min(max((s - self.start) / STEP, 0.0), len(self.table) - 1.001)
        i, f = int(u), u - int(u)
        a, b = self.table[i], self.table[i + 1]
        # Cubic Hermite: the pose of the car must be smooth between the samples.
        h1, h2 = f * f * (3 - 2 * f), f * (1 - f) * (1 - f) * STEP
        h3 = f * f * (f - 1) * STEP
        x = a[0] + (b[0] - a[0]) * h1 + a[2] * h2 + b[2] * h3
        y = a[1] + (b[1] - a[1]) * h1 + a[3] * h2 + b[3] * h3
        heading = float(self.heading(self.start + u * STEP))
        return x - d * math.sin(heading), y + d * math.cos(heading), heading
