"""Numbers about numbers, for diagnostics and summaries."""

from __future__ import annotations


def percentile(ordered: list[float], fraction: float) -> float:
    """The value at a fraction of a sorted list (nearest rank), NaN for an empty one."""
    return ordered[min(int(fraction * len(ordered)), len(ordered) - 1)] if ordered else float("nan")
