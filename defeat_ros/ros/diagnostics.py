"""What the node says about itself on /diagnostics: every frame accounted for, rates, latency, the engine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from defeat_ros.frame import ImageHealth, Odometry, Prediction, Scale
from defeat_ros.inference.config import DepthConfig, DiagnosticsConfig
from defeat_ros.inference.ledger import LedgerCounts
from defeat_ros.ros.meter import Meter
from defeat_ros.ros.proc import memory_mb
from defeat_ros.ros.statistics import percentile

OK, WARN, ERROR = 0, 1, 2
MISSING = {
    "auto": "no scale.camera_height_m (with camera_info), no odom_in while moving, and weights without metres",
    "camera_height": "seen no road, which also takes a camera_info",
    "odometry": "no odom_in while moving",
}
"""What a scale waits for."""


@dataclass(frozen=True)
class Status:
    """One diagnostic status, before it becomes a message."""

    name: str
    level: int
    message: str
    values: dict[str, str] = field(default_factory=dict)


def frames_status(
    name: str, state: str, counts: LedgerCounts, meter: Meter, problem: str | None, limits: DiagnosticsConfig
) -> Status:
    """Where the frames went, how fast and how late.

    Args:
        state: lifecycle state, such as 'active'.
        problem: why the last frame failed, None while frames pass.
        limits: what is a warning.
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
    level, message = (OK, state) if state != "active" else _flow(meter, problem, limits)
    return Status(f"{name}: frames", level, message, values)


def _flow(meter: Meter, problem: str | None, limits: DiagnosticsConfig) -> tuple[int, str]:
    """What is wrong with the stream of an active node: the machine, the camera, or more images than it can take."""
    rate_in, rate_out, latencies = meter.read()
    (what, busy_s), silence_s = meter.longest_work(), meter.silence_s()
    share, late_s = meter.superseded_share(), percentile(latencies, 0.5)
    if busy_s > limits.stall_s:
        return ERROR, f"stalled: {what} of one image has been going on for {busy_s:.1f} s"
    if problem is not None:
        return ERROR, problem
    if silence_s > limits.silence_s:
        return WARN, f"the camera is silent: no images for {silence_s:.1f} s"
    if share > limits.superseded_share:
        return WARN, f"a flood: {rate_in:.1f} Hz come in, {rate_out:.1f} Hz can be done"
    if late_s > limits.latency_s:
        return WARN, f"late: results come {late_s:.1f} s after their image"
    return OK, f"{rate_out:.1f} Hz"


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
        **memory_values(info.device),
    }
    if problem:
        return Status(f"{name}: engine", WARN, problem, values)
    if info.caution:
        return Status(f"{name}: engine", WARN, info.caution, values)
    return Status(f"{name}: engine", OK, f"{info.checkpoint} on {info.device}", values)


def memory_values(device: str) -> dict[str, str]:
    """Memory of this process and of its device, MB; a figure that cannot be read (the device failed) is left out."""
    told = dict[str, str]()
    with contextlib.suppress(OSError, StopIteration):
        told["memory (MB)"] = f"{memory_mb(os.getpid()):.0f}"
    if device.startswith("cuda"):
        import torch

        with contextlib.suppress(RuntimeError):
            free, total = torch.cuda.mem_get_info(device)
            told["device memory (MB)"] = f"{(total - free) / 1e6:.0f} of {total / 1e6:.0f}"
    return told


def prediction_statuses(name: str, prediction: Prediction | None, config: DepthConfig) -> list[Status]:
    """The scale, the image and the odometry of the latest frame; none before there is one."""
    if prediction is None:
        return []
    statuses = []
    if prediction.health is not None:
        statuses += [
            _scale_status(name, prediction.scale, prediction.withheld, config),
            _image_status(name, prediction.health),
        ]
    if prediction.odometry is not None:
        statuses.append(_odometry_status(name, prediction.odometry))
    return statuses


def _scale_status(name: str, scale: Scale, withheld: str | None, config: DepthConfig) -> Status:
    mode = config.scale.mode
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
    elif scale.age_s > config.diagnostics.scale_age_s:
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
