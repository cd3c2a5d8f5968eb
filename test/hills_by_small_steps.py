"""Holds the renderer's search for hilly ground against small steps along each ray; run without compilation."""

from __future__ import annotations

import sys

import numpy as np

from defeat_ros.data.night_drive import DriveConfig, NightDrive
from defeat_ros.data.night_drive import table as T
from defeat_ros.data.night_drive.ground import (
    KERB_HEIGHT,
    beyond_kerb,
    ground_height,
    hit_ground,
    nearest_samples,
    road_coordinates,
)
from defeat_ros.data.night_drive.plan import Plan
from defeat_ros.data.night_drive.scene import scene_constants

STEP, FARTHEST, RAYS, DRIVES = 0.1, 200.0, 60, 4


def differences(seed: int) -> tuple[int, int]:
    """Rays about the horizon that end elsewhere than small steps along them do, and all rays."""
    drive = NightDrive(DriveConfig(seconds=2, fps=2, night=False, seed=seed, size=(320, 240), varied=True))
    road, here = drive._road, drive._ego.travelled(1.0)
    base = drive._ego.world_from_base(road, 1.0)
    g = scene_constants(drive.config, drive._weather, drive._measures, road, here, base, drive.intrinsics)
    low = max(int(here - road.start - 80), 0)
    grid = np.zeros((T.GRID_SIZE, T.GRID_SIZE), np.int64)
    nearest_samples(road.table, g[T.G_GRID_X], g[T.G_GRID_Y], low, min(low + 400, len(road.table)), grid)
    junctions, pose, camera = drive._street.junctions, base @ drive.base_from_camera, drive.intrinsics
    rng, wrong = np.random.default_rng(seed), 0
    for _ in range(RAYS):
        u, v = rng.uniform(0, 319), rng.uniform(80, 220)
        ray = pose[:3, :3] @ [(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, 1.0]
        found, kind, _, _ = hit_ground(*pose[:3, 3], *ray, road.table, grid, junctions, g, 1e30)
        met = None
        for t in np.arange(0.3, FARTHEST, STEP):
            x, y, z = pose[:3, 3] + t * ray
            s, d = road_coordinates(x, y, road.table, grid, g)
            outside, _ = beyond_kerb(s, d, junctions, g[T.G_HALF])
            if z <= ground_height(s, road.table) + (KERB_HEIGHT if outside > 0 else 0.0):
                met = t
                break
        same = (kind == T.SKY or found > FARTHEST - STEP) if met is None else abs(found - met) < 1.1 * STEP
        wrong += not same
    return wrong, RAYS


if __name__ == "__main__":
    steep = [seed for seed in range(200) if Plan.draw(seed).hills > 0.05][:DRIVES]
    counts = np.sum([differences(seed) for seed in steep], axis=0)
    print(f"{counts[0]} of {counts[1]} rays end elsewhere")
    # Those that graze a crest or a kerb within a centimetre may.
    sys.exit(int(counts[0] > 0.01 * counts[1]))
