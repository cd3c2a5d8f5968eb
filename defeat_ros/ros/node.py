"""The lifecycle node `depth_node`: camera topics in, depth, features and odometry out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import TransitionCallbackReturn

from defeat_ros.inference.config import DepthConfig
from defeat_ros.inference.ledger import LedgerCounts
from defeat_ros.ros.camera import CameraInput
from defeat_ros.ros.lifecycle import GuardedLifecycleNode
from defeat_ros.ros.odometry_input import OdometryInput
from defeat_ros.ros.outputs import Outputs
from defeat_ros.ros.params import Parameters
from defeat_ros.ros.process import run_node
from defeat_ros.ros.reporter import Reporter
from defeat_ros.ros.resets import Resets
from defeat_ros.ros.silence import SilenceWatch
from defeat_ros.ros.worker import LatestWorker

X = TypeVar("X")
Y = TypeVar("Y")


@dataclass(frozen=True)
class Arrival:
    """A serialized image and when it came: on the steady clock, s, on the node's, ns, and after how many time jumps."""

    data: bytes
    at: float
    stamp_ns: int
    jumps: int


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
        self._reporter = Reporter(self, lambda: self._engine)
        self._worker: LatestWorker[Arrival, HalfDone] = LatestWorker(
            self._timed("decoding and the networks", self._perceive),
            self._timed("odometry, confidence and publishing", self._conclude),
            lambda arrival, reason: self._reporter.dropped(reason),
            "depth_worker",
        )
        self._config: DepthConfig | None = None
        self._engine: Any | None = None
        self._camera: CameraInput | None = None
        self._outputs: Outputs | None = None
        self._odometry_input: OdometryInput | None = None
        self._silence = SilenceWatch(self, self._reporter.meter)
        self._resets = Resets(self, self._worker, lambda: self._engine)
        # Steady, not the node's clock: diagnostics must go on when /clock stalls.
        self._timer = self.create_timer(1.0, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def bring_up(self) -> bool:
        """Configure and activate as far as the `autostart` parameter asks; False where one of them failed."""
        if not self._settings.autostart:
            return True
        done = TransitionCallbackReturn.SUCCESS
        return bool(self.trigger_configure() == done and self.trigger_activate() == done)

    def bring_down(self) -> None:
        """Finish the frame in hand and say where all went, while ROS is still up."""
        if self.state in ("unconfigured", "inactive", "active"):  # else a signal came in the middle of a transition
            self.trigger_shutdown()
        self._reporter.flush()

    @property
    def counts(self) -> LedgerCounts:
        """Where the frames went so far."""
        return self._reporter.ledger.counts()

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
        self._config = self._reporter.config = config
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
        self._reporter.restart()
        self._silence.restart()
        worker = self._worker
        self._camera = CameraInput(
            self, self._config.image_transport, self._on_image, self._reporter.lost, worker.tell, worker.wait_for_news
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
        self._reporter.publish()  # the last word on where every frame went
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
        at = self._reporter.arrived()
        if self._camera is None:
            self._reporter.dropped("inactive")
            return
        self._worker.offer(Arrival(data, at, self.get_clock().now().nanoseconds, self._resets.jumps))

    def _on_timer(self) -> None:
        self._reporter.publish()
        if self._camera is not None:
            self._camera.adapt()
            self._silence.look(self._camera)

    # Worker's threads.

    def _timed(self, what: str, step: Callable[[X], Y]) -> Callable[[X], Y]:
        """The step, known to the meter while it runs: one that never ends must show."""

        def run(item: X) -> Y:
            with self._reporter.meter.work(what):
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
            self._reporter.warn("features", f"features are not published: {problem}")
            want -= {"features"}
        if not want:
            self._reporter.dropped("nobody_subscribed")
            return None
        try:
            with engine.costs.of("decode"):
                frame = camera.frame(arrival.data, arrival.stamp_ns)
            return HalfDone(arrival, engine.perceive(frame, want), topics)
        except Exception as error:
            self._reporter.failed(error)
            return None
        finally:
            self._reporter.tell_news(engine)

    def _conclude(self, half: HalfDone) -> None:
        """The second thread: the rest of the prediction, and publish."""
        outputs, engine = self._outputs, self._engine
        assert outputs is not None and engine is not None
        if self._outlived(half.arrival):
            return
        try:
            self._reporter.warn("tf", outputs.measure_by_tf())
            prediction = engine.conclude(half.perceived)
            if self._outlived(half.arrival):
                return
            self._reporter.warn("odometry", engine.measured.complaint(prediction.stamp_ns))
            with engine.costs.of("publish"):
                published = outputs.publish(prediction, half.topics)
        except Exception as error:
            self._reporter.failed(error)
            return
        self._reporter.concluded(prediction, half.arrival.at, bool(published))

    def _outlived(self, arrival: Arrival) -> bool:
        """Whether time jumped back since the image came; it is dropped then.

        Who listens has begun anew by then, and tf takes a transform from the old future for the newest for long.
        """
        outlived = arrival.jumps != self._resets.jumps
        if outlived:
            self._reporter.dropped("time_jump")
        return outlived


def main(args: Sequence[str] | None = None) -> int:
    """Entry point of `depth_node`."""
    return run_node(DepthNode, args)


if __name__ == "__main__":
    sys.exit(main())
