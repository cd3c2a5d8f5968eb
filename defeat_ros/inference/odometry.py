"""Accumulates the camera's steps into a trajectory, with variances measured from the motion's own consistency."""

from __future__ import annotations

import numpy as np

from defeat_ros.frame import Odometry
from defeat_ros.geometry import adjoint, invert, vector_from_rotation

UNKNOWN_VARIANCE = np.array([1e6, 1e6, 1e6, np.pi**2, np.pi**2, np.pi**2])
"""Of a pose after an unobserved motion: anywhere, any heading."""

FLOOR_VARIANCE = np.array([1e-6, 1e-6, 1e-6, 1e-8, 1e-8, 1e-8])
"""A step is never more certain than this (units² and rad²); a covariance of zero would mean 'exact'."""

MEMORY = 0.8
"""Share of the past in the running mean of squared surprises."""


class OdometryTracker:
    """Chains steps of the camera.

    The variance of a step is the running mean of its squared surprise: how far it departs from going on like the
    step before. Vehicles move smoothly between frames, so surprises are mostly the estimator's error.
    """

    def __init__(self) -> None:
        self._segment = -1
        self._pose = np.eye(4)
        self._pose_covariance = np.diag(FLOOR_VARIANCE)
        self._step_variance: np.ndarray | None = None
        self._rate: np.ndarray | None = None

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
        self._step_variance = self._rate = None
        self._segment += 1

    def first(self) -> Odometry:
        """The state at a segment's first frame."""
        return self._state(np.eye(4), 0.0, UNKNOWN_VARIANCE)

    def step(self, previous_from_camera: np.ndarray, dt_s: float) -> Odometry:
        """Chain one step.

        Args:
            previous_from_camera: (4, 4), pose of the camera now in the camera before.
            dt_s: time between the two, s, positive.
        """
        motion = np.concatenate([previous_from_camera[:3, 3], vector_from_rotation(previous_from_camera[:3, :3])])
        surprise = (motion if self._rate is None else motion - self._rate * dt_s) ** 2
        known = self._step_variance
        self._step_variance = surprise if known is None else MEMORY * known + (1.0 - MEMORY) * surprise
        self._rate = motion / dt_s
        variance = np.maximum(self._step_variance, FLOOR_VARIANCE)
        self._pose = self._pose @ previous_from_camera
        # What was uncertain so far, seen from where the camera is now (Barfoot, State Estimation for Robotics, 7.3).
        carried = adjoint(invert(previous_from_camera))
        self._pose_covariance = carried @ self._pose_covariance @ carried.T + np.diag(variance)
        return self._state(previous_from_camera, dt_s, variance)

    def _state(self, step: np.ndarray, dt_s: float, variance: np.ndarray) -> Odometry:
        return Odometry(
            odom_from_camera=self._pose.copy(),
            previous_from_camera=step,
            dt_s=dt_s,
            step_covariance=np.diag(variance),
            pose_covariance=self._pose_covariance.copy(),
            segment=self._segment,
        )
