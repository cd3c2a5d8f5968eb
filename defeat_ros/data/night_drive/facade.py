"""Walls of buildings: masonry, windows (some lit at night), doors and shop fronts."""

from __future__ import annotations

import math

import numpy as np

from defeat_ros.data.night_drive import table as T
from defeat_ros.data.night_drive.jit import device
from defeat_ros.data.night_drive.noise import grain, hash3, noise2, step

Surface = tuple[float, float, float, float, float, float, float, float]
"""Albedo (3), emission (3), mirror-like share, retro-reflection."""


@device
def masonry(u: float, z: float, seed: int, style: int, w: float) -> tuple[float, float, float]:
    """A factor per colour for a wall: 0 brick, 1 plaster, 2 stone, 3 concrete panels."""
    stain = 1.0 + 0.35 * grain(u, z * 0.35, seed + 1, 1.7, w) + 0.22 * grain(u, z, seed + 2, 0.35, w)
    stain *= 0.8 + 0.2 * step(0.0, 1.2, z + 0.6 * noise2(u * 1.3, 0.0, seed + 3))
    warm = 1.0
    if style == 0 or style == 2:
        length, course, joint = (0.23, 0.077, 0.1) if style == 0 else (0.62, 0.31, 0.04)
        row = math.floor(z / course)
        i = u / length + 0.5 * (row % 2.0)
        block = hash3(math.floor(i), int(row), seed + 4) - 0.5
        fade = 1.0 - step(0.35, 1.2, w / course)
        gap = abs(i - math.floor(i) - 0.5) > 0.5 - 0.3 * joint or abs(z / course - row - 0.5) > 0.5 - 0.5 * joint
        stain *= 1.0 + (0.5 if style == 0 else 0.35) * block * fade
        stain *= 1.0 + ((0.35 if style == 0 else -0.35) if gap else 0.0) * fade
        warm = 1.0 + 0.12 * block * fade
    elif style == 1:
        stain *= 1.0 + 0.12 * grain(u, z, seed + 5, 0.06, w)
        streak = noise2(u * 4.0, z * 0.15, seed + 6)
        stain *= 1.0 - 0.25 * step(0.6, 0.95, streak)
    else:
        seam = abs(u / 2.4 - math.floor(u / 2.4) - 0.5) > 0.492 or abs(z / 1.5 - math.floor(z / 1.5) - 0.5) > 0.49
        stain *= (0.6 if seam else 1.0) * (1.0 + 0.2 * grain(u, z, seed + 7, 0.1, w))
    return stain * warm, stain, stain / warm


@device
def _lit(i: int, j: int, seed: int, share: float) -> tuple[float, float, float]:
    """Light from behind a window, by its place in the grid; black where nobody is at home."""
    if hash3(i, j, seed + 21) > share:
        return 0.0, 0.0, 0.0
    kind = hash3(i, j, seed + 22)
    power = 0.35 + 1.1 * hash3(i, j, seed + 23) ** 2
    if kind < 0.7:
        return power, power * 0.68, power * 0.33
    if kind < 0.9:
        return power * 0.9, power * 0.9, power * 0.75
    return power * 0.35, power * 0.45, power * 0.8


@device
def pane(a: float, b: float, i: int, j: int, seed: int, share: float, w: float) -> Surface:
    """Glass with curtains behind; a and b run from 0 to 1 across it and up."""
    r, g, bl = _lit(i, j, seed, share)
    curtain = hash3(i, j, seed + 24) * 0.45
    cloth = a < curtain or a > 1.0 - curtain
    blind = b > 0.45 + 1.1 * hash3(i, j, seed + 25)
    fold = 0.75 + 0.5 * noise2(a * 23.0, 0.3, seed + i * 13 + j)
    shade = (
        0.55 * fold if cloth or blind else 0.55 + 0.45 * b + 0.5 * (noise2(a * 4.0, b * 5.0, seed + i + 7 * j) - 0.5)
    )
    tone = 0.3 * fold if cloth or blind else 0.03 + 0.04 * noise2(a * 3.0, b * 4.0, seed + i * 5 + j)
    return tone, tone * 0.97, tone * 0.92, r * shade, g * shade, bl * shade, 0.5, 0.0


