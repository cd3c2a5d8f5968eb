"""A bag in a loop through the live node for long: does it grow, drift or lose count of frames?"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from defeat_ros.demo.processes import Processes, node_arguments, own_domain
from defeat_ros.errors import DefeatError
from defeat_ros.evaluation.soak_figures import SoakFigures, SoakSample
from defeat_ros.inference.config import DepthConfig
from defeat_ros.settings import changed
from defeat_ros.visualize.charts import soak_chart

READY_S = 180.0
EVERY_S, LEAST_SAMPLES = 5.0, 40
"""Time between two samples, shorter in a short run."""


@dataclass(frozen=True)
class Soak:
    """A run.

    Attributes:
        figures: what it shows.
        samples: the node in the course of time.
        loops: how often the bag was played.
    """

    figures: SoakFigures
    samples: tuple[SoakSample, ...]
    loops: int

    def as_json(self) -> dict[str, Any]:
        """See `files.write_json`."""
        return {"figures": asdict(self.figures), "loops": self.loops, "samples": [asdict(one) for one in self.samples]}


def run_soak(
    bag: Path,
    topics: Mapping[str, str],
    config: DepthConfig,
    seconds: float,
    rate: float,
    watched: Sequence[str],
    advance: Callable[[], None] = lambda: None,
) -> Soak:
    """Play a bag again and again into the node, each a process of its own, through real DDS.

    Args:
        bag: with a camera.
        topics: remappings of `image` and `camera_info`.
        config: parameters of the node.
        seconds: how long.
        rate: how much faster than recorded.
        watched: topics that are subscribed to.
        advance: called each second.

    Raises:
        DefeatError: a process failed; the end of its log is quoted.
    """
    with tempfile.TemporaryDirectory(prefix="defeat-soak-") as folder:
        processes, told = Processes(Path(folder) / "logs", own_domain()), Path(folder) / "player.json"
        parameters = {**changed(config), "use_sim_time": True}
        try:
            node = processes.start("node", *node_arguments(parameters, topics))
            every = str(min(EVERY_S, seconds / LEAST_SAMPLES))
            processes.start("watch", "--pid", str(node.pid), "--every", every, "--topics", *watched)
            processes.wait(lambda: "active:" in processes.log("node"), READY_S)
            played = ["--loop", "--clock", "--rate", str(rate), "--topics", *topics.values(), "--summary", str(told)]
            processes.start("player", str(bag), "--wait-for-subscribers", "30", *played)
            end = time.monotonic() + seconds
            processes.wait(lambda: time.monotonic() > end, seconds + READY_S, advance)
            processes.stop("player")
            processes.interrupt("watch")  # it waits for the node's last word
            for name in ("node", "watch"):
                processes.stop(name)
        finally:
            processes.kill()
        player = json.loads(told.read_text(encoding="utf-8"))
        lines = [json.loads(line) for line in processes.log("watch").splitlines() if line.startswith("{")]
    samples = tuple(SoakSample(**line) for line in lines if "at_s" in line)
    if len(samples) < 2 or "ledger" not in lines[-1]:
        raise DefeatError(f"the soak ended after {len(samples)} samples, expected at least 2: run it for longer")
    sent = player["messages"].get(topics["image"], 0)
    return Soak(SoakFigures.of(samples, lines[-1]["ledger"], sent), samples, player["loops"])


def soak_rows(soak: Soak) -> list[tuple[str, str]]:
    """The figures, for reading."""
    told = soak.figures
    dropped = "".join(f" + {number} {reason}" for reason, number in told.dropped.items())
    (before, after), (early, late) = told.memory_mb, told.latency_ms
    most, end = (" and ".join(map(str, both)) for both in zip(told.threads, told.handles, strict=True))
    return [
        ("time", f"{told.seconds / 60:.1f} min, the bag {soak.loops} times"),
        ("frames", f"{told.received} received = {told.published} published{dropped} + {told.unaccounted} unaccounted"),
        ("lost before the node", "not known" if told.undelivered is None else str(told.undelivered)),
        ("memory", f"{before:.0f} to {after:.0f} MB, {told.slope_mb_per_1000:+.2f} MB per 1,000 published frames"),
        ("latency, median", f"{early:.0f} to {late:.0f} ms"),
        ("threads, handles", f"at most {most}, at the end {end}"),
    ]


def soak_picture(soak: Soak) -> np.ndarray:
    """(640, 1400, 3) uint8: memory, latency, rates, threads and handles over time.

    Raises:
        OutputError: matplotlib is not installed.
    """

    def series(name: str) -> np.ndarray:
        return np.array([getattr(sample, name) for sample in soak.samples], dtype=float)

    panels = (
        ("memory", "MB", {"resident": series("memory_mb")}),
        ("latency, last 10 s", "ms", {"median": series("latency_p50_ms"), "99th percentile": series("latency_p99_ms")}),
        ("rates, last 10 s", "Hz", {"images in": series("input_hz"), "published": series("output_hz")}),
        ("threads and handles", "", {"threads": series("threads"), "open handles": series("handles")}),
    )
    told = soak.figures
    title = f"{told.received} images, {told.published} published, {told.slope_mb_per_1000:+.2f} MB per 1,000 of them"
    return soak_chart(series("at_s") / 3600.0, panels, title)
