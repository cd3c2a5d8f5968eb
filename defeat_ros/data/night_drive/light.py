"""Light: sky, sun with shadows, street lamps, headlights, and what they make of a surface."""

from __future__ import annotations

import math

import numpy as np

from defeat_ros.data.night_drive import table as T
from defeat_ros.data.night_drive.intersect import hit_shape
from defeat_ros.data.night_drive.jit import device
from defeat_ros.data.night_drive.noise import noise2, step

Colour = tuple[float, float, float]
Arrays = tuple[np.ndarray, ...]


@device
def sky(x: float, y: float, z: float, g: np.ndarray) -> Colour:
    """Radiance of the sky in a unit direction."""
    up = max(z, 0.0)
    seed = int(g[T.G_SEED])
    if g[T.G_NIGHT] > 0.5:
        glow = math.exp(-up * 5.0)
        cloud = noise2(x / (up + 0.15) * 1.1, y / (up + 0.15) * 1.1, seed + 91)
        k = 1.0 + 0.7 * (cloud - 0.5)
        return (
            (0.0012 + g[T.G_GLOW_R] * glow) * k,
            (0.0014 + g[T.G_GLOW_G] * glow) * k,
            (0.002 + g[T.G_GLOW_B] * glow) * k,
        )
    fade = math.exp(-up * 3.2)
    r, gr, b = 0.25 + 0.55 * fade, 0.42 + 0.42 * fade, 0.75 + 0.15 * fade
    u, v = x / (up + 0.12) * 1.3, y / (up + 0.12) * 1.3
    field = 0.55 * noise2(u, v, seed + 91) + 0.28 * noise2(u * 2.3, v * 2.3, seed + 92)
    field += 0.12 * noise2(u * 5.1, v * 5.1, seed + 93) + 0.05 * noise2(u * 11.0, v * 11.0, seed + 94)
    cover = step(0.68 - 0.5 * g[T.G_CLOUD], 0.95 - 0.5 * g[T.G_CLOUD], field + 0.1 * fade)
    white = 0.95 - 0.35 * step(0.45, 0.85, field) * g[T.G_CLOUD]
    r, gr, b = r + (white - r) * cover, gr + (white - gr) * cover, b + (white * 1.02 - b) * cover
    sun = x * g[T.G_SUNX] + y * g[T.G_SUNY] + z * g[T.G_SUNZ]
    if sun > 0.0:
        flare = g[T.G_SUN] * (0.5 * sun**24 + 3.0 * sun**400 + 8.0 * sun**4000) * (1.0 - 0.7 * cover)
        r, gr, b = r + flare, gr + flare * 0.95, b + flare * 0.85
    return r, gr, b


@device
def occluded(x: float, y: float, z: float, dx: float, dy: float, dz: float, reach: float, shapes: np.ndarray,
             cells: Arrays, g: np.ndarray) -> bool:  # fmt: skip
    """Whether a shape lies on the way from a point along a unit direction, up to `reach` metres away."""
    starts, items, balls, tops = cells
    cell, size = T.SHADE_CELL, T.SHADE_SIZE
    px, py = (x - g[T.G_SHADE_X]) / cell, (y - g[T.G_SHADE_Y]) / cell
    column, row = math.floor(px), math.floor(py)
    step_x, step_y = (1 if dx > 0.0 else -1), (1 if dy > 0.0 else -1)
    per_x, per_y = cell / max(abs(dx), 1e-9), cell / max(abs(dy), 1e-9)
    next_x = ((column + (1 if dx > 0.0 else 0)) - px) * step_x * per_x
    next_y = ((row + (1 if dy > 0.0 else 0)) - py) * step_y * per_y
    t, last = 0.0, -1
    while t < reach:
        if column < 0 or row < 0 or column >= size or row >= size:
            return False
        k = row * size + column
        leave = min(next_x, next_y)
        lowest = z + dz * t if dz > 0.0 else z + dz * min(leave, reach)
        if lowest < tops[k]:
            for j in range(starts[k], starts[k + 1]):
                if lowest >= balls[j, 4] or items[j] == last:
                    continue
                cx, cy, cz = balls[j, 0] - x, balls[j, 1] - y, balls[j, 2] - z
                along = cx * dx + cy * dy + cz * dz
                if cx * cx + cy * cy + cz * cz - along * along > balls[j, 3]:  # the ray's line misses the ball
                    continue
                last = items[j]
                _, face = hit_shape(shapes[last], x, y, z, dx, dy, dz, 1e-3, reach)
                if face != 0:
                    return True
        t = leave
        if next_x < next_y:
            next_x += per_x
            column += step_x
        else:
            next_y += per_y
            row += step_y
    return False


