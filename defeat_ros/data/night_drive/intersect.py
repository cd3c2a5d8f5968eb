"""Where a ray meets a shape. Rays are origin + t * direction, with a direction of unit length along the optical z."""

from __future__ import annotations

import math

import numpy as np

from defeat_ros.data.night_drive import table as T
from defeat_ros.data.night_drive.jit import device
from defeat_ros.data.night_drive.noise import noise3

BOX, CYLINDER, WHEEL = T.BOX, T.CYLINDER, T.WHEEL
FRONT, REAR, LEFT, RIGHT, TOP, BOTTOM, ROUND = T.FRONT, T.REAR, T.LEFT, T.RIGHT, T.TOP, T.BOTTOM, T.ROUND
LEAF, FENCE, HEDGE = T.LEAF, T.FENCE, T.HEDGE

Span = tuple[float, float, int, int]
"""Where a ray is inside: first and last t, and the faces there; nowhere when the first is not below the last."""


@device
def solid(shape: np.ndarray, face: int, x: float, y: float, z: float) -> bool:
    """Whether there is something at a local surface point of a leafy or barred shape."""
    material = int(shape[T.MATERIAL])
    seed = int(shape[T.SEED])
    if material == LEAF:
        return 0.45 * noise3(x * 4.0, y * 4.0, z * 4.0, seed) + 0.55 * noise3(x * 12.0, y * 12.0, z * 12.0, seed) > 0.49
    if material == HEDGE:
        if z < shape[T.H] - 0.25:
            return True
        return bool(noise3(x * 6.0, y * 6.0, z * 6.0, seed) > 0.3 + (z - shape[T.H] + 0.25) * 1.6)
    along = x if (face in (LEFT, RIGHT)) else y
    if face in (TOP, BOTTOM):
        return False
    bars = along / shape[T.P0]
    bar = abs(bars - math.floor(bars) - 0.5) < shape[T.P1]
    rail = abs(z - 0.2) < 0.05 or abs(z - shape[T.H] + 0.18) < 0.05
    return bar or rail


@device
def _half_space(num: float, den: float, face: int, t0: float, t1: float, f0: int, f1: int) -> Span:
    """Clip the ray's interval by one plane: num - t * den >= 0 is inside."""
    if den > 1e-12:
        t = num / den
        if t < t1:
            t1, f1 = t, face
    elif den < -1e-12:
        t = num / den
        if t > t0:
            t0, f0 = t, face
    elif num < 0.0:
        t1 = -1e30
    return t0, t1, f0, f1


@device
def _box(shape: np.ndarray, x: float, y: float, z: float, u: float, v: float, w: float) -> Span:
    t0, t1, f0, f1 = -1e30, 1e30, 0, 0
    hx, hy, h = shape[T.HX], shape[T.HY], shape[T.H]
    front, rear, side = shape[T.T_FRONT] / h, shape[T.T_REAR] / h, shape[T.T_SIDE] / h
    t0, t1, f0, f1 = _half_space(hy - y - side * z, v + side * w, LEFT, t0, t1, f0, f1)
    t0, t1, f0, f1 = _half_space(hy + y - side * z, -v + side * w, RIGHT, t0, t1, f0, f1)
    if t0 > t1:
        return t0, t1, f0, f1
    t0, t1, f0, f1 = _half_space(hx - x - front * z, u + front * w, FRONT, t0, t1, f0, f1)
    t0, t1, f0, f1 = _half_space(hx + x - rear * z, -u + rear * w, REAR, t0, t1, f0, f1)
    if t0 > t1:
        return t0, t1, f0, f1
    t0, t1, f0, f1 = _half_space(h - z, w, TOP, t0, t1, f0, f1)
    return _half_space(z, -w, BOTTOM, t0, t1, f0, f1)


@device
def _tube(radius: float, a: float, b: float, c: float, p: float, q: float, r: float, low: float, high: float) -> Span:
    """A capped cylinder about the third axis, from `low` to `high` along it."""
    t0, t1, f0, f1 = -1e30, 1e30, ROUND, ROUND
    qa = p * p + q * q
    half = a * p + b * q
    rest = a * a + b * b - radius * radius
    if qa > 1e-12:
        disc = half * half - qa * rest
        if disc < 0.0:
            return 1.0, -1.0, 0, 0
        root = math.sqrt(disc)
        t0, t1 = (-half - root) / qa, (-half + root) / qa
    elif rest > 0.0:
        return 1.0, -1.0, 0, 0
    t0, t1, f0, f1 = _half_space(high - c, r, TOP, t0, t1, f0, f1)
    return _half_space(c - low, -r, BOTTOM, t0, t1, f0, f1)


