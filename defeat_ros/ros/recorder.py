"""Records topics of the live ROS graph: `python -m defeat_ros.ros.recorder OUT_BAG --topics ...`."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.utilities import remove_ros_args

from defeat_ros.data.bag import BagWriter
from defeat_ros.errors import DefeatError, shown
from defeat_ros.ros.messages import message_class
from defeat_ros.ros.process import ros_process
from defeat_ros.startup import guard_umask

DEPTH = 1000
"""Messages that may wait in the middleware; a recorder that counts on completeness must not overwrite."""
LOOK_EVERY_S = 0.2
QUIET_S = 0.5
"""After the signal to stop, recording goes on until nothing came for so long."""


class BagRecorder(Node):
    """Writes what is published on some topics to a bag, as the bytes they are.

    Log time is the time of reception on the node's clock (`-p use_sim_time:=true` takes that of a replay).

    Args:
        writer: the bag.
        topics: names of topics; a name without a slash in front is below the node's namespace.
        under: also every topic below this name, as they appear.
    """

    def __init__(self, writer: BagWriter, topics: Sequence[str], under: str | None, **node_options: Any) -> None:
        super().__init__("bag_recorder", start_parameter_services=False, **node_options)
        self._writer = writer
        self._wanted = {self.resolve_topic_name(topic) for topic in topics}
        self._under = None if under is None else under.rstrip("/") + "/"
        self._subscribed: dict[str, Any] = {}
        self._unknown: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.last_arrival = time.monotonic()
        self.error: DefeatError | None = None

    def look(self) -> None:
        """Subscribe to what is wanted and has appeared."""
        for name, types in self.get_topic_names_and_types():
            below = self._under is not None and name.startswith(self._under)
            if (name in self._wanted or below) and name not in self._subscribed and name not in self._unknown:
                self._subscribe(name, types[0])

    @property
    def ready(self) -> bool:
        """Whether all requested topics (at least one below `under`) are subscribed to and matched."""
        matched = all(_publishers(self, s) > 0 for s in self._subscribed.values())
        return bool(self._subscribed) and matched and self._wanted <= set(self._subscribed)

    @property
    def missing(self) -> list[str]:
        """Requested topics that nobody publishes so far."""
        return sorted(self._wanted - set(self._subscribed))

    def _subscribe(self, name: str, type_name: str) -> None:
        offers = [info.qos_profile for info in self.get_publishers_info_by_topic(name)]
        if not offers:
            return  # only subscribers so far: what publishers offer decides
        try:
            kind = message_class(type_name)
        except LookupError as error:
            self._unknown.add(name)
            self.get_logger().warning(f"'{name}' is not recorded: {error}")
            return
        reliable = all(offer.reliability == ReliabilityPolicy.RELIABLE for offer in offers)
        latched = all(offer.durability == DurabilityPolicy.TRANSIENT_LOCAL for offer in offers)
        qos = QoSProfile(
            depth=DEPTH,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )
        callback = self._callback(name, type_name)
        self._subscribed[name] = self.create_subscription(kind, name, callback, qos, raw=True)
        self.counts[name] = 0

    def _callback(self, name: str, type_name: str) -> Callable[[bytes], None]:
        def write(data: bytes) -> None:
            self.last_arrival = time.monotonic()
            if self.error is not None:
                return
            try:
                # Sim time is 0 before the first /clock; a bag with such stamps would span half a century.
                stamp_ns = self.get_clock().now().nanoseconds or time.time_ns()
                self._writer.write_cdr(name, type_name, data, stamp_ns)
                self.counts[name] += 1
            except DefeatError as error:
                self.error = error

        return write


def _publishers(node: Node, subscription: Any) -> int:
    count = getattr(subscription, "get_publisher_count", None)  # not in Humble
    return int(count() if count is not None else node.count_publishers(subscription.topic_name))


def record(recorder: BagRecorder, stop: threading.Event, on_ready: Callable[[], None]) -> None:
    """Record until stopped, then take what is still on its way."""
    executor = SingleThreadedExecutor(context=recorder.context)
    executor.add_node(recorder)
    announced, looked = False, 0.0
    try:
        while not stop.is_set() and recorder.error is None:
            if time.monotonic() - looked > LOOK_EVERY_S:
                recorder.look()
                looked = time.monotonic()
            executor.spin_once(timeout_sec=0.05)
            if not announced and recorder.ready:
                announced = True
                on_ready()
        stopped = time.monotonic()
        while recorder.error is None and time.monotonic() - max(stopped, recorder.last_arrival) < QUIET_S:
            executor.spin_once(timeout_sec=0.05)
            if time.monotonic() - stopped > 10 * QUIET_S:
                break  # a stream that never ends
    finally:
        executor.shutdown()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m defeat_ros.ros.recorder", description=__doc__)
    made.add_argument("bag", type=Path, help="rosbag2 directory to make")
    made.add_argument("--topics", nargs="+", default=[], metavar="TOPIC", help="record these topics")
    made.add_argument("--all-under", metavar="NAME", help="record every topic below this name; / for all")
    return made


def main(args: Sequence[str] | None = None) -> int:
    """Entry point: prints 'ready' once all topics are matched, and the counts as JSON at the end."""
    line = list(sys.argv[1:] if args is None else args)
    options = parser().parse_args(remove_ros_args(["record", *line])[1:])
    if not options.topics and options.all_under is None:
        parser().error("expected --topics or --all-under")
    stop = threading.Event()
    guard_umask()  # not in every ROS process: the middleware's shared memory may be meant for other users
    try:
        with ros_process(["record", *line], stop), BagWriter(options.bag) as writer:
            recorder = BagRecorder(writer, options.topics, options.all_under)
            try:
                record(recorder, stop, lambda: print("ready", flush=True))
            finally:
                recorder.destroy_node()
            if recorder.error is not None:
                raise recorder.error
    except DefeatError as error:
        print(f"recorder: {shown(error)}", file=sys.stderr)
        return 1
    print(json.dumps({"messages": dict(recorder.counts), "missing": recorder.missing}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
