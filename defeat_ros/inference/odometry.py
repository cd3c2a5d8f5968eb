"""Accumulates the camera's steps into a trajectory with its covariance."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from defeat_ros.frame import Odometry, Scale
from defeat_ros.geometry import adjoint, invert

UNKNOWN_VARIANCE = np.array([1e6, 1e6, 1e6, np.pi**2, np.pi**2, np.pi**2])
"""Of a pose after an unobserved motion: anywhere, any heading."""

FLOOR_VARIANCE = np.array([1e-6, 1e-6, 1e-6, 1e-8, 1e-8, 1e-8])
"""A step is never more certain than this (units² and rad²); a covariance of zero would mean 'exact'."""


@dataclass(frozen=True)
class Step:
    """A step of the camera.

    Attributes:
        previous_from_camera: (4, 4), pose of the camera now in the camera before.
        covariance: (6, 6) of its translation and rotation, in the axes of the camera now.
        source, matches, inliers: see `frame.Odometry`.
    """

    previous_from_camera: np.ndarray
    covariance: np.ndarray
    source: str
    matches: int = 0
    inliers: float = 0.0

    def times(self, metres: float | None) -> Step:
        """The step in metres."""
        if metres is None or self.source == "lost":
            return self
        sizes = np.array([metres] * 3 + [1.0] * 3)
        moved = self.previous_from_camera.copy()
        moved[:3, 3] *= metres
        return replace(self, previous_from_camera=moved, covariance=self.covariance * np.outer(sizes, sizes))


LOST = Step(np.eye(4), np.diag(UNKNOWN_VARIANCE), "lost")


class OdometryTracker:
    """Chains steps of the camera.

    Errors of steps are taken for independent, but for that of the scale: it is the same in all, so that what it does to
    the pose grows with the path.
    """

    REMEMBERED = ("_segment", "_pose", "_pose_covariance", "_start")

    def __init__(self) -> None:
        self._segment = -1
        self._pose = np.eye(4)
        self._pose_covariance = np.diag(FLOOR_VARIANCE)
        self._start = np.zeros(3)

    def restart(self, keep_pose: bool) -> None:
        """Begin a new segment.

        Args:
            keep_pose: go on from the last pose, of which nothing is certain any more (the odometry frame stays
                continuous, REP 105); otherwise from the identity.
        """
        if keep_pose:
            self._pose_covariance = np.diag(UNKNOWN_VARIANCE)
        else:
            self._pose = np.eye(4)
            self._pose_covariance = np.diag(FLOOR_VARIANCE)
        self._start = self._pose[:3, 3].copy()
        self._segment += 1

    def first(self) -> Odometry:
        """The state at a segment's first frame."""
        return self._state(Step(np.eye(4), np.diag(UNKNOWN_VARIANCE), "start"), Scale(), 0.0)

    def step(self, step: Step, scale: Scale, dt_s: float) -> Odometry:
        """Chain one step, in units, that took `dt_s` (s, positive)."""
        step = step.times(scale.metres_per_unit)
        moved = step.previous_from_camera
        self._pose = self._pose @ moved
        # What was uncertain so far, seen from where the camera is now (Barfoot, State Estimation for Robotics, 7.3).
        carried = adjoint(invert(moved))
        self._pose_covariance = carried @ self._pose_covariance @ carried.T + step.covariance
        return self._state(step, scale, dt_s)

    def _state(self, step: Step, scale: Scale, dt_s: float) -> Odometry:
        turn = step.previous_from_camera[:3, :3].T
        travelled = self._pose[:3, :3].T @ (self._pose[:3, 3] - self._start)
        return Odometry(
            odom_from_camera=self._pose.copy(),
            previous_from_camera=step.previous_from_camera,
            dt_s=dt_s,
            step_covariance=step.covariance + _by_scale(turn @ step.previous_from_camera[:3, 3], scale),
            pose_covariance=self._pose_covariance + _by_scale(travelled, scale),
            segment=self._segment,
            source=step.source,
            matches=step.matches,
            inliers=step.inliers,
        )


def _by_scale(moved: np.ndarray, scale: Scale) -> np.ndarray:
    """What the scale's error does to a motion (3,): (6, 6)."""
    covariance = np.zeros((6, 6))
    if math.isfinite(scale.std):
        covariance[:3, :3] = scale.std**2 * np.outer(moved, moved)
    return covariance
