"""Cars, vans, buses: shapes in their own frame (x forward, origin on the ground amidships) and their lamps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from defeat_ros.data.night_drive import table as T
from defeat_ros.data.night_drive.shapes import Shapes

PAINTS = ((0.6, 0.6, 0.6), (0.72, 0.72, 0.7), (0.03, 0.03, 0.035), (0.12, 0.13, 0.14), (0.28, 0.29, 0.3),
          (0.3, 0.03, 0.03), (0.03, 0.07, 0.22), (0.05, 0.13, 0.09), (0.35, 0.3, 0.22), (0.4, 0.42, 0.45))  # fmt: skip


@dataclass(frozen=True)
class Vehicle:
    """One vehicle.

    Attributes:
        rows: (N, SHAPE_COLUMNS) float64 shapes.
        length, width: m.
        lamp: half the distance between the head lamps, and their height, m.
    """

    rows: np.ndarray
    length: float
    width: float
    lamp: tuple[float, float]


def vehicle(rng: np.random.Generator, lit: int, heavy: float = 0.18) -> Vehicle:
    """A random vehicle, with probability `heavy` a van, lorry or bus; `lit`: 0 lights off, 1 on, 2 on and braking."""
    kind = rng.random()
    if kind < 1.0 - heavy:
        return _car(rng, lit)
    if kind < 1.0 - heavy / 3.0:
        return _van(rng, lit)
    return _bus(rng, lit)


def _wheels(shapes: Shapes, base: float, half: float, radius: float) -> None:
    for x in (-base / 2, base / 2):
        for y in (-half + 0.1, half - 0.1):
            shapes.wheel((x, y, radius), radius, 0.105, (0.4, 0.4, 0.4))


def _car(rng: np.random.Generator, lit: int) -> Vehicle:
    shapes = Shapes()
    paint = PAINTS[rng.integers(len(PAINTS))]
    seed = int(rng.integers(1, 9999))
    # Length, roof height, cabin middle, cabin half length, lean of windscreen and rear window.
    body = ((4.05, 1.48, -0.35, 1.5, 0.75, 0.35), (4.6, 1.45, -0.15, 1.45, 0.8, 0.75),
            (4.65, 1.5, -0.5, 1.75, 0.8, 0.45), (4.5, 1.72, -0.4, 1.7, 0.6, 0.3))[rng.integers(4)]  # fmt: skip
    length, roof, middle, cabin, front, rear = body
    length *= rng.uniform(0.96, 1.04)
    half, radius = rng.uniform(0.84, 0.92), 0.32 if roof < 1.6 else 0.36
    base, clear = length * 0.6, 0.19
    waist = roof * 0.6
    params = (base, float(lit), radius, 0.0)
    shapes.box((0, 0, clear), (length / 2, half, waist - clear - 0.12), T.CAR, paint, seed=seed,
               taper=(0.08, 0.05, 0.03), params=params)  # fmt: skip
    # Bonnet and boot fall off towards the ends.
    shapes.box((0, 0, waist - 0.12), (length / 2 - 0.1, half - 0.04, 0.13), T.METAL, paint, seed=seed,
               taper=(0.55, 0.15, 0.06))  # fmt: skip
    shapes.box((middle, 0, waist), (cabin, half - 0.07, roof - waist), T.CABIN, paint, seed=seed,
               taper=(front, rear, 0.17))  # fmt: skip
    for y in (-1, 1):
        shapes.box((middle + cabin - 0.55, y * (half + 0.06), waist + 0.02), (0.07, 0.09, 0.13), T.METAL, paint)
    _wheels(shapes, base, half, radius)
    return Vehicle(shapes.rows(), length, 2 * half, (0.78 * half, clear + 0.65 * (waist - clear - 0.12)))


def _van(rng: np.random.Generator, lit: int) -> Vehicle:
    shapes = Shapes()
    paint = PAINTS[rng.integers(len(PAINTS))] if rng.random() < 0.5 else (0.7, 0.7, 0.69)
    length, half, height = rng.uniform(4.9, 5.9), 0.98, rng.uniform(1.75, 2.3)
    shapes.box((0, 0, 0.25), (length / 2, half, height), T.COACH, paint, seed=int(rng.integers(1, 9999)),
               taper=(0.55, 0.04, 0.1), params=(length * 0.6, float(lit), 0.35, 0.0))  # fmt: skip
    shapes.box((length / 2 + 0.1, 0, 0.25), (0.45, half - 0.03, 0.75), T.CAR, paint, taper=(0.12, 0.0, 0.05),
               params=(9.0, float(lit), 0.3, 0.0))  # fmt: skip
    _wheels(shapes, length * 0.6, half, 0.35)
    return Vehicle(shapes.rows(), length + 0.9, 2 * half, (0.78 * half, 0.72))


def _bus(rng: np.random.Generator, lit: int) -> Vehicle:
    shapes = Shapes()
    lorry = rng.random() < 0.5
    colour = ((0.5, 0.06, 0.05), (0.6, 0.6, 0.55), (0.1, 0.25, 0.12), (0.1, 0.15, 0.4))[rng.integers(4)]
    seed = int(rng.integers(1, 9999))
    if lorry:
        shapes.box((-0.9, 0, 0.75), (3.0, 1.2, 2.5), T.COACH, colour, seed=seed, params=(99.0, float(lit), 0.45, 0.0))
        shapes.box((3.05, 0, 0.4), (0.95, 1.12, 2.1), T.COACH, (0.5, 0.5, 0.52), taper=(0.25, 0.0, 0.08),
                   params=(99.0, float(lit), 0.45, 0.0))  # fmt: skip
        shapes.box((-0.9, 0, 0.4), (3.0, 0.9, 0.35), T.PLAIN, (0.05, 0.05, 0.05))
        _wheels(shapes, 4.8, 1.15, 0.45)
        return Vehicle(shapes.rows(), 8.0, 2.4, (0.85, 0.9))
    shapes.box((0, 0, 0.3), (5.4, 1.22, 2.75), T.COACH, colour, seed=seed, taper=(0.12, 0.06, 0.04),
               params=(5.8, float(lit), 0.45, 1.05))  # fmt: skip
    _wheels(shapes, 5.8, 1.22, 0.45)
    return Vehicle(shapes.rows(), 10.8, 2.44, (0.95, 0.75))
