"""How much two frames of a moving camera differ by depth: tracked corners whose common rotation is taken out.

A pair teaches depth only where near and far points move apart. A turn of the camera moves all bearings alike, a
standing camera moves none, and neither counts here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from defeat_ros.frame import CameraIntrinsics
from defeat_ros.geometry import rays, resize_intrinsics

TRACKING_WIDTH = 320
"""Widest image that corners are tracked in, px."""

MIN_TRACKS = 20
"""Fewer corners than this say nothing about a pair."""

MIN_SHARE = 0.2
"""Of the corners of the first frame, those that have to be found again; after a cut few are."""

PERCENTILE = 75.0
"""Of the corners' own motion: above what moves by itself before a standing camera, below the outliers."""

_CORNERS: dict[str, Any] = {"maxCorners": 300, "qualityLevel": 0.01, "minDistance": 5, "blockSize": 5}
_FLOW: dict[str, Any] = {
    "winSize": (15, 15),
    "maxLevel": 3,
    "criteria": (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 20, 0.02),
}
_BACK_AGAIN_PX = 0.5  # between a corner and what tracking forth and back makes of it
_ROUNDS = 10
_FLOOR_PX = 0.1  # tracking is not better than that
_MESS_PX, _MESS_SHARE = 0.5, 0.6  # motion across the epipolar lines above which a pair is not trusted

# Fixed for all frames, unlike a stretch of each by its own extremes, so that a corner keeps its grey levels; steep in
# the dark, where a night drive has all its detail.
_STRETCH = np.round(255 * np.log1p(np.arange(256) / 8) / np.log1p(255 / 8)).astype(np.uint8)


@dataclass(frozen=True)
class View:
    """What tracking needs of one frame.

    Attributes:
        grey: (h, w) uint8, stretched, at most `TRACKING_WIDTH` wide.
        camera: its camera, without distortion.
        corners: (N, 1, 2) float32 px; N may be 0.
    """

    grey: np.ndarray
    camera: CameraIntrinsics
    corners: np.ndarray


@dataclass(frozen=True)
class Parallax:
    """Motion between two frames that no rotation explains but one translation does.

    Attributes:
        pixels: along the epipolar lines, at `PERCENTILE` of the corners, px of the width that was asked for; NaN where
            it is not known.
        matches: (N, 4) float32, corners found in both frames: x, y in the first, x, y in the second, px of the width
            and height that were asked for.
    """

    pixels: float
    matches: np.ndarray

    @property
    def known(self) -> bool:
        """Whether there were enough corners to tell."""
        return bool(np.isfinite(self.pixels))

    @property
    def tracks(self) -> int:
        """Number of corners found in both frames."""
        return len(self.matches)


NOTHING_TRACKED = Parallax(np.nan, np.zeros((0, 4), np.float32))


def view(image: np.ndarray, camera: CameraIntrinsics) -> View:
    """Make a frame ready for tracking.

    Args:
        image: (H, W, 3) uint8 RGB, rectified.
        camera: its camera, without distortion.
    """
    width = min(TRACKING_WIDTH, image.shape[1])
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    grey = cv2.LUT(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), _STRETCH)
    corners = cv2.goodFeaturesToTrack(grey, **_CORNERS)
    found = np.zeros((0, 1, 2), np.float32) if corners is None else corners.reshape(-1, 1, 2)
    return View(grey, resize_intrinsics(camera, width, height), found)


