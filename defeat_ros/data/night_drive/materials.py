"""What shapes are made of: colour, own light and shine at a surface point, from the shape's row alone."""

from __future__ import annotations

import math

import numpy as np

from defeat_ros.data.night_drive import table as T
from defeat_ros.data.night_drive.facade import Surface, facade, masonry, pane
from defeat_ros.data.night_drive.jit import device
from defeat_ros.data.night_drive.noise import grain, hash3, noise2, noise3, step

# Materials and faces as plain globals: numba folds them into the code.
FRONT, REAR, LEFT, RIGHT, TOP, BOTTOM = T.FRONT, T.REAR, T.LEFT, T.RIGHT, T.TOP, T.BOTTOM


@device
def _roof(r: float, g: float, b: float, x: float, y: float, z: float, face: int, seed: int, w: float) -> Surface:
    along = y if face in (FRONT, REAR) else x
    row = math.floor(z / 0.22)
    i = along / 0.3 + 0.5 * (row % 2.0)
    fade = 1.0 - step(0.3, 1.0, w / 0.22)
    k = 1.0 + 0.4 * (hash3(math.floor(i), int(row), seed) - 0.5) * fade + 0.4 * grain(along, z, seed + 1, 1.9, w)
    if abs(z / 0.22 - row - 0.5) > 0.42:
        k *= 1.0 - 0.4 * fade
    return r * k, g * k, b * k, 0.0, 0.0, 0.0, 0.03, 0.0


@device
def _car(shape: np.ndarray, face: int, x: float, y: float, z: float, night: bool) -> Surface:
    """The lower body: P0 wheel base, P1 lights on (0 off, 1 on, 2 braking), P2 wheel radius."""
    r, g, b = shape[T.RED], shape[T.GREEN], shape[T.BLUE]
    hx, hy, h = shape[T.HX], shape[T.HY], shape[T.H]
    on = shape[T.P1]
    if face in (LEFT, RIGHT):
        arch = shape[T.P2] + 0.07
        axle = abs(abs(x) - 0.5 * shape[T.P0])
        if axle * axle + (z - 0.1) ** 2 < arch * arch:
            return 0.015, 0.015, 0.015, 0.0, 0.0, 0.0, 0.0, 0.0
        if z < 0.1:
            return 0.03, 0.03, 0.03, 0.0, 0.0, 0.0, 0.0, 0.0
        for seam in (-0.2 * hx, 0.3 * hx, -0.62 * hx):
            if abs(x - seam) < 0.012:
                return r * 0.3, g * 0.3, b * 0.3, 0.0, 0.0, 0.0, 0.0, 0.0
        if 0.72 * h < z < 0.77 * h and (abs(x + 0.1 * hx) < 0.09 or abs(x - 0.36 * hx) < 0.09):
            return 0.25, 0.25, 0.25, 0.0, 0.0, 0.0, 0.3, 0.0
        k = 0.8 if abs(z - 0.55 * h) < 0.02 else 1.0
        return r * k, g * k, b * k, 0.0, 0.0, 0.0, 0.22, 0.0
    if face == FRONT:
        if 0.5 * h < z < 0.8 * h and abs(y) > 0.58 * hy and abs(y) < 0.96 * hy:
            glow = 30.0 if on > 0.5 and night else (1.2 if on > 0.5 else 0.0)
            spot = 1.0 if abs(abs(y) - 0.78 * hy) < 0.12 and abs(z - 0.65 * h) < 0.09 else 0.12
            return 0.6, 0.6, 0.62, glow * spot, glow * spot * 0.95, glow * spot * 0.82, 0.4, 0.0
        if 0.3 * h < z < 0.72 * h and abs(y) < 0.5 * hy:
            bar = 0.02 if (z * 25.0) % 1.0 < 0.6 else 0.12
            return bar, bar, bar, 0.0, 0.0, 0.0, 0.1, 0.0
    if face == REAR:
        if 0.58 * h < z < 0.88 * h and abs(y) > 0.62 * hy:
            glow = (1.6 + 4.5 * (on > 1.5)) if on > 0.5 and night else 0.6 * (on > 1.5)
            white = 0.84 * hy < abs(y) and z < 0.66 * h
            if white:
                return 0.5, 0.5, 0.5, 0.0, 0.0, 0.0, 0.3, 0.0
            return 0.4, 0.02, 0.02, glow, glow * 0.05, glow * 0.03, 0.3, 3.0
        if 0.42 * h < z < 0.6 * h and abs(y) < 0.27:
            text = noise2(y * 32.0, z * 11.0, int(shape[T.SEED])) > 0.62
            tone = 0.1 if text else 0.6
            lamp = 0.12 if on > 0.5 and night else 0.0
            return tone, tone, tone * 0.9, lamp, lamp, lamp * 0.9, 0.1, 2.5
        if z < 0.25 * h:
            return 0.04, 0.04, 0.04, 0.0, 0.0, 0.0, 0.05, 0.0
    if face == FRONT and z < 0.22 * h:
        return 0.03, 0.03, 0.03, 0.0, 0.0, 0.0, 0.05, 0.0
    return r, g, b, 0.0, 0.0, 0.0, 0.25, 0.0


