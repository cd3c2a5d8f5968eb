"""How a street is laid out: its measures, blocks between junctions, and what stands where."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from defeat_ros.data.night_drive import buildings as B
from defeat_ros.data.night_drive import props
from defeat_ros.data.night_drive import table as T
from defeat_ros.data.night_drive.plan import Plan
from defeat_ros.data.night_drive.road import Road
from defeat_ros.data.night_drive.shapes import moved
from defeat_ros.data.night_drive.vehicles import Vehicle, vehicle

KERB_HEIGHT = 0.12


@dataclass(frozen=True)
class Measures:
    """The street's cross-section and lamps.

    Attributes:
        side: sign of the camera car's lane: -1 where one drives on the right, +1 on the left.
        lane, half, walk: width of a lane, half the carriageway, width of the pavement, m.
        lamp_colour, lamp_height, lamp_gap, lamp_power: of the street lamps; metres, and candela of our own.
    """

    side: float
    lane: float
    half: float
    walk: float
    lamp_colour: tuple[float, float, float]
    lamp_height: float
    lamp_gap: float
    lamp_power: float

    @classmethod
    def draw(cls, rng: np.random.Generator, plan: Plan) -> Measures:
        """Measures of a random street."""
        lane = rng.uniform(*plan.lane_m)
        roadside = rng.choice(plan.roadside_m)
        height = rng.uniform(5.0, 8.0)
        return cls(
            side=-1.0 if rng.random() < plan.right else 1.0,
            lane=lane,
            half=lane + roadside + 0.15,
            walk=rng.uniform(*plan.walk_m),
            lamp_colour=props.LAMP_COLOURS[rng.integers(len(props.LAMP_COLOURS))],
            lamp_height=height,
            lamp_gap=rng.uniform(22.0, 34.0),
            lamp_power=0.75 * height**2 * rng.uniform(0.7, 1.3),
        )


class Street:
    """Everything that stands still.

    Attributes:
        shapes, shape_s: (N, SHAPE_COLUMNS) float64 and the place of each along the road, m.
        lights, light_s: (L, LIGHT_COLUMNS) float64 and their places.
        blobs, blob_s: (C, 6) float64, footprints of parked cars: x, y, cos, sin, half length, half width.
        junctions: (J, 3) float64, s from the road's first sample, half width, 1 where there is a zebra crossing.
    """

    def __init__(self, rng: np.random.Generator, road: Road, measures: Measures, plan: Plan) -> None:
        self._rng, self._road, self._m, self._plan = rng, road, measures, plan
        self._rows: list[np.ndarray] = []
        self._row_s: list[np.ndarray] = []
        self._lights: list[tuple[float, ...]] = []
        self._blobs: list[tuple[float, ...]] = []
        cuts = self._cut()
        self.junctions = np.array([(s - road.start, w, z) for s, w, z in cuts]).reshape(-1, 3)
        edges = [road.start, *(x for s, w, _ in cuts for x in (s - w, s + w)), road.end]
        for a, b in zip(edges[::2], edges[1::2], strict=True):
            self._block(a, b)
        for s, w, _ in cuts:
            self._junction(s, w)
        if plan.lamps:
            self._lamps()
        self.shapes = np.concatenate(self._rows)
        self.shape_s = np.concatenate(self._row_s)
        lights = np.array(self._lights).reshape(-1, T.LIGHT_COLUMNS + 1)
        self.lights, self.light_s = np.ascontiguousarray(lights[:, 1:]), lights[:, 0]
        blobs = np.array(self._blobs).reshape(-1, 7)
        self.blobs, self.blob_s = np.ascontiguousarray(blobs[:, 1:]), blobs[:, 0]

    def _put(self, rows: np.ndarray, s: float, d: float, turn: float = 0.0, z: float = KERB_HEIGHT) -> None:
        x, y, heading = self._road.pose(s, d)
        self._rows.append(moved(rows, x, y, heading + turn, z))
        self._row_s.append(np.full(len(rows), s))

    def _free(self, s: float, room: float) -> bool:
        """Whether no side street comes nearer than `room` metres."""
        at = s - self._road.start
        return all(abs(at - j[0]) > j[1] + room for j in self.junctions)

    def _cut(self) -> list[tuple[float, float, float]]:
        rng, cuts, s = self._rng, [], self._road.start + self._rng.uniform(40, 110)
        while self._plan.junctions and s < self._road.end - 60:
            cuts.append((s, rng.uniform(3.2, 4.6), float(rng.random() < 0.4)))
            s += rng.uniform(55, 130)
        return cuts

    def _block(self, a: float, b: float) -> None:
        for side in (-1.0, 1.0):
            style = int(self._rng.choice(5, p=self._plan.blocks))
            back = self._m.half + self._m.walk
            back += {B.TERRACE: self._rng.uniform(0, 2.6), B.SUBURB: self._rng.uniform(3.5, 7.5), B.CITY: 0.0,
                     B.PARK: 0.0, B.WORKS: self._rng.uniform(2, 8)}[style]  # fmt: skip
            if style != B.PARK:
                self._houses(a + 1.5, b - 1.5, side, style, back)
            self._gardens(a + 2.5, b - 2.5, side, style, back)
            self._roadside(a, b, side, style)
            if self._plan.wall and self._rng.random() < self._plan.wall:
                self._wall(a + 1.0, b - 1.0, side)

    def _houses(self, a: float, b: float, side: float, style: int, back: float) -> None:
        rng = self._rng
        s = a
        low, high = {B.TERRACE: (5.5, 9), B.SUBURB: (8, 12), B.CITY: (10, 22), B.WORKS: (15, 34)}[style]
        same = None
        while b - s > 5.0:
            along = rng.uniform(low, high)
            gap = rng.uniform(2.5, 6) if style in (B.SUBURB, B.WORKS) else 0.0
            along = min(along, b - s) if b - s - along > 5 else b - s
            along = min(along, high * 1.3)
            middle = s + along / 2
            bend = 1.0 - side * back * float(self._road.curvature(middle))
            if style == B.TERRACE and same is not None and rng.random() < 0.6:
                rows = same  # a terrace repeats itself
            else:
                rows = B.house(rng, style, along * bend)
                same = rows if along > low else None
            width = 2 * rows[0, T.HX]
            setback = rng.uniform(0, 1.2) if style in (B.SUBURB, B.WORKS) else rng.choice([0.0, 0.0, 0.25])
            self._put(rows, middle, side * (back + setback), 0.0 if side > 0 else math.pi)
            s += max(along, width / max(bend, 0.5)) + gap

    def _gardens(self, a: float, b: float, side: float, style: int, back: float) -> None:
        rng, edge = self._rng, self._m.half + self._m.walk + 0.35
        room = back - edge
        s = a
        while b - s > 5.0 and (room > 1.2 or style == B.PARK):
            width = min(rng.uniform(6, 12), b - s)
            if rng.random() < 0.85:
                bend = 1.0 - side * edge * float(self._road.curvature(s + width / 2))
                self._put(B.boundary(rng, width * bend), s + width / 2, side * edge)
            if room > 3 or style == B.PARK:
                for _ in range(3 if style == B.PARK else 1):
                    deep = rng.uniform(6, 30) if style == B.PARK else rng.uniform(1.2, room - 1)
                    if rng.random() < 0.6:
                        self._put(props.tree(rng, rng.uniform(4, 9.5) if style == B.PARK else rng.uniform(2.2, 5.5)),
                                  s + rng.uniform(0, width), side * (edge + deep))  # fmt: skip
            s += width

    def _roadside(self, a: float, b: float, side: float, style: int) -> None:
        rng, m = self._rng, self._m
        wooded = rng.random() < (0.75 if style != B.CITY else 0.35)
        s = a + rng.uniform(5, 12)
        while wooded and self._plan.trees and s < b - 5:
            if rng.random() < 0.8:
                self._put(props.tree(rng, rng.uniform(5, 9)), s, side * (m.half + 0.9))
            s += rng.uniform(9, 19)
        for _ in range(int((b - a) / 22)):
            self._put(
                props.clutter(rng),
                rng.uniform(a + 4, b - 4),
                side * (m.half + max(m.walk - 0.9, m.walk / 2)),
                math.pi * (side < 0),
            )
        for _ in range(int((b - a) / 40)):
            driving = side == m.side
            self._put(props.sign(rng), rng.uniform(a + 3, b - 3), side * (m.half + 0.45), 0.0 if driving else math.pi)
        s = a + 6.0
        dense = rng.uniform(0.25, 0.9)
        while self._plan.parked and m.half - m.lane > 1.5 and s < b - 8:
            car = vehicle(rng, 0, self._plan.heavy)
            if car.length > 7.0:
                continue
            if rng.random() < dense:
                self._park(car, s + car.length / 2, side * (m.half - 0.15 - car.width / 2), side)
            s += car.length + rng.uniform(0.7, 1.8)

    def _wall(self, a: float, b: float, side: float) -> None:
        """A wall, hedge, fence or rail close to the kerb, in pieces that follow the road."""
        rng = self._rng
        piece = props.wall(rng, rng.uniform(*self._plan.wall_m))
        d = side * (self._m.half + rng.uniform(*self._plan.wall_gap_m))
        for s in np.arange(a + props.WALL_PIECE / 2, b, props.WALL_PIECE):
            if rng.random() < 0.97:
                self._put(piece, float(s), d)

    def _park(self, car: Vehicle, s: float, d: float, side: float) -> None:
        turn = self._rng.normal(0, 0.012) + (0.0 if (side == self._m.side) == (self._rng.random() < 0.93) else math.pi)
        self._put(car.rows, s, d, turn, z=0.0)
        x, y, heading = self._road.pose(s, d)
        yaw = heading + turn
        self._blobs.append((s, x, y, math.cos(yaw), math.sin(yaw), car.length / 2 - 0.1, car.width / 2))

    def _junction(self, s: float, w: float) -> None:
        """Houses along both arms of the side street, sometimes traffic lights."""
        rng, m = self._rng, self._m
        lit = rng.random() < 0.45
        for side in (-1.0, 1.0):
            out = m.half + m.walk + 24.0
            while out < 80.0:
                for hand in (-1.0, 1.0):
                    width = rng.uniform(8, 13)
                    rows = B.house(rng, int(rng.choice([B.TERRACE, B.CITY])), width)
                    x, y, heading = self._road.pose(s, side * (out + width / 2))
                    at = hand * (w + 3.0)
                    turn = heading + (math.pi / 2 if hand < 0 else -math.pi / 2)
                    rows = moved(rows, x + at * math.cos(heading), y + at * math.sin(heading), turn, KERB_HEIGHT)
                    self._rows.append(rows)
                    self._row_s.append(np.full(len(rows), s))
                out += 14.0
            driving = side == m.side
            if lit:
                at = s - (w + 5.2) * (1 if driving else -1)
                self._put(props.signal(0 if driving else int(rng.integers(3))), at, side * (m.half + 0.5),
                          0.0 if driving else math.pi)  # fmt: skip

    def _lamps(self) -> None:
        rng, m = self._rng, self._m
        s, side = self._road.start + 5.0, -1.0
        both = rng.random() < 0.4
        arm = rng.uniform(0.8, 2.0)
        while s < self._road.end - 5:
            for hand in (-1.0, 1.0) if both else (side,):
                if not self._free(s, 1.0):
                    continue
                works = rng.random() > 0.05
                power = rng.uniform(0.85, 1.1) if works else 0.0
                self._put(props.lamp(m.lamp_height, arm, m.lamp_colour, 22.0 * power), s, hand * (m.half + 0.5),
                          -hand * math.pi / 2)  # fmt: skip
                x, y, _ = self._road.pose(s, hand * (m.half + 0.5 - arm))
                colour = [c * m.lamp_power * power for c in m.lamp_colour]
                self._lights.append(
                    (s, x, y, m.lamp_height + KERB_HEIGHT - 0.12, *colour, 0.0, 0.0, -1.0, 0.02, 0.55, 32.0)
                )
            side = -side
            s += m.lamp_gap * rng.uniform(0.9, 1.1)
