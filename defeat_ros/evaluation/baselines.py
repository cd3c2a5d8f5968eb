"""What a predictor that never looks at the image would score: one depth for all, or one for each row."""

from __future__ import annotations

import numpy as np

from defeat_ros.evaluation.depth import MIN_TRUTH_M, comparable
from defeat_ros.evaluation.options import DepthEvaluation

BASELINES = ("constant", "rows")
"""Their names."""

ROWS = 128
"""Into how many bands the height of an image is cut, whatever its size."""

_LEVELS = 1024


class Baselines:
    """A constant depth and a depth by image row, fitted to the truth that they are then measured on.

    That makes them optimistic: no predictor could know them. They are the medians of the truth, all of it and band by
    band, which minimise the mean absolute error; found from counts of logarithmic levels 1 % apart, so that no frame
    is kept. A band without truth (sky) takes the depth of the nearest one with truth.
    """

    def __init__(self, config: DepthEvaluation) -> None:
        self._config = config
        self._edges = np.geomspace(MIN_TRUTH_M, config.max_depth, _LEVELS + 1)
        self._counts = np.zeros((ROWS, _LEVELS), np.int64)

    def fit(self, truth: np.ndarray) -> None:
        """Count one truth (H, W), m."""
        valid = comparable(truth, max_m=self._config.max_depth, crop=self._config.crop)
        rows, _ = np.nonzero(valid)
        levels = np.clip(np.searchsorted(self._edges, truth[valid]) - 1, 0, _LEVELS - 1)
        bands = rows * ROWS // truth.shape[0]
        self._counts += np.bincount(bands * _LEVELS + levels, minlength=ROWS * _LEVELS).reshape(ROWS, _LEVELS)

    def predict(self, size_hw: tuple[int, int]) -> dict[str, np.ndarray]:
        """Depth maps (H, W), m, by name: 'constant' and 'rows'; {} where no truth was counted."""
        filled = np.flatnonzero(self._counts.sum(axis=1))
        if not len(filled):
            return {}
        by_band = self._medians(self._counts[filled])
        nearest = filled[np.abs(np.arange(ROWS)[:, None] - filled).argmin(axis=1)]
        depth = by_band[np.searchsorted(filled, nearest)]
        rows = depth[np.arange(size_hw[0]) * ROWS // size_hw[0]]
        constant = self._medians(self._counts.sum(axis=0, keepdims=True))[0]
        return {"constant": np.full(size_hw, constant), "rows": np.repeat(rows[:, None], size_hw[1], axis=1)}

    def _medians(self, counts: np.ndarray) -> np.ndarray:
        """(N, levels) counts to medians (N,), m: the middle of the level in which the median lies."""
        total = counts.cumsum(axis=1)
        level = (total * 2 >= total[:, -1:]).argmax(axis=1)
        return np.asarray(np.sqrt(self._edges[level] * self._edges[level + 1]))
