"""A process that takes inputs, watched: it may raise, hang, grow or die, and all of these are told apart."""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import shutil
import tempfile
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fuzz import Target, random_for, targets, write

LIMIT_S = 10.0
GROWTH_MB = 640
"""More than the process had before; the largest picture that is decoded takes 270 MB, and as much as RGB."""
SPACE_MB = 4000
"""What an input may ask of the system at all; keeps the machine alive."""
MARKER = "FUZZ_MARKER"
"""Environment variable: a file that hostile code in an input would make."""
GOOD = ("accepted", "refused")


@dataclass(frozen=True)
class Verdict:
    """What came of an input: 'accepted', 'refused', 'traceback', 'hang', 'memory', 'crash' or 'code run'."""

    kind: str
    detail: str = ""
    seconds: float = 0.0
    grown_mb: int = 0


def judge(target: Target, made: Any, folder: Path) -> Verdict:
    """Give an input to its parser in this process and see what comes out."""
    from defeat_ros.errors import DefeatError

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    marker = Path(os.environ[MARKER])
    before, started = _forget_peak(), time.monotonic()
    try:
        target.use(made, folder)
        kind, detail = "accepted", ""
    except DefeatError as error:
        kind, detail = "refused", f"{type(error).__name__}: {error}"
        if len(detail) > 5000:
            kind, detail = "traceback", f"a message of {len(detail)} characters: {detail[:300]}"
    except Exception:
        kind, detail = "traceback", traceback.format_exc()[-3000:]
    seconds, grown = time.monotonic() - started, _memory("VmHWM") - before
    if marker.exists():
        marker.unlink()
        kind, detail = "code run", f"the input's code was run; {detail}"
    elif grown > GROWTH_MB and kind in GOOD:
        kind, detail = "memory", f"{grown} MB; {detail}"
    return Verdict(kind, detail, seconds, grown)


class Guard:
    """Runs inputs in a process of their own and outlives it; use it as a context manager."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._context = multiprocessing.get_context("spawn")
        self.process: Any = None
        self._pipe: Connection | None = None

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def run(self, target: str, seed: int, index: int) -> Verdict:
        """The verdict on one input."""
        if self.process is None:
            self._start()
        assert self._pipe is not None
        started = time.monotonic()
        # Making seeds and importing torch is no fault of the input: the child says when it begins.
        try:
            self._pipe.send((target, seed, index))
            if not self._pipe.poll(120):
                raise TimeoutError
            if (said := self._pipe.recv()) != "begun":
                self._stop()
                raise RuntimeError(f"{target} input {index} of seed {seed} cannot be made:\n{said}")
            if self._answers():
                return Verdict(*self._pipe.recv())
        except (EOFError, ConnectionError):
            self.process.join()
            code = self.process.exitcode
            self._stop()
            return Verdict("crash", f"the process ended with {code}", time.monotonic() - started)
        except TimeoutError:
            self._stop()
            return Verdict("hang", "before the parser began", time.monotonic() - started)
        self._stop()
        return Verdict("hang", f"works longer than {self._limit_s:g} s", self._limit_s)

    def _answers(self) -> bool:
        """Wait for the verdict; False where the process worked for too long, or sleeps for much longer."""
        assert self._pipe is not None
        began, deadline = _worked_s(self.process.pid), time.monotonic() + 6 * self._limit_s
        while not self._pipe.poll(1.0):
            # Its own time, not the clock's: others may keep the machine busy.
            if _worked_s(self.process.pid) - began > self._limit_s or time.monotonic() > deadline:
                return False
        return True

    def _start(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        self.process = self._context.Process(target=_serve, args=(theirs, os.getpid()), daemon=True)
        self.process.start()
        theirs.close()

    def _stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None


def _serve(pipe: Connection, parent: int) -> None:
    known = targets()
    seeds: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="fuzz_") as scratch:
        os.environ[MARKER] = str(Path(scratch) / "marker")
        os.chdir(scratch)
        while os.getppid() == parent:
            try:
                name, seed, index = pipe.recv()
            except EOFError:
                return
            target = known[name]
            try:
                if name not in seeds:
                    place = Path(scratch) / "seeds" / name
                    place.mkdir(parents=True)
                    seeds[name] = target.seeds(place)
                made = target.make(seeds[name], random_for(name, seed, index))
            except Exception:
                pipe.send(traceback.format_exc())
                raise
            _limit_space()
            pipe.send("begun")
            verdict = judge(target, made, Path(scratch) / "use")
            pipe.send((verdict.kind, verdict.detail, verdict.seconds, verdict.grown_mb))


def keep(target: str, seed: int, index: int, folder: Path) -> Path:
    """Write an input to a file or folder, made anew from its seed."""
    place = folder / f"{target}_{seed}_{index}"
    with tempfile.TemporaryDirectory(prefix="fuzz_") as scratch:
        os.environ.setdefault(MARKER, str(Path(scratch) / "marker"))
        known = targets()[target]
        return write(place, known.make(known.seeds(Path(scratch)), random_for(target, seed, index)))


def _worked_s(pid: int) -> float:
    """Processor time that a process has used, s; 0 where it is gone."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def _memory(name: str) -> int:
    """A line of the process' status, MB."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) // 1024


def _forget_peak() -> int:
    """Set the peak of the resident memory back to what is used now; returns that, MB."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _memory("VmRSS")


def _limit_space() -> None:
    limit = (_memory("VmSize") + SPACE_MB) * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