@device
def _door(a: float, z: float, i: int, seed: int) -> tuple[float, float, float]:
    hue = hash3(i, 1, seed + 31)
    panel = abs(a - 0.5) < 0.32 and (0.25 < z % 1.0 < 0.85)
    k = 0.75 if panel else 1.0
    if hue < 0.3:
        return 0.3 * k, 0.05 * k, 0.05 * k
    if hue < 0.6:
        return 0.05 * k, 0.1 * k, 0.22 * k
    if hue < 0.8:
        return 0.05 * k, 0.16 * k, 0.09 * k
    return 0.26 * k, 0.16 * k, 0.08 * k


@device
def _goods(u: float, z: float, seed: int, w: float) -> tuple[float, float, float]:
    """Colour behind a shop's window, metres from its lower left corner: boxes and tins on shelves."""
    row = math.floor(z / 0.44)
    up = z - 0.44 * row
    place = u / 0.21 + 3.0 * hash3(row, 1, seed)
    i = math.floor(place)
    alike = 2.0 + 3.0 * hash3(row, 2, seed)  # so many of a kind stand together
    kind = hash3(math.floor(place / alike), row, seed + 1)
    high = 0.12 + 0.2 * kind + 0.05 * hash3(i, row, seed + 2)
    r, g, b = 0.17, 0.15, 0.13  # the wall behind
    if up < 0.035:
        r, g, b = 0.3, 0.27, 0.22
    elif up < high and abs(place - i - 0.5) < 0.44 and hash3(i, row, seed + 3) < 0.85:
        hue, tone = 6.0 * hash3(int(kind * 4096.0), 5, seed), 0.35 + 0.5 * hash3(int(kind * 4096.0), 6, seed)
        r = tone * (0.45 + 0.55 * min(max(abs(hue - 3.0) - 1.0, 0.0), 1.0))
        g = tone * (0.45 + 0.55 * min(max(2.0 - abs(hue - 2.0), 0.0), 1.0))
        b = tone * (0.45 + 0.55 * min(max(2.0 - abs(hue - 4.0), 0.0), 1.0))
        if 0.3 < up / high < 0.6:  # a label
            r, g, b = 0.5 * r + 0.3, 0.5 * g + 0.3, 0.5 * b + 0.27
    fine = 1.0 - step(0.4, 1.1, w / 0.2)
    return 0.26 + (r - 0.26) * fine, 0.24 + (g - 0.24) * fine, 0.21 + (b - 0.21) * fine


