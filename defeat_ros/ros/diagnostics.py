"""What the node says about itself on /diagnostics: every frame accounted for, rates, latency, the engine."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from defeat_ros.frame import ImageHealth, Odometry, Prediction, Scale
from defeat_ros.inference.ledger import LedgerCounts
from defeat_ros.ros.statistics import percentile

OK, WARN, ERROR = 0, 1, 2
STALE_S = 10.0
"""A scale that was not measured for longer than this warns."""
MISSING = {
    "auto": "no scale.camera_height_m (with camera_info), no odom_in while moving, and weights without metres",
    "camera_height": "seen no road, which also takes a camera_info",
    "odometry": "no odom_in while moving",
}
"""What a scale waits for."""
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


def engine_status(name: str, info: Any | None, costs: Mapping[str, float], problem: str | None) -> Status:
    """What computes.

    Args:
        info: the engine's `EngineInfo`, None while there is none.
        costs: seconds that each part takes, see `Costs`.
        problem: why the node could not configure, None where it could or has not tried.
    """
    if info is None:
        return Status(f"{name}: engine", ERROR if problem else OK, problem or "not configured")
    values = {
        "checkpoint": info.checkpoint,
        "sha256": info.sha256,
        "trained": str(info.trained).lower(),
        "backend": info.backend,
        "device": info.device,
        "precision": info.precision,
        "backend_reason": info.reason,
        "backends_in_vain": "; ".join(info.warnings),
        "input size": f"{info.input_size[0]}x{info.input_size[1]}",
        **{f"{part} (ms)": f"{1e3 * seconds:.1f}" for part, seconds in list(costs.items())},
    }
    if problem:
        return Status(f"{name}: engine", WARN, problem, values)
    if info.caution:
        return Status(f"{name}: engine", WARN, info.caution, values)
    return Status(f"{name}: engine", OK, f"{info.checkpoint} on {info.device}", values)


def prediction_statuses(name: str, prediction: Prediction | None, mode: str) -> list[Status]:
    """The scale, the image and the odometry of the latest frame; none before there is one. `mode` is scale.mode."""
    if prediction is None:
        return []
    statuses = []
    if prediction.health is not None:
        statuses += [
            _scale_status(name, prediction.scale, prediction.withheld, mode),
            _image_status(name, prediction.health),
        ]
    if prediction.odometry is not None:
        statuses.append(_odometry_status(name, prediction.odometry))
    return statuses


def _scale_status(name: str, scale: Scale, withheld: str | None, mode: str) -> Status:
    metres = scale.metres_per_unit
    values = {
        "metres per unit": "unknown" if metres is None else f"{metres:.4f}",
        "relative standard deviation": f"{scale.std:.3f}",
        "variance": f"{scale.std**2:.5f}",
        "source": scale.source,
        "age (s)": f"{scale.age_s:.1f}",
    }
    level, message = OK, f"{scale.source}, {100 * scale.std:.0f} %"
    if withheld:
        level, message = WARN, f"depth is withheld ({withheld}): scale {scale.source}, expected one that is measured"
    elif metres is None and mode != "none":
        level, message = WARN, f"depth is in scene units: scale.mode {mode} has {MISSING[mode]}"
    elif metres is None:
        level, message = OK, "none: depth is in scene units"
    elif scale.warning:
        level, message = WARN, f"its sources contradict each other: {scale.warning}"
    elif scale.source == "learned":
        level, message = WARN, "learned in training only: give scale.camera_height_m or odom_in"
    elif scale.age_s > STALE_S:
        level, message = WARN, f"not measured for {scale.age_s:.0f} s"
    return Status(f"{name}: scale", level, message, values)


def _image_status(name: str, health: ImageHealth) -> Status:
    numbers = {field: f"{getattr(health, field):.3g}" for field in ("brightness", "contrast", "sharpness", "change")}
    values = {**numbers, "black share": f"{health.black:.3f}", "white share": f"{health.white:.3f}"}
    level = ERROR if health.useless else WARN if health.problems else OK
    return Status(f"{name}: image", level, ", ".join(health.problems) or "good", values)


def _odometry_status(name: str, odometry: Odometry) -> Status:
    values = {
        "source": odometry.source,
        "corners": str(odometry.matches),
        "agreeing share": f"{odometry.inliers:.2f}",
        "segment": str(odometry.segment),
    }
    told = {"lost": (ERROR, "lost: the pose is held"), "network": (WARN, "pose net alone: corners do not agree")}
    return Status(f"{name}: odometry", *told.get(odometry.source, (OK, odometry.source)), values)


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
