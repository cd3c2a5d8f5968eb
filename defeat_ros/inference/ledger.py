"""The book in which every received frame ends as published or as dropped for a named reason."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass(frozen=True)
class LedgerCounts:
    """One reading of the ledger; `received == published + sum(dropped.values()) + pending` always."""

    received: int
    published: int
    dropped: dict[str, int] = field(default_factory=dict)

    @property
    def pending(self) -> int:
        """Frames that are still on their way."""
        return self.received - self.published - sum(self.dropped.values())


class Ledger:
    """Thread-safe counts of frames."""

    REMEMBERED = ("_received", "_published", "_dropped")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received = 0
        self._published = 0
        self._dropped: dict[str, int] = {}

    def receive(self) -> None:
        """A frame came in."""
        with self._lock:
            self._received += 1

    def publish(self) -> None:
        """A received frame's results went out."""
        with self._lock:
            self._published += 1

    def drop(self, reason: str) -> None:
        """A received frame ended without results, for a short reason such as 'superseded'."""
        with self._lock:
            self._dropped[reason] = self._dropped.get(reason, 0) + 1

    def counts(self) -> LedgerCounts:
        """A consistent reading."""
        with self._lock:
            return LedgerCounts(self._received, self._published, dict(sorted(self._dropped.items())))
