"""The ground: a road between raised pavements, side streets, and what they are made of."""

from __future__ import annotations

import math

import numpy as np

from defeat_ros.data.night_drive import table as T
from defeat_ros.data.night_drive.jit import device
from defeat_ros.data.night_drive.noise import grain, hash3, noise2, step

KERB_HEIGHT = 0.12
FARTHEST = 1500.0
"""Where hills are searched for the ground, m."""
ROAD, PAVEMENT, KERB, SKY = T.ROAD, T.PAVEMENT, T.KERB, T.SKY


@device
def nearest_samples(road: np.ndarray, x0: float, y0: float, low: int, high: int, grid: np.ndarray) -> None:
    """Fill `grid` with the index of the road sample nearest to each cell's middle."""
    for row in range(grid.shape[0]):
        y = y0 + (row + 0.5) * T.GRID_CELL
        for column in range(grid.shape[1]):
            x = x0 + (column + 0.5) * T.GRID_CELL
            best, found = 1e30, low
            for i in range(low, high, 4):
                distance = (road[i, 0] - x) ** 2 + (road[i, 1] - y) ** 2
                if distance < best:
                    best, found = distance, i
            grid[row, column] = found


@device
def road_coordinates(x: float, y: float, road: np.ndarray, grid: np.ndarray, g: np.ndarray) -> tuple[float, float]:
    """Distance along the centre line from its first sample, and offset to its left, m."""
    column = min(max(int((x - g[T.G_GRID_X]) / T.GRID_CELL), 0), grid.shape[1] - 1)
    row = min(max(int((y - g[T.G_GRID_Y]) / T.GRID_CELL), 0), grid.shape[0] - 1)
    i = int(grid[row, column])
    along, left = 0.0, 0.0
    for _ in range(3):
        rx, ry = x - road[i, 0], y - road[i, 1]
        left = ry * road[i, 2] - rx * road[i, 3]
        along = (rx * road[i, 2] + ry * road[i, 3]) / max(1.0 - left * road[i, 4], 0.2)
        jump = math.floor(along + 0.5)
        if jump == 0:
            break
        i = min(max(i + jump, 0), road.shape[0] - 1)
    bend = min(along * along, 4.0)
    return i + along, left - 0.5 * road[i, 4] * bend


@device
def beyond_kerb(s: float, d: float, junctions: np.ndarray, half: float) -> tuple[float, int]:
    """How far a point lies outside of every carriageway (negative inside), m, and the junction it belongs to."""
    outside, at = abs(d) - half, -1
    for k in range(junctions.shape[0]):
        across = abs(s - junctions[k, 0])
        if across < 14.0:
            at = k
            outside = min(outside, across - junctions[k, 1])
    return outside, at


@device
def ground_height(s: float, road: np.ndarray) -> float:
    """Height of the road, m, at s from its first sample."""
    i = min(max(int(s), 0), road.shape[0] - 2)
    f = min(max(s - i, 0.0), 1.0)
    return float(road[i, 5] + (road[i + 1, 5] - road[i, 5]) * f)


@device
def _height_above(t: float, ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, road: np.ndarray,
                  grid: np.ndarray, g: np.ndarray) -> float:  # fmt: skip
    """How high a ray runs above the road's level at t, m."""
    s, _ = road_coordinates(ox + t * dx, oy + t * dy, road, grid, g)
    return oz + t * dz - ground_height(s, road)


@device
def _reach(level: float, ceiling: float, t: float, ox: float, oy: float, oz: float, dx: float, dy: float, dz: float,
           road: np.ndarray, grid: np.ndarray, g: np.ndarray, farthest: float) -> tuple[float, bool]:  # fmt: skip
    """First t from `t` on where a ray is no more than `level` above a hilly ground, and whether there is one.

    There is none up to `farthest`, or before the ray rises above `ceiling`; t is then where that was seen.
    """
    # No road is steeper than G_HILLS: a step as long as this passes no ground, save on the inner side of a bend.
    descent = 1.2 * g[T.G_HILLS] * math.sqrt(dx * dx + dy * dy) - dz
    before = t
    for _ in range(200):
        gap = _height_above(t, ox, oy, oz, dx, dy, dz, road, grid, g) - level
        close = 1e-4 * (1.0 + 0.02 * t)
        if gap < close:
            for _ in range(30 if gap < -close else 0):
                middle = 0.5 * (before + t)
                if _height_above(middle, ox, oy, oz, dx, dy, dz, road, grid, g) > level:
                    before = middle
                else:
                    t = middle
            return t, True
        if gap > ceiling - level:
            return t, False
        before = t
        t += max(gap / descent, 1e-3)
        if t > farthest:
            return t, False
    return t, True


