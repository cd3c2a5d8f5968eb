"""Truth that lies beside images or runs along with them: depth PNGs, KITTI poses, odometry between two stamps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from defeat_ros.data.compressed import decode_file, read_file
from defeat_ros.data.messages import stamp_from_message
from defeat_ros.errors import MessageError, SourceError
from defeat_ros.geometry import between_poses, rotation_from_quaternion, transform

MAX_POSE_GAP_NS = 100_000_000
"""How far the odometry may lie from an image before and after it, ns."""

_UNITS_PER_METRE = 256.0


def depth_file(image: Path) -> Path | None:
    """The depth PNG of an image: X_depth.png beside it, or KITTI's proj_depth/groundtruth; None where there is none."""
    places = [image.with_name(f"{image.stem}_depth.png")]
    if image.parent.name == "data":  # raw: DRIVE/image_02/data/X.png
        camera = image.parent.parent
        places.append(camera.parent / "proj_depth" / "groundtruth" / camera.name / f"{image.stem}.png")
    return next((place for place in places if place.is_file()), None)


def read_depth_png(path: Path) -> np.ndarray:
    """A depth map as KITTI stores it: 16 bit, metres times 256, 0 where nothing was measured.

    Returns:
        (H, W) float32, m; NaN where nothing was measured.

    Raises:
        MessageError: it cannot be read or is no 16 bit grey image.
    """
    try:
        values = decode_file(read_file(path), cv2.IMREAD_UNCHANGED)
    except MessageError as error:
        raise MessageError(f"depth {path} cannot be read: {error}", "bad_depth") from None
    if values.ndim != 2 or values.dtype != np.uint16:
        kind = f"{values.shape} {values.dtype}"
        raise MessageError(f"depth {path} is {kind}, expected a 16 bit grey PNG", "bad_depth")
    depth = values.astype(np.float32) / np.float32(_UNITS_PER_METRE)
    depth[values == 0] = np.nan
    return depth


def read_kitti_poses(path: Path) -> np.ndarray:
    """KITTI odometry's poses: on each line the first three rows of world-from-camera.

    Returns:
        (N, 4, 4) float64, m.

    Raises:
        SourceError: it cannot be read, or a line is no pose.
    """
    try:
        lines = path.read_text().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"poses {path} cannot be read: {error}") from None
    poses = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            pose = np.vstack([np.array(line.split(), np.float64).reshape(3, 4), [0.0, 0.0, 0.0, 1.0]])
        except ValueError:
            raise SourceError(f"line {number} of {path} is {line[:60]!r}, expected 12 numbers") from None
        rotation = pose[:3, :3]
        # Beyond 1e9 nothing is a rotation, and its square may overflow.
        if not (np.abs(pose).max() < 1e9 and np.abs(rotation @ rotation.T - np.eye(3)).max() <= 1e-2):
            raise SourceError(f"line {number} of {path} is {line[:60]!r}, expected a rotation and a translation")
        poses.append(pose)
    return np.array(poses).reshape(-1, 4, 4)


class PoseTrack:
    """Poses over time, interpolated between two that are near enough.

    Args:
        stamps_ns: (N,) in any order, ns.
        poses: (N, 4, 4), m.
        max_gap_ns: how far the pose before and the one after a time may be from it, ns.
    """

    def __init__(self, stamps_ns: Sequence[int], poses: np.ndarray, max_gap_ns: int = MAX_POSE_GAP_NS) -> None:
        stamps = np.array(stamps_ns, np.int64)
        self.stamps_ns, first = np.unique(stamps, return_index=True)
        self.poses = np.asarray(poses, np.float64).reshape(-1, 4, 4)[first]
        self._max_gap_ns = max_gap_ns

    def at(self, stamp_ns: int) -> np.ndarray | None:
        """The pose (4, 4) at a time: translation along the line, rotation about one axis; None where none is near.

        Nothing is carried on before the first pose or beyond the last.
        """
        after = int(np.searchsorted(self.stamps_ns, stamp_ns))
        if after == len(self.stamps_ns):
            return None
        if self.stamps_ns[after] == stamp_ns:
            return np.array(self.poses[after])
        before = after - 1
        if before < 0:
            return None
        past, ahead = stamp_ns - int(self.stamps_ns[before]), int(self.stamps_ns[after]) - stamp_ns
        if max(past, ahead) > self._max_gap_ns:
            return None
        return between_poses(self.poses[before], self.poses[after], past / (past + ahead))


def pose_from_odometry(message: Any) -> tuple[int, np.ndarray]:
    """Stamp, ns, and pose (4, 4) of the child frame of a nav_msgs/Odometry.

    Raises:
        MessageError: its quaternion is no rotation or its position is not finite.
    """
    p, q = message.pose.pose.position, message.pose.pose.orientation
    try:
        rotation = rotation_from_quaternion(q.x, q.y, q.z, q.w)
    except ValueError as error:
        raise MessageError(f"pose of the odometry cannot be used: {error}", "bad_pose") from None
    position = np.array([p.x, p.y, p.z])
    if not np.isfinite(position).all():
        raise MessageError(f"position of the odometry is {position.tolist()}, expected finite numbers", "bad_pose")
    return stamp_from_message(message), transform(rotation, position)
