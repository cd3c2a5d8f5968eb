"""Motion as another odometry measured it (wheels, GNSS, lidar), for the scale."""

from __future__ import annotations

import threading
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from defeat_ros.geometry import between_poses, invert, vector_from_rotation

KEPT = 2000
"""Poses: 10 s at 200 Hz."""
LONGEST_GAP_NS = 500_000_000
"""Between two poses that are interpolated."""
FASTEST_MPS = 120.0
"""What moves faster between two poses has jumped."""
PATIENCE_NS = 3_000_000_000
"""How long a motion of the camera waits for the odometry of its time."""
SPAN, SLOWEST_MPS, MOST_TURN_RAD = 0.5, 0.1, 0.2
"""Steps are taken together until they are this long (m, and units); those that are slow or mostly turn tell nothing."""
GIVEN_UP_BEFORE_TOLD = 10


@dataclass(frozen=True)
class Pending:
    """A motion of the camera that waits for the odometry of its time."""

    start_ns: int
    end_ns: int
    units: float


class MeasuredMotion:
    """Holds the latest poses of the base and tells how far the camera moved between two times.

    Poses may come from another thread than questions, and later than the images of their time.

    Args:
        base_frame: child frame that the odometry must have.
    """

    REMEMBERED = ("_stamps", "_poses", "_frame", "_pending", "_given_up", "_chain")

    def __init__(self, base_frame: str) -> None:
        self._base_frame = base_frame.lstrip("/")
        self._lock = threading.Lock()
        self._stamps: list[int] = []
        self._poses: list[np.ndarray] = []
        self._frame: str | None = None
        self._pending: list[Pending] = []
        self._given_up = 0
        self._chain: tuple[int, np.ndarray] | None = None

    def alive(self, now_ns: int) -> bool:
        """Whether there is anything to compare a frame of this time with."""
        with self._lock:
            return bool(self._stamps) and abs(now_ns - self._stamps[-1]) < PATIENCE_NS

    def complaint(self, now_ns: int) -> str | None:
        """What is wrong with the odometry as a whole, None where nothing is: its times must be those of the frames."""
        with self._lock:
            if not self._stamps:
                return None
            late_s = (now_ns - self._stamps[-1]) / 1e9
            if abs(late_s) < PATIENCE_NS / 1e9 and self._given_up < GIVEN_UP_BEFORE_TOLD:
                return None
        way = "before" if late_s > 0 else "after"
        return f"odom_in does not cover the times of the frames: its latest pose is {abs(late_s):.2f} s {way} this one"

    def add(self, stamp_ns: int, odom_from_base: np.ndarray, frame_id: str, child_frame_id: str) -> str | None:
        """Take a pose (4, 4), m.

        Returns:
            What is wrong with it, None where nothing is. After a jump, in place, time or frame, it begins a new record;
            otherwise it is not used.
        """
        child = child_frame_id.lstrip("/")
        if child != self._base_frame:
            return f"odom_in has child frame {child!r}, expected the base_frame {self._base_frame!r}"
        if not np.isfinite(odom_from_base).all():
            return "odom_in has a pose that is not finite"
        with self._lock:
            problem = None
            if self._frame is not None and frame_id != self._frame:
                problem = f"odom_in changed its frame from {self._frame!r} to {frame_id!r}: its past is forgotten"
            elif self._stamps and stamp_ns <= self._stamps[-1]:
                if stamp_ns > self._stamps[-1] - LONGEST_GAP_NS:
                    return "odom_in repeats a time or goes back a little: that pose is not used"
                problem = "odom_in went back in time: its past is forgotten"
            elif self._stamps and self._jumped(stamp_ns, odom_from_base):
                problem = "odom_in jumped: its past is forgotten"
            if problem:
                self._stamps, self._poses, self._pending = [], [], []
            self._frame = frame_id
            self._stamps.append(stamp_ns)
            self._poses.append(np.asarray(odom_from_base, np.float64))
            if len(self._stamps) > KEPT:
                del self._stamps[0], self._poses[0]
            return problem

    def expect(self, start_ns: int, end_ns: int, previous_from_camera: np.ndarray | None) -> None:
        """A step of the camera between two frames, units; None where it is not known.

        Steps are chained until they are long enough to be compared; `resolved` tells the metres once they are known.
        """
        if previous_from_camera is None:
            self._chain = None
            return
        began, motion = self._chain if self._chain is not None else (start_ns, np.eye(4))
        motion = motion @ previous_from_camera
        units = float(np.linalg.norm(motion[:3, 3]))
        self._chain = (began, motion) if units < SPAN else None
        if units >= SPAN:
            with self._lock:
                self._pending.append(Pending(began, end_ns, units))

    def resolved(self, base_from_camera: np.ndarray, now_ns: int) -> list[tuple[float, float]]:
        """Motions of which both sides are known now: metres, units. Each is told once, those too small never."""
        found: list[tuple[float, float]] = []
        waiting = []
        with self._lock:
            for item in self._pending:
                before, after = self._at(item.start_ns), self._at(item.end_ns)
                if before is not None and after is not None:
                    step = invert(base_from_camera) @ invert(before) @ after @ base_from_camera
                    metres = float(np.linalg.norm(step[:3, 3]))
                    turn = float(np.linalg.norm(vector_from_rotation(step[:3, :3])))
                    speed = metres / ((item.end_ns - item.start_ns) / 1e9)
                    self._given_up = 0
                    if metres > SPAN / 10 and speed > SLOWEST_MPS and turn < MOST_TURN_RAD:
                        found.append((metres, item.units))
                elif abs(now_ns - item.end_ns) < PATIENCE_NS:
                    waiting.append(item)
                else:
                    self._given_up += 1
            self._pending = waiting
        return found

    def forget_expected(self) -> None:
        """The camera's past no longer counts; that of the odometry stays."""
        self._chain = None
        with self._lock:
            self._pending, self._given_up = [], 0

    def _jumped(self, stamp_ns: int, pose: np.ndarray) -> bool:
        moved = float(np.linalg.norm(pose[:3, 3] - self._poses[-1][:3, 3]))
        return moved > FASTEST_MPS * max((stamp_ns - self._stamps[-1]) / 1e9, 0.02)

    def _at(self, stamp_ns: int) -> np.ndarray | None:
        """The pose at a time within the record, interpolated; None outside or in a gap."""
        index = bisect_left(self._stamps, stamp_ns)
        if index == len(self._stamps):
            return None
        if self._stamps[index] == stamp_ns:
            return self._poses[index]
        if index == 0 or self._stamps[index] - self._stamps[index - 1] > LONGEST_GAP_NS:
            return None
        (t0, t1), (a, b) = self._stamps[index - 1 : index + 1], self._poses[index - 1 : index + 1]
        return between_poses(a, b, (stamp_ns - t0) / (t1 - t0))
