"""Which shapes a ray can meet: by tile of the image for the eye, by cell of the ground for shadows."""

from __future__ import annotations

import math

import numpy as np

from defeat_ros.data.night_drive import table as T
from defeat_ros.data.night_drive.jit import allocating, device

TILE = 16
NEAR = 0.05


def nearest_first(shapes: np.ndarray, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shapes (N, SHAPE_COLUMNS) sorted by the least depth of their bounding boxes, and that depth (N,), m.

    Those behind the camera stay: they may throw shadows into view.
    """
    axis, c, s = pose[:3, 2], shapes[:, T.COS], shapes[:, T.SIN]
    low = np.where(shapes[:, T.KIND] == T.ELLIPSOID, -shapes[:, T.H], 0.0)
    wheel = shapes[:, T.KIND] == T.WHEEL
    low = np.where(wheel, -shapes[:, T.HX], low)
    high = np.where(wheel, shapes[:, T.HX], shapes[:, T.H])
    middle = shapes[:, T.X : T.Z + 1] - pose[:3, 3]
    middle[:, 2] += (low + high) / 2
    reach = np.abs(c * axis[0] + s * axis[1]) * shapes[:, T.HX] + np.abs(c * axis[1] - s * axis[0]) * shapes[:, T.HY]
    reach += np.abs(axis[2]) * (high - low) / 2
    depth = middle @ axis
    near = np.maximum(depth - reach, 0.0)
    order = np.argsort(near, kind="stable")
    return np.ascontiguousarray(shapes[order]), near[order]


@device
def corner(shape: np.ndarray, k: int) -> tuple[float, float, float]:
    """Corner k (0 to 7) of a shape's bounding box, in the world."""
    kind = int(shape[T.KIND])
    a, b, low, high = shape[T.HX], shape[T.HY], 0.0, shape[T.H]
    if kind == T.WHEEL:
        low, high = -a, a
    elif kind == T.ELLIPSOID:
        low = -high
    x = a if k & 1 else -a
    y = b if k & 2 else -b
    z = high if k & 4 else low
    c, s = shape[T.COS], shape[T.SIN]
    return shape[T.X] + c * x - s * y, shape[T.Y] + s * x + c * y, shape[T.Z] + z


@device
def screen_box(
    shape: np.ndarray, pose: np.ndarray, lens: np.ndarray, corners: np.ndarray
) -> tuple[float, float, float, float]:
    """Bounds of a shape in the image: left, right, top, bottom (px); empty when it is behind."""
    behind = 0
    for k in range(8):
        x, y, z = corner(shape, k)
        x, y, z = x - pose[0, 3], y - pose[1, 3], z - pose[2, 3]
        for axis in range(3):
            corners[k, axis] = pose[0, axis] * x + pose[1, axis] * y + pose[2, axis] * z
        if corners[k, 2] < NEAR:
            behind += 1
    u0, u1, v0, v1 = 1e30, -1e30, 1e30, -1e30
    if behind == 8:
        return u0, u1, v0, v1
    for k in range(8):
        if corners[k, 2] >= NEAR:
            u = lens[0] * corners[k, 0] / corners[k, 2] + lens[2]
            v = lens[1] * corners[k, 1] / corners[k, 2] + lens[3]
            u0, u1, v0, v1 = min(u0, u), max(u1, u), min(v0, v), max(v1, v)
    if behind:  # where edges cross the near plane they bound the visible part
        for k in range(8):
            for bit in (1, 2, 4):
                m = k ^ bit
                if corners[k, 2] < NEAR <= corners[m, 2]:
                    f = (NEAR - corners[k, 2]) / (corners[m, 2] - corners[k, 2])
                    u = lens[0] * (corners[k, 0] + f * (corners[m, 0] - corners[k, 0])) / NEAR + lens[2]
                    v = lens[1] * (corners[k, 1] + f * (corners[m, 1] - corners[k, 1])) / NEAR + lens[3]
                    u0, u1, v0, v1 = min(u0, u), max(u1, u), min(v0, v), max(v1, v)
    return u0, u1, v0, v1


@allocating
def tiles(
    shapes: np.ndarray, pose: np.ndarray, lens: np.ndarray, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Shapes by tile, in the order they have (nearest first): starts (tiles + 1) and items."""
    columns, rows = (width + TILE - 1) // TILE, (height + TILE - 1) // TILE
    n = shapes.shape[0]
    box = np.zeros((n, 4), np.int64)
    corners = np.zeros((8, 3))
    for i in range(n):
        u0, u1, v0, v1 = screen_box(shapes[i], pose, lens, corners)
        if u1 - u0 < 0.6 and v1 - v0 < 0.6:  # rays would meet it only by chance
            u0, u1 = 1e30, -1e30
        # One pixel more all round: samples lie beside the pixel's centre.
        box[i, 0] = math.floor(min(max(u0 - 1.0, 0.0), 1e6)) // TILE
        box[i, 1] = math.floor(min(max(u1 + 1.0, -1.0 * TILE), width - 1.0)) // TILE
        box[i, 2] = math.floor(min(max(v0 - 1.0, 0.0), 1e6)) // TILE
        box[i, 3] = math.floor(min(max(v1 + 1.0, -1.0 * TILE), height - 1.0)) // TILE
    starts = np.zeros(columns * rows + 1, np.int64)
    for i in range(n):
        for row in range(box[i, 2], box[i, 3] + 1):
            for column in range(box[i, 0], box[i, 1] + 1):
                starts[row * columns + column + 1] += 1
    for k in range(columns * rows):
        starts[k + 1] += starts[k]
    fill = starts[:-1].copy()
    items = np.zeros(max(starts[-1], 1), np.int64)
    for i in range(n):
        for row in range(box[i, 2], box[i, 3] + 1):
            for column in range(box[i, 0], box[i, 1] + 1):
                k = row * columns + column
                items[fill[k]] = i
                fill[k] += 1
    return starts, items


@device
def _cell_box(shape: np.ndarray, x0: float, y0: float) -> tuple[int, int, int, int, float]:
    """Cells that a shape's bounding box covers, first and last column and row, and the height it reaches."""
    low_x, high_x, low_y, high_y, top = 1e30, -1e30, 1e30, -1e30, -1e30
    for k in range(8):
        x, y, z = corner(shape, k)
        low_x, high_x = min(low_x, x), max(high_x, x)
        low_y, high_y, top = min(low_y, y), max(high_y, y), max(top, z)
    size, cell = T.SHADE_SIZE, T.SHADE_CELL
    c0 = max(math.floor((low_x - x0) / cell), 0)
    c1 = min(math.floor((high_x - x0) / cell), size - 1)
    r0 = max(math.floor((low_y - y0) / cell), 0)
    r1 = min(math.floor((high_y - y0) / cell), size - 1)
    return c0, c1, r0, r1, top


@device
def _ball(shape: np.ndarray, ball: np.ndarray) -> None:
    """Fill `ball` with a sphere about a shape: x, y, z and the radius squared; and how high the shape reaches."""
    ax, ay, az = corner(shape, 0)
    bx, by, bz = corner(shape, 7)
    ball[0], ball[1], ball[2] = 0.5 * (ax + bx), 0.5 * (ay + by), 0.5 * (az + bz)
    ball[3] = 0.25 * ((ax - bx) ** 2 + (ay - by) ** 2 + (az - bz) ** 2) + 1e-6
    ball[4] = bz


@allocating
def light_cells(lights: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lights by cell of the ground, in the order they have: starts (cells + 1) and items."""
    size, cell, x0, y0 = T.GLOW_SIZE, T.GLOW_CELL, g[T.G_SHADE_X], g[T.G_SHADE_Y]
    starts = np.zeros(size * size + 1, np.int64)
    items = np.zeros(size * size * lights.shape[0] + 1, np.int64)
    found = 0
    for k in range(size * size):
        x, y = x0 + (k % size + 0.5) * cell, y0 + (k // size + 0.5) * cell
        for i in range(lights.shape[0]):
            reach = lights[i, T.L_REACH] + 0.71 * cell
            if (lights[i, 0] - x) ** 2 + (lights[i, 1] - y) ** 2 < reach * reach:
                items[found] = i
                found += 1
        starts[k + 1] = found
    return starts, items


@allocating
def shade_cells(shapes: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Shapes by cell of the ground: starts (cells + 1), items, a ball about each item, and the height of each cell."""
    size, x0, y0 = T.SHADE_SIZE, g[T.G_SHADE_X], g[T.G_SHADE_Y]
    starts = np.zeros(size * size + 1, np.int64)
    tops = np.full(size * size, -1e30)
    for i in range(shapes.shape[0]):
        c0, c1, r0, r1, top = _cell_box(shapes[i], x0, y0)
        for row in range(r0, r1 + 1):
            for column in range(c0, c1 + 1):
                k = row * size + column
                starts[k + 1] += 1
                tops[k] = max(tops[k], top)
    for k in range(size * size):
        starts[k + 1] += starts[k]
    fill = starts[:-1].copy()
    items = np.zeros(max(starts[-1], 1), np.int64)
    balls = np.zeros((len(items), 5))
    ball = np.zeros(5)
    for i in range(shapes.shape[0]):
        c0, c1, r0, r1, _ = _cell_box(shapes[i], x0, y0)
        _ball(shapes[i], ball)
        for row in range(r0, r1 + 1):
            for column in range(c0, c1 + 1):
                k = row * size + column
                items[fill[k]] = i
                balls[fill[k]] = ball
                fill[k] += 1
    return starts, items, balls, tops
