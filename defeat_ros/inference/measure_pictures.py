"""Pictures of an evaluation: the best, the median and the worst frame, errors over distance, paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from defeat_ros.data.recording import Recording
from defeat_ros.evaluation.baselines import BASELINES
from defeat_ros.evaluation.depth import at_size, comparable, depth_errors, scaled_depth
from defeat_ros.evaluation.depth_run import Predictor
from defeat_ros.evaluation.depth_scores import BIN_M, MethodScores, SourceScores, combined
from defeat_ros.evaluation.odometry import align
from defeat_ros.evaluation.odometry_report import curves
from defeat_ros.evaluation.options import DepthEvaluation
from defeat_ros.evaluation.trajectory import Matched
from defeat_ros.evaluation.views import View, views
from defeat_ros.inference.pictures import write_picture
from defeat_ros.visualize.charts import confidence_chart, distance_chart, odometry_chart
from defeat_ros.visualize.errors import depth_panel

LEAST_PIXELS = 1000
"""Behind a point of the calibration."""
_PLANES = {"ros": (0, 1), "optical": (0, 2)}  # seen from above


def picture_frames(
    recording: Recording,
    source: SourceScores,
    predictor: Predictor,
    out: Path,
    mark: str = "",
    on_frame: Callable[[], None] = lambda: None,
) -> None:
    """Write `<source>_best.jpg`, `_median.jpg` and `_worst.jpg`: image, prediction, truth, error map.

    The frames are predicted anew, so that none has to be kept while measuring.

    Args:
        recording, predictor: what was measured.
        source: its scores.
        out: folder.
        mark: added to the prediction's caption, such as 'UNTRAINED'.
        on_frame: called after each picture.

    Raises:
        OutputError: a picture cannot be written.
    """
    wanted: dict[str, list[str]] = {}
    for kind, name in source.ranked().items():
        wanted.setdefault(name, []).append(kind)  # with few frames, one may be best and worst
    predictor.restart()
    for view in views(recording, source.config, predictor.input_size):
        if not wanted:
            break
        if view is None or view.name not in wanted:
            continue
        kinds = wanted.pop(view.name)
        panel = _panel(view, predictor(view.frame), source, ", ".join(kinds), mark)
        for kind in kinds:
            write_picture(out / f"{source.name}_{kind}.jpg", panel)
            on_frame()


def _panel(view: View, depth: np.ndarray, source: SourceScores, kinds: str, mark: str) -> np.ndarray:
    config, truth = source.config, view.truth
    depth = at_size(depth, (truth.shape[0], truth.shape[1]))
    valid = comparable(truth, max_m=config.max_depth, crop=config.crop)
    errors = depth_errors(depth, truth, median_scaling=True, max_m=config.max_depth, crop=config.crop)
    assert errors is not None
    guess, scale = scaled_depth(depth[valid], truth[valid], median_scaling=True, max_m=config.max_depth)
    relative = np.full(truth.shape, np.nan)
    relative[valid] = np.abs(guess - truth[valid]) / truth[valid]
    dark = f", dark {config.dark}" if config.dark else ""
    captions = (
        f"{source.name} {view.name}   {source.condition}{dark}   ({kinds})",
        f"prediction x {scale:.3g}   {mark}",
        f"truth, counted up to {config.max_depth:g} m",
        f"abs_rel {errors['abs_rel']:.3f}   a1 {errors['a1']:.3f}   median-scaled",
    )
    shown = depth * np.float32(scale) if np.isfinite(scale) else depth
    return depth_panel(view.frame.image, shown, truth, relative, captions)


def picture_distances(sources: Sequence[SourceScores], config: DepthEvaluation, out: Path) -> None:
    """Write `<source>_distance.png` for each source, and `distance.png` by condition where there are several."""
    for source in sources:
        _distance(source.methods, f"{source.name} ({source.condition})", config, out / f"{source.name}_distance.png")
    if len(sources) > 1:
        everything = combined(sources)
        predictor = next(iter(everything))
        shown: dict[str, MethodScores] = {predictor: everything[predictor]}
        for condition in ("day", "night"):
            group = [source for source in sources if source.condition == condition]
            if group and len(group) < len(sources):
                shown[f"{predictor}, {condition}"] = combined(group)[predictor]
        shown.update({name: scores for name, scores in everything.items() if name != predictor})
        _distance(shown, f"all {len(sources)} sources", config, out / "distance.png")


def _distance(methods: Mapping[str, MethodScores], title: str, config: DepthEvaluation, path: Path) -> None:
    first = next(iter(methods.values()))
    edges = np.minimum(np.arange(len(first.bin_counts) + 1) * BIN_M, config.max_depth)
    with np.errstate(invalid="ignore"):
        series = {name: scores.bin_sums / scores.bin_counts for name, scores in methods.items()}
    write_picture(path, distance_chart(edges, series, first.bin_counts, f"error over distance: {title}", BASELINES))


def picture_path(name: str, matched: Matched, path: Path, mark: str = "") -> None:
    """Write the path after Sim(3) alignment from above, and its errors over the distance travelled.

    Raises:
        OutputError: the picture cannot be written.
    """
    estimate, truth = matched.estimate[:, :3, 3], matched.truth[:, :3, 3]
    aligned = align(estimate, truth, with_scale=True).apply(estimate)
    # Where nobody tells which way is up, the axis along which the path extends least is left out.
    spread = np.argsort(np.ptp(truth, axis=0), kind="stable")[1:]
    across, along = _PLANES.get(matched.axes, tuple(int(axis) for axis in sorted(spread)))
    tracks = [("truth", truth), (f"estimate, Sim(3)-aligned {mark}".strip(), aligned)]
    chart = odometry_chart(
        [(label, points[:, [across, along]]) for label, points in tracks],
        (f"{'xyz'[across]}, m", f"{'xyz'[along]}, m"),
        curves(matched),
        name,
    )
    write_picture(path, chart)


def picture_confidence(recordings: Mapping[str, dict[str, Any]], out: Path) -> None:
    """Write `confidence.png`: calibration, error by share kept, and obstacles, of the reports of `evaluate planner`.

    Raises:
        OutputError: it cannot be written.
    """
    calibration, kept, grid = {}, {}, {}
    for name, one in recordings.items():
        rows = [row for row in one["confidence"]["calibration"] if row["pixels"] >= LEAST_PIXELS]
        calibration[name] = _columns(rows, "stated", "measured")
        by_kept = one["confidence"]["abs_rel_by_kept"]
        kept[name] = np.array([float(share) for share in by_kept]), np.array([*by_kept.values()])
        rows = [row for row in one["grid"] if row["recall"] is not None]
        grid[name] = _columns(rows, "false_cells_per_frame", "recall")
    write_picture(out / "confidence.png", confidence_chart(calibration, kept, grid))


def _columns(rows: Sequence[dict[str, Any]], x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    return np.array([row[x] for row in rows]), np.array([row[y] for row in rows])
