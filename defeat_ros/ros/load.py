"""Sends images to the live node at a fixed rate and measures what comes back: `python -m defeat_ros.ros.load ...`.

The figures are those of ROS benchmarks: rate, missed frames, first and last latency, jitter, CPU and memory.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import serialize_message

from defeat_ros.evaluation.load_figures import LoadFigures
from defeat_ros.inference.backends.check import frames_camera, read_frames
from defeat_ros.inference.outputs import TOPICS
from defeat_ros.ros.messages import FACTORY, message_class
from defeat_ros.ros.proc import cpu_seconds, memory_mb
from defeat_ros.ros.process import ros_process

READY_S = 180.0
QUIET_S = 3.0
"""After the last image, answers are waited for until none came for so long."""
WARM_UP_FRAMES = 20
STAMP_AT = 4
"""Where the header's stamp lies in a serialised message: behind the encapsulation."""


class Load(Node):
    """Publishes two pictures in turn, and notes when each topic answers a stamp."""

    def __init__(self, size_hw: tuple[int, int], topics: Sequence[str]) -> None:
        super().__init__("load", start_parameter_services=False)
        self._lock = threading.Lock()
        self.answers: dict[int, dict[str, float]] = {}
        self.last = time.perf_counter()
        self._images = [bytearray(serialize_message(_image(picture))) for picture in read_frames(size_hw)[0]]
        info = FACTORY.camera_info(frames_camera(size_hw), stamp_ns=0, frame_id="camera")
        self._info = bytearray(serialize_message(info))
        self._image_out = self.create_publisher(message_class("sensor_msgs/msg/Image"), "image", QoSProfile(depth=10))
        info_class = message_class("sensor_msgs/msg/CameraInfo")
        self._info_out = self.create_publisher(info_class, "camera_info", QoSProfile(depth=10))
        for name in topics:
            self.create_subscription(
                message_class(TOPICS[name].type),
                name,
                lambda data, name=name: self._note(name, data),
                QoSProfile(depth=10),
                raw=True,
            )
        self.topics = tuple(topics)

    def send(self, number: int) -> tuple[int, float]:
        """Publish an image and its camera_info; returns its stamp, ns, and when it was sent."""
        stamp_ns = time.time_ns()
        stamp = struct.pack("<iI", stamp_ns // 10**9, stamp_ns % 10**9)
        for data in (self._info, self._images[number % 2]):
            data[STAMP_AT : STAMP_AT + len(stamp)] = stamp
        self._info_out.publish(bytes(self._info))
        image = bytes(self._images[number % 2])
        at = time.perf_counter()
        self._image_out.publish(image)
        return stamp_ns, at

    def ready(self) -> bool:
        """Whether the node listens, and all that it will answer on is connected."""
        heard = self._image_out.get_subscription_count() and self._info_out.get_subscription_count()
        return bool(heard) and all(self.count_publishers(name) for name in self.topics)

    def complete(self, stamp_ns: int) -> bool:
        """Whether all topics answered."""
        with self._lock:
            return len(self.answers.get(stamp_ns, ())) == len(self.topics)

    def _note(self, name: str, data: bytes) -> None:
        at = time.perf_counter()
        seconds, rest = struct.unpack_from("<iI", data, STAMP_AT)
        with self._lock:
            self.last = at
            self.answers.setdefault(seconds * 10**9 + rest, {})[name] = at


def _image(picture: np.ndarray) -> Any:
    return FACTORY.image(np.ascontiguousarray(picture), "rgb8", stamp_ns=0, frame_id="camera")


def measure(load: Load, rate: float, seconds: float, pid: int) -> LoadFigures:
    """Send at a rate for some seconds.

    Args:
        load: the node, spinning elsewhere.
        rate: images per second.
        seconds: how long.
        pid: of the process under load.
    """
    count = max(2, round(rate * seconds))
    sent: list[tuple[int, float]] = []
    began, cpu = time.perf_counter(), cpu_seconds(pid)
    for number in range(count):
        time.sleep(max(0.0, began + number / rate - time.perf_counter()))
        sent.append(load.send(number))
    while time.perf_counter() < max(load.last, sent[-1][1]) + QUIET_S and not load.complete(sent[-1][0]):
        time.sleep(0.005)
    spent = time.perf_counter() - began
    cpu = (cpu_seconds(pid) - cpu) / spent
    answered = [(at, max(load.answers[stamp].values())) for stamp, at in sent if load.complete(stamp)]
    return LoadFigures.of([at for _, at in sent], answered, cpu, memory_mb(pid, peak=True))


def warm_up(load: Load) -> None:
    """Send one image after another until the node has answered some.

    Raises:
        SystemExit: it does not answer.
    """
    deadline = time.perf_counter() + READY_S
    while not load.ready():
        _patient(deadline, "the node is not ready")
    answered = 0
    while answered < WARM_UP_FRAMES:
        stamp_ns, at = load.send(answered)
        while not load.complete(stamp_ns) and time.perf_counter() < at + 2.0:
            _patient(deadline, f"the node answers on {sorted(load.answers.get(stamp_ns, {}))} of {list(load.topics)}")
        answered += load.complete(stamp_ns)


def _patient(deadline: float, what: str) -> None:
    if time.perf_counter() > deadline:
        raise SystemExit(f"{what}: given up after {READY_S:.0f} s")
    time.sleep(0.005)


def main(args: Sequence[str] | None = None) -> int:
    """Entry point; prints a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, required=True, help="images per second")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--size", type=int, nargs=2, required=True, metavar=("WIDTH", "HEIGHT"))
    parser.add_argument(
        "--topics", nargs="+", choices=[name for name in TOPICS if name != "depth/scale"], required=True
    )
    parser.add_argument("--pid", type=int, required=True)
    options = parser.parse_args(args)
    with ros_process([]):
        load = Load((options.size[1], options.size[0]), options.topics)
        executor = SingleThreadedExecutor()
        executor.add_node(load)
        threading.Thread(target=executor.spin, daemon=True).start()
        warm_up(load)
        print(json.dumps(vars(measure(load, options.rate, options.seconds, options.pid))), flush=True)
        executor.shutdown(timeout_sec=2.0)
        load.destroy_node()
    return 0


if __name__ == "__main__":
    sys.exit(main())