@device
def _enter(ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, road: np.ndarray, grid: np.ndarray,
           junctions: np.ndarray, g: np.ndarray, farthest: float) -> tuple[float, float, bool]:  # fmt: skip
    """Where a ray comes down to the height of the kerbs and, on a carriageway, to that of the road; whether it does.

    Both are the same on the pavement.
    """
    ray = (ox, oy, oz, dx, dy, dz)
    t = 0.0
    for _ in range(4):  # over crests
        top, found = _reach(KERB_HEIGHT, 1e30, t, *ray, road, grid, g, farthest)
        if not found:
            return top, top, False
        s, d = road_coordinates(ox + top * dx, oy + top * dy, road, grid, g)
        outside, _ = beyond_kerb(s, d, junctions, g[T.G_HALF])
        if outside > 0.0:
            return top, top, True
        # A grazing ray comes from the kerbs' height to the road's within tens of metres.
        t, found = _reach(0.0, KERB_HEIGHT + 0.01, top, *ray, road, grid, g, farthest + 50.0)
        if not found:  # the ray rises again, over the road still or into a kerb
            s, d = road_coordinates(ox + t * dx, oy + t * dy, road, grid, g)
            outside, _ = beyond_kerb(s, d, junctions, g[T.G_HALF])
        if found or outside > 0.0:
            return top, t, True
    return t, t, False


@device
def hit_ground(ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, road: np.ndarray, grid: np.ndarray,
               junctions: np.ndarray, g: np.ndarray, farthest: float) -> tuple[float, int, float, float]:  # fmt: skip
    """First hit with the ground up to `farthest`: t, what it is, and its road coordinates; SKY where there is none."""
    hills = g[T.G_HILLS]
    if dz > 1.2 * hills * math.sqrt(dx * dx + dy * dy) - 1e-9:
        return 1e30, SKY, 0.0, 0.0
    if hills > 0.0:
        top, t, found = _enter(ox, oy, oz, dx, dy, dz, road, grid, junctions, g, min(farthest, FARTHEST))
        if not found:
            return 1e30, SKY, 0.0, 0.0
    else:
        top, t = (KERB_HEIGHT - oz) / dz, -oz / dz
    if top > farthest:
        return 1e30, SKY, 0.0, 0.0
    half = g[T.G_HALF]
    s, d = road_coordinates(ox + top * dx, oy + top * dy, road, grid, g)
    a, _ = beyond_kerb(s, d, junctions, half)
    if a > 0.0:
        return top, PAVEMENT, s, d
    s, d = road_coordinates(ox + t * dx, oy + t * dy, road, grid, g)
    b, _ = beyond_kerb(s, d, junctions, half)
    if b <= 0.0:
        return t, ROAD, s, d
    low, high = top, t
    for _ in range(12):  # the kerb's face lies between: regula falsi, halved now and then
        t = 0.5 * (low + high) if b - a < 1e-9 else low + (high - low) * a / (a - b)
        s, d = road_coordinates(ox + t * dx, oy + t * dy, road, grid, g)
        e, _ = beyond_kerb(s, d, junctions, half)
        if abs(e) < 1e-4:
            break
        if e <= 0.0:
            low, a = t, e
        else:
            high, b = t, e
    return t, KERB, s, d


