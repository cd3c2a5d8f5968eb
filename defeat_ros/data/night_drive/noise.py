"""Deterministic value noise from integer hashes: the grain of every surface."""

from __future__ import annotations

import math

from defeat_ros.data.night_drive.jit import device

_MASK = 0xFFFFFFFF


@device
def hash3(ix: int, iy: int, seed: int) -> float:
    """A number in [0, 1) for a lattice point and a seed."""
    h = (ix * 374761393 + iy * 668265263 + seed * 1442695041) & _MASK
    h = ((h ^ (h >> 13)) * 1274126177) & _MASK
    h = ((h ^ (h >> 15)) * 1103515245) & _MASK
    return (h ^ (h >> 16)) * (1.0 / 4294967296.0)


@device
def step(low: float, high: float, x: float) -> float:
    """Smooth step from 0 at `low` to 1 at `high`."""
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@device
def noise2(x: float, y: float, seed: int) -> float:
    """Value noise in [0, 1] with unit cells."""
    fx, fy = math.floor(x), math.floor(y)
    ix, iy = int(fx), int(fy)
    a, b = x - fx, y - fy
    a, b = a * a * (3.0 - 2.0 * a), b * b * (3.0 - 2.0 * b)
    low = hash3(ix, iy, seed) * (1.0 - a) + hash3(ix + 1, iy, seed) * a
    high = hash3(ix, iy + 1, seed) * (1.0 - a) + hash3(ix + 1, iy + 1, seed) * a
    return low * (1.0 - b) + high * b


@device
def noise3(x: float, y: float, z: float, seed: int) -> float:
    """Value noise in [0, 1] with unit cells in space."""
    fz = math.floor(z)
    c = z - fz
    c = c * c * (3.0 - 2.0 * c)
    layer = seed + int(fz) * 7919
    return noise2(x, y, layer) * (1.0 - c) + noise2(x, y, layer + 7919) * c


@device
def grain(x: float, y: float, seed: int, cell: float, footprint: float) -> float:
    """Value noise about zero ([-0.5, 0.5]) with cells of `cell` metres; fades where a pixel covers a whole cell."""
    fade = 1.0 - step(0.35, 1.1, footprint / cell)
    if fade <= 0.0:
        return 0.0
    return (noise2(x / cell, y / cell, seed) - 0.5) * fade
