"""Helpers of the tests with real ROS: own domains, own contexts, waiting for events, processes, small bags."""

from __future__ import annotations

import fcntl
import gc
import itertools
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy

from defeat_ros.frame import CameraIntrinsics, Prediction, Scale
from defeat_ros.inference.costs import Costs
from defeat_ros.inference.engine import EngineInfo
from defeat_ros.inference.measured_motion import MeasuredMotion
from defeat_ros.ros.messages import FACTORY, message_class
from defeat_ros.ros.node import DepthNode

IMAGE, INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
ROOT = Path(__file__).resolve().parent.parent
_domains = itertools.count(os.getpid() * 7)
_held: dict[int, Any] = {}
"""Lock files by domain: runs beside this one stay on others, else each would hear the other's nodes."""
HELD = 25
_rounds = itertools.count()


def new_domain() -> int:
    """A ROS domain of 1 to 100 (below the ports that Linux gives to clients) that this run did not use lately."""
    if len(_held) == HELD:
        if next(_rounds) % HELD == 0:
            gc.collect()  # a destroyed lifecycle node is in cycles: until collected, others still discover its services
        oldest = next(iter(_held))
        _held[oldest] = _held.pop(oldest)
        return oldest
    for _ in range(100):
        domain = 1 + next(_domains) % 100
        lock = (Path(tempfile.gettempdir()) / f"defeat_ros_test_domain_{domain}").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        _held[domain] = lock
        return domain
    raise AssertionError("all ROS domains are taken by other runs")


def camera(width: int = 64, height: int = 48) -> CameraIntrinsics:
    """A plain pinhole camera."""
    return CameraIntrinsics(fx=50.0, fy=50.0, cx=width / 2, cy=height / 2, width=width, height=height)


def picture(width: int = 64, height: int = 48, seed: int = 0) -> np.ndarray:
    """A smooth random RGB picture."""
    coarse = np.random.default_rng(seed).integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return np.ascontiguousarray(coarse.repeat(8, 0).repeat(8, 1)[:height, :width])


class FakeEngine:
    """Stands in for the networks: instant, and remembers what it was asked."""

    features_problem = None

    def __init__(self, config: Any) -> None:
        self.config = config
        self.info = EngineInfo("fake.safetensors", "0" * 64, False, "fake", "cpu", "float32", (64, 32))
        self.costs, self.measured = Costs(), MeasuredMotion(config.base_frame)
        self.base_from_camera = np.eye(4)
        self.calls: list[tuple[int, frozenset[str]]] = []
        self.cameras: list[CameraIntrinsics | None] = []
        self.resets: list[str] = []
        self.gate: threading.Event | None = None
        self.fail: Exception | None = None
        self.told: tuple[str, ...] = ()

    def reset(self, reason: str = "reset") -> None:
        self.resets.append(reason)

    def news(self) -> tuple[str, ...]:
        told, self.told = self.told, ()
        return told

    def perceive(self, frame: Any, want: Any) -> Prediction:
        return self(frame, want)

    def conclude(self, prediction: Prediction) -> Prediction:
        return prediction

    def __call__(self, frame: Any, want: Any) -> Prediction:
        self.calls.append((frame.stamp_ns, frozenset(want)))
        self.cameras.append(frame.intrinsics)
        if self.gate is not None:
            assert self.gate.wait(20.0)
        if self.fail is not None:
            raise self.fail
        height, width = frame.size_hw
        return Prediction(
            stamp_ns=frame.stamp_ns,
            frame_id=frame.frame_id,
            image=frame.image,
            intrinsics=frame.intrinsics,
            scale=Scale(1.0, 0.0, "fixed"),
            depth=np.full((height, width), 2.0, np.float32) if "depth" in want else None,
            confidence=np.full((height, width), 0.5, np.float32) if "confidence" in want else None,
            features=np.full((height, width, 10), 10**-0.5, np.float32) if "features" in want else None,
        )


