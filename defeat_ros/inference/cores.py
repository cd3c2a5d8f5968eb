"""Processes that compute side by side without getting in each other's way: each on cores of its own."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path


def share_cores(machines: Sequence[int], workers: int) -> int:
    """The most cores that each of some workers can have, at least 1.

    Args:
        machines: cores of each machine; a worker takes all of its cores from one.
        workers: how many there are.
    """
    fitting = (each for each in range(1, max(machines, default=1) + 1) if sum(n // each for n in machines) >= workers)
    return max(fitting, default=1)


@contextlib.contextmanager
def own_cores(count: int) -> Iterator[frozenset[int]]:
    """Keep this process, for the length of a `with` block, on cores that no other process has through this.

    Runtimes differ in how they are told their number of threads; all of them count the cores that they may use, so
    enter this before they are imported. Where too few cores are free, the rest is shared.

    Args:
        count: how many cores, also the number of torch's threads.

    Returns:
        the cores.
    """
    before = sorted(os.sched_getaffinity(0))
    with contextlib.ExitStack() as claims:
        mine: list[int] = []
        for core in before:
            if len(mine) < count and _claim(core, claims):
                mine.append(core)
        first = os.getpid() % len(before)
        rest = [core for core in before[first:] + before[:first] if core not in mine]
        cores = frozenset(mine + rest[: count - len(mine)])
        _confine(cores)
        claims.callback(_confine, before)
        import torch

        claims.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(count)
        yield cores


def _claim(core: int, claims: contextlib.ExitStack) -> bool:
    """Take a core; False where another process has it."""
    claim = claims.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    try:
        claim.bind(f"\0defeat_ros/core/{core}")  # a name without a file: it is free again however its process ends
    except OSError:
        claim.close()
        return False
    return True


def _confine(cores: Collection[int]) -> None:
    """Let every thread that there is, and with them those to come, run on these cores alone."""
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.sched_setaffinity(int(thread.name), cores)
