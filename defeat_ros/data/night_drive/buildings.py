"""Houses in the style of their block: shapes about the middle of the front, which lies on y = 0 and looks along -y."""

from __future__ import annotations

import numpy as np

from defeat_ros.data.night_drive import table as T
from defeat_ros.data.night_drive.shapes import Colour, Shapes

TERRACE, SUBURB, CITY, PARK, WORKS = range(5)

WALLS: tuple[tuple[Colour, int], ...] = (
    ((0.36, 0.17, 0.11), 0), ((0.42, 0.25, 0.16), 0), ((0.3, 0.14, 0.1), 0), ((0.46, 0.36, 0.24), 0),
    ((0.62, 0.58, 0.5), 1), ((0.66, 0.56, 0.38), 1), ((0.55, 0.42, 0.33), 1), ((0.5, 0.53, 0.56), 1),
    ((0.68, 0.67, 0.64), 1), ((0.45, 0.39, 0.28), 2), ((0.38, 0.36, 0.32), 2), ((0.34, 0.34, 0.34), 3),
)  # fmt: skip
ROOFS: tuple[Colour, ...] = ((0.13, 0.13, 0.15), (0.28, 0.12, 0.08), (0.2, 0.14, 0.11), (0.1, 0.1, 0.1))


def house(rng: np.random.Generator, block: int, width: float) -> np.ndarray:
    """One building `width` metres wide."""
    shapes = Shapes()
    seed = int(rng.integers(1, 99999))
    wall, style = WALLS[rng.integers(len(WALLS))]
    floor = rng.uniform(2.7, 3.3)
    deep = rng.uniform(4.5, 7.0)
    attached = 10.0 if block in (TERRACE, CITY) else 0.0
    if block == CITY:
        floors, ground = int(rng.integers(3, 8)), float(rng.random() < 0.7)
        floor = rng.uniform(3.0, 3.7)
    elif block == WORKS:
        floors, ground, style, wall = int(rng.integers(1, 3)), 2.0 * (rng.random() < 0.5), 3, (0.4, 0.42, 0.43)
        floor, deep = rng.uniform(3.5, 5.0), rng.uniform(8.0, 14.0)
    else:
        floors, ground = int(rng.integers(2, 4 if block == TERRACE else 3)), 0.0
    height = floors * floor + rng.uniform(0.3, 0.8)
    pitch = float(rng.uniform(2.3, 3.4))
    params = (float(style), pitch, floor, attached + ground)
    shapes.box((0, deep, -0.2), (width / 2, deep, height + 0.2), T.FACADE, wall, seed=seed, params=params)
    if block in (CITY, WORKS):
        _flat_top(shapes, rng, width, deep, height, wall)
    else:
        _pitched_top(shapes, rng, width, deep, height, block, wall, style)
    _front(shapes, rng, block, width, floor, floors, wall, style, seed)
    return shapes.rows()


def _flat_top(shapes: Shapes, rng: np.random.Generator, width: float, deep: float, height: float,
              wall: Colour) -> None:  # fmt: skip
    shapes.box((0, deep, height), (width / 2 + 0.15, deep + 0.2, 0.3), T.PLAIN, wall, seed=3)
    for _ in range(int(rng.integers(0, 3))):
        x = rng.uniform(-0.3, 0.3) * width
        shapes.box((x, rng.uniform(2, 6), height + 0.3), (rng.uniform(0.6, 1.6), 1.0, rng.uniform(0.8, 2.2)), T.PLAIN,
                   (0.3, 0.3, 0.3), seed=5)  # fmt: skip


def _pitched_top(shapes: Shapes, rng: np.random.Generator, width: float, deep: float, height: float, block: int,
                 wall: Colour, style: int) -> None:  # fmt: skip
    colour = ROOFS[rng.integers(len(ROOFS))]
    rise = deep * rng.uniform(0.5, 0.9)
    seed = int(rng.integers(1, 9999))
    if block == SUBURB and rng.random() < 0.5:  # the gable looks at the street
        eaves = width / 2 + 0.35
        shapes.box((0, deep, height), (deep + 0.35, eaves, rise), T.ROOF, colour, yaw=np.pi / 2, seed=seed,
                   taper=(0.4, 0.4, eaves))  # fmt: skip
    else:
        hip = deep if block == SUBURB and rng.random() < 0.6 else 0.0
        hip = min(hip, width / 2 - 0.1)
        over = 0.3 if block == SUBURB else 0.0
        shapes.box((0, deep, height), (width / 2 + over, deep + 0.35, rise), T.ROOF, colour, seed=seed,
                   taper=(hip, hip, deep + 0.35))  # fmt: skip
    for x in (-width / 2 + 0.7, width / 2 - 0.7)[: int(rng.integers(1, 3))]:
        shapes.box((x, deep + rng.uniform(-1.5, 1), height + rise * 0.45), (0.32, 0.45, rise * 0.55 + 1.1), T.BRICK,
                   (0.33, 0.16, 0.11), seed=seed, params=(0.0,))  # fmt: skip


