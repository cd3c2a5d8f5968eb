"""From frames to predictions: knows no ROS and no files but the checkpoint.

Data flow of one call, all from one forward pass of one frame, so that everything shares stamp and scale:

    frame -> view (rectified, three sizes) -> depth net -> road -> level (constant units)
          -> step from the frame before (corners, else pose net) -> scale -> confidence -> depth, odometry
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from defeat_ros.errors import FrameError
from defeat_ros.frame import CameraIntrinsics, Frame, Odometry, Prediction, Scale
from defeat_ros.geometry import BODY_FROM_OPTICAL, FARTHEST_UNIT, transform_from_xyz_rpy
from defeat_ros.inference.backends.protocol import Backend, NetworkOutput
from defeat_ros.inference.camera_motion import CameraMotion
from defeat_ros.inference.confidence import ConfidenceEstimator, Cues, Seen
from defeat_ros.inference.config import DepthConfig
from defeat_ros.inference.costs import Costs
from defeat_ros.inference.frame_buffer import KEEP_POSE, FrameBuffer, Support
from defeat_ros.inference.look import Look, Looker
from defeat_ros.inference.measured_motion import MeasuredMotion, Pending
from defeat_ros.inference.odometry import OdometryTracker, Step
from defeat_ros.inference.scale import REQUIRED_STD, ScaleEstimator
from defeat_ros.inference.view import View, ViewMaker
from defeat_ros.inference.weights import EngineInfo, input_size_hw, load_backend
from defeat_ros.preprocess import resize_map, unit_features
from defeat_ros.settings import build

BEYOND_UNIT = 0.99 * FARTHEST_UNIT
"""The networks cannot say farther than `FARTHEST_UNIT`; what they put there is sky or out of range."""

DOUBTFUL = {"blurred", "dark", "glare"}
"""Problems of an image that double the standard deviation of its step, each."""

MEMORIES = {kind.__name__: kind for kind in (CameraIntrinsics, Pending, Support, View)}
"""What is among the memories of an engine, see `memory.load_values`."""

NEWS_KEPT = 10

RESULTS = ("depth", "confidence", "scale", "features", "odometry")
"""What can be asked of the engine."""


@dataclass(frozen=True)
class Perceived:
    """What a frame shows by itself; see `DepthEngine.perceive`.

    Attributes:
        frame: it.
        want: what of `RESULTS` was asked for.
        view: the frame at the sizes that are worked on.
        output: of the networks.
    """

    frame: Frame
    want: frozenset[str]
    view: View
    output: NetworkOutput


class DepthEngine:
    """Turns the frames of one camera, in order, into predictions.

    Deterministic: the same frames, odometry and parameters on the same machine give the same bytes.

    Args:
        config: the parameters; `checkpoint` names the weights.
        backend: a runtime to use instead of the one that the parameters ask for.

    Attributes:
        measured: takes the poses of another odometry, for the scale.
        costs: seconds that each part takes.
        info: what runs; another one once a runtime gave up and another took over.

    Raises:
        CheckpointError, BackendError, FrameError: weights, device or sizes cannot be used.
        ConfigError: the hood mask cannot be read.
    """

    REMEMBERED = (
        "_buffer", "_tracker", "_tracked_stamp_ns", "_intrinsics", "_look", "_scales", "_motion", "_metric", "measured"
    )  # fmt: skip

    def __init__(self, config: DepthConfig, backend: Backend | None = None) -> None:
        self.config = config
        self._news: deque[str] = deque(maxlen=NEWS_KEPT)
        if backend is None:
            self._backend, self.info = load_backend(config, self._backend_changed)
        else:
            size_hw = input_size_hw(config, {})
            self._backend, self.info = backend, EngineInfo.of(backend, size_hw)
        self._network_hw = self.info.input_size[::-1]
        self.features_problem = self._backend.features_problem(self._network_hw)
        """Why the feature net cannot run at this input size; None where it can."""
        self.costs = Costs()
        self.measured = MeasuredMotion(config.base_frame)
        self._views = ViewMaker(self._network_hw, config.output_size, config.hood_mask)
        self._buffer = FrameBuffer(config.max_gap_s)
        self._tracker = OdometryTracker()
        self._tracked_stamp_ns: int | None = None
        self._confidences: ConfidenceEstimator | None = None
        self._seen: Seen | None = None
        self._intrinsics: CameraIntrinsics | None = None
        self.latest_cues: Cues | None = None
        """What the last confidence looked at, for fitting its weights."""
        mount = config.base_from_camera
        self.base_from_camera = transform_from_xyz_rpy(mount) @ BODY_FROM_OPTICAL if mount else BODY_FROM_OPTICAL
        """Pose (4, 4) of the optical frame on the base; says where down is, and carries measured motion. May be set."""
        self._forget()

    @classmethod
    def from_ckpt(cls, file: str | Path, **config: Any) -> DepthEngine:
        """An engine for a weight file; keywords are fields of `DepthConfig`, nested ones as dictionaries.

        Raises:
            ConfigError: an unknown or unfit parameter; and what the constructor raises.
        """
        return cls(build(DepthConfig, {"checkpoint": str(file), **config}))

    def news(self) -> tuple[str, ...]:
        """What has happened to the runtime since this was last asked, each a sentence for the user."""
        return tuple(self._news.popleft() for _ in range(len(self._news)))

    def _backend_changed(self, backend: Backend, reason: str, line: str) -> None:
        self.info = replace(
            self.info,
            backend=backend.name,
            device=backend.device,
            precision=backend.precision,
            reason=reason,
            warnings=(*self.info.warnings[1 - NEWS_KEPT :], line),
        )
        self._news.append(line)

    def reset(self, reason: str = "reset") -> None:
        """Empty the buffer and forget the scale; the next frame starts a segment at the identity."""
        self._buffer.clear(reason)

    def __call__(self, frame: Frame, want: Collection[str] = ("depth", "features", "odometry")) -> Prediction:
        """Predict one frame: `perceive`, then `conclude`.

        Args:
            frame: the next frame of the camera.
            want: which of `RESULTS` to compute; the rest is None and costs nothing.

        Raises:
            FrameError: repeated stamp, unknown distortion, a hood mask of another size, or features at a size the
                network cannot take.
            BackendError: the runtime failed; see `backends.steady` for how it goes on.
            ValueError: `want` names something else.
        """
        return self.conclude(self.perceive(frame, want))

    def perceive(self, frame: Frame, want: Collection[str] = ("depth", "features", "odometry")) -> Perceived:
        """The first half of a prediction, all that a frame shows by itself: rectified, resized, through the networks.

        One thread may perceive the next frame while another one concludes this one; frames keep their order.

        Raises:
            FrameError, BackendError, ValueError: see `__call__`; nothing was remembered then.
        """
        if unknown := set(want) - set(RESULTS):
            raise ValueError(f"want is {sorted(unknown)}, expected some of {RESULTS}")
        if "features" in want and self.features_problem:
            raise FrameError(self.features_problem, reason="input_too_small")
        with self.costs.of("prepare"):
            view = self._views(frame)
        with self.costs.of("networks"):
            work = ({"disp"} if set(want) - {"features"} else set()) | (set(want) & {"features"})
            output = self._backend.run(view.network_image, None, work)
        return Perceived(frame, frozenset(want), view, output)

    def conclude(self, perceived: Perceived) -> Prediction:
        """The second half: what a frame says together with those before it.

        Raises:
            FrameError: repeated stamp, or depth that is not finite.
            BackendError: see `__call__`; the next frame is then the first of a sequence.
        """
        frame, want, view, output = perceived.frame, perceived.want, perceived.view, perceived.output
        # Intrinsics that do not change the image may come late: the networks do not see them.
        if frame.intrinsics is not None:
            if self._intrinsics is not None and not _alike(self._intrinsics, frame.intrinsics):
                self._forget()  # another lens: what was learned of the road was seen through the old one
            self._intrinsics = frame.intrinsics
        bent = frame.intrinsics if frame.intrinsics is not None and frame.intrinsics.needs_rectification else None
        before, restart = self._buffer.admit(frame.stamp_ns, (frame.size_hw, bent))
        if restart not in (None, "gap"):
            self._forget()
        if restart is not None and restart not in KEEP_POSE:
            self._tracked_stamp_ns = None
        look, made = None, dict[str, Any]()
        if output.disp is not None:
            if not np.isfinite(output.disp).all():
                raise FrameError(f"depth is not finite: numbers overflowed in {self.info.precision}", "not_finite")
            earlier = before.view if before is not None else None
            look = self._look(view, output.disp, earlier, self.base_from_camera, self._motion.heading, frame.stamp_ns)
            made = self._measure(view, look, before, frame.stamp_ns, set(want))
        useless = look is not None and look.health.useless
        self._buffer.remember(Support(view.for_later(), look.depth if look else None, useless, frame.stamp_ns))
        return Prediction(
            stamp_ns=frame.stamp_ns,
            frame_id=frame.frame_id,
            image=view.image,
            intrinsics=view.intrinsics,
            features=self._features(output, view) if "features" in want else None,
            restart=restart,
            **made,
        )

    def _forget(self) -> None:
        """Whatever was learned of the camera and its surroundings."""
        self._look = Looker(self.costs)
        self._scales = ScaleEstimator(self.config.scale, self.info.metres_per_unit)
        self._motion = CameraMotion(self.config.odometry.refine, self._pose_net, self._pose_factor)
        self._metric = False
        self.measured.forget_expected()

    def _pose_net(self, now: np.ndarray, before: np.ndarray) -> NetworkOutput:
        with self.costs.of("pose net"):
            return self._backend.run(now, before, {"pose"})

    def _pose_factor(self, mean_inverse: float) -> float:
        return mean_inverse if self.info.translation == "inverse_depth" else 1.0

    def _measure(self, view: View, look: Look, before: Support | None, stamp_ns: int, want: set[str]) -> dict[str, Any]:
        """Step, scale and confidence of a frame, and from these the fields of its prediction."""
        config = self.config
        # The height of the camera is measured along its motion; odometry is compared with it.
        by_height = config.scale.mode in ("auto", "camera_height") and config.scale.camera_height_m > 0
        comparing = config.scale.mode in ("auto", "odometry") and self.measured.alive(stamp_ns)
        judged = "confidence" in want or ("depth" in want and config.confidence_min > 0)
        step = None
        if before is not None and (judged or comparing or by_height or "odometry" in want):
            with self.costs.of("motion"):
                step = self._motion(view, look, before, stamp_ns)
            doubts = len(DOUBTFUL & set(look.health.problems))
            step = replace(step, covariance=step.covariance * 4.0**doubts)
            if comparing:
                known = step.source in ("refined", "still")
                self.measured.expect(before.stamp_ns, stamp_ns, step.previous_from_camera if known else None)
        for metres, units in self.measured.resolved(self.base_from_camera, stamp_ns) if comparing else ():
            self._scales.measure_motion(metres, units, stamp_ns)
        scale = self._scales(self._look.level, stamp_ns)
        made: dict[str, Any] = {"scale": scale, "health": look.health}
        if "odometry" in want:
            made["odometry"] = self._track(step, before, stamp_ns, scale)
        if "depth" in want and config.scale.required and not scale.std <= REQUIRED_STD:
            made["withheld"] = "scale_unknown"
        gives_depth = "depth" in want and "withheld" not in made
        sure = None
        if "confidence" in want or (gives_depth and judged):
            sure = self._confidence(view, look, before, step, scale)
        if "confidence" in want:
            made["confidence"] = sure
        if gives_depth:
            with self.costs.of("depth"):
                made["depth"] = self._depth(look, view, scale, sure)
        return made

    def _confidence(
        self, view: View, look: Look, before: Support | None, step: Step | None, scale: Scale
    ) -> np.ndarray:
        """(H, W) float32."""
        with self.costs.of("confidence"):
            earlier = motion = None
            if before is not None and before.depth is not None and step is not None and step.source != "lost":
                motion, earlier = step.previous_from_camera, self._seen
                if earlier is None or earlier.depth is not before.depth:
                    earlier = Seen(before.view.network_image, before.depth)
            camera = view.network_intrinsics
            if self._confidences is None or self._confidences.camera != camera:
                self._confidences = ConfidenceEstimator(camera, self._network_hw)
            now = self._seen = Seen(view.network_image, look.depth)
            cues = self._confidences.cues(now, earlier, motion, look, scale.metres_per_unit)
            self.latest_cues = cues
            sure = resize_map(self._confidences(cues, look.health), view.image.shape[:2])
            return sure if view.seen is None else np.where(view.seen, sure, np.float32(0.0))

    def _depth(self, look: Look, view: View, scale: Scale, sure: np.ndarray | None) -> np.ndarray:
        config, inverse = self.config, resize_map(look.inverse, view.image.shape[:2])
        beyond = inverse <= 1.0 / BEYOND_UNIT
        depth = np.float32(look.gain * (scale.metres_per_unit or 1.0)) / inverse
        if scale.metres_per_unit is not None:
            beyond |= depth > config.max_depth_m
            depth = np.where(depth < config.min_depth_m, np.float32(-np.inf), depth)
        depth = np.where(beyond, np.float32(np.inf), depth)
        if look.health.useless:
            return np.full_like(depth, np.nan)
        reliable = view.seen if sure is None else sure >= config.confidence_min
        if sure is not None and view.seen is not None:
            reliable = reliable & view.seen
        return depth if reliable is None else np.where(reliable, depth, np.float32(np.nan))

    def _features(self, output: NetworkOutput, view: View) -> np.ndarray:
        assert output.features is not None
        stride = self.config.features.stride
        height, width = view.image.shape[:2]
        return unit_features(resize_map(output.features, (-(-height // stride), -(-width // stride))))

    def _track(self, step: Step | None, before: Support | None, stamp_ns: int, scale: Scale) -> Odometry:
        """Chain this frame's step; where none was measured, start a segment."""
        tracked, self._tracked_stamp_ns = self._tracked_stamp_ns, stamp_ns
        metric, self._metric = self._metric, scale.metres_per_unit is not None
        if before is None or step is None or tracked != before.stamp_ns or metric != self._metric:
            # Also where metres become known: a path in units does not go on in metres.
            self._tracker.restart(keep_pose=tracked is not None)
            return self._tracker.first()
        return self._tracker.step(step, scale, (stamp_ns - before.stamp_ns) / 1e9)


def _alike(one: CameraIntrinsics, other: CameraIntrinsics) -> bool:
    """Whether two calibrations are the same but for jitter."""
    return bool(np.allclose(one.K, other.K, rtol=1e-3))
