"""Runs the engine over recordings in the order of time and measures what a planner depends on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from defeat_ros.data.recording import Recorded, Recording
from defeat_ros.errors import FrameError, SourceError
from defeat_ros.evaluation.confidence import ConfidenceScores
from defeat_ros.evaluation.depth import at_size, comparable
from defeat_ros.evaluation.options import PlannerEvaluation
from defeat_ros.evaluation.planner import RANGE_M, GridScores
from defeat_ros.evaluation.scale import ScaleScores
from defeat_ros.frame import CameraIntrinsics, Prediction
from defeat_ros.geometry import BODY_FROM_OPTICAL, pixel_rays, resize_intrinsics
from defeat_ros.inference.confidence import Weights, right
from defeat_ros.inference.engine import DepthEngine
from defeat_ros.inference.fit_confidence import fit_weights
from defeat_ros.inference.measure import up_to_farthest
from defeat_ros.preprocess import resize_map, resize_nearest

GRID_STRIDE = 2
"""Every second pixel becomes a point of the grid."""
FIT_EVERY = 31
"""Of the pixels, for fitting."""


@dataclass
class PlannerRun:
    """What came of one recording.

    Attributes:
        scale, confidence, grid: the figures.
        received, skipped: images, and those that could not be measured by reason.
        cues, is_right: (N, cues) and (N,) of the pixels that weights may be fitted to.
        warnings: one line a kind.
    """

    scale: ScaleScores = field(default_factory=ScaleScores)
    confidence: ConfidenceScores = field(default_factory=ConfidenceScores)
    grid: GridScores = field(default_factory=GridScores)
    received: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    cues: list[np.ndarray] = field(default_factory=list)
    is_right: list[np.ndarray] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        """All figures."""
        return {
            "frames": {"in": self.received, "skipped": self.skipped},
            "scale": self.scale.report(),
            "confidence": self.confidence.report(),
            "grid": self.grid.report(),
            "warnings": self.warnings,
        }


def measure_planner(
    recording: Recording,
    engine: DepthEngine,
    config: PlannerEvaluation,
    fitting: bool = False,
    on_frame: Callable[[], None] = lambda: None,
) -> PlannerRun:
    """Run the engine over a recording with true depth.

    Args:
        recording: images with depth and intrinsics.
        engine: an engine; it is reset first, and keeps the parameters that this sets.
        config: the options.
        fitting: keep what weights are fitted to.
        on_frame: called after each image.

    Raises:
        SourceError: no frame could be measured, or the camera's mount is asked for and not known.
    """
    mount = recording.base_from_camera
    settings = replace(engine.config, confidence_min=0.0)
    if config.height_from_mount:
        if mount is None:
            raise SourceError(f"{recording.path} does not tell where its camera is mounted, expected /tf_static")
        scale = replace(settings.scale, camera_height_m=float(mount[2, 3]))
        settings = replace(settings, scale=scale)
    engine.config = settings
    if mount is None:
        mount = BODY_FROM_OPTICAL.copy()
        mount[2, 3] = settings.scale.camera_height_m
    engine.base_from_camera = mount
    engine.reset()
    run, first_ns = PlannerRun(), None
    for index, item in enumerate(recording):
        run.received += 1
        reason = item.reason or "bad_frame"
        if item.frame is not None:
            first_ns = item.stamp_ns if first_ns is None else first_ns
            try:
                made = engine(item.frame, ("depth", "confidence"))
                reason = _measured(run, item, made, mount, (item.stamp_ns - first_ns) / 1e9, index % config.every == 0)
            except FrameError as error:
                reason = error.reason
            if fitting and not reason and index % config.every == 0:
                _keep_cues(run, engine, item, made)
        if reason:
            run.skipped[reason] = run.skipped.get(reason, 0) + 1
        on_frame()
    run.warnings = recording.warnings
    if not run.scale.seconds:
        reasons = ", ".join(f"{name} {number}" for name, number in run.skipped.items())
        raise SourceError(f"no frame of {recording.path} can be measured ({reasons}), expected images with true depth")
    return run


def _measured(
    run: PlannerRun, item: Recorded, made: Prediction, mount: np.ndarray, seconds: float, chosen: bool
) -> str:
    """Add a frame to the figures; returns why it could not be, '' where it was."""
    assert item.frame is not None
    truth, camera = item.depth, item.frame.intrinsics
    if truth is None or not comparable(truth).any():
        return "no_truth"
    if camera is None or made.depth is None or made.confidence is None:
        return made.withheld or "no_camera_info"
    if camera.needs_rectification:
        return "distorted"
    size_hw = (truth.shape[0], truth.shape[1])
    depth, scale = at_size(made.depth, size_hw), made.scale
    run.scale.add(
        seconds, up_to_farthest(depth, scale.metres_per_unit), truth, scale.metres_per_unit, scale.std, scale.source
    )
    if chosen:
        sure = resize_map(made.confidence, size_hw)
        run.confidence.add(sure, depth, truth, right(depth, truth))
        _add_grid(run.grid, depth, sure, truth, resize_intrinsics(camera, size_hw[1], size_hw[0]), mount)
    return ""


def _add_grid(
    grid: GridScores,
    depth: np.ndarray,
    sure: np.ndarray,
    truth: np.ndarray,
    camera: CameraIntrinsics,
    mount: np.ndarray,
) -> None:
    rays = pixel_rays(camera)[::GRID_STRIDE, ::GRID_STRIDE]
    guess, gt = depth[::GRID_STRIDE, ::GRID_STRIDE], truth[::GRID_STRIDE, ::GRID_STRIDE]
    known = ~np.isnan(gt)
    with np.errstate(invalid="ignore"):
        near, true_near = known & (guess < 2 * RANGE_M), known & (gt > 0) & (gt < 2 * RANGE_M)

    def points(chosen: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.asarray((rays[chosen] * values[chosen, None]) @ mount[:3, :3].T + [0.0, 0.0, mount[2, 3]])

    grid.add(
        points(near, guess), sure[::GRID_STRIDE, ::GRID_STRIDE][near], np.isposinf(gt[near]), points(true_near, gt)
    )


def _keep_cues(run: PlannerRun, engine: DepthEngine, item: Recorded, made: Prediction) -> None:
    assert item.depth is not None and made.depth is not None and engine.latest_cues is not None
    cues = engine.latest_cues.stacked()
    size_hw = cues.shape[:2]
    truth = resize_nearest(item.depth, size_hw)
    depth = at_size(made.depth, size_hw)
    chosen = np.flatnonzero(~np.isnan(truth.ravel()) & (truth.ravel() > 0))[::FIT_EVERY]
    run.cues.append(cues.reshape(-1, cues.shape[-1])[chosen])
    run.is_right.append(right(depth, truth).ravel()[chosen])


def fitted_weights(runs: Sequence[PlannerRun]) -> Weights:
    """The confidence's weights for what these runs kept."""
    return fit_weights([np.concatenate(run.cues) for run in runs], [np.concatenate(run.is_right) for run in runs])
