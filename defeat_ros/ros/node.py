"""The lifecycle node `depth_node`: camera topics in, depth, features and odometry out."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import QoSProfile

from defeat_ros.errors import DefeatError, FrameError, MessageError
from defeat_ros.frame import Prediction
from defeat_ros.inference.config import DepthConfig
from defeat_ros.inference.ledger import Ledger, LedgerCounts
from defeat_ros.ros.camera import CameraInput
from defeat_ros.ros.diagnostics import diagnostic_array, engine_status, frames_status, prediction_statuses
from defeat_ros.ros.lifecycle import GuardedLifecycleNode
from defeat_ros.ros.meter import Meter
from defeat_ros.ros.odometry_input import OdometryInput
from defeat_ros.ros.outputs import Outputs
from defeat_ros.ros.params import Parameters
from defeat_ros.ros.process import run_node
from defeat_ros.ros.resets import Resets
from defeat_ros.ros.silence import SilenceWatch
from defeat_ros.ros.worker import LatestWorker

X = TypeVar("X")
Y = TypeVar("Y")

NO_IMAGE = np.zeros((1, 1, 3), np.uint8)
REPEAT_WARNING_S = 30.0
REPEAT_FAILURE_S = 5.0


@dataclass(frozen=True)
class Arrival:
    """A serialized image and when it came: on the steady clock, s, and on the node's, ns."""

    data: bytes
    at: float
    stamp_ns: int


@dataclass(frozen=True)
class HalfDone:
    """A frame that went through the networks, and the topics that somebody subscribed to when it began."""

    arrival: Arrival
    perceived: Any
    topics: set[str]


def make_engine(config: DepthConfig) -> Any:
    """The real engine; imported late, because it loads torch."""
    from defeat_ros.inference.engine import DepthEngine

    return DepthEngine(config)


