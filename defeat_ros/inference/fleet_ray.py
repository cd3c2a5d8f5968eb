"""Workers of a fleet as tasks of Ray, here or on machines that share the storage of bags and results."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)

from defeat_ros.errors import BackendError, ConfigError
from defeat_ros.inference.cores import own_cores, share_cores
from defeat_ros.inference.fleet import Event, Lost, Progress
from defeat_ros.inference.fleet_job import Job, Orders, Outcome, do_job
from defeat_ros.startup import guard_umask, keep_memory

LOST = (WorkerCrashedError, NodeDiedError, OutOfMemoryError, LocalRayletDiedError, ObjectLostError)
POLL_S = 0.3
PATIENCE_S = 10.0
"""Time for tasks to end when told to."""
OBJECT_STORE_BYTES = 80 * 2**20  # the least that Ray takes: bags do not pass through it


class RayWorkers:
    """Tasks of a Ray cluster, each with its share of the cores and, where the device asks for one, a GPU of its own.

    Args:
        orders: what is the same for every bag.
        jobs: how many bags there are.
        address: 'local' starts a cluster on this machine; else 'auto', 'host:port' or 'ray://host:port' of one.
        workers: how many bags at a time; None: one for each core.

    Raises:
        ConfigError: the device is one GPU of many, but Ray deals them out.
        BackendError: there is no cluster at the address.
    """

    def __init__(self, orders: Orders, jobs: int, address: str, workers: int | None = None) -> None:
        device = orders.config.device
        if device.startswith("cuda:"):
            raise ConfigError(f"device is {device!r}, expected auto, cpu or cuda: Ray gives each worker a GPU")
        _connect(address)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        cores = [int(node.get("CPU", 0)) for node in nodes]
        gpus = int(sum(node.get("GPU", 0) for node in nodes))
        needs_gpu = device == "cuda" or (device == "auto" and gpus > 0)
        self.count = max(1, min(jobs, workers or sum(cores), *([gpus] if needs_gpu else [])))
        self._orders, self._threads = orders, share_cores(cores, self.count)
        # A bag whose worker dies is given out again by the fleet, which counts how often.
        task = {"num_cpus": self._threads, "num_gpus": int(needs_gpu), "max_retries": 0}
        self._task = ray.remote(**task)(_do_job)
        self._board = ray.remote(num_cpus=0, max_restarts=-1)(_Board).remote()
        self._running: dict[Any, Job] = {}
        self._told: dict[str, tuple[int, int]] = {}

    def start(self, job: Job) -> None:
        """See `Workers.start`."""
        self._running[self._task.remote(self._orders, job, self._threads, self._board)] = job

    def wait(self) -> Sequence[Event]:
        """See `Workers.wait`."""
        ready, _ = ray.wait(list(self._running), timeout=POLL_S)
        events = self._progress()
        events += [_end(reference, self._running.pop(reference)) for reference in ready]
        return events

    def close(self) -> None:
        """See `Workers.close`."""
        running = list(self._running)
        with contextlib.suppress(RayError):
            for reference in running:
                ray.cancel(reference)
            if running:
                ray.wait(running, num_returns=len(running), timeout=PATIENCE_S)
        self._running = {}
        ray.shutdown()

    def _progress(self) -> list[Event]:
        try:
            told = ray.get(self._board.read.remote(), timeout=PATIENCE_S)
        except RayError:  # its machine is gone or slow; another one is made
            return []
        news = {job.name: told[job.name] for job in self._running.values() if job.name in told}
        fresh = [Progress(name, *state) for name, state in news.items() if self._told.get(name) != state]
        self._told.update(news)
        return list(fresh)


class _Board:
    """An actor on which tasks write how far they are."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[int, int]] = {}

    def write(self, name: str, frames: int, pid: int) -> None:
        self._told[name] = (frames, pid)

    def read(self) -> dict[str, tuple[int, int]]:
        return self._told


def _connect(address: str) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody asked for reports to be sent
    how: dict[str, Any] = {"address": address, "logging_level": logging.ERROR, "log_to_driver": False}
    if address == "local":
        cores = len(os.sched_getaffinity(0))
        how |= {"num_cpus": cores, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    try:
        host, colon, port = address.removeprefix("ray://").rpartition(":")
        if colon:  # Ray itself tries for minutes
            socket.create_connection((host.strip("[]"), int(port)), PATIENCE_S).close()
        ray.init(**how)
    except (OSError, ValueError, RuntimeError, RayError) as error:
        told = " ".join(str(error).split())
        expected = "expected local, auto, HOST:PORT or ray://HOST:PORT"
        raise BackendError(f"no Ray cluster at {address!r} ({told}), {expected}") from error


def _do_job(orders: Orders, job: Job, threads: int, board: Any) -> Outcome:
    guard_umask()
    keep_memory()
    with own_cores(threads):
        return do_job(orders, job, lambda frames: board.write.remote(job.name, frames, os.getpid()))


def _end(reference: Any, job: Job) -> Outcome | Lost:
    """How a task came to its end."""
    try:
        outcome: Outcome = ray.get(reference)
        return outcome
    except LOST as error:
        told = " ".join(str(error).split()).partition(". ")[0]
        return Lost(job.name, f"{type(error).__name__}: {told}")
    except RayTaskError as error:
        cause = error.cause
        return Outcome(job.name, problem=f"{type(cause).__name__}: {cause}", trace=str(error))
    except RayError as error:
        return Outcome(job.name, problem=f"{type(error).__name__}: {' '.join(str(error).split())}")
