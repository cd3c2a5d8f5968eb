"""Collects the errors of many depth maps: per frame, by distance, per source, by light, and overall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from defeat_ros.evaluation.depth import METRICS, MIN_TRUTH_M, comparable, dee, depth_errors, scaled_depth
from defeat_ros.evaluation.options import NIGHT_BELOW, DepthEvaluation, is_night
from defeat_ros.settings import values

BIN_M = 5.0
"""Width of the bins of distance, m."""

SCALINGS = ("unscaled", "median_scaled")


def condition_of(config: DepthEvaluation, grey_levels: list[float]) -> str:
    """'night' or 'day', by the option or by the mean grey levels (0 to 255) of a source's frames."""
    if config.condition != "auto":
        return config.condition
    return "night" if is_night(grey_levels) else "day"


@dataclass
class MethodScores:
    """Errors of one predictor over the frames of a source.

    Attributes:
        frames: names, in the order in which they came.
        unscaled, median_scaled: errors of each frame as `depth_errors` gives them.
        missing: share of each frame's compared pixels for which nothing was predicted (not finite or not positive).
        bin_sums, bin_counts: (bins,) sum of the median-scaled relative errors and number of pixels by true distance.
    """

    config: DepthEvaluation
    frames: list[str] = field(default_factory=list)
    unscaled: list[dict[str, float]] = field(default_factory=list)
    median_scaled: list[dict[str, float]] = field(default_factory=list)
    missing: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        count = int(np.ceil(self.config.max_depth / BIN_M))
        self.bin_sums, self.bin_counts = np.zeros(count), np.zeros(count, np.int64)

    def add(self, name: str, depth: np.ndarray, truth: np.ndarray) -> bool:
        """Score one depth map (H, W) against its truth (H, W), m; False where no pixel can be compared."""
        limits: dict[str, Any] = {"max_m": self.config.max_depth, "crop": self.config.crop}
        unscaled = depth_errors(depth, truth, median_scaling=False, **limits)
        scaled = depth_errors(depth, truth, median_scaling=True, **limits)
        if unscaled is None or scaled is None:
            return False
        self.frames.append(name)
        self.unscaled.append(unscaled)
        self.median_scaled.append(scaled)
        valid = comparable(truth, MIN_TRUTH_M, **limits)
        gt, guess = truth[valid].astype(np.float64), depth[valid]
        with np.errstate(invalid="ignore"):
            self.missing.append(float(np.mean(~(np.isfinite(guess) & (guess > 0)))))
        guess, _ = scaled_depth(guess, gt, median_scaling=True, max_m=self.config.max_depth)
        index = np.minimum((gt / BIN_M).astype(int), len(self.bin_sums) - 1)
        self.bin_sums += np.bincount(index, np.abs(guess - gt) / gt, len(self.bin_sums))
        self.bin_counts += np.bincount(index, minlength=len(self.bin_sums))
        return True

    def merged(self, other: MethodScores) -> MethodScores:
        """The frames of both."""
        lists = (getattr(self, name) + getattr(other, name) for name in ("frames", *SCALINGS, "missing"))
        made = MethodScores(self.config, *lists)
        made.bin_sums, made.bin_counts = self.bin_sums + other.bin_sums, self.bin_counts + other.bin_counts
        return made

    def summary(self) -> dict[str, Any]:
        """Means over the frames; the scale's mean, median and consistency; errors by distance."""
        if not self.frames:
            return {"frames": 0}
        means: dict[str, Any] = {
            scaling: {name: _mean([row[name] for row in getattr(self, scaling)]) for name in METRICS}
            for scaling in SCALINGS
        }
        for scaling in SCALINGS:
            means[scaling]["dee"] = dee(means[scaling])
        with np.errstate(invalid="ignore"):
            by_distance = self.bin_sums / self.bin_counts
        return {
            "frames": len(self.frames),
            **means,
            "scale": _scale_summary(np.array([row["scale"] for row in self.median_scaled])),
            "missing": _mean(self.missing),
            "abs_rel_by_distance": by_distance.tolist(),
            "pixels_by_distance": self.bin_counts.tolist(),
        }


