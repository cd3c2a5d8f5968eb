"""What is learned of the surroundings from frame to frame: road, motion, scale, and how far to trust each pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from defeat_ros.frame import Odometry, Scale
from defeat_ros.geometry import BODY_FROM_OPTICAL, FARTHEST_UNIT, transform_from_xyz_rpy
from defeat_ros.inference.backends.protocol import NetworkOutput
from defeat_ros.inference.camera_motion import CameraMotion
from defeat_ros.inference.confidence import ConfidenceEstimator, Cues, Seen
from defeat_ros.inference.config import DepthConfig
from defeat_ros.inference.costs import Costs
from defeat_ros.inference.frame_buffer import Support
from defeat_ros.inference.look import Look, Looker
from defeat_ros.inference.measured_motion import MeasuredMotion
from defeat_ros.inference.odometry import OdometryTracker, Step
from defeat_ros.inference.scale import REQUIRED_STD, ScaleEstimator
from defeat_ros.inference.view import View
from defeat_ros.inference.weights import EngineInfo
from defeat_ros.preprocess import resize_map

BEYOND_UNIT = 0.99 * FARTHEST_UNIT
"""The networks cannot say farther than `FARTHEST_UNIT`; what they put there is sky or out of range."""

DOUBTFUL = {"blurred", "dark", "glare"}
"""Problems of an image that double the standard deviation of its step, each."""


class Surroundings:
    """Makes depth, confidence, scale and odometry of what the depth net says of each frame and of the frame before.

    Args:
        config: the parameters; `config` may be set to others before they are forgotten.
        info: of the runtime; its `input_size`, `translation` and `metres_per_unit` count.
        pose_net: runs the pose net on two network images (3, H, W), the later one first.
        costs: where the time of each part is noted.

    Attributes:
        base_from_camera: pose (4, 4) of the optical frame on the base; says where down is, and carries measured motion.
            May be set.
        measured: takes the poses of another odometry, for the scale.
        latest_cues: what the last confidence looked at, for fitting its weights.
    """

    REMEMBERED = ("_look", "_scales", "_motion", "_tracker", "_tracked_stamp_ns", "_metric", "measured")

    def __init__(
        self,
        config: DepthConfig,
        info: EngineInfo,
        pose_net: Callable[[np.ndarray, np.ndarray], NetworkOutput],
        costs: Costs,
    ) -> None:
        self.config, self._info, self._pose_net, self._costs = config, info, pose_net, costs
        self._network_hw = info.input_size[::-1]
        mount = config.base_from_camera
        self.base_from_camera = transform_from_xyz_rpy(mount) @ BODY_FROM_OPTICAL if mount else BODY_FROM_OPTICAL
        self.measured = MeasuredMotion(config.base_frame)
        self.latest_cues: Cues | None = None
        self._tracker = OdometryTracker()
        self._tracked_stamp_ns: int | None = None
        self._confidences: ConfidenceEstimator | None = None
        self._seen: Seen | None = None
        self.forget()

    def forget(self) -> None:
        """Forget whatever was learned; the pose stays."""
        self._look = Looker(self._costs)
        self._scales = ScaleEstimator(self.config.scale, self._info.metres_per_unit)
        self._motion = CameraMotion(self.config.odometry.refine, self._pose_net, self._pose_factor)
        self._metric = False
        self.measured.forget_expected()

    def forget_pose(self) -> None:
        """The next odometry starts at the identity."""
        self._tracked_stamp_ns = None

    def look(self, view: View, disp: np.ndarray, before: Support | None, stamp_ns: int) -> Look:
        """Depth of one frame in constant units, the road in it, and how good the image is.

        Args:
            view: the frame.
            disp: of the depth net, (h, w).
            before: the frame before.
            stamp_ns: of the frame.
        """
        earlier = before.view if before is not None else None
        return self._look(view, disp, earlier, self.base_from_camera, self._motion.heading, stamp_ns)

    def measure(self, view: View, look: Look, before: Support | None, stamp_ns: int, want: set[str]) -> dict[str, Any]:
        """Step, scale and confidence of a frame, and from these the fields of its prediction.

        Args:
            view, look: the frame, and what `look` made of it.
            before: the frame before, None at the start of a sequence.
            stamp_ns: of the frame.
            want: of `engine.RESULTS`.

        Returns:
            fields of `Prediction` by name; those that nobody wants are left out.
        """
        config = self.config
        # The height of the camera is measured along its motion; odometry is compared with it.
        by_height = config.scale.mode in ("auto", "camera_height") and config.scale.camera_height_m > 0
        comparing = config.scale.mode in ("auto", "odometry") and self.measured.alive(stamp_ns)
        judged = "confidence" in want or ("depth" in want and config.confidence_min > 0)
        step = None
        if before is not None and (judged or comparing or by_height or "odometry" in want):
            with self._costs.of("motion"):
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
            with self._costs.of("depth"):
                made["depth"] = self._depth(look, view, scale, sure)
        return made

    def _confidence(
        self, view: View, look: Look, before: Support | None, step: Step | None, scale: Scale
    ) -> np.ndarray:
        """(H, W) float32."""
        with self._costs.of("confidence"):
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

    def _pose_factor(self, mean_inverse: float) -> float:
        return mean_inverse if self._info.translation == "inverse_depth" else 1.0

    def _track(self, step: Step | None, before: Support | None, stamp_ns: int, scale: Scale) -> Odometry:
        """Chain this frame's step; where none was measured, start a segment."""
        tracked, self._tracked_stamp_ns = self._tracked_stamp_ns, stamp_ns
        metric, self._metric = self._metric, scale.metres_per_unit is not None
        if before is None or step is None or tracked != before.stamp_ns or metric != self._metric:
            # Also where metres become known: a path in units does not go on in metres.
            self._tracker.restart(keep_pose=tracked is not None)
            return self._tracker.first()
        return self._tracker.step(step, scale, (stamp_ns - before.stamp_ns) / 1e9)
