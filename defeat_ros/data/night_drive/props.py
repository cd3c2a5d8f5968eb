"""Everything on the pavement: trees, lamps, signs, walls, hedges, people. Shapes about their own foot."""

from __future__ import annotations

import math

import numpy as np

from defeat_ros.data.night_drive import table as T
from defeat_ros.data.night_drive.shapes import Colour, Shapes

LEAVES: tuple[Colour, ...] = ((0.09, 0.15, 0.035), (0.13, 0.19, 0.05), (0.07, 0.12, 0.045), (0.3, 0.19, 0.05),
                              (0.28, 0.24, 0.06))  # fmt: skip
LAMP_COLOURS: tuple[Colour, ...] = ((1.0, 0.55, 0.16), (1.0, 0.62, 0.25), (1.0, 0.86, 0.62), (0.92, 0.97, 1.0))
CLOTHES: tuple[Colour, ...] = ((0.05, 0.06, 0.1), (0.3, 0.05, 0.05), (0.4, 0.38, 0.3), (0.04, 0.04, 0.04),
                               (0.1, 0.2, 0.12), (0.5, 0.5, 0.1), (0.25, 0.28, 0.35))  # fmt: skip


def tree(rng: np.random.Generator, height: float) -> np.ndarray:
    """A trunk, a few boughs and a crown of several clumps with gaps between the leaves."""
    shapes = Shapes()
    seed = int(rng.integers(1, 99999))
    fork = height * rng.uniform(0.3, 0.42)
    shapes.cylinder((0, 0, 0), 0.05 + 0.018 * height, fork * 1.35, T.BARK, (0.12, 0.09, 0.065), seed=seed)
    shapes.cylinder((0, 0, fork), 0.05 + 0.009 * height, height * 0.35, T.BARK, (0.1, 0.08, 0.06), seed=seed)
    colour = LEAVES[rng.integers(len(LEAVES))]
    spread = height * rng.uniform(0.2, 0.3)
    clumps = int(rng.integers(12, 18))
    for k in range(clumps):
        angle = k * 2.4 + rng.uniform(-0.5, 0.5)
        out = spread * math.sqrt((k + 0.2) / clumps) * rng.uniform(0.8, 1.15)
        top = fork + (height - fork) * rng.uniform(0.3, 0.95 - 0.45 * k / clumps)
        r = spread * rng.uniform(0.32, 0.55)
        at = (out * math.cos(angle), out * math.sin(angle), top)
        radii = (r, r * rng.uniform(0.8, 1.1), r * rng.uniform(0.6, 0.9))
        shapes.ellipsoid(at, radii, T.LEAF, colour, yaw=angle, seed=seed + k)
    return shapes.rows()


def lamp(height: float, arm: float, colour: Colour, power: float) -> np.ndarray:
    """A lamp post whose arm reaches along +x."""
    shapes = Shapes()
    grey = (0.22, 0.23, 0.23)
    shapes.cylinder((0, 0, 0), 0.13, 1.1, T.METAL, grey)
    shapes.cylinder((0, 0, 1.1), 0.07, height - 1.1, T.METAL, grey)
    shapes.box((arm / 2, 0, height - 0.06), (arm / 2, 0.035, 0.07), T.METAL, grey)
    shapes.box((arm, 0, height), (0.38, 0.14, 0.1), T.METAL, (0.3, 0.3, 0.3), taper=(0.1, 0.1, 0.06))
    shapes.box((arm, 0, height - 0.07), (0.3, 0.12, 0.07), T.LAMP, colour, params=(power,))
    return shapes.rows()


def sign(rng: np.random.Generator) -> np.ndarray:
    """A post with one or two plates that face -x."""
    shapes = Shapes()
    top = rng.uniform(2.3, 2.9)
    shapes.cylinder((0, 0, 0), 0.038, top + 0.4, T.METAL, (0.35, 0.35, 0.35))
    half = rng.uniform(0.27, 0.36)
    kind = float(rng.integers(4))
    shapes.box((-0.05, 0, top - half), (0.012, half, 2 * half), T.SIGN, (0.5, 0.5, 0.5),
               seed=int(rng.integers(1, 999)), params=(kind,))  # fmt: skip
    return shapes.rows()


def signal(state: int) -> np.ndarray:
    """A traffic light that faces -x; state 0 green, 1 amber, 2 red."""
    shapes = Shapes()
    shapes.cylinder((0, 0, 0), 0.06, 3.2, T.METAL, (0.1, 0.1, 0.1))
    shapes.box((-0.12, 0, 2.35), (0.1, 0.16, 0.95), T.SIGNAL, (0.03, 0.03, 0.03), params=(float(state),))
    return shapes.rows()


