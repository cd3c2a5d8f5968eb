"""From frames to predictions: knows no ROS and no files but the checkpoint.

Data flow of one call, all from one forward pass of one frame, so that everything shares stamp and scale:

    frame -> rectify -> output size -> network size -> depth, feature and pose nets
          -> odometry (translation x mean inverse depth) -> scale -> range -> Prediction
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from defeat_ros.errors import FrameError
from defeat_ros.frame import CameraIntrinsics, Frame, Odometry, Prediction
from defeat_ros.geometry import FARTHEST_UNIT, disp_to_depth, earlier_from_later, inverse_depth, resize_intrinsics
from defeat_ros.inference.backends import Backend, NetworkOutput
from defeat_ros.inference.config import DepthConfig
from defeat_ros.inference.frame_buffer import KEEP_POSE, FrameBuffer, Support
from defeat_ros.inference.odometry import OdometryTracker
from defeat_ros.inference.weights import EngineInfo, input_size_hw, load_backend
from defeat_ros.preprocess import Rectifier, resize_image, resize_map, unit_features
from defeat_ros.settings import build

BEYOND_UNIT = 0.99 * FARTHEST_UNIT
"""The networks cannot say farther than `FARTHEST_UNIT`; what they put there is sky or out of range."""

RESULTS = ("depth", "features", "odometry")
"""What can be asked of the engine."""


@dataclass(frozen=True)
class _View:
    """A frame as the networks and the output see it."""

    image: np.ndarray
    """(H, W, 3) rectified, at the output size."""
    network_image: np.ndarray
    """(h, w, 3) rectified, at the networks' size."""
    intrinsics: CameraIntrinsics | None
    seen: np.ndarray | None
    """(H, W) bool, False where rectification left black; None: all True."""


