"""Goes on when a runtime fails in the middle: the memory of the device runs out, a driver or library gives up."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection

import numpy as np
import torch

from defeat_ros.errors import BackendError
from defeat_ros.inference.backends.protocol import Backend, NetworkOutput

FAILURES_BEFORE_CHANGE = 3
"""In a row; fewer are a frame's misfortune."""
PATIENCE_S = 0.5
"""Least time between two attempts to change what runs: each takes about a second of loading."""
PROVEN_RUNS = 100
"""A runtime that was made anew and fails again before so many runs is not made a third time."""
TOLD = 300
"""Characters of a runtime's own words, which may be pages."""

Change = Callable[[Backend, str, str], None]
"""Is told of another backend: it, the reason why it runs, and what happened, a sentence."""


class SteadyBackend:
    """A backend that is changed for another one when it fails.

    A run that fails for want of memory is done again once what can be freed is free, then elsewhere: the frame is not
    lost. Any other failure costs its frame; after `FAILURES_BEFORE_CHANGE` in a row the runtime is made anew, and where
    that fails too, float32 PyTorch on the CPU takes over. Where nothing works each frame tries once more, so that it
    goes on as soon as the cause has gone.

    Args:
        backend: runs the networks for now.
        again: makes the first one anew, within a second or two; may raise anything.
        plain: makes float32 PyTorch on the CPU; may raise anything.
        changed: see `Change`; called by the thread that runs.
    """

    def __init__(
        self, backend: Backend, again: Callable[[], Backend], plain: Callable[[], Backend], changed: Change
    ) -> None:
        self._again, self._plain, self._changed = again, plain, changed
        self._take(backend)
        self._lock = threading.Lock()  # of what follows; held while another backend is made
        self._made = 0
        self._failures: Counter[bool] = Counter()  # in a row, of the pose net and of the others: one may fail alone
        self._good_runs = PROVEN_RUNS
        self._tried_s = float("-inf")

    def features_problem(self, size_hw: tuple[int, int]) -> str | None:
        """See `Backend.features_problem`."""
        return self._backend.features_problem(size_hw)

    def run(self, image: np.ndarray, earlier: np.ndarray | None, want: Collection[str]) -> NetworkOutput:
        """See `Backend.run`.

        Raises:
            BackendError: it failed; the next frame may be luckier.
        """
        backend, made, kind = self._backend, self._made, "pose" in want
        try:
            output = backend.run(image, earlier, want)
        except Exception as error:  # whatever a runtime raises
            return self._after(error, made, kind, lambda other: other.run(image, earlier, want))
        self._failures[kind] = 0
        self._good_runs += 1
        return output

    def _take(self, backend: Backend) -> None:
        self._backend = backend
        self.name, self.device, self.precision = backend.name, backend.device, backend.precision

    def _after(self, error: Exception, made: int, kind: bool, run: Callable[[Backend], NetworkOutput]) -> NetworkOutput:
        """The same run once more where there is hope."""
        with self._lock:
            if made != self._made:  # another thread's run failed too, and has led to a change already
                return _declared(run, self._backend)
            what = _called(self._backend)
            if out_of_memory(error):
                _free()
                with contextlib.suppress(Exception):  # then as below
                    return run(self._backend)
                return self._change(f"{what} ran out of memory ({_words(error)})", [self._plain], run)
            self._failures[kind] += 1
            problem = f"{what} failed: {_words(error)}"
            if self._failures[kind] < FAILURES_BEFORE_CHANGE or time.monotonic() - self._tried_s < PATIENCE_S:
                raise BackendError(problem) from error
            proven = self._good_runs >= PROVEN_RUNS
            makers = [self._again, self._plain] if proven else [self._plain]
            return self._change(f"{what} failed {self._failures[kind]} times in a row ({_words(error)})", makers, run)

    def _change(
        self, problem: str, makers: list[Callable[[], Backend]], run: Callable[[Backend], NetworkOutput]
    ) -> NetworkOutput:
        """Take the first of the backends that can be made and runs."""
        for make in makers:
            try:
                backend = make()
                output = run(backend)
            except Exception as error:  # whatever a runtime raises
                problem += f"; in vain: {_words(error)}"
                continue
            self._take(backend)
            self._made += 1
            self._failures.clear()
            self._good_runs = 0
            self._tried_s = time.monotonic()
            how = "made anew" if make is self._again else "the plain one"
            self._changed(backend, f"{how}: {problem}", f"{problem}; goes on with {_called(backend)}, {how}")
            return output
        self._good_runs = PROVEN_RUNS  # nothing works, so nothing is ruled out next time
        self._tried_s = time.monotonic()
        raise BackendError(problem)


def out_of_memory(error: BaseException) -> bool:
    """Whether a runtime's error says that memory ran out, of the device or of this machine."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    words = str(error).lower()
    return any(sign in words for sign in ("out of memory", "bad_alloc", "failed to allocate memory", "alloc_failed"))


def _free() -> None:
    """Give back memory that nobody uses."""
    gc.collect()
    if torch.cuda.is_initialized():
        with contextlib.suppress(RuntimeError):  # of a device that has given up altogether
            torch.cuda.empty_cache()


def _declared(run: Callable[[Backend], NetworkOutput], backend: Backend) -> NetworkOutput:
    try:
        return run(backend)
    except Exception as error:  # whatever a runtime raises
        raise BackendError(f"{_called(backend)} failed: {_words(error)}") from error


def _called(backend: Backend) -> str:
    return f"{backend.name} {backend.precision} on {backend.device}"


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:TOLD] or type(error).__name__
