"""Trajectories from files and bags, and which poses of two of them belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from defeat_ros.data.bag import BagReader
from defeat_ros.data.recording import is_bag
from defeat_ros.data.truth import pose_from_odometry, read_kitti_poses
from defeat_ros.errors import MessageError, SourceError
from defeat_ros.geometry import BODY_FROM_OPTICAL, rotation_from_quaternion, transform

TRUTH_TOPICS, ESTIMATE_TOPICS = ("/truth/odom", "/odom"), ("/odom", "/truth/odom")
"""Taken from a bag, in this order, where none is named."""

_ODOMETRY = "nav_msgs/msg/Odometry"


@dataclass(frozen=True)
class Trajectory:
    """Poses of a body over time.

    Attributes:
        name: where it came from.
        stamps_ns: (N,) int64 rising, ns; None where only the order is known.
        poses: (N, 4, 4) float64, world_from_body; m, or units of their own.
        body: what is posed: 'camera' (optical axes), the child frame of an odometry, '' where nothing is told.
        axes: of the world: 'optical' (y down), 'ros' (z up), '' where nothing is told.
        warnings: what the user should know.
    """

    name: str
    stamps_ns: np.ndarray | None
    poses: np.ndarray
    body: str = ""
    axes: str = ""
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, posed: Sequence[tuple[int, np.ndarray]], **told: Any) -> Trajectory:
        """From stamps, ns, and poses (4, 4) in any order; the first one counts of those with the same stamp."""
        stamps, first = np.unique(np.array([stamp for stamp, _ in posed], np.int64), return_index=True)
        return cls(name, stamps, np.array([posed[index][1] for index in first]).reshape(-1, 4, 4), **told)

    @property
    def optical_body(self) -> bool:
        """Whether what is posed has optical axes (REP 103: the name ends in 'optical' or 'optical_frame')."""
        return self.body == "camera" or self.body.endswith(("_optical", "_optical_frame"))


def read_trajectory(path: Path, topic: str | None = None, preferred: Sequence[str] = TRUTH_TOPICS) -> Trajectory:
    """A trajectory from a bag's odometry, a KITTI file (12 numbers a line) or a TUM file (t x y z qx qy qz qw).

    Args:
        path: the bag or file; the numbers of its first line tell which format it has.
        topic: nav_msgs/Odometry of a bag; None: the first of `preferred` that it has, else its only one.
        preferred: names of topics.

    Raises:
        SourceError: it cannot be read, is neither, or has fewer than two poses.
    """
    if not path.exists():
        raise SourceError(f"trajectory {path} does not exist")
    if is_bag(path):
        made = _from_bag(path, topic, preferred)
    elif topic is not None:
        raise SourceError(f"{path} is not a bag and has no topic {topic!r}")
    elif path.is_dir():
        raise SourceError(f"{path} is a folder without a bag, expected a bag, a KITTI or a TUM file")
    else:
        made = _from_file(path)
    if len(made.poses) < 2:
        raise SourceError(f"trajectory {path} has {len(made.poses)} poses, expected at least 2")
    return made


def _from_file(path: Path) -> Trajectory:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"trajectory {path} cannot be read: {error}") from None
    rows = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    columns = len(rows[0][1].replace(",", " ").split()) if rows else 0
    if columns == 12:
        return Trajectory(path.name, None, read_kitti_poses(path), body="camera", axes="optical")
    if columns != 8:
        shown = rows[0][1][:60] if rows else ""
        raise SourceError(f"trajectory {path} begins with {shown!r}, expected 12 (KITTI) or 8 (TUM) numbers a line")
    return Trajectory.of(path.name, [_tum_pose(path, number, line) for number, line in rows])


def _tum_pose(path: Path, number: int, line: str) -> tuple[int, np.ndarray]:
    try:
        words = line.replace(",", " ").split()
        x, y, z, qx, qy, qz, qw = (float(word) for word in words[1:])
        if not np.isfinite((x, y, z)).all():
            raise ValueError("the position is not finite")
        # Seconds since 1970 with nanoseconds have more digits than a float.
        seconds, _, fraction = words[0].partition(".")
        if fraction.isdecimal() and seconds.isdecimal():
            stamp = int(seconds) * 10**9 + int(fraction.ljust(9, "0")[:9])
        else:
            stamp = round(float(words[0]) * 1e9)
        if abs(stamp) >= 2**63:
            raise ValueError(f"the time is {words[0]}, expected seconds, not nanoseconds or the like")
        return stamp, transform(rotation_from_quaternion(qx, qy, qz, qw), np.array([x, y, z]))
    except (ValueError, OverflowError) as error:
        shown = f"line {number} of {path} is {line[:60]!r}"
        raise SourceError(f"{shown}, expected t x y z qx qy qz qw: {error!s:.200}") from None


def _from_bag(path: Path, topic: str | None, preferred: Sequence[str]) -> Trajectory:
    with BagReader(path) as bag:
        found = sorted(name for name, one in bag.topics.items() if one.type == _ODOMETRY)
        chosen = topic or next((name for name in preferred if name in found), None)
        if chosen is None and len(found) == 1:
            chosen = found[0]
        if chosen not in found:
            has = ", ".join(found) or "none"
            wanted = f"no odometry topic {chosen!r}" if chosen else "no odometry topic that stands out, name one"
            raise SourceError(f"bag {path} has {wanted}; its odometry topics: {has}")
        posed, unusable, body = [], 0, ""
        for message in bag.messages({chosen}):
            try:
                decoded = message.message
                posed.append(pose_from_odometry(decoded))
                body = body or str(decoded.child_frame_id).lstrip("/")
            except (MessageError, AttributeError):
                unusable += 1
    warnings = (f"{unusable} messages of {chosen} in {path} cannot be used",) if unusable else ()
    return Trajectory.of(f"{path.name} {chosen}", posed, body=body, axes="ros", warnings=warnings)


@dataclass(frozen=True)
class Matched:
    """Poses of two trajectories that belong together.

    Attributes:
        estimate, truth: (N, 4, 4) float64, in the order of time, of the same body's axes.
        stamps_ns: (N,) int64 of the truth, None where neither has times.
        unmatched: number of poses of the estimate and of the truth without partner.
        axes: of the truth's world.
        warnings: what the user should know.
    """

    estimate: np.ndarray
    truth: np.ndarray
    stamps_ns: np.ndarray | None
    unmatched: tuple[int, int]
    axes: str
    warnings: tuple[str, ...]


def match(estimate: Trajectory, truth: Trajectory, max_difference_s: float = 0.02) -> Matched:
    """Pair the poses: by the nearest time where both have times, else one by one.

    Every pose is used at most once. Where one trajectory poses a camera and the other a body with ROS axes (x
    forward), the latter is turned into the camera's axes; the lever arm between them stays unknown, with a warning.

    Raises:
        SourceError: fewer than two poses match, or they are to be paired by order and their numbers differ.
    """
    warnings = [*estimate.warnings, *truth.warnings]
    if estimate.stamps_ns is None or truth.stamps_ns is None:
        if len(estimate.poses) != len(truth.poses):
            raise SourceError(
                f"{estimate.name} has {len(estimate.poses)} poses, expected {len(truth.poses)} as {truth.name}: "
                "without times in both they are paired by their order"
            )
        left = right = np.arange(len(truth.poses))
        if (estimate.stamps_ns is None) != (truth.stamps_ns is None):
            warnings.append(f"{estimate.name} and {truth.name} are paired by order: only one of them has times")
        stamps = truth.stamps_ns if truth.stamps_ns is not None else estimate.stamps_ns
    else:
        left, right = _by_time(estimate.stamps_ns, truth.stamps_ns, round(max_difference_s * 1e9))
        stamps = truth.stamps_ns[right]
    if len(left) < 2:
        raise SourceError(
            f"{len(left)} poses of {estimate.name} and {truth.name} lie within {max_difference_s} s of each other, "
            "expected at least 2"
        )
    poses = [estimate.poses[left], truth.poses[right]]
    if estimate.optical_body != truth.optical_body and "" not in (estimate.body, truth.body):
        turned = 0 if truth.optical_body else 1
        poses[turned] = poses[turned] @ BODY_FROM_OPTICAL
        body = (estimate, truth)[turned].body
        warnings.append(f"{body!r} is turned into the camera's axes; where the camera sits on it is not known")
    unmatched = len(estimate.poses) - len(left), len(truth.poses) - len(right)
    return Matched(poses[0], poses[1], stamps, unmatched, truth.axes, tuple(warnings))


def _by_time(first: np.ndarray, second: np.ndarray, limit_ns: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the pairs of nearest times, the closest ones first, each index used once; in the order of time."""
    after = np.searchsorted(second, first)
    near = np.stack([np.clip(after - 1, 0, len(second) - 1), np.clip(after, 0, len(second) - 1)], axis=1)
    apart = np.abs(second[near] - first[:, None])
    pairs = [(int(apart[i, k]), i, int(near[i, k])) for i in range(len(first)) for k in (0, 1)]
    used_first, used_second, chosen = set[int](), set[int](), []
    for difference, i, j in sorted(pairs):
        if difference <= limit_ns and i not in used_first and j not in used_second:
            used_first.add(i)
            used_second.add(j)
            chosen.append((i, j))
    made = np.array(sorted(chosen), np.int64).reshape(-1, 2)
    return made[:, 0], made[:, 1]
