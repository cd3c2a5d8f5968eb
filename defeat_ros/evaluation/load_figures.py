"""Figures of a node under load, in the terms of ROS benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LoadFigures:
    """What a node made of images that came at a fixed rate; a frame is answered when all measured topics have it.

    Attributes:
        input_rate_hz: at which images were really sent.
        frames_sent, frames_missed: images, and those without an answer.
        mean_frame_rate_hz: of the answers.
        first_latency_ms, last_latency_ms: of the first and the last image that were answered.
        latency_p50_ms, latency_p99_ms: from sending an image to its last answer.
        jitter_mean_ms, jitter_max_ms: how much the time between two answers differs from its mean.
        cpu_percent: of one core, the node's process.
        peak_memory_mb: the node's process since its start, resident.
    """

    input_rate_hz: float
    frames_sent: int
    frames_missed: int
    mean_frame_rate_hz: float
    first_latency_ms: float
    last_latency_ms: float
    latency_p50_ms: float
    latency_p99_ms: float
    jitter_mean_ms: float
    jitter_max_ms: float
    cpu_percent: float
    peak_memory_mb: float

    @classmethod
    def of(
        cls, sent: Sequence[float], answered: Sequence[tuple[float, float]], cpu: float, peak_memory_mb: float
    ) -> LoadFigures:
        """From times, s.

        Args:
            sent: of each image, at least two.
            answered: when it was sent and when its last answer came, of each image that was answered.
            cpu: cores' worth of CPU time.
            peak_memory_mb: see above.
        """
        nan = float("nan")
        latency = 1000.0 * np.array([after - before for before, after in answered])
        gaps = 1000.0 * np.diff(sorted(after for _, after in answered))
        uneven = np.abs(gaps - gaps.mean()) if len(gaps) else np.array([nan])
        return cls(
            input_rate_hz=(len(sent) - 1) / (sent[-1] - sent[0]),
            frames_sent=len(sent),
            frames_missed=len(sent) - len(answered),
            mean_frame_rate_hz=1000.0 / float(gaps.mean()) if len(gaps) else nan,
            first_latency_ms=float(latency[0]) if len(latency) else nan,
            last_latency_ms=float(latency[-1]) if len(latency) else nan,
            latency_p50_ms=float(np.median(latency)) if len(latency) else nan,
            latency_p99_ms=float(np.quantile(latency, 0.99)) if len(latency) else nan,
            jitter_mean_ms=float(uneven.mean()),
            jitter_max_ms=float(uneven.max()),
            cpu_percent=100.0 * cpu,
            peak_memory_mb=peak_memory_mb,
        )
