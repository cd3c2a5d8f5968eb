"""Predictions as ROS messages: one table of topics for the live node and the offline tools."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from defeat_ros.data.compose import MessageFactory
from defeat_ros.frame import Odometry, Prediction
from defeat_ros.geometry import BODY_FROM_OPTICAL, adjoint, invert, resize_intrinsics, transform_from_xyz_rpy
from defeat_ros.geometry import vector_from_rotation as rotation_vector
from defeat_ros.inference.cloud import CloudMaker
from defeat_ros.inference.config import DepthConfig
from defeat_ros.visualize import FeatureColors, depth_colors


@dataclass(frozen=True)
class OutputTopic:
    """One topic that a prediction can fill.

    Attributes:
        type: ROS type name.
        result: what the engine must compute for it.
        about: what it holds, a line for the user.
    """

    type: str
    result: str
    about: str


_IMAGE, _INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"
TOPICS: dict[str, OutputTopic] = {
    "depth/image_rect": OutputTopic(
        _IMAGE,
        "depth",
        "32FC1, along the optical z axis: metres once the scale is known, else scene units; NaN unreliable, +Inf sky "
        "or beyond max_depth_m, -Inf closer than min_depth_m",
    ),
    "depth/camera_info": OutputTopic(_INFO, "depth", "of the depth image: same stamp, frame and size, no distortion"),
    "depth/confidence": OutputTopic(
        _IMAGE, "confidence", "32FC1, 0 to 1: probability that the depth lies within 25 % of the truth"
    ),
    "depth/points": OutputTopic(
        "sensor_msgs/msg/PointCloud2", "depth", "x y z (and rgb), float32, m: reliable points in range, thinned"
    ),
    "depth/color": OutputTopic(_IMAGE, "depth", "rgb8, to look at: near is bright, grey unreliable"),
    "depth/scale": OutputTopic("std_msgs/msg/Float64", "scale", "metres per scene unit, NaN while unknown"),
    "features/image": OutputTopic(
        _IMAGE, "features", "32FCn, n numbers of unit length a pixel: alike where places are, by day and by night"
    ),
    "features/camera_info": OutputTopic(_INFO, "features", "of the feature image: same stamp, frame and size"),
    "features/color": OutputTopic(_IMAGE, "features", "rgb8, to look at: three principal axes, stable over time"),
    "odom": OutputTopic(
        "nav_msgs/msg/Odometry",
        "odometry",
        "base_frame in odom_frame since the start or the last reset, twist, covariances; 1e6 m² where nothing was seen",
    ),
}
"""Relative names of the topics, in the order in which they are published."""


def wanted_results(topics: Collection[str]) -> set[str]:
    """What the engine must compute for these topics."""
    return {TOPICS[name].result for name in topics}


def base_from_camera(config: DepthConfig) -> np.ndarray | None:
    """Pose of the optical frame in the base frame (4, 4) from the parameters, None where they leave it open."""
    return transform_from_xyz_rpy(config.base_from_camera) @ BODY_FROM_OPTICAL if config.base_from_camera else None


class OutputComposer:
    """Makes the messages of one stream of predictions.

    Args:
        factory: makes messages for rclpy or for a bag.
        config: names of frames.
        base_from_camera: (4, 4) pose of the optical frame in the base frame; None: not known. The odometry then takes
            the camera for the base's origin, looking along its x axis, and there are no points in the base frame.

    Attributes:
        base_from_camera: of the odometry; it may be set anew while that is at the identity.
        points_mount: of the points; it may be set at any time.
    """

    REMEMBERED = ("_feature_colors",)

    def __init__(
        self, factory: MessageFactory, config: DepthConfig, base_from_camera: np.ndarray | None = None
    ) -> None:
        self._factory = factory
        self._config = config
        self.points_mount = base_from_camera
        self.base_from_camera = BODY_FROM_OPTICAL if base_from_camera is None else base_from_camera
        self._feature_colors = FeatureColors()
        self._cloud = CloudMaker(config.points)

    def messages(self, prediction: Prediction, topics: Collection[str]) -> dict[str, Any]:
        """The messages for those of the topics that this prediction can fill, in the order of `TOPICS`."""
        made: dict[str, Any] = {}
        for name in TOPICS:
            message = self._message(name, prediction) if name in topics else None
            if message is not None:
                made[name] = message
        return made

    def _message(self, name: str, prediction: Prediction) -> Any | None:
        factory = self._factory
        header: dict[str, Any] = {"stamp_ns": prediction.stamp_ns, "frame_id": prediction.frame_id}
        depth, features, camera = prediction.depth, prediction.features, prediction.intrinsics
        if name == "depth/image_rect" and depth is not None:
            return factory.image(depth, **header)
        if name == "depth/camera_info" and depth is not None and camera is not None:
            return factory.camera_info(camera, **header)
        if name == "depth/confidence" and prediction.confidence is not None:
            return factory.image(prediction.confidence, **header)
        if name == "depth/points":
            return self._points(prediction)
        if name == "depth/color" and depth is not None:
            return factory.image(depth_colors(depth), **header)
        if name == "depth/scale":
            return factory.float64(float("nan") if prediction.metres_per_unit is None else prediction.metres_per_unit)
        if name == "features/image" and features is not None:
            return factory.image(features, **header)
        if name == "features/camera_info" and features is not None and camera is not None:
            return factory.camera_info(resize_intrinsics(camera, features.shape[1], features.shape[0]), **header)
        if name == "features/color" and features is not None:
            return factory.image(self._feature_colors(features), **header)
        if name == "odom" and prediction.odometry is not None:
            return self._odometry(prediction.odometry, prediction.stamp_ns)
        return None

    def _points(self, prediction: Prediction) -> Any | None:
        in_base = self._config.points.frame == "base"
        if in_base and self.points_mount is None:
            return None  # a planner would meet obstacles where there are none
        if prediction.metres_per_unit is None and self._config.scale.mode != "none":
            return None  # a cloud cannot say that it is not in metres
        cloud = self._cloud(prediction, self.points_mount if in_base else None)
        if cloud is None:
            return None
        frame_id = self._config.base_frame if in_base else prediction.frame_id
        stamp_ns = prediction.stamp_ns
        return self._factory.point_cloud(cloud.points, cloud.colors, stamp_ns=stamp_ns, frame_id=frame_id)

    def odom_from_base(self, odometry: Odometry) -> np.ndarray:
        """Pose of the base (4, 4) in the odometry frame, which is where the base stood at the start or reset."""
        pose: np.ndarray = self.base_from_camera @ odometry.odom_from_camera @ invert(self.base_from_camera)
        return pose

    def _odometry(self, odometry: Odometry, stamp_ns: int) -> Any:
        mount = self.base_from_camera
        pose = self.odom_from_base(odometry)
        step = mount @ odometry.previous_from_camera @ invert(mount)
        to_base = adjoint(mount)
        step_covariance = to_base @ odometry.step_covariance @ to_base.T
        # From the base's own axes to those of the odometry frame, in which ROS wants it.
        turned = np.kron(np.eye(2), pose[:3, :3]) @ to_base
        pose_covariance = turned @ odometry.pose_covariance @ turned.T
        rate = 1.0 / odometry.dt_s if odometry.dt_s else 0.0
        # The step is told in the base as it was before; the twist belongs to the base as it is now.
        twist = np.concatenate([step[:3, :3].T @ step[:3, 3], rotation_vector(step[:3, :3])]) * rate
        return self._factory.odometry(
            frame_id=self._config.odom_frame,
            child_frame_id=self._config.base_frame,
            stamp_ns=stamp_ns,
            odom_from_base=pose,
            twist=twist,
            pose_covariance=pose_covariance.ravel(),
            twist_covariance=(step_covariance * max(rate, 1.0) ** 2).ravel(),
        )
