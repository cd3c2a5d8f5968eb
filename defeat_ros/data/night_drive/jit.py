"""Compilation with a disk cache that notices edits and does without a disk where none is writable."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit


def sources_digest() -> int:
    """A number that changes with any file of this package.

    numba looks only at the file of the function it loads from its cache, not at those of the functions inlined into
    it. Entry points close over this number, and numba keys its cache by closures, so a stale kernel is never loaded.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return int.from_bytes(digest.digest()[:6], "little")


def compiled(function: Callable[..., Any], *, parallel: bool = False) -> Callable[..., Any]:
    """Compile an entry point on first use, cached on disk where a directory is writable."""
    try:
        return njit(function, cache=True, parallel=parallel, error_model="numpy")
    except RuntimeError:  # numba found no directory to cache in: a read-only installation without a home
        return njit(function, parallel=parallel, error_model="numpy")


def device(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that only compiled code calls."""
    return njit(function, error_model="numpy")
