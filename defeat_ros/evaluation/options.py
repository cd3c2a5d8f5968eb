"""What is evaluated, and how; light enough for a command line that only wants to know its flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from defeat_ros.errors import ConfigError
from defeat_ros.settings import option

CROPS = ("none", "garg")

NIGHT_BELOW = 77.0
"""Median over a source of its frames' mean grey levels below which it counts as night.

Lies between the lit streets of the rendered nights (45 to 71) and the dullest days (cloudy KITTI and CamVid,
medians from 83). A long exposure under street lamps can be brighter than that: `--condition night` says so.
"""


def is_night(grey_levels: Sequence[float]) -> bool:
    """Whether a source counts as night, by the mean grey levels (0 to 255) of its frames; False without frames."""
    return len(grey_levels) > 0 and median(grey_levels) < NIGHT_BELOW


@dataclass(frozen=True)
class DepthEvaluation:
    """Options of `evaluate depth`."""

    max_depth: float = option(80.0, "truth beyond is ignored, predictions are cut there, m", minimum=0.1, maximum=1e4)
    crop: str = option("none", "part of the image that counts; garg: KITTI's protocol", choices=CROPS)
    crop_aspect: bool = option(False, "cut image and truth about their centre to the aspect that the networks see")
    every: int = option(1, "evaluate each n-th frame only", minimum=1, maximum=1_000_000)
    dark: int = option(0, "RoboDepth's dark corruption of the images, 1 to 5; 0: none", minimum=0, maximum=5)
    seed: int = option(0, "of the corruption's noise", minimum=0, maximum=2**32 - 1)
    condition: str = option(
        "auto",
        f"the light; auto: night where the median of the frames' mean grey levels is below {NIGHT_BELOW:g}",
        choices=("auto", "night", "day"),
    )
    baselines: bool = option(
        False, "also a constant depth and a depth by image row, both fitted to the very truth: optimistic priors"
    )

    def __post_init__(self) -> None:
        if self.crop != "none" and self.crop_aspect:
            raise ConfigError(f"crop is {self.crop!r}, expected 'none' with crop_aspect: it is one of whole images")


@dataclass(frozen=True)
class OdometryEvaluation:
    """Options of `evaluate odometry`."""

    max_difference: float = option(
        0.02, "poses whose times are farther apart do not belong together, s", minimum=0.0, maximum=10.0
    )
    moving: float = option(
        0.05, "direction counts on steps of the true path that are at least this long, m", minimum=0.0, maximum=100.0
    )


@dataclass(frozen=True)
class FeatureEvaluation:
    """Options of `evaluate features`."""

    offset: int = option(2, "frames by which the second recording's frame is later", minimum=0, maximum=1000)
    every: int = option(10, "measure one pair of frames in so many", minimum=1, maximum=100_000)
    tolerance_px: float = option(
        3.0, "how far from its true place a match may lie, px of the image", minimum=0.1, maximum=100.0
    )


@dataclass(frozen=True)
class PlannerEvaluation:
    """Options of `evaluate planner`."""

    every: int = option(
        1, "measure confidence and grid on each n-th frame only; the engine sees all", minimum=1, maximum=1_000_000
    )
    height_from_mount: bool = option(
        False, "take scale.camera_height_m of each bag from its /tf_static; its base must stand on the road"
    )
