"""The player of a bag: its messages onto the live graph, when they are due."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile

from defeat_ros.data.bag import BagMessage, BagReader
from defeat_ros.errors import MessageError, SourceError
from defeat_ros.ros.messages import FACTORY, message_class
from defeat_ros.ros.statistics import percentile

CLOCK_PERIOD_S = 0.005
"""Asked for; with the waits of the operating system on top it stays well above 100 Hz."""
# The publisher learns of a match before the subscriber does; what goes out in between is lost to best effort.
SETTLE_S = 0.3
IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
NAME = re.compile(r"[A-Za-z0-9_/]+")
TURN_S = 0.5
"""Rest before a bag begins anew: what is in work comes out before time jumps back, and tf from the end of the bag is
not heard after its beginning."""
REMEMBERED = 20_000
"""Messages of which the lateness is kept, the latest; a loop may go on for days."""


class BagPlayer:
    """Publishes the messages of a bag, as the bytes they are, when they are due.

    Reliable publishers match best-effort and reliable subscribers alike.

    Args:
        node: publishes.
        bag: is played.
        topics: which of its topics, None for all.
        with_clock: publish /clock too (and not one that the bag may have).
        stop: ends the playing when set.
    """

    def __init__(
        self, node: Node, bag: BagReader, topics: Collection[str] | None, with_clock: bool, stop: threading.Event
    ) -> None:
        if missing := sorted(set(topics or ()) - set(bag.topics)):
            raise SourceError(f"bag {bag.path} has no topic {missing[0]!r}; it has {', '.join(bag.topics)}")
        self._node, self._bag, self._stop = node, bag, stop
        self.skipped: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        self.lateness_s: deque[float] = deque(maxlen=REMEMBERED)
        self.loops = 0
        self.began_ns: int | None = None
        self._publishers: dict[str, Any] = {}
        for topic in bag.topics.values():
            wanted = topics is None or topic.name in topics
            if wanted and not (with_clock and topic.name == "/clock"):
                self._advertise(topic.name, topic.type)
        self._clock = (
            node.create_publisher(message_class("rosgraph_msgs/msg/Clock"), "/clock", 10) if with_clock else None
        )

    def wait_for_subscribers(self, timeout_s: float) -> bool:
        """Wait until the camera's images have a subscriber (any image, where the bag has no one camera)."""
        names = [name for name in self._publishers if self._bag.topics[name].type in IMAGES]
        try:
            camera = self._bag.image_topic()
        except SourceError:
            camera = ""
        watched = [self._publishers[name] for name in ([camera] if camera in names else names or self._publishers)]
        deadline = time.monotonic() + timeout_s
        while not any(publisher.get_subscription_count() for publisher in watched):
            if self._stop.wait(0.02) or time.monotonic() > deadline:
                return False
        return not self._stop.wait(SETTLE_S)

    def play(self, rate: float, loop: bool, progress: Callable[[float], None] = lambda seconds: None) -> None:
        """Play once, or until stopped.

        Args:
            rate: how much faster than recorded.
            progress: is told the time played of the bag, s.
        """
        while not self._stop.is_set():
            self._play_once(rate, progress)
            self.loops += 1
            if not loop or not self.counts or self._stop.wait(TURN_S):
                break
        for publisher in () if self._stop.is_set() else self._publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=2.0))

    def summary(self) -> dict[str, Any]:
        """What was published, when playing began by the wall clock, and how late the latest messages were, ms."""
        late = sorted(self.lateness_s)
        return {
            "messages": dict(self.counts),
            "skipped": self.skipped,
            "loops": self.loops,
            "began_ns": self.began_ns,
            "lateness_p50_ms": round(percentile(late, 0.50) * 1e3, 3) if late else None,
            "lateness_p99_ms": round(percentile(late, 0.99) * 1e3, 3) if late else None,
        }

    def _advertise(self, name: str, type_name: str) -> None:
        try:
            kind = message_class(type_name)
            if not NAME.fullmatch(name):
                raise LookupError("its name is none of a topic, expected letters, digits, _ and /")
            self._node.resolve_topic_name(name)  # knows the rest of the rules
        except (LookupError, RuntimeError) as error:
            self.skipped[name] = " ".join(str(error).split())
            self._node.get_logger().warning(f"{name!r} is not played: {self.skipped[name]}")
            return
        latched = name.endswith("/tf_static")
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        # Enough for a reliable subscriber to catch up, without holding hundreds of images.
        qos = QoSProfile(depth=20 if type_name in IMAGES else 100, durability=durability)
        self._publishers[name] = self._node.create_publisher(kind, name, qos)

    def _play_once(self, rate: float, progress: Callable[[float], None]) -> None:
        begin_ns = self._bag.start_ns
        begin = time.monotonic()
        if self.began_ns is None:
            self.began_ns = time.time_ns()
        for message in self._bag.messages(set(self._publishers)):
            due = begin + (message.stamp_ns - begin_ns) / 1e9 / rate
            if not self._wait(due, lambda now: begin_ns + round((now - begin) * rate * 1e9)):
                return
            late = time.monotonic() - due
            if self._publish(message):
                self.lateness_s.append(late)
            progress((message.stamp_ns - begin_ns) / 1e9)

    def _publish(self, message: BagMessage) -> bool:
        try:
            data = message.cdr
        except MessageError as error:
            self.skipped.setdefault(message.topic, str(error))
            return False
        self._publishers[message.topic].publish(data)
        self.counts[message.topic] += 1
        return True

    def _wait(self, due: float, bag_time: Callable[[float], int]) -> bool:
        """Sleep until due, with /clock ticking; False when stopped. At least one tick precedes each message."""
        while True:
            now = time.monotonic()
            if self._clock is not None:
                self._clock.publish(FACTORY.clock(bag_time(now)))
            if now >= due:
                return not self._stop.is_set()
            if self._stop.wait(min(due - now, CLOCK_PERIOD_S) if self._clock is not None else due - now):
                return False
