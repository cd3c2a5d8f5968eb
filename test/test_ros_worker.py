"""The worker's thread: newest first, nothing lost without being told, orders in between."""

import threading
import time

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from defeat_ros.ros.worker import LatestWorker


class Bench:
    """A worker whose second half stops at a gate."""

    def __init__(self):
        self.prepared, self.handled, self.discarded, self.threads = [], [], [], set()
        self.started, self.gate = threading.Event(), threading.Event()
        discarded = lambda item, why: self.discarded.append((item, why))  # noqa: E731
        self.worker = LatestWorker(self.prepare, self.finish, discarded, "test")

    def prepare(self, item):
        self.threads.add(threading.current_thread().name)
        self.prepared.append(item)
        return item if item > 0 else None

    def finish(self, item):
        self.threads.add(threading.current_thread().name)
        self.started.set()
        assert self.gate.wait(10)
        self.handled.append(item)

    def until(self, name, *items):
        deadline = time.monotonic() + 10
        while getattr(self, name) != list(items):
            assert time.monotonic() < deadline, f"{name} {getattr(self, name)}, expected {items}"
            time.sleep(0.005)


def test_the_next_is_prepared_meanwhile_and_of_those_behind_it_the_newest_waits():
    bench = Bench()
    bench.worker.start()
    bench.worker.offer(1)
    assert bench.started.wait(10)
    bench.worker.offer(2)
    bench.until("prepared", 1, 2)
    for item in (3, 4, 5):
        bench.worker.offer(item)
    assert bench.prepared == [1, 2], "a third one was taken, which is old by the time that it is finished"
    bench.gate.set()
    bench.until("handled", 1, 2, 5)
    bench.worker.stop("reset")
    assert bench.discarded == [(3, "superseded"), (4, "superseded")]
    assert bench.threads == {"test_prepare", "test"}


def test_what_is_not_prepared_is_not_finished():
    bench = Bench()
    bench.gate.set()
    bench.worker.start()
    items = [-1, 1, -2, 2]
    for count, item in enumerate(items, start=1):
        bench.worker.offer(item)
        bench.until("prepared", *items[:count])
    bench.until("handled", 1, 2)
    bench.worker.stop("reset")
    assert not bench.discarded


def test_stop_finishes_the_items_in_hand_and_discards_the_next():
    bench = Bench()
    bench.worker.start()
    bench.worker.offer(1)
    assert bench.started.wait(10)
    bench.worker.offer(2)
    bench.until("prepared", 1, 2)
    bench.worker.offer(3)
    threading.Timer(0.05, bench.gate.set).start()
    bench.worker.stop("reset")
    assert bench.handled == [1, 2] and bench.discarded == [(3, "reset")]
    bench.worker.start()
    bench.worker.offer(4)
    bench.until("handled", 1, 2, 4)
    bench.worker.stop("reset")
    assert bench.prepared == [1, 2, 4]


def test_orders_run_between_two_items_on_the_finishing_thread():
    bench, threads = Bench(), []
    bench.worker.start()
    bench.worker.offer(1)
    assert bench.started.wait(10)
    bench.worker.offer(2)
    bench.until("prepared", 1, 2)
    bench.worker.before_next(lambda: threads.append((threading.current_thread().name, list(bench.handled))))
    bench.gate.set()
    bench.until("handled", 1, 2)
    bench.worker.before_next(lambda: threads.append((threading.current_thread().name, list(bench.handled))))
    bench.worker.stop("reset")
    assert threads[0] == ("test", [1]) and threads[1][1] == [1, 2]


def test_stop_ends_a_wait_for_news():
    results = []
    wait = lambda item: results.append(worker.wait_for_news(lambda: False, 30))  # noqa: E731
    worker = LatestWorker(wait, lambda _: None, lambda *_: None, "test")
    worker.start()
    worker.offer(1)
    worker.stop("reset")
    assert results in ([False], [])
