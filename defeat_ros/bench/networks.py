"""The networks on every runtime against plain eager PyTorch, alternating in one run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from defeat_ros.errors import BackendError
from defeat_ros.inference.backends.build import make_backend
from defeat_ros.inference.backends.check import plain, read_frames
from defeat_ros.inference.backends.choose import (
    RUNTIMES,
    candidates,
    installed_runtimes,
    processor_flags,
    processor_name,
)
from defeat_ros.inference.backends.prepare import Source
from defeat_ros.inference.backends.protocol import resolve_device

EAGER = "plain eager PyTorch"
WORK = {"disp": "depth", "pose": "pose", "features": "features"}
"""What the engine calls the networks, and what a table does."""


@dataclass
class Timing:
    """One way to run the networks.

    Attributes:
        name: of it.
        seconds: by network, of each round, s.
    """

    name: str
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def median(self, network: str) -> float:
        """Of the rounds, s; NaN where the network was not run."""
        return float(np.median(self.seconds[network])) if self.seconds.get(network) else float("nan")

    @property
    def total(self) -> float:
        """Sum of the medians, s."""
        return sum(self.median(network) for network in self.seconds)


@dataclass(frozen=True)
class NetworkTimes:
    """What came of it.

    Attributes:
        timings: the baseline first, then what `auto` would try, in its order, then the rest.
        work: by network, operations (FLOP) of one image, an addition and a multiplication each counted.
        parameters: by network, numbers.
        left_out: ways that this machine cannot use, and why.
    """

    timings: list[Timing]
    work: dict[str, float]
    parameters: dict[str, int]
    left_out: tuple[str, ...]


def time_networks(
    source: Source, device: str, rounds: int, advance: Callable[[], None], backends: Sequence[str] = ()
) -> NetworkTimes:
    """Time every way to run the networks that this machine has.

    Args:
        source: the networks.
        device: see `resolve_device`.
        rounds: how often, at least 1; each round runs every way once, so that noise meets all alike.
        advance: called after each round.
        backends: of `RUNTIMES`; none: all that are installed.

    Raises:
        BackendError: the device is not here.
    """
    where = resolve_device(device, torch.cuda.device_count())
    (later, earlier), _ = read_frames(source.size_hw)
    images = {name: earlier if name == "pose" else None for name in source.networks}
    runs: list[tuple[Timing, Callable[[str], object]]] = []
    model = source.model.to(where)
    runs.append((Timing(EAGER), lambda name: plain(model, later, earlier, [name])))
    left_out = []
    for runtime, precision in _ways(where, backends):
        try:
            built = make_backend(source, runtime, device, precision)
        except BackendError as error:
            left_out.append(str(error))
            continue
        if built.warnings:
            left_out += built.warnings
            continue
        backend = built.backend
        runs.append(
            (
                Timing(f"{backend.name} {backend.precision}"),
                lambda name, backend=backend: backend.run(later, images[name], {name}),  # type: ignore[misc]
            )
        )
    for number in range(rounds + 1):
        for timing, run in runs:
            for name in source.networks:
                began = time.perf_counter()
                run(name)
                if number:  # the first round warms up
                    timing.seconds.setdefault(name, []).append(time.perf_counter() - began)
        advance()
    return NetworkTimes([timing for timing, _ in runs], *_amount(source), tuple(left_out))


def _ways(device: str, backends: Sequence[str]) -> list[tuple[str, str]]:
    """Runtimes and precisions, those that `auto` tries first."""
    installed, flags = installed_runtimes(), processor_flags()
    wanted = [name for name in RUNTIMES if name in installed and (not backends or name in backends)]
    found = [(choice.runtime, choice.precision) for choice in candidates("auto", device, "auto", installed, flags)]
    for name in wanted:
        if name != "openvino" or device == "cpu":
            found += [(c.runtime, c.precision) for c in candidates(name, device, "auto", installed, flags)]
    found += [("torch", "float32")]
    return [way for way in dict.fromkeys(found) if way[0] in wanted]


def _amount(source: Source) -> tuple[dict[str, float], dict[str, int]]:
    """Arithmetic and parameters of the networks as published."""
    from torch.utils.flop_counter import FlopCounterMode

    (later, earlier), _ = read_frames(source.size_hw)
    model, work = source.model, {}
    for name in source.networks:
        with FlopCounterMode(display=False) as counter:
            plain(model, later, earlier, [name])
        work[name] = float(counter.get_total_flops())
    nets = {"disp": model.depth_net, "pose": model.pose_net, "features": model.feat_net}
    return work, {name: sum(p.numel() for p in nets[name].parameters()) for name in source.networks}


def processor() -> str:
    """This machine in words: its CPU, how many cores this process may use, its GPU."""
    units = [
        flag for flag in ("amx_bf16", "amx_int8", "avx512_bf16", "avx512_vnni", "avx2") if flag in processor_flags()
    ]
    told = f"{processor_name()}, {len(os.sched_getaffinity(0))} cores, {' '.join(units)}"
    if torch.cuda.is_available():
        told += f"; {torch.cuda.get_device_name(0)}"
    return told


def peak_memory_mb(pid: int | str = "self") -> float:
    """Largest resident memory that a process ever had, MB; NaN where the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return float("nan")
    return next((float(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM")), float("nan"))
