"""A benchmark's results as tables, JSON and a picture."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from defeat_ros.bench.live import LiveTimes
from defeat_ros.bench.networks import EAGER, WORK, NetworkTimes
from defeat_ros.visualize.charts import bench_chart

Row = list[str]


@dataclass(frozen=True)
class Report:
    """Everything that was measured in one run.

    Attributes:
        machine: in words.
        checkpoint: name of the weights.
        size: width and height that the networks see.
        networks: their times.
        lives: the node's.
        peak_memory_mb: of the benchmark's own process.
    """

    machine: str
    checkpoint: str
    size: tuple[int, int]
    networks: NetworkTimes
    lives: tuple[LiveTimes, ...]
    peak_memory_mb: float


def network_rows(times: NetworkTimes) -> tuple[Row, list[Row]]:
    """Header and rows: milliseconds of each network and how many times as fast as plain eager PyTorch."""
    eager, names = times.timings[0], list(times.work)
    rows = []
    for timing in times.timings:
        cells = [_cell(timing.median(name), eager.median(name)) for name in names]
        rows.append([timing.name, *cells, _cell(timing.total, eager.total)])
    work = [f"{times.work[name] / 1e9:.1f} GFLOP, {times.parameters[name] / 1e6:.1f} M" for name in names]
    rows.append(["arithmetic, parameters", *work, f"{sum(times.work.values()) / 1e9:.1f} GFLOP"])
    best = min((timing for timing in times.timings), key=lambda timing: timing.total)
    rates = [f"{times.work[name] / best.median(name) / 1e9:.0f} GFLOP/s" for name in names]
    rows.append([f"rate of {best.name}", *rates, f"{sum(times.work.values()) / best.total / 1e9:.0f} GFLOP/s"])
    return ["median ms (times eager)", *(WORK[name] for name in names), "all"], rows


def live_rows(live: LiveTimes) -> tuple[Row, list[Row]]:
    """Header and rows: what the node made of each rate."""
    header = ["sent", "answered", "missed", "p50 ms", "p99 ms", "first, last ms", "jitter ms", "CPU", "memory"]
    rows = [
        [
            f"{load.input_rate_hz:.1f} Hz",
            f"{load.mean_frame_rate_hz:.1f} Hz",
            f"{load.frames_missed} of {load.frames_sent}",
            f"{load.latency_p50_ms:.1f}",
            f"{load.latency_p99_ms:.1f}",
            f"{load.first_latency_ms:.0f}, {load.last_latency_ms:.0f}",
            f"{load.jitter_mean_ms:.1f} (max {load.jitter_max_ms:.0f})",
            f"{load.cpu_percent:.0f} %",
            f"{load.peak_memory_mb:.0f} MB",
        ]
        for load in live.loads
    ]
    return header, rows


def as_json(report: Report) -> dict[str, Any]:
    """All figures, with the seconds of every round; see `files.write_json`."""
    told = asdict(report)
    for one, live in zip(told["lives"], report.lives, strict=True):
        one["rate_ratio"], one["added_ms"] = live.rate_ratio, live.added_ms
    for one, timing in zip(told["networks"]["timings"], report.networks.timings, strict=True):
        one["median_ms"] = {name: 1000.0 * timing.median(name) for name in timing.seconds}
        one["times_eager"] = report.networks.timings[0].total / timing.total
    return told


def picture(report: Report) -> np.ndarray:
    """(500, 1400, 3) uint8: times of the networks by runtime, and the node's latency over the rate.

    Raises:
        OutputError: matplotlib is not installed.
    """
    parts = {
        WORK[name]: np.array([1000.0 * timing.median(name) for timing in report.networks.timings])
        for name in report.networks.work
    }
    curves = {}
    for live in report.lives:
        height, width = live.size_hw
        rate = np.array([load.input_rate_hz for load in live.loads])
        middle, late = (
            np.array([getattr(load, f"latency_{name}_ms") for load in live.loads]) for name in ("p50", "p99")
        )
        curves[f"{width}x{height}"] = (rate, middle, late, np.array(live.engine_ms))
    names = [timing.name.replace(EAGER, "eager PyTorch") for timing in report.networks.timings]
    return bench_chart(names, parts, curves, report.machine)


def _cell(seconds: float, eager: float) -> str:
    return f"{1000.0 * seconds:.1f} ({eager / seconds:.2f}x)" if math.isfinite(seconds) else "-"
