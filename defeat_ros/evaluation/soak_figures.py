"""Figures of a node that ran for long: what grows, what drifts, and whether every frame is accounted for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WARM_UP_SHARE = 0.1
"""Of a run is left out of what is fitted: caches fill, allocators find their size."""


@dataclass(frozen=True)
class SoakSample:
    """The node at one moment.

    Attributes:
        at_s: since the first sample.
        received, published, dropped, pending: of its ledger, frames since the start.
        memory_mb: resident.
        threads, handles: of the process.
        latency_p50_ms, latency_p99_ms, input_hz, output_hz: over the node's last 10 s.
        cpu_percent: of one core, since the sample before.
        answers: messages that came out on all watched topics.
    """

    at_s: float
    received: int
    published: int
    dropped: Mapping[str, int]
    pending: int
    memory_mb: float
    threads: int
    handles: int
    latency_p50_ms: float
    latency_p99_ms: float
    input_hz: float
    output_hz: float
    cpu_percent: float
    answers: int


@dataclass(frozen=True)
class SoakFigures:
    """What a long run shows.

    Attributes:
        seconds: that it took.
        received, published, dropped: at its end.
        unaccounted: frames that the ledger still called pending after the end.
        undelivered: frames that were sent and did not reach the node, None where that is not known.
        slope_mb_per_1000: of the memory over published frames, after the warm-up, least squares.
        memory_mb: after the warm-up and at the end.
        latency_ms: median of the samples' medians in the first and the last quarter after the warm-up.
        threads, handles: most after the warm-up, and at the end.
    """

    seconds: float
    received: int
    published: int
    dropped: dict[str, int]
    unaccounted: int
    undelivered: int | None
    slope_mb_per_1000: float
    memory_mb: tuple[float, float]
    latency_ms: tuple[float, float]
    threads: tuple[int, int]
    handles: tuple[int, int]

    @classmethod
    def of(cls, samples: Sequence[SoakSample], ledger: Mapping[str, Any], sent: int | None = None) -> SoakFigures:
        """From at least two samples.

        Args:
            samples: in order.
            ledger: `received`, `published`, `dropped` and `pending` of the node's last diagnostics.
            sent: images that were sent.
        """
        steady = _steady(samples)
        frames = np.array([sample.published for sample in steady], dtype=float)
        memory = np.array([sample.memory_mb for sample in steady])
        quarter = max(1, len(steady) // 4)
        early, late = (_median_latency(part) for part in (steady[:quarter], steady[-quarter:]))
        return cls(
            seconds=samples[-1].at_s - samples[0].at_s,
            received=ledger["received"],
            published=ledger["published"],
            dropped=dict(ledger["dropped"]),
            unaccounted=ledger["pending"],
            undelivered=None if sent is None else sent - ledger["received"],
            slope_mb_per_1000=1000.0 * _slope(frames, memory),
            memory_mb=(float(np.median(memory[:quarter])), float(np.median(memory[-quarter:]))),
            latency_ms=(early, late),
            threads=(max(sample.threads for sample in steady), steady[-1].threads),
            handles=(max(sample.handles for sample in steady), steady[-1].handles),
        )


def _steady(samples: Sequence[SoakSample]) -> Sequence[SoakSample]:
    begin = samples[0].at_s + WARM_UP_SHARE * (samples[-1].at_s - samples[0].at_s)
    steady = [sample for sample in samples if sample.at_s >= begin]
    return steady if len(steady) > 1 else samples


def _median_latency(samples: Sequence[SoakSample]) -> float:
    known = [sample.latency_p50_ms for sample in samples if np.isfinite(sample.latency_p50_ms)]
    return float(np.median(known)) if known else float("nan")


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    centred = x - x.mean()
    spread = float(centred @ centred)
    return float(centred @ (y - y.mean())) / spread if spread else 0.0
