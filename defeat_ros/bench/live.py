"""The node end to end through real DDS, beside the engine alone on the same images."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from defeat_ros.demo.processes import Processes, node_arguments, own_domain
from defeat_ros.errors import DefeatError
from defeat_ros.evaluation.load_figures import LoadFigures
from defeat_ros.frame import Frame
from defeat_ros.inference.backends.check import frames_camera, read_frames
from defeat_ros.inference.config import DepthConfig
from defeat_ros.inference.engine import DepthEngine
from defeat_ros.inference.outputs import wanted_results
from defeat_ros.settings import changed

UNLIMITED = 1.5
"""Times the engine's rate: more than the node can take."""
READY_S = 600.0
PACED, WARM_UP = 20, 10
"""Frames of the engine alone, at the rate of the load beside it."""


@dataclass(frozen=True)
class LiveTimes:
    """The engine alone, and the node under load.

    Attributes:
        size_hw: of the images.
        topics: that were subscribed to.
        loads: of the node, at rising rates; the last one is more than it can take.
        engine_ms: median of one frame in the engine alone at the same rate, ms, right before and after each load:
            machines change their speed within minutes.
        engine_parts_ms: what its parts take, ms.
    """

    size_hw: tuple[int, int]
    topics: tuple[str, ...]
    loads: tuple[LoadFigures, ...]
    engine_ms: tuple[float, ...]
    engine_parts_ms: dict[str, float]

    @property
    def rate_ratio(self) -> float:
        """The node's rate under full load over the engine's."""
        return self.loads[-1].mean_frame_rate_hz * self.engine_ms[-1] / 1000.0

    @property
    def added_ms(self) -> float:
        """What the node, DDS and the messages add to the engine's time at the lowest rate, ms."""
        return self.loads[0].latency_p50_ms - self.engine_ms[0]


class EngineTimer:
    """The engine alone on the shipped frames, one after the other.

    Args:
        config: its parameters.
        size_hw: of the images.
        topics: whose results it computes.
    """

    def __init__(self, config: DepthConfig, size_hw: tuple[int, int], topics: Sequence[str]) -> None:
        self.engine = DepthEngine(config)
        self._camera, self._pictures = frames_camera(size_hw), read_frames(size_hw)[0]
        self._want = wanted_results(topics)
        self._count = 0
        self(WARM_UP)

    def __call__(self, frames: int, rate: float = math.inf) -> float:
        """Median time of a frame, s; at a rate, Hz, as processors that wait in between are slower to begin."""
        spent, start = list[float](), time.perf_counter()
        for number in range(frames):
            time.sleep(max(0.0, start + number / rate - time.perf_counter()))
            self._count += 1
            image = np.ascontiguousarray(self._pictures[self._count % 2])
            frame = Frame(image, self._count * 10**8, "camera", self._camera)
            began = time.perf_counter()
            self.engine(frame, self._want)
            spent.append(time.perf_counter() - began)
        return float(np.median(spent))


def time_live(
    config: DepthConfig,
    size_hw: tuple[int, int],
    topics: Sequence[str],
    rates: Sequence[float],
    seconds: float,
    advance: Callable[[], None],
) -> LiveTimes:
    """Start the node as a process and load it; in between, measure the engine alone while the node idles.

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
    timer = EngineTimer(config, size_hw, topics)
    loads, engine = list[LoadFigures](), list[float]()
    with tempfile.TemporaryDirectory(prefix="defeat-bench-") as folder:
        processes = Processes(Path(folder) / "logs", own_domain())
        try:
            node = processes.start("node", *node_arguments(changed(config), {}))
            for rate in (*rates, math.inf):
                before = timer(PACED, rate)
                asked = [str(min(rate, UNLIMITED / before)), "--seconds", str(seconds), "--topics", *topics]
                size = [str(side) for side in size_hw[::-1]]
                loads.append(_load(processes, "--rate", *asked, "--size", *size, "--pid", str(node.pid)))
                engine.append(500.0 * (before + timer(PACED, rate)))
                advance()
            processes.stop("node")
        finally:
            processes.kill()
    parts = {name: 1000.0 * s for name, s in timer.engine.costs.seconds.items()}
    return LiveTimes(size_hw, tuple(topics), tuple(loads), tuple(engine), parts)


def _load(processes: Processes, *arguments: str) -> LoadFigures:
    load = processes.start("load", *arguments)
    processes.wait(lambda: load.poll() is not None, READY_S)
    told = [line for line in processes.log("load").splitlines() if line.startswith("{")]
    if not told:
        words = " ".join(processes.log("load").split())[-300:]
        raise DefeatError(f"the load ended without figures: {words or 'it said nothing'}")
    return LoadFigures(**json.loads(told[-1]))
