"""What the node says about itself on /diagnostics: every frame accounted for, rates, latency, the engine."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from defeat_ros.inference.config import ScaleConfig
from defeat_ros.inference.ledger import LedgerCounts
from defeat_ros.ros.statistics import percentile

OK, WARN, ERROR = 0, 1, 2
SILENCE_S = 2.0
"""An active node without frames for longer than this warns."""


@dataclass(frozen=True)
class Status:
    """One diagnostic status, before it becomes a message."""

    name: str
    level: int
    message: str
    values: dict[str, str] = field(default_factory=dict)


class Meter:
    """Thread-safe rates and latencies over the last seconds, on the steady clock.

    Sim time would show the rate of the recording at a replay, not what this machine does.
    """

    def __init__(self, window_s: float = 10.0, most: int = 2000) -> None:
        self._window_s = window_s
        self._lock = threading.Lock()
        self._arrivals: deque[float] = deque(maxlen=most)
        self._published: deque[tuple[float, float]] = deque(maxlen=most)
        self._since = time.monotonic()

    def restart(self) -> None:
        """Forget the past, as at an activation."""
        with self._lock:
            self._arrivals.clear()
            self._published.clear()
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


def frames_status(name: str, state: str, counts: LedgerCounts, meter: Meter, problem: str | None) -> Status:
    """Where the frames went, how fast and how late.

    Args:
        state: lifecycle state, such as 'active'.
        problem: why the last frame failed, None while frames pass.
    """
    rate_in, rate_out, latencies = meter.read()
    values = {
        "received": str(counts.received),
        "published": str(counts.published),
        **{f"dropped {reason}": str(number) for reason, number in counts.dropped.items()},
        "pending": str(counts.pending),
        "input rate (Hz)": f"{rate_in:.2f}",
        "output rate (Hz)": f"{rate_out:.2f}",
        "latency p50 (ms)": f"{percentile(latencies, 0.50) * 1e3:.1f}",
        "latency p99 (ms)": f"{percentile(latencies, 0.99) * 1e3:.1f}",
    }
    level, message = OK, f"{rate_out:.1f} Hz"
    if state != "active":
        message = state
    elif problem is not None:
        level, message = ERROR, problem
    elif meter.silence_s() > SILENCE_S:
        level, message = WARN, f"no images for {meter.silence_s():.1f} s"
    return Status(f"{name}: frames", level, message, values)


def engine_status(name: str, info: Any | None, scale: ScaleConfig | None, problem: str | None) -> Status:
    """What computes.

    Args:
        info: the engine's `EngineInfo`, None while there is none.
        scale: where metres come from, None while there is no engine.
        problem: why the node could not configure, None where it could or has not tried.
    """
    if info is None or scale is None:
        return Status(f"{name}: engine", ERROR if problem else OK, problem or "not configured")
    values = {
        "checkpoint": info.checkpoint,
        "sha256": info.sha256,
        "trained": str(info.trained).lower(),
        "backend": info.backend,
        "device": info.device,
        "precision": info.precision,
        "input size": f"{info.input_size[0]}x{info.input_size[1]}",
        "scale": "none: depth in scene units" if scale.mode == "none" else f"fixed: {scale.value:g}",
    }
    if problem:
        return Status(f"{name}: engine", WARN, problem, values)
    if info.caution:
        return Status(f"{name}: engine", WARN, info.caution, values)
    return Status(f"{name}: engine", OK, f"{info.checkpoint} on {info.device}", values)


def diagnostic_array(statuses: list[Status], stamp: Any, hardware_id: str) -> Any:
    """The statuses as a diagnostic_msgs/DiagnosticArray."""
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

    array = DiagnosticArray()
    array.header.stamp = stamp
    for status in statuses:
        array.status.append(
            DiagnosticStatus(
                level=bytes([status.level]),
                name=status.name,
                message=status.message,
                hardware_id=hardware_id,
                values=[KeyValue(key=key, value=value) for key, value in status.values.items()],
            )
        )
    return array
