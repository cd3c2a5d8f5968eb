"""The node end to end through real DDS, beside the engine alone on the same images."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from defeat_ros.demo.processes import Processes
from defeat_ros.errors import DefeatError
from defeat_ros.evaluation.load_figures import LoadFigures
from defeat_ros.frame import Frame
from defeat_ros.inference.backends.check import frames_camera, read_frames
from defeat_ros.inference.config import DepthConfig
from defeat_ros.inference.engine import DepthEngine
from defeat_ros.inference.outputs import wanted_results
from defeat_ros.settings import values

UNLIMITED = 1.5
"""Times the engine's rate: more than the node can take."""
READY_S = 300.0


@dataclass(frozen=True)
class LiveTimes:
    """The engine alone, and the node under load.

    Attributes:
        size_hw: of the images.
        topics: that were subscribed to.
        engine_ms: median of one frame in the engine alone, ms.
        engine_parts_ms: what its parts take, ms.
        loads: of the node, at rising rates; the last one is more than it can take.
    """

    size_hw: tuple[int, int]
    topics: tuple[str, ...]
    engine_ms: float
    engine_parts_ms: dict[str, float]
    loads: tuple[LoadFigures, ...]

    @property
    def rate_ratio(self) -> float:
        """The node's rate under full load over the engine's."""
        return self.loads[-1].mean_frame_rate_hz * self.engine_ms / 1000.0

    @property
    def added_ms(self) -> float:
        """What the node, DDS and the messages add to the engine's time at the lowest rate, ms."""
        return self.loads[0].latency_p50_ms - self.engine_ms


def time_live(
    config: DepthConfig,
    size_hw: tuple[int, int],
    topics: Sequence[str],
    rates: Sequence[float],
    seconds: float,
    advance: Callable[[], None],
) -> LiveTimes:
    """Measure the engine, then start the node as a process and load it.

    Args:
        config: parameters of both.
        size_hw: of the images.
        topics: that are subscribed to.
        rates: images per second, rising; full load comes after them.
        seconds: at each rate.
        advance: called after each rate.

    Raises:
        DefeatError: the node or the load could not run; the end of its log is quoted.
    """
    engine_s, parts = time_engine(config, size_hw, topics)
    plain = values(DepthConfig())
    changed = {name: value for name, value in values(config).items() if value != plain[name]}
    settings = [item for name, value in changed.items() for item in ("-p", f"{name}:={json.dumps(value)}")]
    every = [*rates, UNLIMITED / engine_s]
    with tempfile.TemporaryDirectory(prefix="defeat-bench-") as folder:
        processes = Processes(Path(folder) / "logs", 1 + os.getpid() % 100)
        try:
            node = processes.start("node", "--ros-args", *settings)
            size = [str(side) for side in size_hw[::-1]]
            asked = [*("--rates", *map(str, every)), *("--seconds", str(seconds)), *("--topics", *topics)]
            load = processes.start("load", *asked, "--size", *size, "--pid", str(node.pid))
            for number in range(len(every)):
                processes.wait(
                    lambda number=number: len(_told(processes)) > number or load.poll() is not None,  # type: ignore[misc]
                    READY_S + seconds,
                )
                advance()
            processes.wait(lambda: load.poll() is not None, 30.0)
            told = _told(processes)
            processes.stop("node")
        finally:
            processes.kill()
    if len(told) != len(every):
        raise DefeatError(f"{len(told)} of {len(every)} rates were measured")
    return LiveTimes(size_hw, tuple(topics), 1000.0 * engine_s, parts, tuple(LoadFigures(**one) for one in told))


def _told(processes: Processes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in processes.log("load").splitlines() if line.startswith("{")]


def time_engine(
    config: DepthConfig, size_hw: tuple[int, int], topics: Sequence[str], frames: int = 60
) -> tuple[float, dict[str, float]]:
    """Median time of one frame in the engine, s, and of its parts, ms, for the results that the topics need."""
    engine = DepthEngine(config)
    camera, pictures = frames_camera(size_hw), read_frames(size_hw)[0]
    want, spent = wanted_results(topics), []
    for number in range(frames + 10):
        frame = Frame(np.ascontiguousarray(pictures[number % 2]), (number + 1) * 10**8, "camera", camera)
        began = time.perf_counter()
        engine(frame, want)
        if number >= 10:
            spent.append(time.perf_counter() - began)
    return float(np.median(spent)), {name: 1000.0 * s for name, s in engine.costs.seconds.items()}