@device
def contact(x: float, y: float, blobs: np.ndarray) -> float:
    """Share of the sky's light that reaches the ground beside and beneath cars."""
    light = 1.0
    for i in range(blobs.shape[0]):
        rx, ry = x - blobs[i, 0], y - blobs[i, 1]
        if abs(rx) + abs(ry) > 9.0:
            continue
        u = abs(blobs[i, 2] * rx + blobs[i, 3] * ry) - blobs[i, 4]
        v = abs(blobs[i, 2] * ry - blobs[i, 3] * rx) - blobs[i, 5]
        out = math.sqrt(max(u, 0.0) ** 2 + max(v, 0.0) ** 2) + min(max(u, v), 0.0)
        light = min(light, 0.12 + 0.88 * step(-0.35, 0.75, out))
    return light


@device
def beam(forward: float, left: float, up: float, side: float) -> float:
    """Low beam: intensity relative to its middle, in the lamp's own axes (unit vector); `side` is the kerb's."""
    if forward < 0.05:
        return 0.0
    azimuth, elevation = math.atan2(left, forward), up
    cut = -0.010 + 0.03 * step(0.02, 0.16, azimuth * side)
    above = step(cut + 0.012, cut - 0.014, elevation)
    spread = 0.4 * math.exp(-((azimuth / 0.52) ** 2))
    if abs(azimuth) < 0.6:
        spread += math.exp(-((azimuth / 0.17) ** 2))
    if above <= 0.0:
        return spread * 0.012
    drop = min(elevation - cut, 0.0)
    vertical = math.exp(drop / 0.055) + 0.22 * math.exp(drop / 0.3)
    return spread * (vertical * above + 0.012)


@device
def _headlights(x: float, y: float, z: float, nx: float, ny: float, nz: float, rough: bool,
                g: np.ndarray) -> tuple[float, float]:  # fmt: skip
    """Irradiance from the camera car's lamps and what a retro-reflector there would send back."""
    rx, ry = x - g[T.G_BASE_X], y - g[T.G_BASE_Y]
    c, s = g[T.G_YAW_C], g[T.G_YAW_S]
    ahead, left = c * rx + s * ry - T.LAMPS_AHEAD, c * ry - s * rx
    if ahead < 0.2:
        return 0.0, 0.0
    total, back = 0.0, 0.0
    far = ahead > 35.0  # from there the two lamps are one
    for k in range(1 if far else 2):
        lamp = 0.0 if far else 1.24 * k - 0.62
        side, up = left - lamp, z - g[T.G_GROUND] - 0.66
        d2 = ahead * ahead + side * side + up * up
        d = math.sqrt(d2)
        shape = beam(ahead / d, side / d, up / d + g[T.G_PITCH] * ahead / d, g[T.G_SIDE])
        power = (2.0 if far else 1.0) * g[T.G_BEAM] * shape / (d2 + 1.0)
        facing = -(nx * (c * ahead - s * side) + ny * (s * ahead + c * side) + nz * up) / d
        if rough:  # asphalt sends light back at grazing angles far better than Lambert's law has it
            facing = math.sqrt(max(facing, 0.0)) * 0.45
        total += power * max(facing, 0.0)
        back += power
    return total, back