def parallax(first: View, second: View, width: int, size_hw: tuple[int, int] | None = None) -> Parallax:
    """Measure the parallax of two frames.

    Args:
        first, second: the frames.
        width: px, of the image whose pixels the parallax is in.
        size_hw: of the image whose pixels the matches are in; None: that of the views.
    """
    if not len(first.corners) or first.grey.shape != second.grey.shape:
        return NOTHING_TRACKED
    before, after = _track(first, second)
    matches = _resized(np.hstack((before, after)), first.grey.shape, size_hw or first.grey.shape)
    if len(before) < max(MIN_TRACKS, MIN_SHARE * len(first.corners)):
        return Parallax(np.nan, matches)
    focal_px = first.camera.fx
    a, b = _bearings(before, first.camera), _bearings(after, second.camera)
    floor = _FLOOR_PX / focal_px
    along, across = _along_and_across(_unturned(a, b, floor), b, floor)
    size, mess = (float(np.percentile(values, PERCENTILE)) for values in (along, across))
    if mess > max(_MESS_PX / focal_px, _MESS_SHARE * size):  # noise, or things that move by themselves
        return Parallax(np.nan, matches)
    return Parallax(size * focal_px * width / first.camera.width, matches)


def _resized(matches: np.ndarray, old_hw: tuple[int, ...], new_hw: tuple[int, ...]) -> np.ndarray:
    """Matches (N, 4) in the pixels of another size, whose centres are whole numbers."""
    factor = np.array([new_hw[1] / old_hw[1], new_hw[0] / old_hw[0]] * 2)
    resized: np.ndarray = (matches + 0.5) * factor - 0.5
    return resized.astype(np.float32)


def _track(first: View, second: View) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the first frame and where they are in the second, (N, 2) px each."""
    there, found, _ = cv2.calcOpticalFlowPyrLK(first.grey, second.grey, first.corners, None, **_FLOW)
    back, again, _ = cv2.calcOpticalFlowPyrLK(second.grey, first.grey, there, None, **_FLOW)
    error = np.abs(back - first.corners).reshape(-1, 2).max(axis=1)
    height, width = first.grey.shape
    x, y = there.reshape(-1, 2).T
    inside = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    good = (found.ravel() == 1) & (again.ravel() == 1) & (error < _BACK_AGAIN_PX) & inside
    return first.corners.reshape(-1, 2)[good], there.reshape(-1, 2)[good]


def _bearings(points: np.ndarray, camera: CameraIntrinsics) -> np.ndarray:
    """Directions (N, 3) of unit length of pixels (N, 2)."""
    directions = rays(points, camera)
    bearings: np.ndarray = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return bearings


def _unturned(first: np.ndarray, second: np.ndarray, floor: float) -> np.ndarray:
    """The first bearings (N, 3) turned by the rotation that most of them share with the second.

    Kabsch's rotation (1976), fitted again and again with Cauchy weights, so that far points, which move by the
    rotation alone, outweigh near ones. `floor` is the accuracy of tracking, rad.
    """
    weights = np.ones(len(first))
    turned = first
    for _ in range(_ROUNDS):
        u, _, vt = np.linalg.svd((second * weights[:, None]).T @ first)
        rotation = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
        turned = first @ rotation.T
        weights = _cauchy(np.linalg.norm(second - turned, axis=1), floor)
    return turned


def _along_and_across(first: np.ndarray, second: np.ndarray, floor: float) -> tuple[np.ndarray, np.ndarray]:
    """Motion (N,) each, rad, between bearings free of rotation: along the epipolar lines of one translation, across.

    The translation t is orthogonal to the normals first x second of all true motions, so it is the direction in which
    they vary least, again with Cauchy weights. Where nothing but noise moves, both parts are alike.
    """
    normals = np.cross(first, second)
    weights = np.ones(len(first))
    translation = normals[0]
    for _ in range(_ROUNDS):
        translation = np.linalg.eigh((normals * weights[:, None]).T @ normals)[1][:, 0]
        weights = _cauchy(np.abs(normals @ translation), floor)
    planes = np.cross(first, translation)
    planes /= np.linalg.norm(planes, axis=1, keepdims=True) + 1e-9
    across = np.abs(np.einsum("nc,nc->n", second, planes))
    return np.sqrt(np.maximum(np.sum((second - first) ** 2, axis=1) - across**2, 0.0)), across


def _cauchy(error: np.ndarray, floor: float) -> np.ndarray:
    return 1.0 / (1.0 + (error / max(floor, 0.5 * float(np.median(error)))) ** 2)
