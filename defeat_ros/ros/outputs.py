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
from defeat_ros.ros.camera import qos_overrides
from defeat_ros.ros.messages import FACTORY, message_class
from defeat_ros.ros.transforms import Transforms

# Reliable serves best-effort subscribers too. Two messages: one on its way while the next one is made.
DEPTH = 2
FAREWELL_S = 1.0
"""How long the last messages may take to arrive when the publishers end."""


class Outputs:
    """Lifecycle publishers for `TOPICS`, and tf."""

    def __init__(self, node: Any, config: DepthConfig) -> None:
        self._node = node
        self._config = config
        self._publishers = {
            name: node.create_lifecycle_publisher(
                message_class(topic.type), name, QoSProfile(depth=DEPTH), qos_overriding_options=qos_overrides()
            )
            for name, topic in TOPICS.items()
        }
        self._transforms = Transforms(node, config)
        self._mount = base_from_camera(config)
        self._mount_known = self._mount is not None
        self._mount_missed = False
        self._composer: OutputComposer | None = None

    def topics(self) -> set[str]:
        """Relative names of the topics that somebody subscribes to."""
        return {name for name, publisher in self._publishers.items() if publisher.get_subscription_count() > 0}

    def wanted(self, topics: set[str]) -> set[str]:
        """What the engine must compute for these topics and for tf."""
        return wanted_results(topics) | ({"odometry"} if self._transforms.broadcasts else set())

    def names(self) -> list[str]:
        """Full names of the topics."""
        return [publisher.topic_name for publisher in self._publishers.values()]

    def publish(self, prediction: Prediction, topics: set[str]) -> int:
        """Publish what the prediction holds for these topics; returns how many messages went out."""
        composer = self._composer_for(prediction)
        messages = composer.messages(prediction, topics)
        for name, message in messages.items():
            self._publishers[name].publish(message)
        sent = len(messages)
        if prediction.odometry is not None and self._transforms.broadcasts:
            self._transforms.broadcast(composer.odom_from_base(prediction.odometry), prediction.stamp_ns)
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

    def _composer_for(self, prediction: Prediction) -> OutputComposer:
        if prediction.odometry is not None and not self._mount_known:
            self._find_mount(prediction.frame_id)
        if self._composer is None:
            self._composer = OutputComposer(FACTORY, self._config, self._mount)
        return self._composer

    def _find_mount(self, camera_frame: str) -> None:
        """Ask tf until it knows; until then the camera is the base's origin."""
        mount: np.ndarray | None = self._transforms.base_from_camera(camera_frame)
        if mount is not None:
            self._mount, self._mount_known, self._composer = mount, True, None
            self._node.get_logger().info(f"tf gives the pose of '{camera_frame}' on '{self._config.base_frame}'")
            return
        if self._mount_missed:
            return
        self._mount_missed = True
        self._node.get_logger().warning(
            f"the pose of '{camera_frame}' on '{self._config.base_frame}' is not known from base_from_camera or tf: "
            "odometry takes the camera for the base"
        )
