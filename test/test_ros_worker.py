"""The worker's thread: newest first, nothing lost without being told, orders in between."""

import threading
import time

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from defeat_ros.ros.worker import LatestWorker


class Bench:
    """A worker whose handler stops at a gate."""

    def __init__(self):
        self.handled, self.discarded = [], []
        self.started, self.gate = threading.Event(), threading.Event()
        self.worker = LatestWorker(self.handle, lambda item, why: self.discarded.append((item, why)), "test")

    def handle(self, item):
        self.started.set()
        assert self.gate.wait(10)
        self.handled.append(item)

    def until_handled(self, *items):
        deadline = time.monotonic() + 10
        while self.handled != list(items):
            assert time.monotonic() < deadline, f"handled {self.handled}, expected {items}"
            time.sleep(0.005)


def test_the_newest_waits_and_the_older_is_superseded():
    bench = Bench()
    bench.worker.start()
    bench.worker.offer(1)
    assert bench.started.wait(10)
    for item in (2, 3, 4):
        bench.worker.offer(item)
    bench.gate.set()
    bench.until_handled(1, 4)
    bench.worker.stop("reset")
    assert bench.handled == [1, 4]
    assert bench.discarded == [(2, "superseded"), (3, "superseded")]


def test_stop_finishes_the_item_in_hand_and_discards_the_next():
    bench = Bench()
    bench.worker.start()
    bench.worker.offer(1)
    assert bench.started.wait(10)
    bench.worker.offer(2)
    threading.Timer(0.05, bench.gate.set).start()
    bench.worker.stop("reset")
    assert bench.handled == [1] and bench.discarded == [(2, "reset")]
    bench.worker.start()
    bench.worker.offer(3)
    bench.until_handled(1, 3)
    bench.worker.stop("reset")
    assert bench.handled == [1, 3]


def test_orders_run_before_the_next_item_on_the_same_thread():
    bench, threads = Bench(), []
    bench.worker.start()
    bench.worker.offer(1)
    assert bench.started.wait(10)
    bench.worker.before_next(lambda: threads.append((threading.current_thread().name, list(bench.handled))))
    bench.worker.offer(2)
    bench.gate.set()
    bench.until_handled(1, 2)
    bench.worker.stop("reset")
    assert threads == [("test", [1])] and bench.handled == [1, 2]


def test_stop_ends_a_wait_for_news():
    results = []
    worker = LatestWorker(lambda item: results.append(worker.wait_for_news(lambda: False, 30)), lambda *_: None, "test")
    worker.start()
    worker.offer(1)
    worker.stop("reset")
    assert results in ([False], [])
