"""The ray caster: one ray through each pixel's centre gives depth and colour, two or three more smooth edges."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import prange

from defeat_ros.data.night_drive import table as T
from defeat_ros.data.night_drive.cull import TILE, light_cells, shade_cells, tiles
from defeat_ros.data.night_drive.ground import (
    ground_height,
    hit_ground,
    nearest_samples,
    pavement_colour,
    road_colour,
    road_coordinates,
)
from defeat_ros.data.night_drive.intersect import hit_shape, normal_at
from defeat_ros.data.night_drive.jit import compiled, device, sources_digest
from defeat_ros.data.night_drive.light import Arrays, contact, day_light, night_light, sky
from defeat_ros.data.night_drive.materials import surface
from defeat_ros.data.night_drive.noise import noise2

SKY, KERB = T.SKY, T.KERB
KEEP, TAKE, COMPUTE = 0, 1, 2  # what to do with the light of a sample: see _shade
SAMPLES = np.array([[0, 0], [-0.32, -0.18], [0.32, -0.18], [0.0, 0.36]])
"""Offsets from a pixel's centre, px: the first gives depth and colour, the others smooth edges."""


@device
def _shade(shape: np.ndarray, face: int, s: float, d: float, x: float, y: float, z: float, vx: float, vy: float,
           vz: float, distance: float, scene: Arrays, mode: int,
           kept: np.ndarray) -> tuple[float, float, float]:  # fmt: skip
    """Radiance of the surface at (x, y, z) towards the eye; v is the unit direction of sight.

    Its light (irradiance, mirrored lamps, light sent straight back) is computed, kept or taken from what was kept.
    """
    g, road, grid, junctions, shapes, lights, blobs = scene[:7]
    near, cells = scene[7:9], scene[9:]
    w = distance * g[T.G_PIXEL]
    wet, mirror, retro, er, eg, eb = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    share = 1.0
    ground = face < 0
    if ground:
        nx, ny, nz = 0.0, 0.0, 1.0
        if g[T.G_HILLS] > 0.0:
            i = min(max(int(s), 0), road.shape[0] - 1)
            nz = 1.0 / math.sqrt(1.0 + road[i, 6] ** 2)
            nx, ny = -road[i, 6] * road[i, 2] * nz, -road[i, 6] * road[i, 3] * nz
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
        above = z
        if g[T.G_HILLS] > 0.0:
            at, _ = road_coordinates(x, y, road, grid, g)
            above = max(z - ground_height(at, road), 0.0)
        share = 0.55 + 0.45 * min(above / 1.2, 1.0)
        if shape[T.MATERIAL] == T.LEAF or shape[T.MATERIAL] == T.HEDGE:  # every leaf looks elsewhere
            nx += 1.6 * (noise2(lx * 8.0 + lz * 3.0, ly * 8.0 - lz * 5.0, 1) - 0.5)
            ny += 1.6 * (noise2(lx * 8.0 - lz * 5.0, ly * 8.0 + lz * 3.0, 2) - 0.5)
            nz += 1.2 * (noise2(lz * 9.0 + lx * 2.0, ly * 6.0 - lx * 6.0, 3) - 0.4)
            scale = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-6)
            nx, ny, nz = nx * scale, ny * scale, nz * scale
        if nx * vx + ny * vy + nz * vz > 0.0:  # the far side of a leafy crown
            nx, ny, nz = -nx, -ny, -nz
    if mode == TAKE:
        r, gr, b, mr, mg, mb, back = kept[0], kept[1], kept[2], kept[3], kept[4], kept[5], kept[6]
    elif g[T.G_NIGHT] > 0.5:
        r, gr, b, mr, mg, mb, back = night_light(x, y, z, nx, ny, nz, vx, vy, vz, wet, ground, distance, lights, near,
                                                 shapes, cells, g)  # fmt: skip
    else:
        r, gr, b = day_light(x, y, z, nx, ny, nz, share, shapes, cells, g)
        mr, mg, mb, back = 0.0, 0.0, 0.0, 0.0
    if mode == KEEP:
        kept[0], kept[1], kept[2], kept[3], kept[4], kept[5], kept[6] = r, gr, b, mr, mg, mb, back
    dim = 0.35 + 0.65 * share if g[T.G_NIGHT] > 0.5 else 1.0
    back *= retro
    r = ar * (r + back) * dim + mr + er
    gr = ag * (gr + back * 0.95) * dim + mg + eg
    b = ab * (b + back * 0.82) * dim + mb + eb
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
            near: np.ndarray, scene: Arrays, mode: int, known: int,
            kept: np.ndarray) -> tuple[float, float, float, float, int]:  # fmt: skip
    """What is seen at image point (u, v): radiance (3), depth, and a number for the surface.

    In mode TAKE the light that was kept is taken for the surface `known` only.
    """
    g, road, grid, junctions, shapes = scene[:5]
    a, b = (u - lens[2]) / lens[0], (v - lens[3]) / lens[1]
    dx = pose[0, 0] * a + pose[0, 1] * b + pose[0, 2]
    dy = pose[1, 0] * a + pose[1, 1] * b + pose[1, 2]
    dz = pose[2, 0] * a + pose[2, 1] * b + pose[2, 2]
    ox, oy, oz = pose[0, 3], pose[1, 3], pose[2, 3]
    best, hit, face = 1e30, -1, 0
    if dz < 0.0 and g[T.G_HILLS] == 0.0:
        best = -oz / dz  # nothing below the road matters; the exact ground comes after
    for k in range(low, high):
        i = order[k]
        if near[i] > best:
            break
        t, f = hit_shape(shapes[i], ox, oy, oz, dx, dy, dz, 0.02, best)
        if f != 0:
            best, hit, face = t, i, f
    s, d = 0.0, 0.0
    t, kind, gs, gd = hit_ground(ox, oy, oz, dx, dy, dz, road, grid, junctions, g, best)
    if t <= best and kind != SKY:
        best, hit, face, s, d = t, -1, kind, gs, gd
    length = math.sqrt(dx * dx + dy * dy + dz * dz)
    vx, vy, vz = dx / length, dy / length, dz / length
    if face == 0:
        r, gr, bl = sky(vx, vy, vz, g)
        return r, gr, bl, math.inf, SKY
    what = hit * 8 + face if hit >= 0 else face
    if mode == TAKE and what != known:
        mode = COMPUTE
    r, gr, bl = _shade(shapes[max(hit, 0)], face, s, d, ox + best * dx, oy + best * dy, oz + best * dz, vx, vy, vz,
                       best * length, scene, mode, kept)  # fmt: skip
    return r, gr, bl, best, what


