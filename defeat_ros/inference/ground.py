"""The road in a depth map: a plane under the camera, found without knowing where the road is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from defeat_ros.frame import CameraIntrinsics
from defeat_ros.geometry import pixel_rays

STEP = 2
"""Every second row and column is looked at: a plane has three unknowns."""
HORIZON = 0.06
"""Rays that point less than this below the horizon (sine) tell nothing of the camera's height."""
NEAR_HEIGHTS, FAR_HEIGHTS = 3.0, 12.0
"""Where the plane is fitted, in heights of the camera: nearer is the bonnet's edge, farther the road bends."""
TOLERANCE = 0.06
"""A pixel within this share of the plane's inverse depth lies on it."""
ROUNDS = 10
LEAST_SHARE, LEAST_PIXELS = 0.12, 200
STEEPEST_RAD = np.deg2rad(12.0)
MOST_CLIMB_RAD = np.deg2rad(4.0)
"""A heading farther from the plane is none along the road: a drone, a hand, a wheel on the kerb."""
_LOG_HEIGHTS = np.arange(-4.0, 5.0, 0.05)


@dataclass(frozen=True)
class Ground:
    """A plane under the camera.

    Attributes:
        height: of the camera above it, in the depth's unit.
        normal: (3,) unit vector in optical axes, pointing down: `normal @ point == height` on the plane.
        share: of the pixels below the horizon and within the fitted range that lie on it, 0 to 1.
    """

    height: float
    normal: np.ndarray
    share: float

    def inverse_depth(self, rays: np.ndarray) -> np.ndarray:
        """1 / depth of the plane along rays (..., 3) with z = 1; zero and less at and above the horizon."""
        return rays @ (self.normal / self.height)


class GroundFinder:
    """Fits planes to depth maps of one camera.

    A plane's inverse depth is linear in the pixel: 1 / z = (normal / height) . ray. The mode of the heights that pixels
    imply under the expected normal starts a robust least-squares fit (Tukey's weights, narrowing). Vehicles drive along
    the road: where the direction of motion is known, the plane is made parallel to it, for learned depth bends roads
    up or down by half a degree, which is 3 % of the height at ten heights' distance.

    Args:
        camera: of the depth maps.
        down: (3,) unit vector in optical axes that points to the ground where the vehicle stands level.
    """

    def __init__(self, camera: CameraIntrinsics, down: np.ndarray) -> None:
        self._down = down
        rays = pixel_rays(camera)[::STEP, ::STEP].reshape(-1, 3)
        sine = rays @ down / np.linalg.norm(rays, axis=1)
        self._below = sine > HORIZON
        self._rays = rays[self._below]
        self._depression = self._rays @ down

    def __call__(
        self, units: np.ndarray, usable: np.ndarray | None = None, heading: np.ndarray | None = None
    ) -> Ground | None:
        """The ground of a depth map (H, W); None where no plane explains enough of what lies below the horizon.

        Args:
            units: (H, W) float32, positive.
            usable: (H, W) bool, False where the depth must not be relied on.
            heading: (3,) unit vector in optical axes along which the vehicle moves; None: not known.
        """
        inverse = 1.0 / units[::STEP, ::STEP].reshape(-1)[self._below].astype(np.float64)
        rays, depression = self._rays, self._depression
        if usable is not None:
            keep = usable[::STEP, ::STEP].reshape(-1)[self._below]
            inverse, rays, depression = inverse[keep], rays[keep], depression[keep]
        if len(inverse) < LEAST_PIXELS:
            return None
        start = _commonest(np.log(depression / inverse))
        found = _fitted(self._down / start, np.eye(3), rays, inverse)
        if found is not None and heading is not None:
            climb = float(found[0] @ heading) / float(np.linalg.norm(found[0]))
            if abs(climb) < np.sin(MOST_CLIMB_RAD):
                across = np.linalg.svd(heading[None])[2][1:].T  # (3, 2): all normals of planes along the heading
                found = _fitted(across @ (across.T @ found[0]), across, rays, inverse)
        if found is None:
            return None
        plane, share = found
        height = 1.0 / float(np.linalg.norm(plane))
        normal = plane * height
        if share < LEAST_SHARE or float(normal @ self._down) < np.cos(STEEPEST_RAD):
            return None
        return Ground(height, normal, share)


def _fitted(
    plane: np.ndarray, basis: np.ndarray, rays: np.ndarray, inverse: np.ndarray
) -> tuple[np.ndarray, float] | None:
    """Robust least squares for normal / height within the span of a basis (3, n), and the share of pixels on it.

    None where too few are.
    """
    reach, share = float(np.linalg.norm(plane)), 0.0
    for index in range(ROUNDS):
        expected = np.maximum(rays @ plane, 1e-6)
        heights = reach / expected  # distance in heights of the camera
        residual = inverse / expected - 1.0
        tolerance = max(TOLERANCE, 0.25 * 0.75**index)
        within = (heights > NEAR_HEIGHTS) & (heights < FAR_HEIGHTS)
        on_plane = within & (np.abs(residual) < tolerance)
        if on_plane.sum() < LEAST_PIXELS:
            return None
        weight = (1.0 - (residual[on_plane] / tolerance) ** 2) / expected[on_plane]
        weighted = (rays[on_plane] @ basis) * weight[:, None]
        try:
            plane = basis @ np.linalg.solve(weighted.T @ weighted, weighted.T @ (inverse[on_plane] * weight))
        except np.linalg.LinAlgError:
            return None
        share = float(on_plane.sum() / within.sum())
    return plane, share


def _commonest(log_heights: np.ndarray) -> float:
    """The height that most pixels imply, from a smoothed histogram of its logarithm."""
    counts, edges = np.histogram(log_heights, bins=_LOG_HEIGHTS)
    best = int(np.argmax(np.convolve(counts, [1, 2, 3, 2, 1], "same")))
    return float(np.exp((edges[best] + edges[best + 1]) / 2.0))