@device
def _asphalt(x: float, y: float, s: float, d: float, w: float, g: np.ndarray) -> tuple[float, float]:
    """Albedo and wetness of the road surface."""
    seed = int(g[T.G_SEED])
    tone = 0.115 + 0.035 * grain(x, y, seed + 1, 7.0, w) + 0.022 * grain(x, y, seed + 2, 1.3, w)
    tone += 0.04 * grain(x, y, seed + 3, 0.28, w) + 0.06 * grain(x, y, seed + 4, 0.07, w)
    tone += 0.07 * grain(x, y, seed + 5, 0.022, w)
    lane = abs(d) - g[T.G_LANE] * 0.5
    tone += 0.014 * math.exp(-((abs(lane) - 0.75) ** 2) / 0.08) - 0.016 * math.exp(-lane * lane / 0.12)
    # Patches of repaired asphalt with a dark seam.
    ps, pd = s / 9.0 + 0.37 * noise2(d * 0.4, 0.0, seed), (d + 40.0) / 2.9
    i, j = math.floor(ps), math.floor(pd)
    if hash3(i, j, seed + 11) < 0.17:
        a, b = ps - i, pd - j
        lo, hi = 0.1 + 0.3 * hash3(i, j, seed + 12), 0.6 + 0.35 * hash3(i, j, seed + 13)
        if lo < a < hi and 0.08 < b < 0.9:
            edge = min(min(a - lo, hi - a) * 9.0, min(b - 0.08, 0.9 - b) * 2.9)
            tone = tone * (0.62 + 0.5 * hash3(i, j, seed + 14)) if edge > 0.05 else tone * 0.45
    # Cracks: thin level lines of noise, more of them along the road.
    if w < 0.12:
        field = noise2(s * 0.22 + 3.0 * noise2(s * 0.5, d * 0.5, seed + 21), d * 0.5, seed + 22)
        field += 0.06 * noise2(s * 3.1, d * 3.1, seed + 23)
        crack = 1.0 - step(0.001, 0.004 + 0.03 * w, abs(field - 0.5))
        crack *= step(0.52, 0.62, noise2(s * 0.09, d * 0.25, seed + 24))
        tone *= 1.0 - 0.55 * crack * (1.0 - step(0.04, 0.12, w))
    wet = g[T.G_WET]
    if wet > 0.0:
        wet *= step(0.42, 0.75, noise2(x * 0.35, y * 0.35, seed + 31) + 0.25 * wet)
    stain = step(0.72, 0.9, noise2(x * 1.4, y * 1.4, seed + 32))
    return max(tone * (1.0 - 0.4 * wet) * (1.0 - 0.25 * stain), 0.02), wet


@device
def _manhole(s: float, d: float, g: np.ndarray) -> float:
    """1 on the rim, 0.5 on the lid of a manhole, else 0."""
    seed = int(g[T.G_SEED])
    cell = math.floor(s / 13.0)
    if hash3(cell, 3, seed + 41) > 0.6:
        return 0.0
    ms = (cell + 0.2 + 0.6 * hash3(cell, 5, seed + 42)) * 13.0
    md = (hash3(cell, 7, seed + 43) - 0.5) * 2.0 * (g[T.G_HALF] - 1.0)
    radius = math.sqrt((s - ms) ** 2 + (d - md) ** 2)
    if radius > 0.36:
        return 0.0
    return 1.0 if radius > 0.3 else (0.7 if (math.floor(s * 14.0) + math.floor(d * 14.0)) % 2 == 0 else 0.4)


@device
def _paint(s: float, d: float, at: int, junctions: np.ndarray, g: np.ndarray) -> float:
    """Coverage of white paint on the road: 0 to 1 before wear."""
    half, lane = g[T.G_HALF], g[T.G_LANE]
    if at >= 0:
        across = abs(s - junctions[at, 0])
        width = junctions[at, 1]
        if abs(d) > half:  # the side street
            return 1.0 if across < 0.06 and abs(d) % 6.0 < 3.0 and abs(d) > half + 4.0 else 0.0
        if junctions[at, 2] > 0.5 and width + 1.0 < across < width + 4.0:  # zebra
            return 1.0 if (d + 40.0) % 1.0 < 0.5 else 0.0
        towards = d * g[T.G_SIDE] > 0.0
        if width + 4.6 < across < width + 5.0 and abs(d) < lane + 0.2:
            return 1.0 if towards == (s < junctions[at, 0]) else 0.0
        if across < width + 5.0:
            return 0.0
    if abs(d) < 0.065:
        return 1.0 if s % 6.0 < 3.4 else 0.0
    if abs(abs(d) - lane - 0.12) < 0.055:
        return 1.0 if half - lane < 1.0 or s % 2.0 < 1.0 else 0.0
    if half - lane > 1.9 and abs(d) > lane + 0.1 and s % 6.2 < 0.09:  # parking bays
        return 1.0
    return 0.0


