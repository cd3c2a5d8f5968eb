"""Compilation with a disk cache that notices edits and does without a disk where none is writable."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])

# Loops written with prange only: every np.zeros made parallel as well would cost time to compile and to start.
_PRANGE = {"prange": True} | dict.fromkeys(
    ("comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion"), False
)


def sources_digest() -> int:
    """A number that changes with any file of this package.

    numba looks only at the file of the function it loads from its cache, not at those of the functions inlined into
    it. Entry points close over this number, and numba keys its cache by closures, so a stale kernel is never loaded.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return int.from_bytes(digest.digest()[:6], "little")


def compiled(function: F) -> F:
    """Compile an entry point on first use, its `prange` loops in parallel, cached where a directory is writable."""
    dispatcher: F
    try:
        dispatcher = njit(function, cache=True, parallel=_PRANGE, error_model="numpy")
    except RuntimeError:  # numba found no directory to cache in: a read-only installation without a home
        dispatcher = njit(function, parallel=_PRANGE, error_model="numpy")
    return dispatcher


def device(function: F) -> F:
    """A function that only compiled code calls and that allocates nothing.

    Without numba's runtime no arrays are reference counted: two threads that count the same few arrays at every call
    would fight over those counters. Without wrappers for callers from Python there is less to compile.
    """
    dispatcher: F = njit(function, error_model="numpy", _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)
    return dispatcher


def allocating(function: F) -> F:
    """A function that only compiled code calls and that returns new arrays."""
    dispatcher: F = njit(function, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
    return dispatcher
