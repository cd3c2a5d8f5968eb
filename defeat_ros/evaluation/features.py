"""How well features find the same point in another image, against ORB's, where depth and motion are known."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from defeat_ros.frame import CameraIntrinsics
from defeat_ros.geometry import invert, rays

KEYPOINTS = 1000
SAME_DEPTH = 0.05
"""Largest relative difference of depth between a point and what the other image sees there; more is occlusion."""
_CHUNK = 256


@dataclass(frozen=True)
class View:
    """One image with its truth.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        features: (h, w, C) float, of unit length over C; h and w may be smaller than H and W.
        depth: (H, W) float, m; NaN unknown, +Inf sky.
        camera: of the image, without distortion.
        world_from_camera: (4, 4), m.
    """

    image: np.ndarray
    features: np.ndarray
    depth: np.ndarray
    camera: CameraIntrinsics
    world_from_camera: np.ndarray


@dataclass
class Matches:
    """Counts; they add up over pairs of images.

    Attributes:
        pairs: of images.
        points: ORB's keypoints of the first image whose true place in the second one is visible.
        repeatable: those with a keypoint of the second image within the tolerance of that place.
        orb: those whose nearest ORB descriptor lies there.
        features: those whose nearest feature, over all pixels of the second image, lies there.
        features_at_keypoints: the same among the second image's keypoints, as ORB has to choose.
    """

    pairs: int = 0
    points: int = 0
    repeatable: int = 0
    orb: int = 0
    features: int = 0
    features_at_keypoints: int = 0

    def add(self, other: Matches) -> None:
        """Add the counts of another pair."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def report(self) -> dict[str, float | int | None]:
        """Number of points, shares of them that were found, and ratios to ORB; None where there is nothing to share."""
        share = {name: count / self.points if self.points else None for name, count in vars(self).items()}
        ratio = {
            f"{name}_over_orb": getattr(self, name) / self.orb if self.orb else None
            for name in ("features", "features_at_keypoints")
        }
        return {**share, "pairs": self.pairs, "points": self.points, **ratio}


def match(first: View, second: View, tolerance_px: float) -> Matches:
    """Match ORB's keypoints of the first image in the second one, by ORB and by features.

    Args:
        first, second: two views of one world.
        tolerance_px: how far from its true place, in px of the second image, a match may lie.
    """
    orb = cv2.ORB_create(KEYPOINTS, fastThreshold=5)  # type: ignore[attr-defined]
    (here, mine), (there, theirs) = (_keypoints(orb, view.image) for view in (first, second))
    places, visible = true_places(here, first, second)
    here, mine, places = here[visible], mine[visible], places[visible]
    found = Matches(pairs=1, points=len(here))
    if not len(here):
        return found
    wanted = _sampled(first, here)
    height, width = second.features.shape[:2]
    rows, columns = np.divmod(_nearest(wanted, second.features.reshape(height * width, -1)), width)
    scale = np.array([second.image.shape[1] / width, second.image.shape[0] / height])
    dense = (np.stack([columns, rows], -1) + 0.5) * scale - 0.5
    found.features = _close(dense, places, tolerance_px)
    if len(there):
        nearest = np.linalg.norm(there[None] - places[:, None], axis=-1).min(1)
        found.repeatable = int((nearest <= tolerance_px).sum())
        found.features_at_keypoints = _close(there[_nearest(wanted, _sampled(second, there))], places, tolerance_px)
        pairs = cv2.BFMatcher(cv2.NORM_HAMMING).match(mine, theirs)
        chosen = np.array([pair.trainIdx for pair in pairs], int)
        found.orb = _close(there[chosen], places[[pair.queryIdx for pair in pairs]], tolerance_px)
    return found


def true_places(points: np.ndarray, first: View, second: View) -> tuple[np.ndarray, np.ndarray]:
    """Where points of one image lie in another.

    Args:
        points: (N, 2), x, y, px.
        first, second: their image and the other one.

    Returns:
        places (N, 2), px; and (N,) bool, whether the point is seen there: inside, not hidden, its depth known.
    """
    column, row = np.rint(points).astype(int).T
    depth = first.depth[row, column].astype(np.float64)
    known = np.isfinite(depth)
    local = rays(points, first.camera) * np.where(known, depth, 1.0)[:, None]
    second_from_first = invert(second.world_from_camera) @ first.world_from_camera
    moved = local @ second_from_first[:3, :3].T + second_from_first[:3, 3]
    ahead = known & (moved[:, 2] > 0.1)
    projected = moved @ second.camera.K.T
    places = projected[:, :2] / np.where(ahead, projected[:, 2], 1.0)[:, None]
    height, width = second.depth.shape
    inside = ahead & (places >= 0).all(1) & (places[:, 0] <= width - 1) & (places[:, 1] <= height - 1)
    column, row = np.where(inside[:, None], np.rint(places), 0).astype(int).T
    seen = second.depth[row, column]
    with np.errstate(invalid="ignore"):
        same = np.abs(seen - moved[:, 2]) <= SAME_DEPTH * moved[:, 2]
    return places, inside & same


def _keypoints(orb: cv2.ORB, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places (N, 2), px, and descriptors (N, 32)."""
    points, descriptors = orb.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
    if descriptors is None:
        return np.zeros((0, 2)), np.zeros((0, 32), np.uint8)
    return np.array([point.pt for point in points]).reshape(-1, 2), descriptors


def _sampled(view: View, points: np.ndarray) -> np.ndarray:
    """Features (N, C) at points (N, 2) of the image, between the pixels of their map."""
    height, width = view.features.shape[:2]
    scale = np.array([width / view.image.shape[1], height / view.image.shape[0]])
    at = (np.asarray(points, np.float32) + 0.5) * scale - 0.5
    x, y = (np.ascontiguousarray(at[:, k : k + 1], np.float32) for k in (0, 1))
    parts = [
        cv2.remap(np.ascontiguousarray(view.features[..., c], np.float32), x, y, cv2.INTER_LINEAR,
                  borderMode=cv2.BORDER_REPLICATE)[:, 0]
        for c in range(view.features.shape[2])
    ]  # fmt: skip
    return np.stack(parts, -1)


def _nearest(wanted: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """For each row the number of the candidate at the least distance."""
    # Squares are expanded: in float32, neighbours that differ by little would change places.
    wanted, candidates = wanted.astype(np.float64), candidates.astype(np.float64)
    squares = (candidates**2).sum(1)
    return np.concatenate([
        (squares - 2.0 * wanted[k : k + _CHUNK] @ candidates.T).argmin(1) for k in range(0, len(wanted), _CHUNK)
    ])  # fmt: skip


def _close(places: np.ndarray, truth: np.ndarray, tolerance_px: float) -> int:
    return int((np.linalg.norm(places - truth, axis=1) <= tolerance_px).sum())
