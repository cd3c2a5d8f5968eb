"""Workers of a fleet as processes on this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from multiprocessing.connection import Connection, wait

from defeat_ros.inference.cores import own_cores, share_cores
from defeat_ros.inference.fleet import Event, Lost, Progress
from defeat_ros.inference.fleet_job import Job, Orders, do_job
from defeat_ros.startup import guard_umask, keep_memory, module_command

PATIENCE_S = 10.0
"""Time for a worker to end when told to."""


class LocalWorkers:
    """Processes on this machine, each with its share of the cores; they start with their first bag.

    Args:
        orders: what is the same for every bag.
        count: how many.
    """

    def __init__(self, orders: Orders, count: int) -> None:
        self.count = count
        self._orders, self._threads = orders, share_cores([len(os.sched_getaffinity(0))], count)
        self._idle: list[_Process] = []
        self._busy: dict[Connection, tuple[_Process, Job]] = {}

    def start(self, job: Job) -> None:
        """See `Workers.start`."""
        while self._idle:
            process = self._idle.pop()
            if process.send((self._orders, job)):
                break
            process.end()  # it died meanwhile
        else:
            process = _Process(self._threads)
            process.send((self._orders, job))  # where it is dead already, `wait` says so
        self._busy[process.connection] = (process, job)

    def wait(self) -> Sequence[Event]:
        """See `Workers.wait`."""
        events: list[Event] = []
        for connection in wait(list(self._busy)):
            assert isinstance(connection, Connection)
            process, job = self._busy[connection]
            try:
                event = connection.recv()
            except (EOFError, OSError):
                event = Lost(job.name, process.cause_of_death())
            if not isinstance(event, Progress):
                del self._busy[connection]
                if not isinstance(event, Lost):
                    self._idle.append(process)
            events.append(event)
        return events

    def close(self) -> None:
        """See `Workers.close`."""
        processes = [*self._idle, *(process for process, _ in self._busy.values())]
        for process in processes:
            process.terminate()
        for process in processes:
            process.end()
        self._idle, self._busy = [], {}


class _Process:
    """A worker, and the line to it.

    A pipe for each: what workers share, as a queue, is of no more use once one of them is killed while it has it.
    """

    def __init__(self, threads: int) -> None:
        self.connection, theirs = multiprocessing.Pipe()
        # A new interpreter, as torch's threads do not survive a fork; in a session of its own, for Ctrl-C on the
        # terminal is for the one who ends the workers.
        self._process = subprocess.Popen(
            module_command(__name__, str(theirs.fileno()), str(threads)),
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            start_new_session=True,
        )
        theirs.close()

    def send(self, task: tuple[Orders, Job]) -> bool:
        """Hand it a bag; False where it is dead."""
        try:
            self.connection.send(task)
        except OSError:
            return False
        return True

    def terminate(self) -> None:
        """Tell it to end, whatever it is at."""
        self._process.terminate()

    def end(self) -> None:
        """End it, and wait until it has."""
        self.connection.close()
        self.terminate()
        self._reap()

    def cause_of_death(self) -> str:
        """How it came to its end, after its line has broken."""
        self.connection.close()
        code = self._reap()
        if code >= 0:
            return f"worker {self._process.pid} ended with exit code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"worker {self._process.pid} was killed by {name}"

    def _reap(self) -> int:
        try:
            return self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def main(handle: int, threads: int) -> None:
    """The life of a worker: bags come in on the line, progress and outcomes go out, until it breaks."""
    guard_umask()
    keep_memory()
    line = Connection(handle)
    with own_cores(threads), contextlib.suppress(EOFError, OSError):
        while True:
            orders, job = line.recv()
            line.send(do_job(orders, job, partial(_report, line, job.name)))


def _report(line: Connection, name: str, frames: int) -> None:
    line.send(Progress(name, frames, os.getpid()))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
