"""Notices when training has settled on an answer that explains nothing, and says so instead of training on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from defeat_ros.geometry import FARTHEST_UNIT, NEAREST_UNIT

FLAT = 0.02
"""Standard deviation of log depth within an image below which it is flat; road scenes have 0.5 to 1."""
STILL = 1e-3
"""Motion between frames, in mean depths, below which there is none; samples, chosen by motion, have 0.01 to 0.2."""
ENDS = (1.05 * NEAREST_UNIT, 0.95 * FARTHEST_UNIT)
"""Mean depth outside of which the scale has run away to an end of the networks' range."""
MEMORY = 0.98
PATIENCE = 300
"""Steps for which a sign must last; also the steps at the start during which nothing is judged."""


class CollapseWatch:
    """Watches running means of the health that `Learner` reports.

    Args:
        moving: whether motion is learned.
        memory: what it keeps between steps, plain values; that of an earlier watch lets this one go on.
    """

    def __init__(self, moving: bool, memory: dict[str, Any] | None = None) -> None:
        self._moving = moving
        self.memory: dict[str, Any] = memory if memory is not None else {}
        for name, start in (("means", {}), ("since", {}), ("steps", 0)):
            self.memory.setdefault(name, start)
        self._means: dict[str, float] = self.memory["means"]
        self._since: dict[str, int] = self.memory["since"]

    def see(self, terms: Mapping[str, float]) -> str | None:
        """Take in one step; a sentence once a sign of collapse has lasted, else None.

        Args:
            terms: with `health/depth_spread`, `health/mean_depth` and, where motion is learned, `health/motion`; none
                of them where no depth is learned, and then nothing is judged.
        """
        self.memory["steps"] += 1
        for name, value in terms.items():
            if name.startswith("health/"):
                self._means[name] = MEMORY * self._means.get(name, value) + (1 - MEMORY) * value
        for name, sign in self._signs().items():
            self._since[name] = self._since.get(name, 0) + 1 if sign else 0
            if sign and self.memory["steps"] > PATIENCE and self._since[name] >= PATIENCE:
                return sign
        return None

    def _signs(self) -> dict[str, str]:
        if "health/depth_spread" not in self._means:
            return {}
        spread, depth = self._means["health/depth_spread"], self._means["health/mean_depth"]
        signs = {
            "flat": f"the depth is flat (log depth varies by {spread:.3g} within an image)" if spread < FLAT else "",
            "scale": "" if ENDS[0] < depth < ENDS[1] else f"the scale ran away (mean depth {depth:.3g} units)",
        }
        motion = self._means.get("health/motion")
        if self._moving and motion is not None:
            signs["motion"] = f"the motion is zero ({motion:.2g} mean depths a step)" if motion < STILL else ""
        return signs