@device
def _shop(a: float, z: float, i: int, seed: int, share: float, floor: float, width: float, w: float) -> Surface:
    """A shop's bay: plinth, window with goods, sign above."""
    top = floor - 0.75
    if z > top:
        hue = hash3(i // 3, 2, seed + 41)
        r, g, b = 0.1 + 0.5 * hue, 0.1 + 0.45 * abs(1.0 - 2.0 * hue), 0.1 + 0.5 * (1.0 - hue)
        letters = 0.2 < (z - top) / 0.7 < 0.75 and noise2(a * width * 7.0, math.floor((z - top) * 9.0), seed + i) > 0.55
        on = share > 0.0 and hash3(i // 3, 3, seed + 42) < 0.6
        glow = (0.9 if letters else 0.1) if on else 0.0
        k = 1.6 if letters else 0.8
        return min(r * k, 0.9), min(g * k, 0.9), min(b * k, 0.9), r * glow, g * glow, b * glow, 0.05, 0.0
    if z < 0.45 or a < 0.06 or a > 0.94:
        return 0.12, 0.11, 0.1, 0.0, 0.0, 0.0, 0.05, 0.0
    r, g, b = _goods(a * width, z - 0.45, seed + i * 3, w)
    on = share > 0.0 and hash3(i // 3, 4, seed + 43) < 0.65
    power = 0.55 + 0.35 * step(0.4, 2.2, z) if on else 0.0
    if on and z > top - 0.12:  # the strip light behind the glass
        return 0.3, 0.3, 0.3, 1.3, 1.15, 0.9, 0.4, 0.0
    return r * 0.5, g * 0.5, b * 0.5, r * power, g * power * 0.9, b * power * 0.72, 0.4, 0.0


@device
def facade(shape: np.ndarray, face: int, x: float, y: float, z: float, w: float, share: float) -> Surface:
    """Surface of a building's wall at a local point; `share` of its windows is lit."""
    seed, style = int(shape[T.SEED]), int(shape[T.P0])
    ends = face == T.FRONT or face == T.REAR
    u, half = (y, shape[T.HY]) if ends else (x, shape[T.HX])
    seed += face * 101
    kr, kg, kb = masonry(u, z, seed, style, w)
    r, g, b = shape[T.RED] * kr, shape[T.GREEN] * kg, shape[T.BLUE] * kb
    height, floor = shape[T.H], shape[T.P2]
    bays = max(int(2.0 * half / shape[T.P1] + 0.35), 1)
    if face == T.TOP or face == T.BOTTOM:
        return 0.12, 0.11, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0
    pitch = 2.0 * half / bays
    p, q = (u + half) / pitch, z / floor
    i, j = math.floor(p), math.floor(q)
    a, b_ = (p - i - 0.5) * pitch, (q - j) * floor  # metres from the bay's middle, above the floor
    kind = int(shape[T.P3]) % 10
    if height - z < 0.35 or (abs(z - floor) < 0.12 and style != 0):
        light = 0.72 if height - z < 0.06 else 1.25
        return min(r * light, 0.85), min(g * light, 0.85), min(b * light, 0.85), 0.0, 0.0, 0.0, 0.0, 0.0
    if half - abs(u) < 0.3 and style != 3:
        quoin = 1.3 if (math.floor(z / 0.35) % 2.0) == 0.0 or half - abs(u) < 0.18 else 1.0
        return min(r * quoin, 0.85), min(g * quoin, 0.85), min(b * quoin, 0.85), 0.0, 0.0, 0.0, 0.0, 0.0
    if ends and shape[T.P3] >= 10.0 and hash3(i, j, seed + 51) < 0.75:  # party walls have few windows
        return r, g, b, 0.0, 0.0, 0.0, 0.0, 0.0
    if j == 0 and kind == 1:
        return _shop(a / pitch + 0.5, z, i, seed, share, floor, pitch, w)
    wide = pitch * (0.24 + 0.1 * hash3(3, 5, int(shape[T.SEED]))) + (0.12 if style == 3 else 0.0)
    low, high = 0.85, floor - 0.42
    if j == 0 and kind == 0 and i == int(hash3(9, 9, seed) * bays):
        if abs(a) < 0.5 and z < 2.15:
            dr, dg, db = _door(a + 0.5, z, i, seed)
            return dr, dg, db, 0.0, 0.0, 0.0, 0.06, 0.0
        if abs(a) < 0.5 and z < 2.5:
            return pane(a + 0.5, (z - 2.15) / 0.35, i, 77, seed, share * 2.0, w)
        if abs(a) < 0.65 and z < 2.65:
            return 0.6, 0.58, 0.52, 0.0, 0.0, 0.0, 0.0, 0.0
        return r, g, b, 0.0, 0.0, 0.0, 0.0, 0.0
    if j * floor + high > height - 0.4 or kind == 2:
        return r, g, b, 0.0, 0.0, 0.0, 0.0, 0.0
    da, dz = abs(a), max(low - b_, b_ - high)
    if da < wide and dz < 0.0:
        frame = 0.06
        bar = abs(a) < 0.025 or abs(b_ - (low + 0.62 * (high - low))) < 0.025
        if wide - da < frame or -dz < frame or (bar and style != 3):
            tone = 0.55 if hash3(4, 4, int(shape[T.SEED])) < 0.7 else 0.1
            return tone, tone, tone * 0.96, 0.0, 0.0, 0.0, 0.0, 0.0
        return pane(a / (2.0 * wide) + 0.5, (b_ - low) / (high - low), i, j, seed, share, w)
    if da < wide + 0.12 and -0.14 < b_ - low < 0.0:  # sill
        return 0.5, 0.48, 0.44, 0.0, 0.0, 0.0, 0.0, 0.0
    if da < wide + 0.1 and 0.0 < b_ - high < 0.2 and style != 3:  # lintel
        return min(r * 1.35, 0.8), min(g * 1.35, 0.8), min(b * 1.35, 0.8), 0.0, 0.0, 0.0, 0.0, 0.0
    shadow = 0.7 if da < wide + 0.1 and -0.3 < b_ - low < -0.14 else 1.0
    return r * shadow, g * shadow, b * shadow, 0.0, 0.0, 0.0, 0.0, 0.0