class DepthNode(GuardedLifecycleNode):
    """Runs the engine on the newest image and publishes what is subscribed to.

    One executor thread receives; one worker thread decodes and runs the networks, another one does the rest and
    publishes. An image that waits while they are busy is replaced by a newer one. The ledger accounts for every image
    that was received.

    Args:
        engine_factory: makes the engine from the parameters at each configure.
        node_options: passed on to rclpy's node.
    """

    def __init__(self, engine_factory: Callable[[DepthConfig], Any] = make_engine, **node_options: Any) -> None:
        super().__init__("depth_node", **node_options)
        self._engine_factory = engine_factory
        self._settings = Parameters(self, lambda: self.state == "unconfigured")
        self._ledger = Ledger()
        self._meter = Meter()
        self._worker: LatestWorker[Arrival, HalfDone] = LatestWorker(
            self._timed("decoding and the networks", self._perceive),
            self._timed("odometry, confidence and publishing", self._conclude),
            self._discarded,
            "depth_worker",
        )
        self._config: DepthConfig | None = None
        self._engine: Any | None = None
        self._camera: CameraInput | None = None
        self._outputs: Outputs | None = None
        self._odometry_input: OdometryInput | None = None
        self._latest: Prediction | None = None
        self._frame_problem: str | None = None
        self._silence = SilenceWatch(self, self._meter)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", QoSProfile(depth=10))
        self._resets = Resets(self, self._worker, lambda: self._engine)
        # Steady, not the node's clock: diagnostics must go on when /clock stalls.
        self._timer = self.create_timer(1.0, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def bring_up(self) -> bool:
        """Configure and activate as far as the `autostart` parameter asks; False where one of them failed."""
        if not self._settings.autostart:
            return True
        done = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == done and self.trigger_activate() == done

    def bring_down(self) -> None:
        """Finish the frame in hand and say where all went, while ROS is still up."""
        if self.state in ("unconfigured", "inactive", "active"):  # else a signal came in the middle of a transition
            self.trigger_shutdown()
        self._diagnostics.wait_for_all_acked(Duration(seconds=1.0))

    @property
    def counts(self) -> LedgerCounts:
        """Where the frames went so far."""
        return self._ledger.counts()

    def destroy_node(self) -> None:
        """Stop the worker, then destroy everything."""
        self._worker.stop("shutdown")
        self._resets.destroy()
        super().destroy_node()

    # Lifecycle.

    def _configure(self, state: Any) -> None:
        self._release()
        config = self._settings.read()
        self.get_logger().info("preparing the networks; the first time on a machine takes up to a minute")
        self._engine = self._engine_factory(config)
        self._config = config
        try:
            self._outputs = Outputs(self, config, self._engine)
        except Exception:
            self._release()
            raise
        super()._configure(state)
        info = self._engine.info
        width, height = info.input_size
        checkpoint = f"{info.checkpoint} (sha256 {info.sha256[:12]}{'' if info.trained else ', UNTRAINED'})"
        how = f"{info.backend} {info.precision} on {info.device} ({info.reason})"
        self.get_logger().info(f"configured: {checkpoint}, {how}, input {width}x{height}")
        for line in info.warnings:
            self.get_logger().warning(line)
        if info.caution:
            self.get_logger().warning(info.caution)

    def _activate(self, state: Any) -> None:
        assert self._config is not None and self._outputs is not None
        self._meter.restart()
        self._silence.restart()
        self._frame_problem = self._latest = None
        worker = self._worker
        self._camera = CameraInput(
            self, self._config.image_transport, self._on_image, self._on_lost, worker.tell, worker.wait_for_news
        )
        try:
            engine = self._engine
            self._odometry_input = OdometryInput(
                self, self._config.scale, lambda: engine.measured if engine is not None else None
            )
            super()._activate(state)
        except Exception:
            self._stop_receiving("inactive")
            raise
        worker.start()
        for name in self._settings.unused_qos_overrides():
            self.get_logger().warning(f"parameter '{name}' names no topic or policy of this node")
        inputs = f"'{self._camera.image_topic}' and '{self._camera.camera_info_topic}'"
        self.get_logger().info(f"active: {inputs} to {', '.join(self._outputs.names())}")

    def _deactivate(self, state: Any) -> None:
        self._stop_receiving("deactivated")
        if self._engine is not None:
            self._engine.reset("reset")
        super()._deactivate(state)

    def _cleanup(self, state: Any) -> None:
        super()._cleanup(state)
        self._release()

    def _shut_down(self, state: Any) -> None:
        self._stop_receiving("shutdown")
        self._publish_diagnostics()  # the last word on where every frame went
        super()._shut_down(state)
        self._release()

    def _stop_receiving(self, reason: str) -> None:
        self._worker.stop(reason)
        if self._camera is not None:
            self._camera.destroy()
            self._camera = None
        if self._odometry_input is not None:
            self._odometry_input.destroy()
            self._odometry_input = None

    def _release(self) -> None:
        if self._outputs is not None:
            self._outputs.destroy()
        self._outputs = self._engine = self._config = None

    # Executor's thread.

    def _on_image(self, data: bytes) -> None:
        self._ledger.receive()
        if self._camera is None:
            self._ledger.drop("inactive")
            return
        self._worker.offer(Arrival(data, self._meter.arrive(), self.get_clock().now().nanoseconds))

    def _on_lost(self, number: int) -> None:
        for _ in range(number):
            self._ledger.receive()
            self._ledger.drop("lost_in_middleware")

    def _discarded(self, arrival: Arrival, reason: str) -> None:
        self._ledger.drop(reason)
        if reason == "superseded":
            self._meter.supersede()

    def _on_timer(self) -> None:
        self._publish_diagnostics()
        if self._camera is not None:
            self._camera.adapt()
            self._silence.look(self._camera)

    def _publish_diagnostics(self) -> None:
        name, info = self.get_name(), self._engine.info if self._engine is not None else None
        costs = self._engine.costs.seconds if self._engine is not None else {}
        config = self._config or DepthConfig()
        statuses = [
            frames_status(name, self.state, self.counts, self._meter, self._frame_problem, config.diagnostics),
            engine_status(name, info, costs, self.configure_problem),
            *prediction_statuses(name, self._latest if self.state == "active" else None, config),
        ]
        stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(diagnostic_array(statuses, stamp, info.device if info else ""))

    # Worker's threads.

    def _timed(self, what: str, step: Callable[[X], Y]) -> Callable[[X], Y]:
        """The step, known to the meter while it runs: one that never ends must show."""

        def run(item: X) -> Y:
            with self._meter.work(what):
                return step(item)

        return run

    def _perceive(self, arrival: Arrival) -> HalfDone | None:
        """The first thread: decode and run the networks; None where nothing is to be published."""
        camera, outputs, engine = self._camera, self._outputs, self._engine
        assert camera is not None and outputs is not None and engine is not None
        topics = outputs.topics()
        want = outputs.wanted(topics)
        problem = getattr(engine, "features_problem", None)
        if problem and "features" in want:
            self.get_logger().warning(f"features are not published: {problem}", throttle_duration_sec=REPEAT_WARNING_S)
            want -= {"features"}
        if not want:
            self._frame_problem = None
            self._ledger.drop("nobody_subscribed")
            return None
        try:
            frame = camera.frame(arrival.data, arrival.stamp_ns)
            return HalfDone(arrival, engine.perceive(frame, want), topics)
        except Exception as error:
            self._ledger.drop(self._outcome_of(error))
            return None

    def _conclude(self, half: HalfDone) -> None:
        """The second thread: the rest of the prediction, and publish."""
        outputs, engine = self._outputs, self._engine
        assert outputs is not None and engine is not None
        try:
            self._warn_of(outputs.measure_by_tf())
            prediction = engine.conclude(half.perceived)
            self._frame_problem = None
            self._warn_of(engine.measured.complaint(prediction.stamp_ns))
            self._latest = replace(prediction, image=NO_IMAGE, depth=None, confidence=None, features=None)
            outcome = "" if outputs.publish(prediction, half.topics) else prediction.withheld or "nothing_to_publish"
        except Exception as error:
            outcome = self._outcome_of(error)
        if outcome:
            self._ledger.drop(outcome)
        else:
            self._ledger.publish()
            self._meter.publish(half.arrival.at)

    def _outcome_of(self, error: Exception) -> str:
        """Tell the user of an error, and the ledger's word for it."""
        if isinstance(error, (MessageError, FrameError)):
            outcome = f"rejected_{error.reason}"
            self._frame_problem = f"image dropped ({outcome}): {error}"
            self.get_logger().warning(self._frame_problem, throttle_duration_sec=REPEAT_FAILURE_S)
            return outcome
        if not self.context.ok():
            return "shutdown"
        self._frame_problem = f"{type(error).__name__}: {error}"
        detail = str(error) if isinstance(error, DefeatError) else "".join(traceback.format_exception(error))
        self.get_logger().error(f"frame failed: {detail}", throttle_duration_sec=REPEAT_FAILURE_S)
        return "failed"

    def _warn_of(self, problem: str | None) -> None:
        if problem:
            self.get_logger().warning(problem, throttle_duration_sec=REPEAT_WARNING_S)


def main(args: Sequence[str] | None = None) -> int:
    """Entry point of `depth_node`."""
    return run_node(DepthNode, args)


if __name__ == "__main__":
    sys.exit(main())
