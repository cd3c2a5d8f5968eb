"""Watches a running node for long: `python -m defeat_ros.ros.watch --pid PID ...`, a line of JSON for each sample."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile

from defeat_ros.evaluation.soak_figures import SoakSample
from defeat_ros.inference.outputs import TOPICS
from defeat_ros.ros import proc
from defeat_ros.ros.messages import message_class
from defeat_ros.ros.process import ros_process

DROPPED = "dropped "
GONE_S = 60.0
"""How long the end of the node is waited for."""


class Watcher(Node):
    """Subscribes to a node's topics, so that it has to work, and keeps what its diagnostics say of its frames."""

    def __init__(self, topics: Sequence[str]) -> None:
        super().__init__("watch", start_parameter_services=False)
        self.answers: Counter[str] = Counter()
        self.values: dict[str, str] = {}
        self.news = threading.Condition()
        for name in topics:
            kind = message_class(TOPICS[name].type)
            self.create_subscription(kind, name, lambda _, name=name: self._count(name), QoSProfile(depth=10), raw=True)
        kind = message_class("diagnostic_msgs/msg/DiagnosticArray")
        self.create_subscription(kind, "/diagnostics", self._diagnose, QoSProfile(depth=10))

    def _count(self, name: str) -> None:
        self.answers[name] += 1

    def _diagnose(self, message: Any) -> None:
        for status in message.status:
            if status.name.endswith(": frames"):
                with self.news:
                    self.values = {item.key: item.value for item in status.values}
                    self.news.notify_all()

    def ledger(self) -> dict[str, Any]:
        """The ledger as it was told last."""
        with self.news:
            told = dict(self.values)
        dropped = {name.removeprefix(DROPPED): int(told[name]) for name in told if name.startswith(DROPPED)}
        counts = {name: int(told.get(name, 0)) for name in ("received", "published", "pending")}
        return {**counts, "dropped": dropped}

    def number(self, name: str) -> float:
        """A figure of the node's diagnostics."""
        with self.news:
            return float(self.values.get(name, "nan"))

    def wait(self, timeout_s: float) -> None:
        """Wait for the next diagnostics."""
        with self.news:
            self.news.wait(timeout_s)


def watch(watcher: Watcher, pid: int, every_s: float, stop: threading.Event) -> None:
    """Print a sample now and then until `stop` is set, then, once the process has ended, the ledger's last word."""
    began = last = time.perf_counter()
    cpu = proc.cpu_seconds(pid)
    while not stop.wait(every_s):
        now = time.perf_counter()
        try:
            used, cpu = proc.cpu_seconds(pid) - cpu, proc.cpu_seconds(pid)
            told = SoakSample(
                at_s=round(now - began, 2),
                **watcher.ledger(),
                memory_mb=proc.memory_mb(pid),
                threads=proc.threads(pid),
                handles=proc.handles(pid),
                latency_p50_ms=watcher.number("latency p50 (ms)"),
                latency_p99_ms=watcher.number("latency p99 (ms)"),
                input_hz=watcher.number("input rate (Hz)"),
                output_hz=watcher.number("output rate (Hz)"),
                cpu_percent=round(100.0 * used / (now - last), 1),
                answers=min(watcher.answers.values(), default=0),
            )
        except (OSError, StopIteration, IndexError):
            break  # it has ended
        last = now
        print(json.dumps(asdict(told)), flush=True)
    gone = time.perf_counter() + GONE_S
    while proc.alive(pid) and time.perf_counter() < gone:
        watcher.wait(0.1)
    print(json.dumps({"ledger": watcher.ledger()}), flush=True)


def main(args: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pid", type=int, required=True, help="of the node")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two samples")
    parser.add_argument("--topics", nargs="+", choices=list(TOPICS), required=True)
    options = parser.parse_args(args)
    stop = threading.Event()
    with ros_process([], stop):
        watcher = Watcher(options.topics)
        executor = SingleThreadedExecutor()
        executor.add_node(watcher)
        spinning = threading.Thread(target=executor.spin, daemon=True)
        spinning.start()
        watch(watcher, options.pid, options.every, stop)
        executor.shutdown(timeout_sec=2.0)
        spinning.join(2.0)
        watcher.destroy_node()
    return 0


if __name__ == "__main__":
    sys.exit(main())
