"""How long each part of the work takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

SHARE = 0.1
"""Of the newest time in the running mean."""


class Costs:
    """Running means of the seconds that named parts take; they survive from frame to frame.

    Attributes:
        seconds: by name, of a frame in which the part was done at all.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Time a part."""
        began = time.perf_counter()
        yield
        took = time.perf_counter() - began
        known = self.seconds.get(part, took)
        self.seconds[part] = known + SHARE * (took - known)
