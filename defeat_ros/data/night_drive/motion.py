"""How the camera car drives: speed, place in the lane, bounce; pose and velocity follow from one function of time."""

from __future__ import annotations

import math

import numpy as np

from defeat_ros.data.night_drive.plan import Plan
from defeat_ros.data.night_drive.road import Road


class EgoMotion:
    """The car's motion along a road.

    Args:
        rng: draws speeds, wander and bounce.
        plan: of the drive.
        lane: offset of the lane's middle from the centre line, m (left positive).
    """

    def __init__(self, rng: np.random.Generator, plan: Plan, lane: float) -> None:
        self._lane = lane
        self._mean = rng.uniform(*plan.speed_mps)
        self._swing = np.array([2.2, 1.2]) * (plan.sway * rng.uniform(0.5, 1.0, 2))
        self._rate = 2 * math.pi / rng.uniform([9.0, 4.5], [16.0, 7.0])
        self._phase = rng.uniform(0, 2 * math.pi, 12)
        self._wander = plan.sway * rng.uniform(0.08, 0.25)
        self._bounce = rng.uniform(0.6, 1.2)

    def travelled(self, t: float) -> float:
        """Distance along the centre line since t = 0, m; on a plain street speed stays within 5 to 15 m/s."""
        p = self._phase[:2]
        return self._mean * t - float((self._swing / self._rate * (np.cos(self._rate * t + p) - np.cos(p))).sum())

    def offset(self, t: float) -> float:
        """Offset to the left of the centre line, m."""
        p = self._phase
        return self._lane + self._wander * (math.sin(0.45 * t + p[2]) + 0.4 * math.sin(1.1 * t + p[3]))

    def world_from_base(self, road: Road, t: float) -> np.ndarray:
        """Pose of base_link, (4, 4) float64."""
        s, d = self.travelled(t), self.offset(t)
        x, y, heading = road.pose(s, d)
        drift = (self.offset(t + 1e-3) - self.offset(t - 1e-3)) / max(
            self.travelled(t + 1e-3) - self.travelled(t - 1e-3), 1e-6
        )
        p, b = self._phase, self._bounce
        pitch = b * (0.006 * math.sin(5.1 * t + p[4]) + 0.003 * math.sin(9.3 * t + p[5]) + 0.004 * math.sin(t + p[6]))
        roll = b * (0.006 * math.sin(3.7 * t + p[7]) + 0.002 * math.sin(8.1 * t + p[8]))
        z = b * (0.012 * math.sin(7.3 * t + p[9]) + 0.006 * math.sin(12.7 * t + p[10]))
        pose = np.eye(4)
        pitch -= math.atan(float(road.slope(s)))
        pose[:3, :3] = rotation(roll, pitch, heading + math.atan(drift))
        pose[:3, 3] = x, y, z + float(road.elevation(s))
        return pose

    def velocity(self, road: Road, t: float) -> np.ndarray:
        """Velocity of base_link in base_link: (6,) float64, m/s and rad/s."""
        e = 1e-3
        before, now, after = (self.world_from_base(road, t + k * e) for k in (-1, 0, 1))
        linear = now[:3, :3].T @ (after[:3, 3] - before[:3, 3]) / (2 * e)
        spin = now[:3, :3].T @ (after[:3, :3] - before[:3, :3]) / (2 * e)
        return np.array([*linear, spin[2, 1], spin[0, 2], spin[1, 0]])


def rotation(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """Rotation from fixed-axis roll, pitch, yaw (rad): (3, 3) float64."""
    cr, sr, cp, sp, cy, sy = (f(a) for a in (roll, pitch, yaw) for f in (math.cos, math.sin))
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1.0]])
    turned: np.ndarray = about_z @ about_y @ about_x
    return turned
