"""What can be chosen about a drive, and what one of its frames holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from defeat_ros.errors import ConfigError
from defeat_ros.frame import EPOCH_NS
from defeat_ros.settings import check, entries, option


@dataclass(frozen=True)
class DriveConfig:
    """Parameters of a rendered drive.

    Raises:
        ConfigError: a value is out of its range, or the drive is shorter than two frames.
    """

    seconds: float = option(20.0, "length of the drive, s", minimum=0.01, maximum=3600.0)
    fps: float = option(10.0, "frames per second, Hz", minimum=0.1, maximum=1000.0)
    night: bool = option(True, "night, or day in the same street")
    seed: int = option(1, "chooses the street, its traffic, the camera and its noise", minimum=0, maximum=2**31 - 1)
    varied: bool = option(False, "any kind of road, traffic and camera, drawn by the seed: to train on")
    size: tuple[int, int] = option((480, 352), "width and height of the images, px", minimum=32, maximum=4096)

    def __post_init__(self) -> None:
        for entry in entries(DriveConfig):
            object.__setattr__(self, entry.name, check(entry, getattr(self, entry.name)))
        if self.frame_count < 2:
            raise ConfigError(
                f"parameter 'seconds' is {self.seconds!r} at fps {self.fps!r}, expected at least two frames "
                f"({2 / self.fps:.3g} s)"
            )

    @property
    def frame_count(self) -> int:
        """Number of frames, the first at time zero."""
        # A hair of tolerance: 0.3 s at 10 Hz is three frames although 0.3 * 10 is a little less than 3.
        return int(self.seconds * self.fps + 1e-6)

    def stamp_ns(self, index: int) -> int:
        """Stamp of a frame, ns: the epoch plus a multiple of the period, rounded to the nanosecond once."""
        return EPOCH_NS + round(index * 1e9 / self.fps)


@dataclass(frozen=True)
class DriveFrame:
    """One rendered image with its truth.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        depth: (H, W) float32, metres along the optical z axis of the ray through each pixel centre (integer pixel
            coordinates); +Inf is sky.
        stamp_ns: time of the exposure, ns.
        world_from_camera: (4, 4) float64, pose of the optical frame (x right, y down, z forward) in a world with z up.
        velocity: (6,) float64, vx vy vz (m/s) wx wy wz (rad/s) of base_link in base_link.
    """

    image: np.ndarray
    depth: np.ndarray
    stamp_ns: int
    world_from_camera: np.ndarray
    velocity: np.ndarray