@device
def day_light(x: float, y: float, z: float, nx: float, ny: float, nz: float, share: float, shapes: np.ndarray,
              cells: Arrays, g: np.ndarray) -> Colour:  # fmt: skip
    """Irradiance from sky and sun; `share` of the sky is seen from the point."""
    level = (0.6 + 0.4 * nz) * share
    r, gr, b = g[T.G_AMB_R] * level, g[T.G_AMB_G] * level, g[T.G_AMB_B] * level
    sx, sy, sz = g[T.G_SUNX], g[T.G_SUNY], g[T.G_SUNZ]
    sun = g[T.G_SUN] * (nx * sx + ny * sy + nz * sz)
    if sun > 0.0 and not occluded(x + 0.03 * nx, y + 0.03 * ny, z + 0.03 * nz, sx, sy, sz, 90.0, shapes, cells, g):
        r, gr, b = r + sun, gr + sun * 0.95, b + sun * 0.84
    return r, gr, b


@device
def night_light(x: float, y: float, z: float, nx: float, ny: float, nz: float, vx: float, vy: float, vz: float,
                wet: float, ground: bool, distance: float, lights: np.ndarray, near: Arrays, shapes: np.ndarray,
                cells: Arrays, g: np.ndarray) -> tuple[float, float, float, float, float, float, float]:  # fmt: skip
    """Irradiance (3), light mirrored by a wet surface (3) and what a retro-reflector would send back at a point.

    It is seen along the unit direction v; `near` are the lights by cell.
    """
    starts, items = near
    column = min(max(math.floor((x - g[T.G_SHADE_X]) / T.GLOW_CELL), 0), T.GLOW_SIZE - 1)
    row = min(max(math.floor((y - g[T.G_SHADE_Y]) / T.GLOW_CELL), 0), T.GLOW_SIZE - 1)
    here = row * T.GLOW_SIZE + column
    share = 0.6 + 0.4 * nz
    r, gr, b = g[T.G_AMB_R] * share, g[T.G_AMB_G] * share, g[T.G_AMB_B] * share
    mr, mg, mb = 0.0, 0.0, 0.0
    for j in range(starts[here], starts[here + 1]):
        i = items[j]
        lx, ly, lz = lights[i, 0] - x, lights[i, 1] - y, lights[i, 2] - z
        d2 = lx * lx + ly * ly + lz * lz
        reach = lights[i, T.L_REACH]
        if d2 > reach * reach:
            continue
        d = math.sqrt(d2) + 1e-6
        lx, ly, lz = lx / d, ly / d, lz / d
        facing = nx * lx + ny * ly + nz * lz
        if facing <= 0.0:
            continue
        cosine = -(lx * lights[i, T.L_DX] + ly * lights[i, T.L_DY] + lz * lights[i, T.L_DZ])
        spot = step(lights[i, T.L_RIM], lights[i, T.L_CORE], cosine)
        edge = 1.0 - step(0.6, 1.0, d / reach)
        power = spot * edge / (d2 + 0.4)
        if power * lights[i, T.L_G] < 0.002:
            continue
        if (power * facing * lights[i, T.L_G] > 0.05 and distance < 60.0 and lights[i, T.L_RIM] < 0.3
                and occluded(x + 0.03 * nx, y + 0.03 * ny, z + 0.03 * nz, lx, ly, lz, d - 0.4, shapes, cells,
                             g)):  # fmt: skip
            continue
        r += lights[i, T.L_R] * power * facing
        gr += lights[i, T.L_G] * power * facing
        b += lights[i, T.L_B] * power * facing
        if ground:
            hx, hy, hz = lx - vx, ly - vy, lz - vz
            half = (nx * hx + ny * hy + nz * hz) / math.sqrt(hx * hx + hy * hy + hz * hz + 1e-12)
            if half < 0.7:  # raised to the power of 30 or more
                continue
            shine = (0.02 + 0.6 * wet) * half ** (30.0 + 180.0 * wet) * (1.0 + vz) ** 2
            mr, mg, mb = (
                mr + lights[i, T.L_R] * power * shine,
                mg + lights[i, T.L_G] * power * shine,
                mb + lights[i, T.L_B] * power * shine,
            )
    own, back = _headlights(x, y, z, nx, ny, nz, ground, g)
    return r + own, gr + own * 0.95, b + own * 0.82, mr, mg, mb, back
