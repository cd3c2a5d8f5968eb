"""What makes odometry start anew: the reset service, and time that jumps back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.clock import ClockChange, JumpThreshold
from rclpy.duration import Duration
from std_srvs.srv import Trigger

from defeat_ros.ros.worker import LatestWorker

BACKWARD = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True)
"""When time that is no longer the same ends what was: a bag that comes round, a seek, another clock."""


class Resets:
    """Resets the engine between two frames, on the worker's second thread.

    Args:
        node: serves `~/reset` and has the clock.
        worker: runs the engine.
        engine: gives it, None while the node is not configured.

    Attributes:
        jumps: how often time jumped back so far.
    """

    def __init__(self, node: Any, worker: LatestWorker[Any, Any], engine: Callable[[], Any | None]) -> None:
        self._node = node
        self._worker = worker
        self._engine = engine
        self._service = node.create_service(Trigger, "~/reset", self._on_reset)
        self.jumps = 0
        self._jump = node.get_clock().create_jump_callback(BACKWARD, post_callback=self._on_time_jump)

    def destroy(self) -> None:
        """Let go of the clock; the service ends with the node."""
        self._jump.unregister()

    def _on_reset(self, request: Any, response: Any) -> Any:
        engine = self._engine()
        if engine is None:
            response.success, response.message = False, "not configured: there is nothing to reset"
            return response
        self._worker.before_next(lambda: engine.reset("reset"))
        response.success, response.message = True, "the next frame starts at the identity"
        return response

    def _on_time_jump(self, jump: Any) -> None:
        self.jumps += 1
        engine = self._engine()
        if engine is None:
            return
        self._worker.discard("time_jump")
        self._worker.before_next(lambda: engine.reset("time_jump"))
        changed = jump.clock_change != ClockChange.ROS_TIME_NO_CHANGE
        how = "changed its source" if changed else f"jumped back by {-jump.delta.nanoseconds / 1e9:.3f} s"
        self._node.get_logger().info(f"time {how}: the next frame starts at the identity")
