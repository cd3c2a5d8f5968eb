"""The node's voice: publishers of all output topics, filled only as far as somebody listens."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from rclpy.duration import Duration
from rclpy.qos import QoSProfile

from defeat_ros.frame import Prediction
from defeat_ros.inference.config import DepthConfig
from defeat_ros.inference.outputs import TOPICS, OutputComposer, base_from_camera, wanted_results
from defeat_ros.ros.messages import FACTORY, message_class
from defeat_ros.ros.qos import qos_overrides, with_overrides
from defeat_ros.ros.transforms import Transforms

# Reliable serves best-effort subscribers too. Two messages: one on its way while the next one is made.
DEPTH = 2
FAREWELL_S = 1.0
"""How long the last messages may take to arrive when the publishers end."""
MOUNT_PATIENCE_S = 1.0
"""How long the first odometry waits for tf to tell where the camera sits; the node starts with the robot's tf."""


class Outputs:
    """Lifecycle publishers for `TOPICS`, and tf.

    Args:
        node: where they live.
        config: names of frames, and what goes out.
        engine: is told where tf says that the camera is mounted.

    Raises:
        ConfigError: a QoS override cannot be used; nothing is published then.
    """

    def __init__(self, node: Any, config: DepthConfig, engine: Any) -> None:
        self._node = node
        self._config = config
        self._engine = engine
        self._publishers: dict[str, Any] = {}
        self._transforms = Transforms(node, config)
        mount = base_from_camera(config)
        self._composer = OutputComposer(FACTORY, config, mount)
        self._mount_known = mount is not None
        self._measured_ns = 0
        self._mount_awaited = self._late_mount_told = self._no_mount_told = self._odometry_told = False
        try:
            for name, topic in TOPICS.items():
                self._publishers[name] = self._advertise(name, topic.type)
        except Exception:
            self.destroy()
            raise

    def topics(self) -> set[str]:
        """Relative names of the topics that somebody subscribes to."""
        return {name for name, publisher in self._publishers.items() if publisher.get_subscription_count() > 0}

    def wanted(self, topics: set[str]) -> set[str]:
        """What the engine must compute for these topics and for tf."""
        return wanted_results(topics) | ({"odometry"} if self._transforms.broadcasts else set())

    def names(self) -> list[str]:
        """Full names of the topics."""
        return [publisher.topic_name for publisher in self._publishers.values()]

    def measure_by_tf(self) -> str | None:
        """Hand the engine what tf says of the base's motion; returns what is wrong with it, None where nothing is."""
        found, config = self._transforms.measured_pose(), self._config
        if found is None and config.scale.odom_tf_frame:
            return f"tf does not tell where '{config.base_frame}' is in '{config.scale.odom_tf_frame}'"
        if found is None or found[0] == self._measured_ns:
            return None
        self._measured_ns = found[0]
        problem: str | None = self._engine.measured.add(*found, config.scale.odom_tf_frame, config.base_frame)
        return problem

    def publish(self, prediction: Prediction, topics: set[str]) -> int:
        """Publish what the prediction holds for these topics; returns how many messages went out."""
        if not self._mount_known:
            self._find_mount(prediction, topics)
        self._odometry_told |= prediction.odometry is not None
        messages = self._composer.messages(prediction, topics)
        for name, message in messages.items():
            self._publishers[name].publish(message)
        sent = len(messages)
        if prediction.odometry is not None and self._transforms.broadcasts:
            self._transforms.broadcast(self._composer.odom_from_base(prediction.odometry), prediction.stamp_ns)
            sent += 1
        return sent

    def destroy(self) -> None:
        """Take the publishers back, once what they sent has arrived or nobody can be waited for any longer."""
        deadline = time.monotonic() + FAREWELL_S
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=max(deadline - time.monotonic(), 0.0)))
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers = {}
        self._transforms.destroy()

    def _advertise(self, name: str, type_name: str) -> Any:
        return with_overrides(
            self._node,
            self._node.resolve_topic_name(name),
            lambda: self._node.create_lifecycle_publisher(
                message_class(type_name), name, QoSProfile(depth=DEPTH), qos_overriding_options=qos_overrides()
            ),
        )

    def _find_mount(self, prediction: Prediction, topics: set[str]) -> None:
        """Ask tf until it knows; until then the odometry takes the camera for the base, and no points go to the base.

        For the odometry, a mount that becomes known after it went out waits for a pose that is the identity, as after a
        reset: with any other, the base would jump in the odometry frame (REP 105).
        """
        camera_frame, odometry = prediction.frame_id, prediction.odometry
        first, self._mount_awaited = not self._mount_awaited, True
        frames = f"'{camera_frame}' on '{self._config.base_frame}'"
        mount = self._transforms.base_from_camera(camera_frame, MOUNT_PATIENCE_S if first else 0.0)
        if mount is None:
            in_base = self._config.points.frame == "base" and "depth/points" in topics
            if (odometry is not None or in_base) and not self._no_mount_told:
                self._no_mount_told = True
                self._node.get_logger().warning(
                    f"the pose of {frames} is not known from base_from_camera or tf: the camera is taken for the base"
                )
            return
        self._engine.base_from_camera = self._composer.points_mount = mount
        at_start = odometry is not None and np.array_equal(odometry.odom_from_camera, np.eye(4))
        if at_start or not self._odometry_told:
            self._composer.base_from_camera = mount
            self._mount_known = True
            self._node.get_logger().info(f"tf gives the pose of {frames}")
        elif not self._late_mount_told:
            self._late_mount_told = True
            self._node.get_logger().warning(
                f"tf gives the pose of {frames} only now: for odometry it counts from the next reset on, lest it jump"
            )
