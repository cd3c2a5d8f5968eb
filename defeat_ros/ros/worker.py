"""One thread that always works on the newest thing it was given, and never queues."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class LatestWorker(Generic[T]):
    """Hands the latest offered item to a function, on its own thread.

    A robot wants the newest frame, not all of them: an offered item replaces one that still waits. Orders given by
    `before_next` run on the same thread before the next item, so that what they touch needs no lock.

    Args:
        handle: works on one item; it must not raise, and `wait_for_news` may be called inside.
        discarded: is told each item that will never be handled, with the reason.
    """

    def __init__(self, handle: Callable[[T], None], discarded: Callable[[T, str], None], name: str) -> None:
        self._handle = handle
        self._discarded = discarded
        self._changed = threading.Condition()
        self._item: T | None = None
        self._orders: list[Callable[[], None]] = []
        self._running = False
        self._name = name
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; does nothing when it runs."""
        if self._thread is None:
            self._running = True
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def stop(self, reason: str) -> None:
        """End the thread after the item in hand; what still waits is discarded for the reason."""
        with self._changed:
            self._running = False
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.discard(reason)
        with self._changed:
            orders, self._orders = self._orders, []
        for order in orders:
            order()

    def offer(self, item: T) -> None:
        """Give the thread something newer to do; what waited until now is discarded as 'superseded'."""
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
        """Run a short function on the worker's thread, after the item in hand and before the next."""
        with self._changed:
            self._orders.append(order)
            self._changed.notify_all()

    def tell(self) -> None:
        """Wake a handler that waits in `wait_for_news`."""
        with self._changed:
            self._changed.notify_all()

    def wait_for_news(self, enough: Callable[[], bool], timeout_s: float) -> bool:
        """Inside a handler: wait until `enough`, which is asked again at each `tell`; False on timeout or stop."""
        with self._changed:
            return self._changed.wait_for(lambda: enough() or not self._running, timeout_s) and enough()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._running or self._item is not None or self._orders)
                if not self._running:
                    return
                orders, self._orders = self._orders, []
                item, self._item = self._item, None
            for order in orders:
                order()
            if item is not None:
                self._handle(item)
