"""What one frame shows by itself: depth in constant units, the road in it, and how good the image is."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from defeat_ros.frame import CameraIntrinsics, ImageHealth
from defeat_ros.geometry import inverse_depth, pixel_rays
from defeat_ros.inference.costs import Costs
from defeat_ros.inference.ground import Ground, GroundFinder
from defeat_ros.inference.health import image_health
from defeat_ros.inference.scale import Level
from defeat_ros.inference.view import View

FARTHEST_HEIGHTS = 40.0
ON_ROAD = 0.1
"""Share of the plane's inverse depth within which a pixel is on it."""


@dataclass(frozen=True)
class Look:
    """A frame's depth at the networks' size.

    Attributes:
        inverse: (h, w) float32, 1 / depth as the network gave it.
        gain: what its depth is multiplied by to be in levelled units, the same from frame to frame.
        depth: (h, w) float32, levelled units.
        ground: the road in it, None where none was found.
        on_road, below_horizon: (h, w) bool, pixels on the road's plane, and those whose rays meet it within 40 heights.
        health: of the image.
    """

    inverse: np.ndarray
    gain: float
    depth: np.ndarray
    ground: Ground | None
    on_road: np.ndarray
    below_horizon: np.ndarray
    health: ImageHealth

    @property
    def mean_inverse(self) -> float:
        """Mean of `inverse`."""
        return float(np.mean(self.inverse, dtype=np.float64))


class Looker:
    """Looks at the frames of one camera, in order.

    Args:
        costs: are told what it takes.
    """

    REMEMBERED = ("level",)

    def __init__(self, costs: Costs) -> None:
        self._costs = costs
        self.level = Level()
        self._for: tuple[CameraIntrinsics | None, bytes] | None = None
        self._find: GroundFinder | None = None
        self._rays: np.ndarray | None = None

    def __call__(
        self,
        view: View,
        disp: np.ndarray,
        before: View | None,
        base_from_camera: np.ndarray,
        heading: np.ndarray | None,
        stamp_ns: int,
    ) -> Look:
        """Look at a frame.

        Args:
            view: it.
            disp: (h, w) float32, what the depth net said.
            before: the frame before, None where there is none.
            base_from_camera: (4, 4) pose of the optical frame on the base, which tells where down is.
            heading: (3,) direction in optical axes in which the camera has been moving, None where it is not known.
            stamp_ns: its time, ns.
        """
        camera, down = view.network_intrinsics, -base_from_camera[2, :3]
        if self._for != (camera, down.tobytes()):
            self._for = (camera, down.tobytes())
            self._find = GroundFinder(camera, down) if camera is not None else None
            self._rays = pixel_rays(camera) if camera is not None else None
        inverse = inverse_depth(disp)
        with self._costs.of("health"):
            earlier = _grey(before.network_image) if before is not None else None
            health = image_health(_grey(view.network_image), earlier)
        with self._costs.of("road"):
            ground = None
            if self._find is not None and not health.useless and "blurred" not in health.problems:
                ground = self._find(1.0 / inverse, view.network_seen, heading)
            gain = self.level(ground, stamp_ns)
            on_road = below = np.zeros(disp.shape, bool)
            if ground is not None:
                assert self._rays is not None
                expected = ground.inverse_depth(self._rays)
                below = expected > 1.0 / (FARTHEST_HEIGHTS * ground.height)
                on_road = below & (np.abs(inverse - expected) < ON_ROAD * expected)
                ground = Ground(ground.height * gain, ground.normal, ground.share)
        return Look(inverse, gain, np.float32(gain) / inverse, ground, on_road, below, health)


def _grey(image: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