class DepthEngine:
    """Turns the frames of one camera, in order, into predictions.

    Deterministic: the same frames and parameters on the same machine give the same bytes.

    Args:
        config: the parameters; `checkpoint` names the weights.
        backend: a runtime to use instead of the one that the parameters ask for.

    Raises:
        CheckpointError, BackendError, FrameError: weights, device or sizes cannot be used.
    """

    def __init__(self, config: DepthConfig, backend: Backend | None = None) -> None:
        self.config = config
        if backend is None:
            self._backend, self.info = load_backend(config)
        else:
            size_hw = input_size_hw(config, {})
            self._backend, self.info = backend, EngineInfo.of(backend, size_hw)
        self._network_hw = self.info.input_size[::-1]
        self.features_problem = self._backend.features_problem(self._network_hw)
        """Why the feature net cannot run at this input size; None where it can."""
        self._buffer = FrameBuffer(config.max_gap_s)
        self._tracker = OdometryTracker()
        self._tracked_stamp_ns: int | None = None
        self._rectifier: Rectifier | None = None

    @classmethod
    def from_ckpt(cls, file: str | Path, **config: Any) -> DepthEngine:
        """An engine for a weight file; keywords are fields of `DepthConfig`, nested ones as dictionaries.

        Raises:
            ConfigError: an unknown or unfit parameter; and what the constructor raises.
        """
        return cls(build(DepthConfig, {"checkpoint": str(file), **config}))

    def reset(self, reason: str = "reset") -> None:
        """Empty the buffer; the next frame starts a segment at the identity."""
        self._buffer.clear(reason)

    def __call__(self, frame: Frame, want: Collection[str] = RESULTS) -> Prediction:
        """Predict one frame.

        Args:
            frame: the next frame of the camera.
            want: which of `RESULTS` to compute; the rest is None and costs nothing.

        Raises:
            FrameError: repeated stamp, unknown distortion, or features at a size the network cannot take.
            ValueError: `want` names something else.
        """
        if unknown := set(want) - set(RESULTS):
            raise ValueError(f"want is {sorted(unknown)}, expected some of {RESULTS}")
        if "features" in want and self.features_problem:
            raise FrameError(self.features_problem, reason="input_too_small")
        view = self._view(frame)
        # Intrinsics that do not change the image may come late: the networks do not see them.
        bent = frame.intrinsics if frame.intrinsics is not None and frame.intrinsics.needs_rectification else None
        support, restart = self._buffer.admit(frame.stamp_ns, (frame.size_hw, bent))
        if restart is not None and restart not in KEEP_POSE:
            self._tracked_stamp_ns = None
        output = self._backend.run(view.network_image, support.image if support else None, _network_work(want))
        self._buffer.remember(view.network_image, frame.stamp_ns)
        scale = self.config.scale.value if self.config.scale.mode == "fixed" else None
        odometry = self._track(output, support, frame.stamp_ns, scale) if "odometry" in want else None
        return Prediction(
            stamp_ns=frame.stamp_ns,
            frame_id=frame.frame_id,
            image=view.image,
            intrinsics=view.intrinsics,
            depth=self._depth(output, view, scale) if "depth" in want else None,
            features=self._features(output, view) if "features" in want else None,
            odometry=odometry,
            metres_per_unit=scale,
            restart=restart,
        )

    def _view(self, frame: Frame) -> _View:
        image, camera, seen = frame.image, frame.intrinsics, None
        if camera is not None and camera.needs_rectification:
            if self._rectifier is None or self._rectifier.camera != camera:
                self._rectifier = Rectifier(camera)
            image, seen = self._rectifier(image), self._rectifier.seen
        else:
            image = image.copy()  # the caller may fill the same array with the next frame
        network_image = resize_image(image, self._network_hw)
        if network_image is image:
            network_image = image.copy()  # one goes out, the other one stays as support of the next frame
        width, height = self.config.output_size
        if not width:
            height, width = frame.size_hw
        if seen is not None and seen.shape != (height, width):
            seen = resize_map(seen.astype(np.float32), (height, width)) > 0.999
        intrinsics = resize_intrinsics(camera.rectified(), width, height) if camera is not None else None
        return _View(resize_image(image, (height, width)), network_image, intrinsics, seen)

    def _depth(self, output: NetworkOutput, view: _View, scale: float | None) -> np.ndarray:
        assert output.disp is not None
        units = disp_to_depth(resize_map(output.disp, view.image.shape[:2]))
        beyond = units >= BEYOND_UNIT
        depth = units
        if scale is not None:
            depth = units * np.float32(scale)
            beyond |= depth > self.config.max_depth_m
            depth = np.where(depth < self.config.min_depth_m, np.float32(-np.inf), depth)
        depth = np.where(beyond, np.float32(np.inf), depth)
        if view.seen is not None:
            depth = np.where(view.seen, depth, np.float32(np.nan))
        return depth

    def _features(self, output: NetworkOutput, view: _View) -> np.ndarray:
        assert output.features is not None
        stride = self.config.features.stride
        height, width = view.image.shape[:2]
        return unit_features(resize_map(output.features, (-(-height // stride), -(-width // stride))))

    def _track(self, output: NetworkOutput, support: Support | None, stamp_ns: int, scale: float | None) -> Odometry:
        """Chain this frame's step; where none was measured, start a segment."""
        tracked, self._tracked_stamp_ns = self._tracked_stamp_ns, stamp_ns
        if support is None or tracked != support.stamp_ns:
            self._tracker.restart(keep_pose=tracked is not None)
            return self._tracker.first()
        assert output.disp is not None and output.axisangle is not None and output.translation is not None
        factor = 1.0
        if self.info.translation == "inverse_depth":
            factor = float(np.mean(inverse_depth(output.disp), dtype=np.float64))
        step = earlier_from_later(output.axisangle, output.translation, factor)
        step[:3, 3] *= 1.0 if scale is None else scale
        if not np.isfinite(step).all():
            self._tracker.restart(keep_pose=True)  # numbers overflowed: one bad frame must not spoil the rest
            return self._tracker.first()
        return self._tracker.step(step, (stamp_ns - support.stamp_ns) / 1e9)


def _network_work(want: Collection[str]) -> set[str]:
    """The networks to run; odometry needs the depth, whose mean inverse scales the translation."""
    work: set[str] = set()
    if "depth" in want or "odometry" in want:
        work.add("disp")
    if "odometry" in want:
        work.add("pose")
    if "features" in want:
        work.add("features")
    return work