@device
def _more(first: np.ndarray, label: np.ndarray, row: int, column: int, floor: float) -> int:
    """How many more samples a pixel needs: 3 beside another surface, 2 beside another colour on the same."""
    height, width = label.shape
    more = 0
    for dv, du in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        v, u = row + dv, column + du
        if 0 <= v < height and 0 <= u < width:
            if label[v, u] != label[row, column]:
                return 3
            for c in range(3):
                a, b = first[row, column, c], first[v, u, c]
                if abs(a - b) > 0.16 * (a + b) + floor:
                    more = 2
    return more


@device
def _steady(light: np.ndarray, label: np.ndarray, row: int, column: int, floor: float) -> bool:
    """Whether light hardly changes from a pixel to those beside it on the same surface: no shadow's edge is there."""
    height, width = label.shape
    for dv, du in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        v, u = row + dv, column + du
        if 0 <= v < height and 0 <= u < width and label[v, u] == label[row, column]:
            for c in (1, 4):
                a, b = light[row, column, c], light[v, u, c]
                if abs(a - b) > 0.05 * (a + b) + 0.25 * floor:
                    return False
    return True


@device
def _row(row: int, phase: int, seen: Arrays, starts: np.ndarray, order: np.ndarray, near: np.ndarray,
         pose: np.ndarray, lens: np.ndarray, scene: Arrays, colour: np.ndarray, depth: np.ndarray) -> None:  # fmt: skip
    """One row of the image: phase 0 takes the sample in the middle of every pixel, phase 1 adds more at edges.

    The first samples' colour, surface and light are `seen`.
    """
    first, label, light = seen
    width = depth.shape[1]
    columns = (width + TILE - 1) // TILE
    floor = scene[0][T.G_CONTRAST]
    for column in range(width):
        more = _more(first, label, row, column, floor) if phase == 1 else 0
        if phase == 1 and more == 0:
            continue
        k = (row // TILE) * columns + column // TILE
        sr, sg, sb, mode = 0.0, 0.0, 0.0, KEEP
        if phase == 1:
            mode = TAKE if _steady(light, label, row, column, floor) else COMPUTE
            sr, sg, sb = first[row, column, 0], first[row, column, 1], first[row, column, 2]
        for sample in range(phase, 1 + more):
            u, v = column + SAMPLES[sample, 0], row + SAMPLES[sample, 1]
            r, g, b, t, what = _sample(u, v, pose, lens, starts[k], starts[k + 1], order, near, scene, mode,
                                       label[row, column], light[row, column])  # fmt: skip
            sr, sg, sb = sr + r, sg + g, sb + b
            if phase == 0:
                first[row, column, 0], first[row, column, 1], first[row, column, 2] = r, g, b
                depth[row, column], label[row, column] = t, what
        share = 1.0 / (1 + more)
        colour[row, column, 0], colour[row, column, 1], colour[row, column, 2] = sr * share, sg * share, sb * share


def _make(version: int) -> Callable[..., None]:
    def render(shapes: np.ndarray, near: np.ndarray, lights: np.ndarray, blobs: np.ndarray, junctions: np.ndarray,
               road: np.ndarray, window: np.ndarray, pose: np.ndarray, lens: np.ndarray, g: np.ndarray, smooth: bool,
               colour: np.ndarray, depth: np.ndarray) -> None:  # fmt: skip
        height, width = depth.shape
        grid = np.zeros((T.GRID_SIZE, T.GRID_SIZE), np.int64)
        nearest_samples(road, g[T.G_GRID_X], g[T.G_GRID_Y], window[0], window[1], grid)
        starts, order = tiles(shapes, pose, lens, width, height)
        near_lights, near_shapes = light_cells(lights, g), shade_cells(shapes, g)
        scene = (g, road, grid, junctions, shapes, lights, blobs, *near_lights, *near_shapes)
        seen = (np.zeros((height, width, 3)), np.zeros((height, width), np.int64),
                np.zeros((height, width, 7), np.float32))  # fmt: skip
        # Every thread gets a contiguous share of the range: strides of the golden ratio spread it over the image.
        stride = int(0.618 * height) | 1
        while math.gcd(stride, height) > 1:
            stride += 2
        for phase in range(2 if smooth and version else 1):
            for k in prange(height):
                _row(k * stride % height, phase, seen, starts, order, near, pose, lens, scene, colour, depth)

    return compiled(render)


render = _make(sources_digest() or 1)
"""Ray cast one image: fills `colour` (H, W, 3) float32 radiance and `depth` (H, W) float32; the rest is read.

Columns of shapes, lights and scene constants g: see `table`. shapes and near (N,): as `cull.nearest_first` gives them.
blobs (N, 6): x, y, cos, sin, half length, half width of cars. junctions (N, 3): s from the first road sample, half
width, zebra. road (M, 7): `Road.table`; window (2,): its samples in view. pose (4, 4): world_from_camera; lens (4,):
fx, fy, cx, cy. smooth: whether to take more samples at edges.
"""
