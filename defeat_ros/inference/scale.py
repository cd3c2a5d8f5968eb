"""From scene units to metres: a level that keeps units constant, and estimates of how many metres one is.

All in the logarithm of scale, where errors of a factor are symmetric.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from defeat_ros.frame import Scale
from defeat_ros.inference.config import ScaleConfig
from defeat_ros.inference.ground import Ground

WOBBLE = 0.10
"""By this (standard deviation of the log) the network's depth of a whole frame goes up and down about its mean;
measured on rendered drives (0.08 to 0.12) and on KITTI (0.15)."""
WOBBLE_MEMORY_S = 0.45
"""How long a frame's wobble lasts; measured: neighbours at 10 Hz differ by 5 % on average."""
LEVEL_DRIFT = 0.01
"""How much the level may change within a second: the camera is screwed on, loads and tyres change slowly."""
FARTHEST_OFF = 0.4
"""A ground this far from the level, in log height, is none; so is a motion this far from the others."""
REJECTED_BEFORE_RESTART = 20
LEARNED_STD, GROUND_BIAS_STD, MOTION_BIAS_STD = 0.25, 0.10, 0.05
"""What no average takes away: of a scale learned elsewhere, of the depth on the road against all depth (10 % rms
over 29 rendered drives: 2 % on plain streets, up to 30 % in jams), of translation against depth."""
MOTION_STD = 0.15
"""Of one frame's ratio of motions."""
AGEING, MOST_AGED = 0.02, 0.1
"""By how much the scale grows uncertain within a second without measurements, and at most; it is the same camera."""
FOLLOW = 0.085
"""The scale that is applied moves by at most this share of its standard deviation from frame to frame."""
REQUIRED_STD = 0.2
"""A scale more uncertain than this is not metric enough for `scale.required`; one that was only learned is not."""
CONFLICT = 3.0
"""Sources that are this many standard deviations apart contradict each other."""


class _Mean:
    """A slowly drifting quantity, measured again and again (Kalman's filter for one number).

    Measurements farther off than `farthest` do not count, until they have come so often that it must be the first ones
    that were wrong.
    """

    REMEMBERED = ("_rejected", "value", "variance", "count", "stamp_ns")

    def __init__(self, farthest: float) -> None:
        self._farthest = farthest
        self._rejected = 0
        self.value = 0.0
        self.variance = math.inf
        self.count = 0
        self.stamp_ns = 0

    def measure(self, value: float, std: float, stamp_ns: int) -> bool:
        """Take a measurement; False where it did not count."""
        if self.count and abs(value - self.value) > self._farthest:
            self._rejected += 1
            if self._rejected < REJECTED_BEFORE_RESTART:
                return False
            self.count = 0
        self._rejected = 0
        if self.count == 0:
            self.value, self.variance = value, std**2
        else:
            prior = self.variance + LEVEL_DRIFT**2 * abs(stamp_ns - self.stamp_ns) / 1e9
            gain = prior / (prior + std**2)
            self.value += gain * (value - self.value)
            self.variance = (1.0 - gain) * prior
        self.count += 1
        self.stamp_ns = stamp_ns
        return True


class Level:
    """Takes the network's wobble out of depth, by the height of the camera above the road, which does not change.

    Attributes:
        height: running mean of the log height, levelled units.
    """

    REMEMBERED = ("height", "_log_gain", "_stamp_ns")

    def __init__(self) -> None:
        self.height = _Mean(FARTHEST_OFF)
        self._log_gain = 0.0
        self._stamp_ns: int | None = None

    def __call__(self, ground: Ground | None, stamp_ns: int) -> float:
        """The factor for this frame's depth; where no ground is seen the last one fades to 1."""
        elapsed_s = 0.0 if self._stamp_ns is None else (stamp_ns - self._stamp_ns) / 1e9
        self._stamp_ns = stamp_ns
        if ground is not None and self.height.measure(math.log(ground.height), WOBBLE, stamp_ns):
            self._log_gain = self.height.value - math.log(ground.height)
        else:
            self._log_gain *= math.exp(-elapsed_s / WOBBLE_MEMORY_S)
        return math.exp(self._log_gain)


