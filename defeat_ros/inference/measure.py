"""Runs the engine over recordings with truth, for its depth and its odometry to be measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from defeat_ros.data.recording import Recording
from defeat_ros.errors import FrameError, SourceError
from defeat_ros.evaluation.trajectory import Trajectory
from defeat_ros.frame import Frame
from defeat_ros.inference.engine import DepthEngine


class EnginePredictor:
    """The engine's depth of single frames; see `evaluation.depth_run.Predictor`."""

    name = "network"

    def __init__(self, engine: DepthEngine) -> None:
        self._engine = engine
        width, height = engine.info.input_size
        self.aspect: float | None = width / height

    def restart(self) -> None:
        """Nothing is kept from frame to frame."""

    def __call__(self, frame: Frame) -> np.ndarray:
        """(H, W) float32, scene units or m; +Inf beyond the range.

        Raises:
            FrameError: the engine refuses the frame.
        """
        self._engine.reset()  # depth needs no other frame, and chosen frames may have any stamps and sizes
        depth = self._engine(frame, ("depth",)).depth
        assert depth is not None
        return depth


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
        SourceError: fewer than two frames can be used.
    """
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
                if made.restart is not None and len(poses) > 1:
                    restarts[made.restart] = restarts.get(made.restart, 0) + 1
                on_frame()
                continue
        skipped[reason] = skipped.get(reason, 0) + 1
        on_frame()
    if len(poses) < 2:
        raise SourceError(f"{recording.path} has {len(poses)} usable frames of {received}, expected at least 2")
    return OdometryRun(
        estimate=Trajectory.of(f"{recording.name} (engine)", poses, body="camera", axes="optical"),
        truth=Trajectory.of(f"{recording.name} (truth)", truth, body="camera", axes=axes) if truth else None,
        received=received,
        skipped=skipped,
        restarts=restarts,
        warnings=list(recording.warnings),
    )
