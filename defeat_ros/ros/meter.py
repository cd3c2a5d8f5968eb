"""Rates, latencies and work in hand of the node, for its diagnostics."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

FEW = 20
"""Images in 10 s; of fewer the share that was superseded says little."""


class Meter:
    """Thread-safe rates and latencies over the last seconds, on the steady clock.

    Sim time would show the rate of the recording at a replay, not what this machine does.
    """

    def __init__(self, window_s: float = 10.0, most: int = 2000) -> None:
        self._window_s = window_s
        self._lock = threading.Lock()
        self._arrivals: deque[float] = deque(maxlen=most)
        self._published: deque[tuple[float, float]] = deque(maxlen=most)
        self._superseded: deque[float] = deque(maxlen=most)
        self._works: dict[str, float] = {}
        self._since = time.monotonic()

    def restart(self) -> None:
        """Forget the past, as at an activation."""
        with self._lock:
            self._arrivals.clear()
            self._published.clear()
            self._superseded.clear()
            self._since = time.monotonic()

    def arrive(self) -> float:
        """An image arrived; returns the time to hand to `publish`."""
        now = time.monotonic()
        with self._lock:
            self._arrivals.append(now)
        return now

    def publish(self, arrived: float) -> None:
        """The results of the image that arrived then went out."""
        now = time.monotonic()
        with self._lock:
            self._published.append((now, now - arrived))

    def supersede(self) -> None:
        """An image was replaced by a newer one before anybody worked on it."""
        with self._lock:
            self._superseded.append(time.monotonic())

    @contextmanager
    def work(self, what: str) -> Iterator[None]:
        """For the time that a thread works on one image."""
        with self._lock:
            self._works[what] = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                del self._works[what]

    def longest_work(self) -> tuple[str, float]:
        """What has been going on for longest, and for how long, s; ('', 0) where nothing is."""
        with self._lock:
            works = [(time.monotonic() - since, what) for what, since in self._works.items()]
        seconds, what = max(works, default=(0.0, ""))
        return what, seconds

    def superseded_share(self) -> float:
        """Of the images of the window, 0 to 1; 0 where there were few."""
        with self._lock:
            start = time.monotonic() - self._window_s
            arrived = sum(at >= start for at in self._arrivals)
            replaced = sum(at >= start for at in self._superseded)
        return replaced / arrived if arrived >= FEW else 0.0

    def read(self) -> tuple[float, float, list[float]]:
        """Input rate and output rate, Hz, and the sorted latencies, s, of the window."""
        now = time.monotonic()
        with self._lock:
            start = now - self._window_s
            arrivals = [t for t in self._arrivals if t >= start]
            published = [(t, latency) for t, latency in self._published if t >= start]
            span = max(min(self._window_s, now - self._since), 1e-3)
        return len(arrivals) / span, len(published) / span, sorted(latency for _, latency in published)

    def silence_s(self) -> float:
        """Seconds since the last image, or since the start when there was none."""
        with self._lock:
            return time.monotonic() - (self._arrivals[-1] if self._arrivals else self._since)
