"""The learning rate over a run that ends by steps, by time, or by whichever comes first."""

from __future__ import annotations

import math
from dataclasses import dataclass

LEAST_SHARE = 0.02
"""Of the peak, at the end of the run."""


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, then half a cosine (Loshchilov & Hutter, ICLR 2017) down to a fiftieth of the peak.

    A run limited by steps alone is a pure function of the step, so that one which was stopped and goes on ends where
    an undisturbed one ends. A limit in minutes follows the clock: how far such a run comes depends on the machine.

    Attributes:
        peak: highest learning rate.
        warmup_steps: steps until it is reached.
        max_steps: 0 for no limit.
        max_seconds: of training, the time before an interruption included; 0 for no limit.
    """

    peak: float
    warmup_steps: int
    max_steps: int
    max_seconds: float

    def progress(self, step: int, seconds: float) -> float:
        """Share of the run that is done, 0 to 1."""
        by_steps = step / self.max_steps if self.max_steps else 0.0
        by_time = seconds / self.max_seconds if self.max_seconds else 0.0
        return min(max(by_steps, by_time), 1.0)

    def rate(self, step: int, seconds: float) -> float:
        """Learning rate of a step (from 0)."""
        warm = min((step + 1) / (self.warmup_steps + 1), 1.0)
        cosine = 0.5 * (1.0 + math.cos(math.pi * self.progress(step, seconds)))
        return self.peak * warm * (LEAST_SHARE + (1.0 - LEAST_SHARE) * cosine)

    def done(self, step: int, seconds: float) -> bool:
        """Whether the run is over before this step."""
        return self.progress(step, seconds) >= 1.0
