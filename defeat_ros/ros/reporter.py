"""What became of every frame, for the ledger, the log and /diagnostics."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.duration import Duration
from rclpy.qos import QoSProfile

from defeat_ros.errors import BackendError, DefeatError, FrameError, MessageError
from defeat_ros.frame import Prediction
from defeat_ros.inference.config import DepthConfig
from defeat_ros.inference.ledger import Ledger
from defeat_ros.ros.diagnostics import diagnostic_array, engine_status, frames_status, prediction_statuses
from defeat_ros.ros.meter import Meter
from defeat_ros.ros.process import RCLError

NO_IMAGE = np.zeros((1, 1, 3), np.uint8)
REPEAT_WARNING_S = 30.0
REPEAT_FAILURE_S = 5.0


class Reporter:
    """Books frames, tells the user of those that failed, and publishes /diagnostics.

    Args:
        node: logs and publishes.
        engine: gives it, None while the node is not configured.

    Attributes:
        ledger: where the frames went.
        meter: rates, latencies, work in hand.
        config: the node's parameters while it has any.
    """

    def __init__(self, node: Any, engine: Callable[[], Any | None]) -> None:
        self._node = node
        self._engine = engine
        self.ledger = Ledger()
        self.meter = Meter()
        self.config = DepthConfig()
        self._latest: Prediction | None = None
        self._problem: str | None = None
        self._warned: dict[str, float] = {}
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", QoSProfile(depth=10))

    def restart(self) -> None:
        """Forget what was, as at an activation; the ledger goes on."""
        self.meter.restart()
        self._problem = self._latest = None

    def arrived(self) -> float:
        """An image came in; returns when."""
        self.ledger.receive()
        return self.meter.arrive()

    def lost(self, number: int) -> None:
        """The middleware noticed images that it could not deliver."""
        for _ in range(number):
            self.ledger.receive()
            self.ledger.drop("lost_in_middleware")

    def dropped(self, reason: str) -> None:
        """An image ended without results, and nothing is wrong with it."""
        self.ledger.drop(reason)
        if reason == "superseded":
            self.meter.supersede()
        elif reason == "nobody_subscribed":
            self._problem = None

    def concluded(self, prediction: Prediction, arrived: float, published: bool) -> None:
        """A frame went through; `arrived` is what `arrived()` gave for its image."""
        self._problem = None
        self._latest = replace(prediction, image=NO_IMAGE, depth=None, confidence=None, features=None)
        if published:
            self.ledger.publish()
            self.meter.publish(arrived)
        else:
            self.ledger.drop(prediction.withheld or "nothing_to_publish")

    def failed(self, error: Exception) -> None:
        """A frame ended in an error: one line for bad input, a traceback for what we did not expect."""
        logger = self._node.get_logger()
        if isinstance(error, MessageError | FrameError):
            outcome = f"rejected_{error.reason}"
            self._problem = f"image dropped ({outcome}): {error}"
            logger.warning(self._problem, throttle_duration_sec=REPEAT_FAILURE_S)
        elif not self._node.context.ok():
            outcome = "shutdown"
        else:
            outcome = "failed_backend" if isinstance(error, BackendError) else "failed"
            self._problem = f"{type(error).__name__}: {error}"
            detail = str(error) if isinstance(error, DefeatError) else "".join(traceback.format_exception(error))
            logger.error(f"frame failed: {detail}", throttle_duration_sec=REPEAT_FAILURE_S)
        self.ledger.drop(outcome)

    def tell_news(self, engine: Any) -> None:
        """Log what has happened to the engine's runtime, each thing once."""
        for line in engine.news():
            self._node.get_logger().warning(line)

    def warn(self, kind: str, problem: str | None) -> None:
        """Tell the user, of each kind of problem not too often; None: nothing."""
        now = time.monotonic()
        if problem and now - self._warned.get(kind, -REPEAT_WARNING_S) >= REPEAT_WARNING_S:
            self._warned[kind] = now  # rclpy's own throttle knows lines of code, not problems
            self._node.get_logger().warning(problem)

    def publish(self) -> None:
        """Say it on /diagnostics, stamped by the node's clock."""
        name, state, engine = self._node.get_name(), self._node.state, self._engine()
        info, costs = (engine.info, engine.costs.seconds) if engine is not None else (None, {})
        latest = self._latest if state == "active" else None
        counts = self.ledger.counts()
        statuses = [
            frames_status(name, state, counts, self.meter, self._problem, self.config.diagnostics),
            engine_status(name, info, costs, self._node.configure_problem),
            *prediction_statuses(name, latest, self.config),
        ]
        stamp = self._node.get_clock().now().to_msg()
        self._diagnostics.publish(diagnostic_array(statuses, stamp, info.device if info else ""))

    def flush(self) -> None:
        """Wait a moment until the last word has been heard."""
        with contextlib.suppress(RCLError):  # not every middleware can
            self._diagnostics.wait_for_all_acked(Duration(seconds=1.0))
