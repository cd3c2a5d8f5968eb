"""What moves: cars ahead and oncoming, cyclists, people on the pavements. Places are functions of time alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from defeat_ros.data.night_drive import props
from defeat_ros.data.night_drive import table as T
from defeat_ros.data.night_drive.motion import EgoMotion
from defeat_ros.data.night_drive.plan import Plan
from defeat_ros.data.night_drive.road import Road
from defeat_ros.data.night_drive.shapes import moved
from defeat_ros.data.night_drive.street import KERB_HEIGHT, Measures
from defeat_ros.data.night_drive.vehicles import Vehicle, vehicle

QUEUE_LAG_S = 0.6
"""How much later than the one ahead of it a vehicle of a queue speeds up or slows down."""


@dataclass(frozen=True)
class Mover:
    """One that moves.

    Attributes:
        rows: its shapes about its foot, x forward.
        start, speed: s at time zero, m, and m/s along the road (negative towards us).
        offset: m left of the centre line.
        height: of the ground it stands on, m.
        car: what it is when it has lamps and a shadow.
        headway_s: for vehicles ahead: how long after them the camera car does what they do, instead of speed; else 0.
        ahead_m: for those of a queue: how far ahead of the camera car they begin, instead of start; else 0.
    """

    rows: np.ndarray
    start: float
    speed: float
    offset: float
    height: float = 0.0
    car: Vehicle | None = None
    headway_s: float = 0.0
    ahead_m: float = 0.0

    def place(self, t: float, ego: EgoMotion) -> float:
        """Where it is along the road at time t, m."""
        if self.ahead_m:  # speeding up and slowing down runs backwards through a queue
            return self.ahead_m + ego.travelled(t + self.headway_s) - ego.travelled(self.headway_s)
        if self.headway_s:  # it keeps its distance in time: it was where we shall be, at our speed then
            return ego.travelled(t + self.headway_s) + 4.0
        return self.start + self.speed * t


class Traffic:
    """All movers of a drive."""

    def __init__(
        self, rng: np.random.Generator, measures: Measures, plan: Plan, length: float, seconds: float, night: bool
    ) -> None:
        self.movers: list[Mover] = []
        self._rng, self._m, self._plan, self._lit = rng, measures, plan, 1 if night else 0
        self._lane = measures.side * measures.lane / 2
        if rng.random() < 0.7:
            car = vehicle(rng, 2 if rng.random() < 0.3 else self._lit, plan.heavy)
            self.movers.append(Mover(car.rows, 0, 0, self._lane, car=car, headway_s=rng.uniform(14, 34) / 10.0))
        self._oncoming(length, seconds)
        self._on_foot(length)
        if plan.queue:
            self._queue()
        if plan.beside:
            self._beside(length, seconds)

    def _oncoming(self, length: float, seconds: float) -> None:
        rng = self._rng
        speed = rng.uniform(8, 13) * sum(self._plan.speed_mps) / sum(Plan().speed_mps)
        s, end = rng.uniform(25, 60), 0.0
        while s < length + speed * seconds:
            car = vehicle(rng, self._lit, self._plan.heavy)
            s = max(s, end + car.length / 2 + 1.0)
            end = s + car.length / 2
            self.movers.append(Mover(car.rows, s, -speed, -self._lane + rng.uniform(-0.2, 0.2), car=car))
            low, high = self._plan.oncoming_m
            s += rng.uniform(14, 30) if rng.random() < 0.35 else rng.uniform(low, high)

    def _on_foot(self, length: float) -> None:
        rng, m = self._rng, self._m
        for _ in range(int(length / 26 * self._plan.people)):
            side = rng.choice([-1.0, 1.0])
            speed = rng.choice([-1.0, 1.0]) * rng.uniform(0.9, 1.6)
            offset = side * (m.half + rng.uniform(min(0.9, m.walk / 2), max(m.walk - 0.3, m.walk / 2)))
            self.movers.append(Mover(props.person(rng), rng.uniform(5, length), speed, offset, KERB_HEIGHT))
        for _ in range(int(max(int(length / 120), 1) * self._plan.cyclists)):
            if rng.random() < 0.6:
                towards = self._plan.cyclists <= 1.0 or rng.random() < 0.5
                offset = (-m.side if towards else m.side) * (m.lane - 0.4)
                rows, start = props.bicycle(rng), rng.uniform(20, length)
                self.movers.append(Mover(rows, start, rng.uniform(3.5, 6) * (-1.0 if towards else 1.0), offset))

    def _queue(self) -> None:
        """Vehicles close behind one another ahead of us, the first in place of the one that keeps its distance."""
        rng, plan = self._rng, self._plan
        self.movers = [mover for mover in self.movers if not mover.headway_s]
        ahead = 3.0  # where the camera car ends
        for place in range(1, plan.queue + 1):
            car = vehicle(rng, 2 if rng.random() < 0.5 else self._lit, plan.heavy)
            middle = ahead + rng.uniform(*plan.queue_gap_m) + car.length / 2
            lag = QUEUE_LAG_S * place
            self.movers.append(Mover(car.rows, 0, 0, self._lane, car=car, headway_s=lag, ahead_m=middle))
            ahead = middle + car.length / 2

    def _beside(self, length: float, seconds: float) -> None:
        """Traffic in the further lanes of both directions, at speeds of its own."""
        rng, plan, m = self._rng, self._plan, self._m
        for lane in range(1, int(m.half / m.lane + 0.1)):
            for side in (m.side, -m.side):
                speed = rng.uniform(*plan.speed_mps) * rng.uniform(0.8, 1.15) * (1.0 if side == m.side else -1.0)
                s = -60.0 - max(speed, 0.0) * seconds
                while s < length + max(-speed, 0.0) * seconds:
                    car = vehicle(rng, self._lit, plan.heavy)
                    s += car.length / 2
                    if rng.random() < plan.beside:
                        offset = side * (m.lane * (lane + 0.5) + rng.uniform(-0.2, 0.2))
                        self.movers.append(Mover(car.rows, s, speed, offset, car=car))
                    s += car.length / 2 + (rng.uniform(2, 6) if plan.queue else rng.uniform(8, 40))

    def at(
        self, t: float, road: Road, ego: EgoMotion, behind: float, ahead: float, night: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Shapes (N, SHAPE_COLUMNS), lights (L, LIGHT_COLUMNS) and footprints (C, 6) between two places at time t."""
        shapes, lights, blobs = [np.zeros((0, T.SHAPE_COLUMNS))], [np.zeros((0, T.LIGHT_COLUMNS))], [np.zeros((0, 6))]
        for mover in self.movers:
            s = mover.place(t, ego)
            if not max(behind, road.start) < s < min(ahead, road.end):
                continue
            x, y, heading = road.pose(s, mover.offset)
            yaw = heading + (math.pi if mover.speed < 0 else 0.0)
            shapes.append(moved(mover.rows, x, y, yaw, mover.height))
            car = mover.car
            if car is not None:
                c, s_ = math.cos(yaw), math.sin(yaw)
                blobs.append(np.array([[x, y, c, s_, car.length / 2 - 0.1, car.width / 2]]))
                if night:
                    lamps = _lamps(car, x, y, c, s_)
                    lamps[:, T.L_Z] += road.elevation(s)
                    lights.append(lamps)
        return np.concatenate(shapes), np.concatenate(lights), np.concatenate(blobs)


def _lamps(car: Vehicle, x: float, y: float, c: float, s: float) -> np.ndarray:
    """Two head lamps and one tail lamp of a car at (x, y) that looks along (c, s)."""
    rows = np.zeros((3, T.LIGHT_COLUMNS))
    half, height = car.lamp
    for row, side in zip(rows, (-half, half), strict=False):
        ahead = car.length / 2 + 0.12
        row[:3] = x + ahead * c - side * s, y + ahead * s + side * c, height
        row[T.L_R : T.L_B + 1] = 55.0, 52.0, 46.0
        row[T.L_DX : T.L_DZ + 1] = 0.9965 * c, 0.9965 * s, -0.083
        row[T.L_RIM], row[T.L_CORE], row[T.L_REACH] = 0.85, 0.99, 45.0
    tail = -car.length / 2 - 0.15
    rows[2, :3] = x + tail * c, y + tail * s, height + 0.1
    rows[2, T.L_R : T.L_B + 1] = 1.6, 0.08, 0.05
    rows[2, T.L_DX : T.L_DZ + 1] = -c, -s, 0.0
    rows[2, T.L_RIM], rows[2, T.L_CORE], rows[2, T.L_REACH] = 0.3, 0.9, 9.0
    return rows