@dataclass(frozen=True)
class _Source:
    name: str
    log_scale: float
    variance: float
    stamp_ns: int | None


class ScaleEstimator:
    """Metres per levelled unit, from whatever `scale.mode` allows.

    Args:
        config: mode, camera height, fixed value.
        learned: metres per unit that the training gave the weights, None where it gave none.
    """

    REMEMBERED = ("_motion", "_applied")

    def __init__(self, config: ScaleConfig, learned: float | None) -> None:
        self._config = config
        self._learned = learned if config.mode == "auto" else None
        self._motion = _Mean(FARTHEST_OFF)
        self._applied: float | None = None

    def measure_motion(self, metres: float, units: float, stamp_ns: int) -> None:
        """A motion as odometry measured it, m, and as it was predicted, levelled units."""
        self._motion.measure(math.log(metres / units), MOTION_STD, stamp_ns)

    def __call__(self, level: Level, stamp_ns: int) -> Scale:
        """The scale to apply to this frame."""
        if self._config.mode in ("none", "fixed"):
            fixed = self._config.mode == "fixed"
            return Scale(self._config.value if fixed else None, 0.0 if fixed else math.inf, self._config.mode, 0.0)
        sources = self._sources(level, stamp_ns)
        if not sources:
            return Scale(None, math.inf, "none", 0.0)
        weights = [1.0 / source.variance for source in sources]
        fused = sum(w * source.log_scale for w, source in zip(weights, sources, strict=True)) / sum(weights)
        apart = sum(w * (source.log_scale - fused) ** 2 for w, source in zip(weights, sources, strict=True))
        # What contradicts itself is less certain than its parts say (Birge's ratio).
        variance = max(1.0, apart / max(len(sources) - 1, 1)) / sum(weights)
        if self._applied is None:
            self._applied = fused
        behind = fused - self._applied
        limit = FOLLOW * math.sqrt(variance + behind**2)
        self._applied += min(max(behind, -limit), limit)
        std = math.sqrt(variance + (fused - self._applied) ** 2)
        stamps = [source.stamp_ns for source in sources if source.stamp_ns is not None]
        age_s = (stamp_ns - max(stamps)) / 1e9 if stamps else 0.0
        name = "+".join(source.name for source in sources)
        warning = self._warning(sources, fused, apart)
        return Scale(math.exp(self._applied), std, name, age_s, warning)

    def _warning(self, sources: Sequence[_Source], fused: float, apart: float) -> str:
        """What sources say that contradict each other, or all of them the training; '' where they agree."""
        said = {source.name: source.log_scale for source in sources}
        if self._learned is not None and "learned" not in said:
            off = math.log(self._learned) - fused
            if abs(off) > CONFLICT * math.hypot(LEARNED_STD, GROUND_BIAS_STD):
                apart, said = math.inf, {**said, "learned": math.log(self._learned)}
        if apart <= CONFLICT**2:
            return ""
        return ", ".join(f"{name} says {math.exp(value):.2f} m a unit" for name, value in said.items())

    def _sources(self, level: Level, stamp_ns: int) -> list[_Source]:
        """What was measured, most certain first; what was learned elsewhere only where nothing is measured."""
        mode, height = self._config.mode, self._config.camera_height_m
        found = []
        if mode in ("auto", "camera_height") and height > 0 and level.height.count:
            log_scale = math.log(height) - level.height.value
            variance = GROUND_BIAS_STD**2 + _aged(level.height, stamp_ns)
            found.append(_Source("camera_height", log_scale, variance, level.height.stamp_ns))
        if mode in ("auto", "odometry") and self._motion.count:
            variance = MOTION_BIAS_STD**2 + _aged(self._motion, stamp_ns)
            found.append(_Source("odometry", self._motion.value, variance, self._motion.stamp_ns))
        if not found and self._learned is not None:
            return [_Source("learned", math.log(self._learned), LEARNED_STD**2, None)]
        return sorted(found, key=lambda source: source.variance)


def _aged(mean: _Mean, stamp_ns: int) -> float:
    return mean.variance + min(AGEING * (stamp_ns - mean.stamp_ns) / 1e9, MOST_AGED) ** 2
