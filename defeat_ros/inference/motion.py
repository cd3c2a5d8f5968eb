"""The camera's step between two frames, refined from tracked corners and the learned depth.

Corners of the frame now are tracked into the frame before (Lucas and Kanade, there and back). Each tells two numbers:
across its epipolar line it knows no depth and is as good as the tracking; along the line it is blurred by what the
depth may be wrong. Gauss-Newton under a robust kernel weighs both at once, so rotation and direction come from geometry
and only the length of the step from the learned depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from defeat_ros.frame import CameraIntrinsics
from defeat_ros.geometry import rays, rotation_from_vector, transform, vector_from_rotation

TRACKING_PX = 0.3
DEPTH_STD, ROAD_STD = 0.25, 0.06
"""Of the log depth of one corner, and of one on the road, whose depth the level has set right. So the road, if it has
corners, decides how long a step is: 1 % off on rendered drives, where all corners alike were 3 % off."""
ROUNDS = 12
KERNEL = 6.0
"""Squared distances beyond this many variances count little (Geman and McClure's kernel)."""
INLIER = 9.0
CORNERS, ROAD_CORNERS, ENOUGH_SHARE, APART_PX = 300, 150, 0.4, 7
QUALITIES = (0.003, 0.0003)
"""Of the strongest corner; beside a lamp that dazzles the others are weak, and are asked for again."""
LEAST_MATCHES, LEAST_INLIERS = 25, 0.5
PRIOR_TURN_RAD, PRIOR_ASIDE, PRIOR_LENGTH = 0.02, 0.2, 0.5
"""How far the step may be from the guess: its rotation, and its direction and length as shares of the length."""
PRIOR_LEAST = 0.3
"""Of the guess's length in this, units: who stands may start."""
LENGTH_STD = 0.08
"""What depth that is wrong as a whole does to the length of a step."""
STILL_PX, STILL_SHARE, STAYS_STILL_SHARE, LEAVES_PX = 0.25, 0.6, 0.4, 0.5
"""The camera stands where so large a share of the corners moves less than this; it goes on standing by the second, as
noise and traffic move some, or while what agrees with one step moves less than the last."""
WINDOW = {
    "winSize": (15, 15),
    "maxLevel": 3,
    "criteria": (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 0.01),
    "flags": cv2.OPTFLOW_USE_INITIAL_FLOW,
}


@dataclass(frozen=True)
class Matches:
    """Corners of the frame now, and where they were in the frame before.

    Attributes:
        points, found: (N, 2) float64, pixels now and before.
        inverse: (N,) inverse depth now.
        depth_std: (N,) standard deviation of its logarithm.
    """

    points: np.ndarray
    found: np.ndarray
    inverse: np.ndarray
    depth_std: np.ndarray


@dataclass(frozen=True)
class Refined:
    """A step that tracked corners agree on.

    Attributes:
        previous_from_camera: (4, 4), translation in the depth's unit.
        covariance: (6, 6) of translation and rotation in the axes of the camera now.
        still: whether the camera stands; the step then is the identity.
        matches: number of corners that were tracked.
        inliers: share of them that agree with the step, 0 to 1.
    """

    previous_from_camera: np.ndarray
    covariance: np.ndarray
    still: bool
    matches: int
    inliers: float


def find_matches(
    now: np.ndarray,
    before: np.ndarray,
    inverse_depth: np.ndarray,
    usable: np.ndarray,
    on_road: np.ndarray,
    camera: CameraIntrinsics,
    guess: np.ndarray,
) -> Matches:
    """Track corners of the frame now into the frame before.

    Args:
        now, before: (H, W) uint8 grey images.
        inverse_depth: (h, w) float32 of the frame now, at any size.
        usable, on_road: (h, w) bool, where corners may be taken, and where the road is.
        camera: of the grey images.
        guess: (4, 4) previous_from_camera, where the search begins.
    """
    height, width = now.shape
    # The road's own corners are weak beside those of houses and lamps: they are looked for by themselves.
    points = np.concatenate([_corners(now, usable & ~on_road, CORNERS), _corners(now, usable & on_road, ROAD_CORNERS)])
    if not len(points):
        return Matches(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), np.zeros(0))
    scale = np.array([inverse_depth.shape[1] / width, inverse_depth.shape[0] / height])
    at = ((points + 0.5) * scale - 0.5).astype(np.float32)
    inverse = cv2.remap(inverse_depth, at[:, :1], at[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]
    column, row = np.clip(np.rint(at), 0, [inverse_depth.shape[1] - 1, inverse_depth.shape[0] - 1]).astype(int).T
    depth_std = np.where(on_road[row, column], ROAD_STD, DEPTH_STD)
    moved = rays(points, camera) @ guess[:3, :3].T + inverse[:, None] * guess[:3, 3]
    ahead = moved[:, 2] > 1e-3
    start = points.copy()
    focal, centre = _focal_centre(camera)
    start[ahead] = (moved[ahead, :2] / moved[ahead, 2:] * focal + centre).astype(np.float32)
    found, there, _ = cv2.calcOpticalFlowPyrLK(now, before, points, start, **WINDOW)  # type: ignore[call-overload]
    back, again, _ = cv2.calcOpticalFlowPyrLK(before, now, found, points.copy(), **WINDOW)  # type: ignore[call-overload]
    good = (there[:, 0] == 1) & (again[:, 0] == 1) & (np.linalg.norm(back - points, axis=1) < 0.5)
    good &= (found > 2).all(axis=1) & (found < [width - 3, height - 3]).all(axis=1)
    return Matches(*(part[good].astype(np.float64) for part in (points, found, inverse, depth_std)))


def _corners(image: np.ndarray, where: np.ndarray, most: int) -> np.ndarray:
    """(N, 2) float32 pixels."""
    mask = cv2.resize(where.astype(np.uint8), image.shape[::-1], interpolation=cv2.INTER_NEAREST)
    for quality in QUALITIES:
        corners = cv2.goodFeaturesToTrack(image, most, quality, APART_PX, mask=mask, blockSize=5)
        if corners is not None and len(corners) >= ENOUGH_SHARE * most:
            return np.asarray(corners[:, 0])
    return np.zeros((0, 2), np.float32) if corners is None else np.asarray(corners[:, 0])


def refine_step(matches: Matches, camera: CameraIntrinsics, guess: np.ndarray, stood: bool) -> Refined | None:
    """The step that the matches agree on, near a guess; None where too few do.

    Args:
        matches: what `find_matches` gave.
        camera: the one it was given.
        guess: (4, 4) previous_from_camera.
        stood: whether the camera stood until the frame before.
    """
    points, found = matches.points, matches.found
    count = len(points)
    if count < LEAST_MATCHES:
        return None
    moved = np.linalg.norm(found - points, axis=1)
    stays = float(np.mean(moved < STILL_PX))
    if stays > (STAYS_STILL_SHARE if stood else STILL_SHARE):
        return Refined(np.eye(4), np.zeros((6, 6)), True, count, stays)
    directions, (focal, centre) = rays(points, camera), _focal_centre(camera)
    seen = (found - centre) / focal
    step = guess.copy()
    for index in range(ROUNDS):
        lines = _Linearised(step, directions, matches, seen, focal)
        weight = lines.weight(KERNEL * max(1.0, 16.0 * 0.5**index))
        information, pull = lines.normal_equations(weight)
        _add_prior(information, pull, step, guess)
        change = np.linalg.solve(information, pull)
        step = transform(rotation_from_vector(change[3:]) @ step[:3, :3], step[:3, 3] + change[:3])
        if index > 5 and float(np.linalg.norm(change)) < 1e-6:
            break
    agreeing = (lines.distance < INLIER) & lines.ahead
    inliers = float(np.mean(agreeing))
    if stood and agreeing.any() and float(np.median(moved[agreeing])) < LEAVES_PX:
        return Refined(np.eye(4), np.zeros((6, 6)), True, count, inliers)  # it is traffic that moves
    if inliers < LEAST_INLIERS or not np.isfinite(step).all():
        return None
    spread = float(np.mean(lines.distance[lines.distance < INLIER])) / 2.0  # 1 where residuals are as expected
    turn = np.kron(np.eye(2), step[:3, :3].T)
    along = np.concatenate([step[:3, 3], np.zeros(3)])
    covariance = np.linalg.inv(information) * max(spread, 1.0) + LENGTH_STD**2 * np.outer(along, along)
    return Refined(step, turn @ covariance @ turn.T, False, count, inliers)


class _Linearised:
    """Residuals of all matches under a step (R, t), and how they change with t + dt and exp(w) R."""

    def __init__(
        self, step: np.ndarray, directions: np.ndarray, matches: Matches, seen: np.ndarray, focal: np.ndarray
    ) -> None:
        inverse = matches.inverse
        turned = directions @ step[:3, :3].T
        moved = turned + inverse[:, None] * step[:3, 3]
        self.ahead = moved[:, 2] > 1e-3
        depth = np.where(self.ahead, moved[:, 2], 1.0)
        place = moved[:, :2] / depth[:, None]
        self._residual = seen - place
        share = inverse / depth
        self._jacobian = np.zeros((len(directions), 2, 6))
        for axis in range(2):
            self._jacobian[:, axis, axis] = share
            self._jacobian[:, axis, 2] = -place[:, axis] * share
        x, y, z = (turned / depth[:, None]).T
        # w x a, then projected: rows of d(place) / dw.
        self._jacobian[:, 0, 3:] = np.stack([-place[:, 0] * y, z + place[:, 0] * x, -y], axis=1)
        self._jacobian[:, 1, 3:] = np.stack([-z - place[:, 1] * y, place[:, 1] * x, x], axis=1)
        by_depth = share[:, None] * (step[:2, 3] - place * step[2, 3]) * matches.depth_std[:, None]
        covariance = by_depth[:, :, None] * by_depth[:, None, :]
        covariance[:, [0, 1], [0, 1]] += (TRACKING_PX / focal) ** 2
        self._inverse_covariance = np.linalg.inv(covariance)
        self.distance = np.einsum("ni,nij,nj->n", self._residual, self._inverse_covariance, self._residual)

    def weight(self, kernel: float) -> np.ndarray:
        return np.where(self.ahead, 1.0 / (1.0 + self.distance / kernel) ** 2, 0.0)

    def normal_equations(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        left = np.einsum("nia,nij,n->naj", self._jacobian, self._inverse_covariance, weight, optimize=True)
        return np.einsum("naj,njb->ab", left, self._jacobian, optimize=True), np.einsum(
            "naj,nj->a", left, self._residual
        )


def _add_prior(information: np.ndarray, pull: np.ndarray, step: np.ndarray, guess: np.ndarray) -> None:
    length = max(float(np.linalg.norm(guess[:3, 3])), PRIOR_LEAST)
    along = guess[:3, 3] / max(float(np.linalg.norm(guess[:3, 3])), 1e-9)
    aside = 1.0 / (PRIOR_ASIDE * length) ** 2
    shift = np.eye(3) * aside + np.outer(along, along) * (1.0 / (PRIOR_LENGTH * length) ** 2 - aside)
    information[:3, :3] += shift
    pull[:3] -= shift @ (step[:3, 3] - guess[:3, 3])
    turn = 1.0 / PRIOR_TURN_RAD**2
    information[3:, 3:] += np.eye(3) * turn
    pull[3:] -= turn * vector_from_rotation(step[:3, :3] @ guess[:3, :3].T)


def _focal_centre(camera: CameraIntrinsics) -> tuple[np.ndarray, np.ndarray]:
    return np.array([camera.fx, camera.fy]), np.array([camera.cx, camera.cy])