@device
def _cabin(shape: np.ndarray, face: int, x: float, y: float, z: float) -> Surface:
    """Glass all round between the pillars, a painted roof."""
    r, g, b = shape[T.RED], shape[T.GREEN], shape[T.BLUE]
    h = shape[T.H]
    k = z / h
    if face == TOP:
        return r, g, b, 0.0, 0.0, 0.0, 0.25, 0.0
    front = shape[T.HX] - shape[T.T_FRONT] * k
    rear = shape[T.HX] - shape[T.T_REAR] * k
    side = shape[T.HY] - shape[T.T_SIDE] * k
    if face in (LEFT, RIGHT):
        glass = -rear + 0.12 < x < front - 0.1 and abs(x + 0.05) > 0.04 and 0.06 < k < 0.86
    else:
        glass = abs(y) < side - 0.08 and 0.05 < k < 0.9
    if not glass:
        return r, g, b, 0.0, 0.0, 0.0, 0.22, 0.0
    seat = 0.05 if k < 0.55 and abs(abs(y) - 0.35) < 0.2 else 0.02
    return seat, seat, seat, 0.0, 0.0, 0.0, 0.55, 0.0


@device
def _coach(shape: np.ndarray, face: int, x: float, y: float, z: float, night: bool) -> Surface:
    """A bus, van or lorry body: P0 wheel base, P1 lights, P2 wheel radius, P3 where the window band starts (0 none)."""
    r, g, b = shape[T.RED], shape[T.GREEN], shape[T.BLUE]
    hx, hy, h, band = shape[T.HX], shape[T.HY], shape[T.H], shape[T.P3]
    sides = face in (LEFT, RIGHT)
    if sides:
        axle = abs(abs(x) - 0.5 * shape[T.P0])
        if axle * axle + (z - 0.1) ** 2 < (shape[T.P2] + 0.08) ** 2:
            return 0.015, 0.015, 0.015, 0.0, 0.0, 0.0, 0.0, 0.0
    wide = hx if sides else hy
    u = x if sides else y
    if face != TOP and z > (band if band > 0.0 else 0.55 * h) and z < h - 0.3:
        windscreen = face == FRONT and abs(u) < wide - 0.12
        bus = band > 0.0 and abs(u) < wide - 0.15 and ((u + 20.0) % 1.5) > 0.08
        van = band == 0.0 and sides and hx - 1.6 < u < hx - 0.5
        if windscreen or bus or van:
            glow = 0.5 if night and band > 0.0 and shape[T.P1] > 0.5 else 0.0
            k = glow * (0.6 + 0.6 * noise2(u * 1.7, z * 2.0, 5))
            return 0.03, 0.03, 0.03, k, k * 0.93, k * 0.78, 0.5, 0.0
    on = shape[T.P1] > 0.5
    if (face in (FRONT, REAR)) and 0.35 < z < 0.62 and abs(y) > 0.72 * hy:
        if face == FRONT:
            k = (25.0 if night else 1.0) if on else 0.0
            return 0.6, 0.6, 0.6, k, k * 0.95, k * 0.8, 0.4, 0.0
        k = 1.8 if on and night else 0.0
        return 0.4, 0.02, 0.02, k, k * 0.05, k * 0.03, 0.3, 3.0
    letters = (
        sides
        and band == 0.0
        and 0.5 * h < z < 0.68 * h
        and noise2(x * 4.0, math.floor(z * 3.0), int(shape[T.SEED])) > 0.6
    )
    k = 0.45 if letters else (0.8 if z < 0.3 else 1.0) * (0.9 + 0.2 * noise2(u * 0.9, z * 1.2, int(shape[T.SEED])))
    return r * k, g * k, b * k, 0.0, 0.0, 0.0, 0.15, 0.0


@device
def _sign(shape: np.ndarray, face: int, y: float, z: float) -> Surface:
    """The plate of a traffic sign; P0 chooses it. Its face looks along -x, at the traffic."""
    if face != REAR:
        return 0.2, 0.2, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0
    kind = int(shape[T.P0])
    u, v = y / shape[T.HY], 2.0 * z / shape[T.H] - 1.0
    radius = math.sqrt(u * u + v * v)
    red, white = (0.6, 0.03, 0.03), (0.75, 0.75, 0.72)
    if kind == 0:  # limit: red ring
        digit = abs(v) < 0.4 and 0.12 < abs(u) < 0.5 and noise2(u * 5.0, v * 5.0, int(shape[T.SEED])) > 0.45
        c = red if radius > 0.72 else ((0.03, 0.03, 0.03) if digit else white)
    elif kind == 1:  # warning: red triangle on white
        inside = v > -0.8 and abs(u) * 1.8 < (0.85 - v)
        inner = v > -0.5 and abs(u) * 1.8 < (0.35 - v)
        c = (white if not (abs(u) < 0.1 and v < 0.1) else (0.02, 0.02, 0.02)) if inner else (red if inside else white)
    elif kind == 2:  # blue with an arrow
        arrow = (abs(u) < 0.14 and v < 0.2) or (0.1 < v < 0.6 and abs(u) < 0.6 - v)
        c = white if arrow else (0.03, 0.1, 0.5)
    else:  # stop: red with a white bar
        c = white if abs(v) < 0.22 and abs(u) < 0.75 else red
    return c[0], c[1], c[2], 0.0, 0.0, 0.0, 0.05, 9.0