def person(rng: np.random.Generator) -> np.ndarray:
    """Somebody, walking along x."""
    shapes = Shapes()
    tall = rng.uniform(0.92, 1.08)
    coat, trousers = CLOTHES[rng.integers(len(CLOTHES))], CLOTHES[rng.integers(len(CLOTHES))]
    skin: Colour = ((0.5, 0.33, 0.24), (0.32, 0.2, 0.13), (0.16, 0.09, 0.06))[rng.integers(3)]
    seed = int(rng.integers(1, 9999))
    for side, forward in ((-0.09, 0.16), (0.09, -0.14)):
        shapes.box((forward * 0.5, side, 0.0), (0.09, 0.075, 0.86 * tall), T.CLOTH, trousers, seed=seed,
                   taper=(0.1 - forward * 0.5, 0.02 + forward * 0.4, 0.0))  # fmt: skip
        shapes.box((-forward * 0.8, side * 2.9, 0.8 * tall), (0.055, 0.05, 0.6 * tall), T.CLOTH, coat, seed=seed)
    shapes.box((0.0, 0, 0.8 * tall), (0.14, 0.22, 0.65 * tall), T.CLOTH, coat, seed=seed, taper=(0.03, 0.02, 0.06))
    shapes.ellipsoid((0.02, 0, 1.6 * tall), (0.105, 0.085, 0.13), T.PLAIN, skin, seed=seed)
    shapes.ellipsoid((-0.02, 0, 1.65 * tall), (0.105, 0.095, 0.11), T.PLAIN, (0.06, 0.04, 0.03), seed=seed)
    return shapes.rows()


def bicycle(rng: np.random.Generator) -> np.ndarray:
    """Somebody on a bicycle, riding along x."""
    shapes = Shapes()
    rider = person(rng)
    for x in (-0.52, 0.52):
        shapes.wheel((x, 0, 0.34), 0.34, 0.022, (0.3, 0.3, 0.3))
    frame = CLOTHES[rng.integers(len(CLOTHES))]
    shapes.box((0, 0, 0.62), (0.42, 0.02, 0.05), T.METAL, frame)
    shapes.box((0.4, 0, 0.95), (0.03, 0.26, 0.03), T.METAL, (0.1, 0.1, 0.1))
    shapes.box((-0.58, 0, 0.7), (0.02, 0.03, 0.06), T.LAMP, (1.0, 0.05, 0.03), params=(6.0,))
    rider[:, T.Z] += 0.28
    return np.concatenate([shapes.rows(), rider])


def clutter(rng: np.random.Generator) -> np.ndarray:
    """One of the small things that stand about: bin, bollard, cabinet, letter box, shelter."""
    shapes = Shapes()
    kind, seed = rng.integers(5), int(rng.integers(1, 9999))
    if kind == 0:
        shapes.cylinder((0, 0, 0), 0.24, 0.95, T.PLAIN, (0.06, 0.1, 0.07), seed=seed)
    elif kind == 1:
        for y in (-1.6, 0.0, 1.6):
            shapes.cylinder((y, 0, 0), 0.07, 0.95, T.METAL, (0.12, 0.12, 0.12), seed=seed)
    elif kind == 2:
        shapes.box((0, 0, 0), (0.55, 0.2, 1.25), T.PLAIN, (0.2, 0.26, 0.22), seed=seed)
    elif kind == 3:
        for x in (-0.35, 0.35):
            shapes.box((x, 0, 0), (0.3, 0.32, 1.05), T.PLAIN, ((0.05, 0.05, 0.06), (0.06, 0.14, 0.07))[int(x > 0)],
                       seed=seed, taper=(0.02, 0.02, 0.02))  # fmt: skip
    else:
        shapes.box((0, 0.55, 0.1), (1.7, 0.03, 2.1), T.PLAIN, (0.2, 0.22, 0.24), seed=seed, params=(1.0,))
        shapes.box((0, 0, 2.25), (1.9, 0.75, 0.1), T.METAL, (0.2, 0.2, 0.2))
        shapes.box((0, 0.3, 0.45), (1.3, 0.17, 0.06), T.METAL, (0.3, 0.25, 0.2))
        for x in (-1.7, 1.7):
            shapes.cylinder((x, 0.5, 0), 0.04, 2.25, T.METAL, (0.2, 0.2, 0.2))
    return shapes.rows()


WALL_PIECE = 6.0


def wall(rng: np.random.Generator, height: float) -> np.ndarray:
    """A piece of wall, hedge, fence or guard rail along x, `WALL_PIECE` long."""
    shapes = Shapes()
    half, seed = WALL_PIECE / 2 + 0.03, int(rng.integers(1, 9999))
    tone = rng.uniform(0.12, 0.6)
    kind = rng.integers(6)
    if kind == 0:
        shapes.box((0, 0, 0), (half, 0.15, height), T.BRICK, (0.36, 0.19, 0.13), seed=seed, params=(0.0,))
    elif kind == 1:
        stone = (tone, tone * rng.uniform(0.85, 1.0), tone * rng.uniform(0.7, 1.0))
        shapes.box((0, 0, 0), (half, 0.15, height), T.BRICK, stone, seed=seed, params=(float(rng.integers(1, 4)),))
    elif kind == 2:
        shapes.box((0, 0, 0), (half, 0.45, height), T.HEDGE, LEAVES[rng.integers(len(LEAVES))], seed=seed)
    elif kind == 3:
        shapes.box((0, 0, 0), (half, 0.03, min(height, 2.0)), T.FENCE, (tone, tone, tone), params=(0.15, 0.3))
    elif kind == 4:
        shapes.box((0, 0, 0), (half, 0.08, height), T.PLAIN, (tone * 0.9, tone, tone * 0.95), seed=seed)
        shapes.box((-WALL_PIECE / 2, 0, 0), (0.1, 0.12, height + 0.1), T.METAL, (0.2, 0.22, 0.21))
    else:
        shapes.box((0, 0, 0.42), (half, 0.04, 0.32), T.METAL, (0.4, 0.41, 0.42))
        for x in (-1.5, 1.5):
            shapes.box((x, 0, 0), (0.05, 0.05, 0.6), T.METAL, (0.3, 0.3, 0.3))
    return shapes.rows()
