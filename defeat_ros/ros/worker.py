"""Two threads in a row that always work on the newest thing they were given, and never queue."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
P = TypeVar("P")


class LatestWorker(Generic[T, P]):
    """Hands the latest offered item to one function and what that makes to another one, each on its own thread.

    While one item is finished, the next one is prepared already, so that the slower half sets the rate. A robot wants
    the newest frame, not all of them: an offered item replaces one that still waits, and none is taken to be prepared
    while a prepared one waits. Orders given by `before_next` run on the finishing thread between two items, so that
    what only that thread touches needs no lock.

    Args:
        prepare: makes of an item what is to be finished; None: nothing is. It must not raise, and may call
            `wait_for_news`.
        finish: works on what was prepared, in the same order; it must not raise.
        discarded: is told each item that will never be prepared, with the reason.
    """

    def __init__(
        self,
        prepare: Callable[[T], P | None],
        finish: Callable[[P], None],
        discarded: Callable[[T, str], None],
        name: str,
    ) -> None:
        self._prepare, self._finish = prepare, finish
        self._discarded = discarded
        self._changed = threading.Condition()
        self._item: T | None = None
        self._prepared: P | None = None
        self._orders: list[Callable[[], None]] = []
        self._running = self._preparing = False
        self._name = name
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads; does nothing when they run."""
        if self._threads:
            return
        self._running = self._preparing = True
        for target, suffix in ((self._run_prepare, "_prepare"), (self._run_finish, "")):
            self._threads.append(threading.Thread(target=target, name=self._name + suffix, daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self, reason: str) -> None:
        """End the threads after the items in hand; what still waits is discarded for the reason."""
        with self._changed:
            self._running = False
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._threads = []
        self.discard(reason)
        with self._changed:
            orders, self._orders = self._orders, []
        for order in orders:
            order()

    def offer(self, item: T) -> None:
        """Give the threads something newer to do; what waited until now is discarded as 'superseded'."""
        with self._changed:
            old, self._item = self._item, item
            self._changed.notify_all()
        if old is not None:
            self._discarded(old, "superseded")

    def discard(self, reason: str) -> None:
        """Take back what waits."""
        with self._changed:
            old, self._item = self._item, None
        if old is not None:
            self._discarded(old, reason)

    def before_next(self, order: Callable[[], None]) -> None:
        """Run a short function on the finishing thread, after the item in hand and before the next."""
        with self._changed:
            self._orders.append(order)
            self._changed.notify_all()

    def tell(self) -> None:
        """Wake a function that waits in `wait_for_news`."""
        with self._changed:
            self._changed.notify_all()

    def wait_for_news(self, enough: Callable[[], bool], timeout_s: float) -> bool:
        """Inside `prepare`: wait until `enough`, which is asked again at each `tell`; False on timeout or stop."""
        with self._changed:
            return self._changed.wait_for(lambda: enough() or not self._running, timeout_s) and enough()

    def _run_prepare(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._running or (self._item is not None and self._prepared is None))
                item, self._item = (self._item, None) if self._running else (None, self._item)
                if item is None:
                    self._preparing = False
                    self._changed.notify_all()
                    return
            prepared = self._prepare(item)
            with self._changed:
                self._prepared = prepared
                self._changed.notify_all()

    def _run_finish(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._preparing or self._prepared is not None or self._orders)
                if not self._preparing and self._prepared is None:
                    return
                orders, self._orders = self._orders, []
                prepared, self._prepared = self._prepared, None
                self._changed.notify_all()
            for order in orders:
                order()
            if prepared is not None:
                self._finish(prepared)
