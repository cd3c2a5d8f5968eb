"""Whether a confidence keeps its word: what dropping the doubtful gains, and stated against measured rightness."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

BINS = 1000
CALIBRATION_BINS = 20
NEAREST_M, FARTHEST_M = 0.1, 80.0
"""Truth outside has no part in relative errors; predictions are cut to it."""


@dataclass
class ConfidenceScores:
    """Sums over the pixels of many frames, by their confidence.

    Attributes:
        count, right: pixels with truth (sky too), and those whose depth is right.
        stated: sum of their confidences.
        compared, error: pixels with finite truth, and their summed relative errors.
    """

    count: np.ndarray = field(default_factory=lambda: np.zeros(BINS))
    right: np.ndarray = field(default_factory=lambda: np.zeros(BINS))
    stated: np.ndarray = field(default_factory=lambda: np.zeros(BINS))
    compared: np.ndarray = field(default_factory=lambda: np.zeros(BINS))
    error: np.ndarray = field(default_factory=lambda: np.zeros(BINS))

    def add(self, confidence: np.ndarray, depth: np.ndarray, truth: np.ndarray, is_right: np.ndarray) -> None:
        """Take a frame: arrays of one shape; depth in m, +Inf beyond range; truth NaN where there is none."""
        known = ~np.isnan(truth) & (truth > NEAREST_M)
        sure, gt = confidence[known].astype(np.float64), truth[known].astype(np.float64)
        index = np.minimum((sure * BINS).astype(int), BINS - 1)
        self.count += np.bincount(index, minlength=BINS)
        self.right += np.bincount(index, is_right[known], BINS)
        self.stated += np.bincount(index, sure, BINS)
        near = gt < FARTHEST_M
        guess = np.clip(depth[known][near].astype(np.float64), NEAREST_M, FARTHEST_M)
        self.compared += np.bincount(index[near], minlength=BINS)
        self.error += np.bincount(index[near], np.abs(guess - gt[near]) / gt[near], BINS)

    def abs_rel(self, kept: float = 1.0) -> float:
        """Mean relative error of the most confident share `kept` of the pixels; NaN where there are none."""
        count, error = np.cumsum(self.compared[::-1]), np.cumsum(self.error[::-1])
        if not count[-1]:
            return float("nan")
        wanted = kept * count[-1]
        # The last bin is taken in part: within it pixels are as good as each other.
        return float(np.interp(wanted, [0.0, *count], [0.0, *error]) / wanted)

    def calibration(self) -> list[tuple[float, float, int]]:
        """Stated and measured rightness, and the number of pixels, of bins of the confidence."""
        parts = (values.reshape(CALIBRATION_BINS, -1).sum(axis=1) for values in (self.stated, self.right, self.count))
        return [(float(s / n), float(r / n), int(n)) for s, r, n in zip(*parts, strict=True) if n]

    def report(self) -> dict[str, Any]:
        """All figures."""
        rows, total = self.calibration(), float(self.count.sum())
        whole, most = self.abs_rel(), self.abs_rel(0.8)
        return {
            "abs_rel": whole,
            "abs_rel_of_80_percent": most,
            "gain_of_dropping_20_percent": 1.0 - most / whole if whole else float("nan"),
            "right": float(self.right.sum()) / total if total else float("nan"),
            "stated": float(self.stated.sum()) / total if total else float("nan"),
            "calibration_error": sum(abs(s - r) * n for s, r, n in rows) / total if total else float("nan"),
            "calibration": [{"stated": s, "measured": r, "pixels": n} for s, r, n in rows],
            "abs_rel_by_kept": {f"{kept:.2f}": self.abs_rel(kept) for kept in np.linspace(0.1, 1.0, 10)},
        }
