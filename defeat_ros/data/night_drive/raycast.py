"""The ray caster: one ray through each pixel's centre gives depth and colour, three more smooth what has edges."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from defeat_ros.data.night_drive import table as T
from defeat_ros.data.night_drive.cull import TILE, shade_cells, tiles
from defeat_ros.data.night_drive.ground import hit_ground, nearest_samples, pavement_colour, road_colour
from defeat_ros.data.night_drive.intersect import hit_shape, normal_at
from defeat_ros.data.night_drive.jit import compiled, device, sources_digest
from defeat_ros.data.night_drive.light import contact, night_light, occluded, sky
from defeat_ros.data.night_drive.materials import surface
from defeat_ros.data.night_drive.noise import noise2

SKY, KERB = T.SKY, T.KERB
SAMPLES = np.array([[0, 0], [-0.32, -0.18], [0.32, -0.18], [0.0, 0.36]])
"""Offsets from a pixel's centre, px: the first gives depth and colour, the others smooth edges."""


@device
def _shade(shape: np.ndarray, face: int, s: float, d: float, x: float, y: float, z: float, vx: float, vy: float,
           vz: float, distance: float, scene: tuple) -> tuple[float, float, float]:  # fmt: skip
    """Radiance of the surface at (x, y, z) towards the eye; v is the unit direction of sight."""
    g, _road, _grid, junctions, lights, blobs, shapes, starts, items, tops = scene
    w = distance * g[T.G_PIXEL]
    wet, mirror, retro, er, eg, eb = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    share = 1.0
    ground = face < 0
    if ground:
        nx, ny, nz = 0.0, 0.0, 1.0
        if face == KERB:
            flat = math.sqrt(vx * vx + vy * vy) + 1e-9
            nx, ny, nz = -vx / flat, -vy / flat, 0.0
        spread = w / math.sqrt(max(abs(vz), 0.04))
        if face == T.ROAD:
            ar, ag, ab, wet, retro = road_colour(x, y, s, d, spread, junctions, g)
        else:
            ar, ag, ab, wet, retro = pavement_colour(x, y, s, d, spread, face, junctions, g)
        share = contact(x, y, blobs)
    else:
        c, sn = shape[T.COS], shape[T.SIN]
        rx, ry = x - shape[T.X], y - shape[T.Y]
        lx, ly, lz = c * rx + sn * ry, c * ry - sn * rx, z - shape[T.Z]
        nx, ny, nz = normal_at(shape, face, lx, ly, lz)
        ar, ag, ab, er, eg, eb, mirror, retro = surface(shape, face, lx, ly, lz, w, g)
        share = 0.55 + 0.45 * min(z / 1.2, 1.0)
        if shape[T.MATERIAL] == T.LEAF or shape[T.MATERIAL] == T.HEDGE:  # every leaf looks elsewhere
            nx += 1.6 * (noise2(lx * 8.0 + lz * 3.0, ly * 8.0 - lz * 5.0, 1) - 0.5)
            ny += 1.6 * (noise2(lx * 8.0 - lz * 5.0, ly * 8.0 + lz * 3.0, 2) - 0.5)
            nz += 1.2 * (noise2(lz * 9.0 + lx * 2.0, ly * 6.0 - lx * 6.0, 3) - 0.4)
            scale = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-6)
            nx, ny, nz = nx * scale, ny * scale, nz * scale
        if nx * vx + ny * vy + nz * vz > 0.0:  # the far side of a leafy crown
            nx, ny, nz = -nx, -ny, -nz
    if g[T.G_NIGHT] > 0.5:
        r, gr, b, mr, mg, mb = night_light(x, y, z, nx, ny, nz, vx, vy, vz, wet, retro, ground, distance, lights,
                                           shapes, starts, items, tops, g)  # fmt: skip
        dim = 0.35 + 0.65 * share
        r, gr, b = ar * r * dim + mr + er, ag * gr * dim + mg + eg, ab * b * dim + mb + eb
    else:
        level = (0.6 + 0.4 * nz) * share
        r, gr, b = g[T.G_AMB_R] * level, g[T.G_AMB_G] * level, g[T.G_AMB_B] * level
        sx, sy, sz = g[T.G_SUNX], g[T.G_SUNY], g[T.G_SUNZ]
        facing = nx * sx + ny * sy + nz * sz
        if (
            facing > 0.0
            and g[T.G_SUN] > 0.0
            and not occluded(
                x + 0.03 * nx, y + 0.03 * ny, z + 0.03 * nz, sx, sy, sz, 90.0, shapes, starts, items, tops, g
            )
        ):
            sun = g[T.G_SUN] * facing
            r, gr, b = r + sun, gr + sun * 0.95, b + sun * 0.84
        r, gr, b = ar * r + er, ag * gr + eg, ab * b + eb
    if mirror > 0.0:
        cosine = -(nx * vx + ny * vy + nz * vz)
        bounce = mirror * (0.12 + 0.88 * (1.0 - max(cosine, 0.0)) ** 4)
        qx, qy, qz = vx + 2.0 * cosine * nx, vy + 2.0 * cosine * ny, vz + 2.0 * cosine * nz
        sr, sg, sb = sky(qx, qy, max(qz, 0.02), g)
        low = 1.0 if qz > 0.12 else 0.35 + 0.3 * max(qz, 0.0) / 0.12  # houses stand where the mirrored sky would be
        r, gr, b = r + bounce * sr * low, gr + bounce * sg * low, b + bounce * sb * low
    haze = 1.0 - math.exp(-distance / g[T.G_HAZE])
    return r + (g[T.G_GLOW_R] - r) * haze, gr + (g[T.G_GLOW_G] - gr) * haze, b + (g[T.G_GLOW_B] - b) * haze


