"""Runs the engine over recordings with truth, for its depth, odometry and features to be measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from defeat_ros.data.recording import Recording
from defeat_ros.errors import FrameError, SourceError
from defeat_ros.evaluation.trajectory import Trajectory
from defeat_ros.frame import Frame
from defeat_ros.geometry import BODY_FROM_OPTICAL, FARTHEST_UNIT
from defeat_ros.inference.engine import DepthEngine


class EnginePredictor:
    """The engine's depth of single frames; see `evaluation.depth_run.Predictor`."""

    name = "network"

    def __init__(self, engine: DepthEngine) -> None:
        engine.config = replace(engine.config, confidence_min=0.0)  # the protocols want a depth for every pixel
        self._engine = engine
        self.input_size: tuple[int, int] | None = engine.info.input_size

    def restart(self) -> None:
        """Nothing is kept from frame to frame."""

    def __call__(self, frame: Frame) -> np.ndarray:
        """(H, W) float32, scene units or m, see `up_to_farthest`.

        Raises:
            FrameError: the engine refuses the frame.
        """
        self._engine.reset()  # depth needs no other frame, and chosen frames may have any stamps and sizes
        made = self._engine(frame, ("depth",))
        assert made.depth is not None
        return up_to_farthest(made.depth, made.metres_per_unit)


def up_to_farthest(depth: np.ndarray, metres_per_unit: float | None) -> np.ndarray:
    """Depth with the farthest that the networks can say for what the engine calls sky or out of range (+Inf).

    The published protocols take that for the depth that the networks gave, also in the median.
    """
    return np.where(np.isposinf(depth), np.float32(FARTHEST_UNIT * (metres_per_unit or 1.0)), depth)


class EngineFeatures:
    """The engine's features of single frames."""

    def __init__(self, engine: DepthEngine) -> None:
        self._engine = engine

    def __call__(self, frame: Frame) -> np.ndarray:
        """(h, w, C) float32, of unit length over C.

        Raises:
            FrameError: the engine refuses the frame.
        """
        self._engine.reset()
        made = self._engine(frame, ("features",))
        assert made.features is not None
        return made.features


@dataclass
class OdometryRun:
    """What the engine's odometry made of a recording.

    Attributes:
        estimate, truth: poses of the camera, of the frames for which each is known.
        received: images of the recording.
        skipped: how many the engine did not see, by reason.
        restarts: how often the motion between two frames was not measured, by reason.
        warnings: one line a kind.
    """

    estimate: Trajectory
    truth: Trajectory | None
    received: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def run_odometry(
    recording: Recording, engine: DepthEngine, axes: str, on_frame: Callable[[], None] = lambda: None
) -> OdometryRun:
    """The engine's odometry over every frame of a recording, with the truth of its frames.

    Args:
        recording: a bag, folder or video.
        engine: an engine; it is reset first.
        axes: of the recording's world, see `Trajectory`.
        on_frame: called after each image.

    Raises:
        SourceError: fewer than two frames can be used, or no motion between them was measured.
    """
    if not engine.config.base_from_camera:
        mount = recording.base_from_camera
        engine.base_from_camera = BODY_FROM_OPTICAL if mount is None else mount
    engine.reset()
    poses: list[tuple[int, np.ndarray]] = []
    truth: list[tuple[int, np.ndarray]] = []
    received, skipped, restarts = 0, dict[str, int](), dict[str, int]()
    for item in recording:
        received += 1
        reason = item.reason or "bad_frame"
        if item.frame is not None:
            try:
                made = engine(item.frame, ("odometry",))
            except FrameError as error:
                reason = error.reason
            else:
                assert made.odometry is not None
                poses.append((item.stamp_ns, made.odometry.odom_from_camera))
                if item.world_from_camera is not None:
                    truth.append((item.stamp_ns, item.world_from_camera))
                # No step was measured.
                if (made.odometry.dt_s == 0 and len(poses) > 1) or made.odometry.source == "lost":
                    why = made.restart or made.odometry.source
                    restarts[why] = restarts.get(why, 0) + 1
                on_frame()
                continue
        skipped[reason] = skipped.get(reason, 0) + 1
        on_frame()
    if len(poses) < 2:
        raise SourceError(f"{recording.path} has {len(poses)} usable frames of {received}, expected at least 2")
    unknown = _unknown_motion(recording, [stamp for stamp, _ in poses], restarts, engine.config.max_gap_s)
    return OdometryRun(
        estimate=Trajectory.of(f"{recording.name} (engine)", poses, body="camera", axes="optical"),
        truth=Trajectory.of(f"{recording.name} (truth)", truth, body="camera", axes=axes) if truth else None,
        received=received,
        skipped=skipped,
        restarts=restarts,
        warnings=[*recording.warnings, *unknown],
    )


def _unknown_motion(
    recording: Recording, stamps_ns: Sequence[int], restarts: Mapping[str, int], max_gap_s: float
) -> list[str]:
    """A warning where motions between frames were not measured, an error where none was."""
    unknown, steps = sum(restarts.values()), len(stamps_ns) - 1
    reasons = ", ".join(f"{reason} {number}" for reason, number in restarts.items())
    if unknown == steps:
        apart = float(np.median(np.diff(stamps_ns))) / 1e9
        raise SourceError(
            f"none of the {steps} motions of {recording.path} was measured ({reasons}): max_gap_s is {max_gap_s:g} and "
            f"its frames are {apart:.3g} s apart, expected them closer together or --set max_gap_s=..."
        )
    return [f"{unknown} of {steps} motions are unknown ({reasons}) and count as standing still"] if unknown else []