@dataclass
class SourceScores:
    """What came of one recording.

    Attributes:
        name: of the recording, unique among those evaluated together.
        methods: the predictor's scores under 'network' (or 'predictions'), those of baselines under their names.
        grey_levels: mean grey level of each evaluated frame before any corruption, 0 to 255.
        received: images of the recording.
        skipped: how many were not evaluated, by reason; with the evaluated ones they make `received`.
        warnings: one line a kind.
    """

    name: str
    config: DepthEvaluation
    methods: dict[str, MethodScores] = field(default_factory=dict)
    grey_levels: list[float] = field(default_factory=list)
    received: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def condition(self) -> str:
        """'night' or 'day'."""
        return condition_of(self.config, self.grey_levels)

    def skip(self, reason: str) -> None:
        """Count an image that is not evaluated."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1

    def scores(self, method: str) -> MethodScores:
        """The scores of a method, begun where there are none."""
        return self.methods.setdefault(method, MethodScores(self.config))

    def ranked(self) -> dict[str, str]:
        """Names of the frames with the least, the middle and the greatest median-scaled abs_rel of the predictor."""
        if not self.methods:
            return {}
        scores = next(iter(self.methods.values()))
        order = sorted(range(len(scores.frames)), key=lambda index: scores.median_scaled[index]["abs_rel"])
        places = {"median": len(order) // 2, "best": 0, "worst": len(order) - 1}
        return {kind: scores.frames[order[place]] for kind, place in places.items()} if order else {}


def combined(sources: Sequence[SourceScores]) -> dict[str, MethodScores]:
    """The scores of each method over the frames of all sources."""
    made: dict[str, MethodScores] = {}
    for source in sources:
        for name, scores in source.methods.items():
            made[name] = made[name].merged(scores) if name in made else scores
    return made


def depth_report(sources: Sequence[SourceScores]) -> dict[str, Any]:
    """All numbers, as `summary.json` holds them: the protocol, then by source, by condition and overall."""
    conditions = {name: [one for one in sources if one.condition == name] for name in ("day", "night")}
    config = sources[0].config
    return {
        "protocol": {
            **values(config),
            "min_depth": MIN_TRUTH_M,
            "resizing": "inverse depth, bilinear, to the size of the truth",
            "median_scaled": "each frame times median(truth) / median(prediction), then cut to the range",
            "averaging": "metrics of each frame, averaged over frames",
            "dark_corrupts": "the image at the networks' input size" if config.dark else None,
            "baselines_fitted_to": "the truth of all frames evaluated here: an optimistic prior",
            "night_below_grey_level": NIGHT_BELOW,
            "distance_bins": {"width": BIN_M, "unit": "m", "scaling": "median_scaled", "averaging": "over pixels"},
        },
        "overall": {name: scores.summary() for name, scores in combined(sources).items()},
        "conditions": {
            condition: {name: scores.summary() for name, scores in combined(group).items()}
            for condition, group in conditions.items()
            if group
        },
        "sources": {source.name: _source_report(source) for source in sources},
    }


def _source_report(source: SourceScores) -> dict[str, Any]:
    evaluated = source.received - sum(source.skipped.values())
    return {
        "condition": source.condition,
        "grey_level": float(np.median(source.grey_levels)) if source.grey_levels else None,
        "frames": {"in": source.received, "evaluated": evaluated, "skipped": source.skipped},
        "warnings": source.warnings,
        "shown": source.ranked(),
        "methods": {name: scores.summary() for name, scores in source.methods.items()},
    }


def _scale_summary(scales: np.ndarray) -> dict[str, float]:
    """Of the scales of frames (N,), NaN where one has none: `unknown` counts those."""
    known = scales[np.isfinite(scales)]
    facts: dict[str, float] = {"unknown": len(scales) - len(known)}
    if not len(known):
        return {**facts, **dict.fromkeys(("mean", "median", "std_over_mean", "std_over_median"), float("nan"))}
    mean, middle = _mean(known), float(np.median(known))
    facts |= {"mean": mean, "median": middle, "std_over_mean": float(np.std(known) / mean)}
    # The spread as Monodepth2 prints it: of the scales divided by their median.
    return {**facts, "std_over_median": float(np.std(known / middle))}


def _mean(numbers: Sequence[float] | np.ndarray) -> float:
    return float(np.mean(numbers))