class Ros:
    """One context with an executor, spun by `until` on the test's own thread."""

    def __init__(self, *args: str, domain: int | None = None) -> None:
        self.domain = new_domain() if domain is None else domain
        self.context = rclpy.Context()
        rclpy.init(args=["test", *args], context=self.context, domain_id=self.domain)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.nodes: list[Any] = []
        self._clients: dict[str, Any] = {}
        self.node = self.add(Node("tester", context=self.context, use_global_arguments=False))

    def add(self, node: Any) -> Any:
        """Spin this node too, and destroy it at the end."""
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def until(self, condition: Callable[[], Any], what: str = "", timeout_s: float = 20.0) -> None:
        """Spin until the condition holds; fail the test when it does not in time."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"waited {timeout_s} s in vain for {what or 'the condition'}"
            self.executor.spin_once(timeout_sec=0.02)

    def listen(self, topic: str, type_name: str, reliable: bool = True, depth: int = 100) -> list[Any]:
        """Subscribe; the list fills while spinning."""
        effort = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        received: list[Any] = []
        qos = QoSProfile(depth=depth, reliability=effort)
        self.node.create_subscription(message_class(type_name), topic, received.append, qos)
        return received

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """Call a service of a node and wait for the answer."""
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
        client = self._clients[name]
        self.until(client.service_is_ready, name)
        future = client.call_async(request)
        self.until(future.done, name)
        return future.result()

    def close(self) -> None:
        """End everything in order."""
        for node in reversed(self.nodes):
            self.executor.remove_node(node)
            node.destroy_node()
        self.executor.shutdown()
        rclpy.shutdown(context=self.context)


@contextmanager
def ros(*args: str, domain: int | None = None) -> Iterator[Ros]:
    """A `Ros` for one test."""
    made = Ros(*args, domain=domain)
    try:
        yield made
    finally:
        made.close()


class Camera:
    """Publishes images and camera_info as a driver does."""

    def __init__(
        self,
        ros: Ros,
        width: int = 64,
        height: int = 48,
        image: str = "image",
        info: str = "camera_info",
        reliable: bool = True,
    ) -> None:
        self.ros, self.camera, self.image = ros, camera(width, height), picture(width, height)
        effort = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(depth=5, reliability=effort)
        self.images = ros.node.create_publisher(message_class("sensor_msgs/msg/Image"), image, qos)
        self.infos = ros.node.create_publisher(message_class("sensor_msgs/msg/CameraInfo"), info, 5) if info else None

    def connect(self) -> None:
        """Wait until somebody listens, and gets what is sent."""
        self.ros.until(lambda: self.images.get_subscription_count() > 0, "a subscriber of the images")
        if self.infos is not None:
            self.ros.until(lambda: self.infos.get_subscription_count() > 0, "a subscriber of camera_info")

    def send(self, stamp_ns: int, **changes: Any) -> None:
        """Publish one image with its camera_info; `changes` are fields of the image message to set."""
        if self.infos is not None:
            self.infos.publish(FACTORY.camera_info(self.camera, stamp_ns=stamp_ns, frame_id="cam"))
        message = FACTORY.image(self.image, stamp_ns=stamp_ns, frame_id="cam")
        for name, value in changes.items():
            setattr(message, name, value)
        self.images.publish(message)


class Bench:
    """A node with fake engines, brought up, and a camera to feed it."""

    def __init__(self, r, engine_factory=None, info="camera_info", **parameters):
        self.ros, self.engines = r, []

        def factory(config):
            self.engines.append((engine_factory or FakeEngine)(config))
            return self.engines[-1]

        given = [Parameter(name, value=value) for name, value in parameters.items()]
        self.node = r.add(DepthNode(factory, context=r.context, use_global_arguments=False, parameter_overrides=given))
        self.up = self.node.bring_up()
        self.camera = Camera(r, info=info)

    @property
    def engine(self):
        return self.engines[-1]

    def listen(self, *topics):
        """Subscribe and wait until the node knows."""
        kinds = {
            "image_rect": IMAGE,
            "color": IMAGE,
            "image": IMAGE,
            "camera_info": INFO,
            "scale": "std_msgs/msg/Float64",
        }
        lists = [self.ros.listen(topic, kinds[topic.rpartition("/")[2]]) for topic in topics]
        self.ros.until(lambda: self.node._outputs.topics() == set(topics), "subscribers")
        self.camera.connect()
        return lists

    def change(self, transition):
        request = ChangeState.Request(transition=Transition(id=transition))
        return self.ros.call(ChangeState, "depth_node/change_state", request).success

    def settled(self):
        counts = self.node.counts
        assert 0 <= counts.pending <= 4  # one that waits, two in work and one between them
        return counts.pending == 0


def environment(domain: int) -> dict[str, str]:
    """Environment of a process of the test on this domain, without what this process set for its own DDS."""
    kept = {k: v for k, v in os.environ.items() if "PROFILES_FILE" not in k}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**kept, "ROS_DOMAIN_ID": str(domain), "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


class Process:
    """A Python module as its own process, its output read line by line."""

    def __init__(self, module: str, *args: str, domain: int) -> None:
        self.lines: list[str] = []
        self._queue: queue.Queue[str] = queue.Queue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *args],
            env=environment(domain),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._queue.put(line.rstrip())

    @property
    def output(self) -> str:
        """Everything that was read so far."""
        while not self._queue.empty():
            self.lines.append(self._queue.get())
        return "\n".join(self.lines)

    def wait_for(self, text: str, timeout_s: float = 30.0) -> str:
        """Wait for a line with this text; returns it."""
        deadline = time.monotonic() + timeout_s
        for line in self.lines:
            if text in line:
                return line
        while True:
            try:
                line = self._queue.get(timeout=max(deadline - time.monotonic(), 0.001))
            except queue.Empty:
                raise AssertionError(f"no {text!r} within {timeout_s} s in:\n{self.output}") from None
            self.lines.append(line)
            if text in line:
                return line

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self, timeout_s: float = 20.0) -> int:
        """Wait for the end; returns the exit status."""
        status = self._process.wait(timeout_s)
        self._reader.join(5.0)
        return status

    def kill(self) -> None:
        """Clean up after a test, whatever happened."""
        if self.running:
            self._process.kill()
        self._process.wait()