@device
def _sample(u: float, v: float, pose: np.ndarray, lens: np.ndarray, low: int, high: int, order: np.ndarray,
            near: np.ndarray, scene: tuple) -> tuple[float, float, float, float, int]:  # fmt: skip
    """What is seen at image point (u, v): radiance (3), depth, and a number for the surface."""
    g, road, grid, junctions, _, _, shapes, _, _, _ = scene
    a, b = (u - lens[2]) / lens[0], (v - lens[3]) / lens[1]
    dx = pose[0, 0] * a + pose[0, 1] * b + pose[0, 2]
    dy = pose[1, 0] * a + pose[1, 1] * b + pose[1, 2]
    dz = pose[2, 0] * a + pose[2, 1] * b + pose[2, 2]
    ox, oy, oz = pose[0, 3], pose[1, 3], pose[2, 3]
    best, hit, face = 1e30, -1, 0
    if dz < 0.0:
        best = -oz / dz  # nothing below the road matters; the exact ground comes after
    for k in range(low, high):
        i = order[k]
        if near[i] > best:
            break
        t, f = hit_shape(shapes[i], ox, oy, oz, dx, dy, dz, 0.02, best)
        if f != 0:
            best, hit, face = t, i, f
    s, d = 0.0, 0.0
    t, kind, gs, gd = hit_ground(ox, oy, oz, dx, dy, dz, road, grid, junctions, g)
    if t <= best and kind != SKY:
        best, hit, face, s, d = t, -1, kind, gs, gd
    length = math.sqrt(dx * dx + dy * dy + dz * dz)
    vx, vy, vz = dx / length, dy / length, dz / length
    if face == 0:
        r, gr, bl = sky(vx, vy, vz, g)
        return r, gr, bl, math.inf, SKY
    r, gr, bl = _shade(shapes[max(hit, 0)], face, s, d, ox + best * dx, oy + best * dy, oz + best * dz, vx, vy, vz,
                       best * length, scene)  # fmt: skip
    return r, gr, bl, best, (hit * 8 + face if hit >= 0 else face)


@device
def _edge(first: np.ndarray, label: np.ndarray, row: int, column: int, floor: float) -> bool:
    """Whether a pixel differs from one beside it: another surface, or another colour on the same."""
    height, width = label.shape
    for dv, du in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        v, u = row + dv, column + du
        if 0 <= v < height and 0 <= u < width:
            if label[v, u] != label[row, column]:
                return True
            for c in range(3):
                a, b = first[row, column, c], first[v, u, c]
                if abs(a - b) > 0.16 * (a + b) + floor:
                    return True
    return False


def _make(version: int) -> Callable[..., Any]:
    def render(shapes, near, lights, blobs, junctions, road, window, pose, lens, g, smooth, colour, depth):  # type: ignore[no-untyped-def]
        height, width = depth.shape
        grid = np.zeros((T.GRID_SIZE, T.GRID_SIZE), np.int64)
        nearest_samples(road, g[T.G_GRID_X], g[T.G_GRID_Y], window[0], window[1], grid)
        starts, order = tiles(shapes, pose, lens, width, height)
        shade_starts, shade_items, tops = shade_cells(shapes, g[T.G_SHADE_X], g[T.G_SHADE_Y])
        scene = (g, road, grid, junctions, lights, blobs, shapes, shade_starts, shade_items, tops)
        columns = (width + TILE - 1) // TILE
        first = np.zeros((height, width, 3))
        label = np.zeros((height, width), np.int64)
        floor = g[T.G_CONTRAST]
        for phase in range(2 if smooth and version else 1):
            for row in prange(height):
                for column in range(width):
                    if phase == 1 and not _edge(first, label, row, column, floor):
                        continue
                    k = (row // TILE) * columns + column // TILE
                    sr, sg, sb = 0.0, 0.0, 0.0
                    if phase == 1:
                        sr, sg, sb = first[row, column, 0], first[row, column, 1], first[row, column, 2]
                    for sample in range(phase, 1 + 3 * phase):
                        u, v = column + SAMPLES[sample, 0], row + SAMPLES[sample, 1]
                        r, gr, b, t, what = _sample(u, v, pose, lens, starts[k], starts[k + 1], order, near, scene)
                        sr, sg, sb = sr + r, sg + gr, sb + b
                        if phase == 0:
                            first[row, column, 0], first[row, column, 1], first[row, column, 2] = r, gr, b
                            depth[row, column], label[row, column] = t, what
                    share = 0.25 if phase == 1 else 1.0
                    colour[row, column, 0] = sr * share
                    colour[row, column, 1] = sg * share
                    colour[row, column, 2] = sb * share

    return compiled(render, parallel=True)


render = _make(sources_digest() or 1)
"""Ray cast one image: fills `colour` (H, W, 3) float32 radiance and `depth` (H, W) float32; the rest is read.

Columns of shapes, lights and scene constants g: see `table`. shapes and near (N,): as `cull.nearest_first` gives them.
blobs (N, 6): x, y, cos, sin, half length, half width of cars. junctions (N, 3): s from the first road sample, half
width, zebra. road (M, 5): `Road.table`; window (2,): its samples in view. pose (4, 4): world_from_camera; lens (4,):
fx, fy, cx, cy. smooth: whether to take more samples at edges.
"""