@device
def _ellipsoid(shape: np.ndarray, x: float, y: float, z: float, u: float, v: float, w: float) -> Span:
    ax, ay, az = 1.0 / shape[T.HX], 1.0 / shape[T.HY], 1.0 / shape[T.H]
    x, y, z, u, v, w = x * ax, y * ay, z * az, u * ax, v * ay, w * az
    qa = u * u + v * v + w * w
    half = x * u + y * v + z * w
    disc = half * half - qa * (x * x + y * y + z * z - 1.0)
    if disc < 0.0:
        return 1.0, -1.0, 0, 0
    root = math.sqrt(disc)
    return (-half - root) / qa, (-half + root) / qa, ROUND, ROUND


@device
def hit_shape(shape: np.ndarray, ox: float, oy: float, oz: float, dx: float, dy: float, dz: float,
              nearest: float, farthest: float) -> tuple[float, int]:  # fmt: skip
    """First hit with nearest < t < farthest: t and the face, which is 0 for none."""
    c, s = shape[T.COS], shape[T.SIN]
    rx, ry, z = ox - shape[T.X], oy - shape[T.Y], oz - shape[T.Z]
    x, y = c * rx + s * ry, c * ry - s * rx
    u, v, w = c * dx + s * dy, c * dy - s * dx, dz
    kind = int(shape[T.KIND])
    if kind == BOX:
        t0, t1, f0, f1 = _box(shape, x, y, z, u, v, w)
    elif kind == CYLINDER:
        t0, t1, f0, f1 = _tube(shape[T.HX], x, y, z, u, v, w, 0.0, shape[T.H])
    elif kind == WHEEL:
        t0, t1, f0, f1 = _tube(shape[T.HX], x, z, y, u, w, v, -shape[T.HY], shape[T.HY])
    else:
        t0, t1, f0, f1 = _ellipsoid(shape, x, y, z, u, v, w)
    if t0 >= t1 or t1 <= nearest or t0 >= farthest:
        return farthest, 0
    material = int(shape[T.MATERIAL])
    if material in (LEAF, FENCE, HEDGE):
        if t0 > nearest and solid(shape, f0, x + t0 * u, y + t0 * v, z + t0 * w):
            return t0, f0
        if t1 < farthest and solid(shape, f1, x + t1 * u, y + t1 * v, z + t1 * w):
            return t1, f1
        return farthest, 0
    return (t0, f0) if t0 > nearest else (farthest, 0)


@device
def normal_at(shape: np.ndarray, face: int, x: float, y: float, z: float) -> tuple[float, float, float]:
    """Outward unit normal in the world of a local surface point."""
    kind = int(shape[T.KIND])
    a, b, c = 0.0, 0.0, 0.0
    if kind == BOX:
        h = shape[T.H]
        if face == FRONT:
            a, c = 1.0, shape[T.T_FRONT] / h
        elif face == REAR:
            a, c = -1.0, shape[T.T_REAR] / h
        elif face == LEFT:
            b, c = 1.0, shape[T.T_SIDE] / h
        elif face == RIGHT:
            b, c = -1.0, shape[T.T_SIDE] / h
        else:
            c = 1.0 if face == TOP else -1.0
    elif face in (TOP, BOTTOM):
        sign = 1.0 if face == TOP else -1.0
        if kind == WHEEL:
            b = sign
        else:
            c = sign
    elif kind == CYLINDER:
        a, b = x, y
    elif kind == WHEEL:
        a, c = x, z
    else:
        a, b, c = x / shape[T.HX] ** 2, y / shape[T.HY] ** 2, z / shape[T.H] ** 2
    scale = 1.0 / math.sqrt(a * a + b * b + c * c + 1e-30)
    a, b, c = a * scale, b * scale, c * scale
    return shape[T.COS] * a - shape[T.SIN] * b, shape[T.SIN] * a + shape[T.COS] * b, c
