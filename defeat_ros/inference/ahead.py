"""Steps of a pipeline on threads of their own, in order and a bounded number ahead."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")

_END = object()


def ahead(items: Iterable[T], most: int = 2) -> Generator[T, None, None]:
    """The same items, taken on another thread, at most `most` ahead of whom they are given to.

    Chained, each step of a pipeline works while the others do, and the slowest sets the rate. What the source raises is
    raised here, after the items before it. Closing the generator ends the thread after the item in hand.
    """
    ready: queue.Queue[tuple[object, BaseException | None]] = queue.Queue(most)
    ended = threading.Event()

    def take() -> None:
        problem: BaseException | None = None
        try:
            for item in items:
                ready.put((item, None))
                if ended.is_set():
                    return
        except BaseException as error:
            problem = error
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
        ready.put((_END, problem))

    thread = threading.Thread(target=take, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, problem = ready.get()
            if problem is not None:
                raise problem
            if item is _END:
                return
            yield item  # type: ignore[misc]
    finally:
        ended.set()
        while thread.is_alive():
            try:
                ready.get(timeout=0.01)  # it may wait for room
            except queue.Empty:
                continue
        thread.join()
