"""The node's sense of measured motion: `odom_in`, or tf, for the metric scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nav_msgs.msg import Odometry
from rclpy.qos import QoSProfile, ReliabilityPolicy

from defeat_ros.data.truth import pose_from_odometry
from defeat_ros.errors import ConfigError, MessageError
from defeat_ros.inference.config import ScaleConfig
from defeat_ros.inference.measured_motion import MeasuredMotion
from defeat_ros.ros.qos import qos_overrides, with_overrides

WARN_EVERY_S = 10.0
QUEUE = 50
"""Poses come faster than images; none should be lost while the executor is busy."""


class OdometryInput:
    """Subscribes to `odom_in` where the scale can use it.

    Args:
        node: where the subscription lives.
        measured: gives the engine's record of measured motion.

    Raises:
        ConfigError: a QoS override cannot be used, or the topic is the node's own; nothing is subscribed to then.
    """

    def __init__(self, node: Any, config: ScaleConfig, measured: Callable[[], MeasuredMotion | None]) -> None:
        self._node, self._measured = node, measured
        self._subscription: Any | None = None
        if config.mode not in ("auto", "odometry") or config.odom_tf_frame:
            return
        topic = node.resolve_topic_name("odom_in")
        if topic == node.resolve_topic_name("odom"):
            raise ConfigError(
                f"topic odom_in is '{topic}', on which this node itself publishes: remap odom, say odom:=visual_odom"
            )
        profile, options = QoSProfile(depth=QUEUE, reliability=ReliabilityPolicy.BEST_EFFORT), qos_overrides()
        self._subscription = with_overrides(
            node,
            topic,
            lambda: node.create_subscription(
                Odometry, "odom_in", self._on_odometry, profile, qos_overriding_options=options
            ),
        )

    def destroy(self) -> None:
        """Unsubscribe."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _on_odometry(self, message: Any) -> None:
        measured = self._measured()
        if measured is None:
            return
        problem: str | None
        try:
            stamp_ns, pose = pose_from_odometry(message)
        except MessageError as error:
            problem = f"odom_in cannot be used: {error}"
        else:
            problem = measured.add(stamp_ns, pose, message.header.frame_id, message.child_frame_id)
        if problem:
            self._node.get_logger().warning(problem, throttle_duration_sec=WARN_EVERY_S)