@device
def _tyre(shape: np.ndarray, x: float, z: float) -> Surface:
    radius = math.sqrt(x * x + z * z) / shape[T.HX]
    if radius > 0.68:
        return 0.025, 0.025, 0.025, 0.0, 0.0, 0.0, 0.0, 0.0
    spoke = math.cos(5.0 * math.atan2(z, x)) > 0.1 or radius < 0.2
    tone = 0.4 if spoke else 0.05
    return tone, tone, tone, 0.0, 0.0, 0.0, 0.2, 0.0


@device
def surface(shape: np.ndarray, face: int, x: float, y: float, z: float, w: float, g: np.ndarray) -> Surface:
    """Albedo (3), emission (3), mirror-like share and retro-reflection of a shape at a local point.

    `w` is the width that a pixel covers there, m.
    """
    material, seed = int(shape[T.MATERIAL]), int(shape[T.SEED])
    r, gr, b = shape[T.RED], shape[T.GREEN], shape[T.BLUE]
    night = g[T.G_NIGHT] > 0.5
    side = y if face in (FRONT, REAR) else x
    if material == T.FACADE:
        return facade(shape, face, x, y, z, w, g[T.G_LIT])
    if material == T.ROOF:
        return _roof(r, gr, b, x, y, z, face, seed, w)
    if material == T.CAR:
        return _car(shape, face, x, y, z, night)
    if material == T.CABIN:
        return _cabin(shape, face, x, y, z)
    if material == T.COACH:
        return _coach(shape, face, x, y, z, night)
    if material == T.TYRE:
        return _tyre(shape, x, z)
    if material == T.SIGN:
        return _sign(shape, face, y, z)
    if material == T.LAMP:
        k = shape[T.P0] if night and face != TOP else 0.0
        return 0.3, 0.3, 0.3, r * k, gr * k, b * k, 0.1, 0.0
    if material == T.SIGNAL:
        lens = z / shape[T.H] * 3.0
        i = int(lens)
        disc = (y / shape[T.HY]) ** 2 + ((lens - i - 0.5) * 2.0) ** 2 < 0.6 and face == REAR
        k = 5.0 if i == int(shape[T.P0]) else 0.03
        if disc:
            return (
                0.02,
                0.02,
                0.02,
                (k if i > 0 else 0.05 * k),
                (k * 0.7 if i < 2 else 0.05 * k),
                0.4 * k * (i == 0),
                0.1,
                0.0,
            )
        return 0.03, 0.03, 0.03, 0.0, 0.0, 0.0, 0.05, 0.0
    if material == T.BRICK:
        kr, kg, kb = masonry(side, z, seed, int(shape[T.P0]), w)
        return r * kr, gr * kg, b * kb, 0.0, 0.0, 0.0, 0.0, 0.0
    if material == T.LEAF or material == T.HEDGE:
        fine = noise3(x * 9.0, y * 9.0, z * 9.0, seed + 3)
        k = 0.45 + 0.5 * noise3(x * 2.5, y * 2.5, z * 2.5, seed + 2) + 0.8 * (fine - 0.3)
        warm = 1.0 + 0.5 * (noise3(x, y, z, seed + 4) - 0.5)
        return max(r * k * warm, 0.005), max(gr * k, 0.008), max(b * k, 0.004), 0.0, 0.0, 0.0, 0.0, 0.0
    if material == T.BARK:
        k = 0.6 + 0.8 * noise2(math.atan2(y, x) * 6.0, z * 1.5, seed) * (
            0.6 + 0.8 * noise2(x * 20.0 + y * 20.0, z * 9.0, seed)
        )
        return r * k, gr * k, b * k, 0.0, 0.0, 0.0, 0.0, 0.0
    if material == T.CLOTH:
        k = 0.75 + 0.5 * noise3(x * 9.0, y * 9.0, z * 6.0, seed)
        return r * k, gr * k, b * k, 0.0, 0.0, 0.0, 0.0, 0.0
    k = 1.0 + 0.3 * grain(side, z, seed, 0.3, w) + 0.2 * grain(side, z, seed + 1, 0.05, w)
    if material == T.METAL:
        return r * k, gr * k, b * k, 0.0, 0.0, 0.0, 0.12, 0.0
    if shape[T.P0] > 0.5:  # glazed: a bay window or a shelter
        return pane(side * 0.5 + 0.5, z * 0.4, math.floor(side), 1, seed, g[T.G_LIT], w)
    return r * k, gr * k, b * k, 0.0, 0.0, 0.0, 0.0, 0.0