@device
def road_colour(x: float, y: float, s: float, d: float, w: float, junctions: np.ndarray,
                g: np.ndarray) -> tuple[float, float, float, float, float]:  # fmt: skip
    """Albedo (3), wetness and retro-reflection of the carriageway."""
    tone, wet = _asphalt(x, y, s, d, w, g)
    _, at = beyond_kerb(s, d, junctions, g[T.G_HALF])
    lid = _manhole(s, d, g)
    if lid > 0.0:
        tone = 0.05 if lid == 1.0 else 0.16 * lid
    gutter = step(0.5, 0.05, g[T.G_HALF] - abs(d)) if at < 0 else 0.0
    tone *= 1.0 - 0.35 * gutter
    paint = _paint(s, d, at, junctions, g)
    if paint > 0.0 and lid == 0.0:
        seed = int(g[T.G_SEED])
        worn = 0.55 * noise2(x * 2.3, y * 2.3, seed + 51) + 0.45 * noise2(x * 17.0, y * 17.0, seed + 52)
        paint *= 1.0 - 0.85 * step(0.52, 0.72, worn)
        white = 0.62 + 0.1 * grain(x, y, seed + 53, 0.05, w)
        return (tone + (white - tone) * paint, tone + (white - tone) * paint, tone + (white * 0.95 - tone) * paint,
                wet * (1.0 - paint), 0.9 * paint)  # fmt: skip
    return tone * 1.02, tone, tone * 0.97, wet, 0.0


@device
def pavement_colour(x: float, y: float, s: float, d: float, w: float, kind: int, junctions: np.ndarray,
                    g: np.ndarray) -> tuple[float, float, float, float, float]:  # fmt: skip
    """Albedo (3), wetness and retro-reflection of kerb, pavement and the plots behind it."""
    seed = int(g[T.G_SEED])
    outside, at = beyond_kerb(s, d, junctions, g[T.G_HALF])
    if kind == KERB or outside < 0.16:
        along = d if at >= 0 and abs(d) > g[T.G_HALF] + 0.3 else s
        joint = 0.6 if abs(along - math.floor(along) - 0.5) > 0.485 else 1.0
        tone = (0.3 + 0.12 * (hash3(math.floor(along), 1, seed + 61) - 0.5)) * joint
        tone += 0.08 * grain(x, y, seed + 62, 0.05, w)
        return tone, tone * 0.99, tone * 0.95, 0.0, 0.0
    dirt = 0.9 + 0.35 * grain(x, y, seed + 63, 2.3, w) + 0.3 * grain(x, y, seed + 64, 0.35, w)
    dirt += 0.3 * grain(x, y, seed + 65, 0.06, w)
    if outside < g[T.G_WALK]:
        row = math.floor(outside / 0.6)
        i = s / 0.6 + 0.5 * (row % 2.0)
        joint = abs(i - math.floor(i) - 0.5) > 0.48 or abs(outside / 0.6 - row - 0.5) > 0.48
        tone = 0.24 + 0.1 * (hash3(math.floor(i), int(row), seed + 66) - 0.5)
        tone *= dirt * (0.55 if joint and w < 0.1 else 1.0)
        gum = noise2(x * 9.0, y * 9.0, seed + 67)
        tone *= 0.7 if gum > 0.93 else 1.0
        return tone * 1.03, tone, tone * 0.94, 0.0, 0.0
    lawn = step(0.42, 0.5, noise2(s * 0.08, d * 0.02 + (50.0 if d > 0.0 else 0.0), seed + 68))
    tone = 0.2 * dirt
    blade = dirt + 0.5 * grain(x, y, seed + 69, 0.03, w) + 0.35 * grain(x, y, seed + 70, 0.9, w)
    return (tone * (1.0 - lawn) + 0.075 * blade * lawn, tone * 0.97 * (1.0 - lawn) + 0.115 * blade * lawn,
            tone * 0.9 * (1.0 - lawn) + 0.04 * blade * lawn, 0.0, 0.0)  # fmt: skip
