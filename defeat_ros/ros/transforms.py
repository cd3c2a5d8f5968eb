"""tf, where it is installed: where the camera sits on the robot, and odom to base."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from rclpy.time import Time

from defeat_ros.data.messages import stamp_from_message
from defeat_ros.errors import ConfigError
from defeat_ros.geometry import rotation_from_quaternion, transform
from defeat_ros.inference.config import DepthConfig
from defeat_ros.ros.messages import FACTORY
from defeat_ros.ros.resets import BACKWARD

LOOK_UP_EVERY_S = 0.02


def tf2() -> Any | None:
    """The tf2_ros module, None where it is not installed (it is not on the package index)."""
    try:
        import tf2_ros
    except ImportError:
        return None
    return tf2_ros


class Transforms:
    """Broadcasts and looks up as the parameters ask, does nothing where tf2_ros is not installed.

    Raises:
        ConfigError: `scale.odom_tf_frame` needs it.
    """

    def __init__(self, node: Any, config: DepthConfig) -> None:
        self._node = node
        self._config = config
        self._broadcaster = self._buffer = self._listener = self._jump = None
        library = tf2()
        if library is None:
            if config.scale.odom_tf_frame:
                raise ConfigError(
                    f"parameter 'scale.odom_tf_frame' is {config.scale.odom_tf_frame!r}, but tf2_ros is not installed"
                )
            if config.publish_tf:
                node.get_logger().info(f"tf2_ros is not installed: no transform {self._name} is broadcast")
            return
        if config.publish_tf:
            self._broadcaster = library.TransformBroadcaster(node)
        if not config.base_from_camera or config.scale.odom_tf_frame:
            self._buffer = library.Buffer()
            self._listener = library.TransformListener(self._buffer, node)
            # The buffer would do so itself on a clock that it is given, and then also offer a service nobody asked for.
            clear = self._buffer.clear
            self._jump = node.get_clock().create_jump_callback(BACKWARD, post_callback=lambda jump: clear())

    @property
    def _name(self) -> str:
        return f"{self._config.odom_frame} to {self._config.base_frame}"

    @property
    def broadcasts(self) -> bool:
        """Whether odometry is wanted even though nobody subscribes to it."""
        return self._broadcaster is not None

    def broadcast(self, odom_from_base: np.ndarray, stamp_ns: int) -> None:
        """Send the pose of the base in the odometry frame."""
        if self._broadcaster is not None:
            frames = self._config.odom_frame, self._config.base_frame
            self._broadcaster.sendTransform(FACTORY.transform_stamped(*frames, odom_from_base, stamp_ns=stamp_ns))

    def base_from_camera(self, camera_frame: str, patience_s: float = 0.0) -> np.ndarray | None:
        """Pose (4, 4) of the camera's optical frame on the base, None while tf does not know it.

        Args:
            patience_s: how long to wait for it where there is tf; the node's executor must spin on another thread.
        """
        deadline = time.monotonic() + patience_s
        while self._buffer is not None:
            mount = self._look_up(self._config.base_frame, camera_frame)
            if mount is not None or time.monotonic() >= deadline:
                return None if mount is None else mount[1]
            time.sleep(LOOK_UP_EVERY_S)
        return None

    def measured_pose(self) -> tuple[int, np.ndarray] | None:
        """Time, ns, and pose (4, 4) of the base in `scale.odom_tf_frame`, the latest; None where tf does not tell."""
        frame = self._config.scale.odom_tf_frame
        return self._look_up(frame, self._config.base_frame) if frame and self._buffer is not None else None

    def _look_up(self, target: str, source: str) -> tuple[int, np.ndarray] | None:
        """Time and target_from_source."""
        assert self._buffer is not None
        try:
            found = self._buffer.lookup_transform(target, source, Time())
            q, t = found.transform.rotation, found.transform.translation
            rotation = rotation_from_quaternion(q.x, q.y, q.z, q.w)
            return stamp_from_message(found), transform(rotation, np.array([t.x, t.y, t.z]))
        except Exception:  # no rotation, or one of tf2's lookup errors, whose base class differs between versions
            return None

    def destroy(self) -> None:
        """Stop listening and broadcasting."""
        if self._listener is not None:
            self._listener.unregister()
        if self._jump is not None:
            self._jump.unregister()
        publisher = getattr(self._broadcaster, "pub_tf", None)
        if publisher is not None:
            self._node.destroy_publisher(publisher)
        self._broadcaster = self._buffer = self._listener = self._jump = None
