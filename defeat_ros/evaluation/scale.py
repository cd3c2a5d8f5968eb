"""How good a metric scale is: its error, how steady it stands, and what it costs against median scaling."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from defeat_ros.evaluation.depth import depth_errors

SETTLED_S = 2.0
"""From then on a scale should be right."""


@dataclass
class ScaleScores:
    """Scales of the frames of one recording, in the order of time.

    Attributes:
        seconds: time of each frame since the first.
        applied: metres per unit; NaN while unknown.
        stds: stated standard deviation of its logarithm.
        errors: log of the applied over the true scale, by which median(depth) would be median(truth).
        metric, median_scaled: abs_rel of each frame as published, and after median scaling.
        sources: what told the scale, as often as it did.
    """

    seconds: list[float] = field(default_factory=list)
    applied: list[float] = field(default_factory=list)
    stds: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    metric: list[float] = field(default_factory=list)
    median_scaled: list[float] = field(default_factory=list)
    sources: dict[str, int] = field(default_factory=dict)

    def add(
        self, seconds: float, depth: np.ndarray, truth: np.ndarray, applied: float | None, std: float, source: str
    ) -> None:
        """Take a frame; depth (H, W) with all its pixels, m, truth of the same size."""
        unscaled = depth_errors(depth, truth, median_scaling=False)
        scaled = depth_errors(depth, truth, median_scaling=True)
        if unscaled is None or scaled is None:
            return
        self.seconds.append(seconds)
        self.applied.append(float("nan") if applied is None else applied)
        self.stds.append(std)
        self.errors.append(-float(np.log(scaled["scale"])))
        self.metric.append(unscaled["abs_rel"])
        self.median_scaled.append(scaled["abs_rel"])
        self.sources[source] = self.sources.get(source, 0) + 1

    def report(self) -> dict[str, Any]:
        """The figures after `SETTLED_S`; None where the recording is shorter."""
        late = np.array(self.seconds) >= SETTLED_S
        if not late.any():
            return {"frames": len(self.seconds), "settled": None, "sources": self.sources}
        applied, errors = np.array(self.applied)[late], np.array(self.errors)[late]
        steps = np.abs(np.diff(np.log(applied)))
        metric, scaled = np.mean(np.array(self.metric)[late]), np.mean(np.array(self.median_scaled)[late])
        return {
            "frames": len(self.seconds),
            "settled": {
                "frames": int(late.sum()),
                "median_error": float(np.exp(np.median(errors)) - 1.0),
                "median_frame_error": float(np.median(np.abs(np.exp(errors) - 1.0))),
                "largest_step": float(steps.max()) if len(steps) else 0.0,
                "stated_std": float(np.median(np.array(self.stds)[late])),
                "abs_rel_metric": float(metric),
                "abs_rel_median_scaled": float(scaled),
                "metric_over_median_scaled": float(metric / scaled),
            },
            "sources": self.sources,
        }