def _front(shapes: Shapes, rng: np.random.Generator, block: int, width: float, floor: float, floors: int,
           wall: Colour, style: int, seed: int) -> None:  # fmt: skip
    """What stands out of the front: bays, balconies, porches, awnings, down pipes."""
    shapes.cylinder((width / 2 - 0.25, -0.08, 0), 0.06, floors * floor, T.METAL, (0.08, 0.08, 0.09))
    choice = rng.random()
    if (block == TERRACE and choice < 0.5) or (block == SUBURB and choice < 0.35):
        x = rng.choice([-0.22, 0.22]) * width
        levels = int(rng.integers(1, floors + 1))
        shapes.box((x, -0.1, 0), (1.15, 0.75, levels * floor - 0.1), T.FACADE, wall, seed=seed + 7,
                   params=(float(style), 1.6, floor, 3.0))  # fmt: skip
        shapes.box(
            (x, -0.1, levels * floor - 0.1), (1.3, 0.9, 0.55), T.ROOF, (0.14, 0.13, 0.13), taper=(0.6, 0.6, 0.75)
        )
    elif block == CITY and choice < 0.4:
        for level in range(1, floors):
            for x in (-0.25, 0.25):
                shapes.box((x * width, -0.55, level * floor), (1.4, 0.55, 0.14), T.PLAIN, (0.45, 0.44, 0.42), seed=seed)
                shapes.box((x * width, -1.07, level * floor + 0.14), (1.4, 0.03, 0.95), T.FENCE, (0.1, 0.1, 0.1),
                           params=(0.14, 0.12))  # fmt: skip
    elif block == CITY and choice < 0.65:
        cloth = ((0.4, 0.06, 0.05), (0.07, 0.2, 0.12), (0.5, 0.45, 0.3))[rng.integers(3)]
        shapes.box((0, -0.65, floor - 0.9), (width * 0.4, 0.65, 0.3), T.CLOTH, cloth, taper=(0, 0, 0.6))
    elif choice < 0.8 and block != WORKS:
        x = rng.uniform(-0.3, 0.3) * width
        shapes.box((x, -0.6, 2.45), (1.0, 0.65, 0.3), T.ROOF, (0.15, 0.13, 0.12), taper=(0.3, 0.3, 0.5))
        for side in (-0.9, 0.9):
            shapes.cylinder((x + side, -1.1, 0), 0.07, 2.45, T.PLAIN, (0.6, 0.6, 0.58))


def boundary(rng: np.random.Generator, width: float) -> np.ndarray:
    """A garden's edge along x, `width` metres long, sometimes with a gate's gap."""
    shapes = Shapes()
    kind, seed = rng.random(), int(rng.integers(1, 9999))
    gap = rng.uniform(-0.3, 0.3) * width
    parts = [(-width / 2, gap - 0.7), (gap + 0.7, width / 2)] if rng.random() < 0.7 else [(-width / 2, width / 2)]
    for a, b in parts:
        at, half = ((a + b) / 2, 0.0, 0.0), (b - a) / 2
        if kind < 0.35:
            shapes.box(at, (half, 0.4, rng.uniform(1.0, 2.1)), T.HEDGE, (0.09, 0.14, 0.05), seed=seed)
        elif kind < 0.6:
            high = rng.uniform(0.7, 1.9)
            shapes.box(at, (half, 0.12, high), T.BRICK, (0.36, 0.19, 0.13), seed=seed, params=(0.0,))
            shapes.box((at[0], 0, high), (half + 0.03, 0.16, 0.08), T.PLAIN, (0.45, 0.43, 0.4), seed=seed)
        elif kind < 0.8:
            shapes.box(at, (half, 0.025, rng.uniform(0.9, 1.3)), T.FENCE, (0.5, 0.48, 0.44), seed=seed,
                       params=(0.16, 0.32))  # fmt: skip
        else:
            shapes.box(at, (half, 0.12, 0.5), T.BRICK, (0.42, 0.38, 0.3), seed=seed, params=(2.0,))
            shapes.box((at[0], 0, 0.5), (half, 0.02, 0.9), T.FENCE, (0.04, 0.04, 0.04), params=(0.13, 0.1))
    return shapes.rows()
