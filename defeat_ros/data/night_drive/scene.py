"""Weather and light of a drive, and the vector of constants the ray caster reads."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from defeat_ros.data.night_drive import table as T
from defeat_ros.data.night_drive.config import DriveConfig
from defeat_ros.data.night_drive.plan import Plan
from defeat_ros.data.night_drive.road import Road
from defeat_ros.data.night_drive.street import Measures
from defeat_ros.frame import CameraIntrinsics


@dataclass(frozen=True)
class Weather:
    """What the sky does.

    Attributes:
        sun: (3,) unit vector to the sun; strength its irradiance, 0 under thick clouds.
        ambient: (3,) light of the whole sky.
        haze_m: distance over which contrast falls to 1/e.
        cloud, wet, lit: share of clouds, of wet road, of lit windows; 0 to 1.
        glow: (3,) radiance of the horizon.
        balance: (3,) the camera's white balance.
        beam: intensity of the head lamps.
    """

    sun: np.ndarray
    strength: float
    ambient: np.ndarray
    haze_m: float
    cloud: float
    wet: float
    lit: float
    glow: np.ndarray
    balance: np.ndarray
    beam: float

    @classmethod
    def draw(cls, rng: np.random.Generator, night: bool, plan: Plan) -> Weather:
        """Random weather."""
        azimuth, elevation = rng.uniform(0, 2 * math.pi), rng.uniform(*plan.sun_rad)
        sun = np.array([math.cos(azimuth) * math.cos(elevation), math.sin(azimuth) * math.cos(elevation),
                        math.sin(elevation)])  # fmt: skip
        overcast, cloud = rng.random() < 0.3, rng.uniform(0.2, 0.8)
        wet = float(rng.choice([0.0, 0.15, 0.8]))
        tint = rng.uniform(1.0 - plan.tint, 1.0 + plan.tint, 3)
        if night:
            return cls(
                sun=sun, strength=0.0, ambient=np.array([0.012, 0.011, 0.013]) * rng.uniform(0.6, 1.4),
                haze_m=plan.haze_m * rng.uniform(500, 1500), cloud=cloud, wet=wet, lit=rng.uniform(0.12, 0.35),
                glow=np.array([0.011, 0.0085, 0.0075]) * rng.uniform(0.5, 1.8), balance=tint * [0.86, 1.0, 1.25],
                beam=rng.uniform(260, 420),
            )  # fmt: skip
        return cls(
            sun=sun, strength=0.0 if overcast else rng.uniform(1.1, 1.6),
            ambient=np.array([0.62, 0.66, 0.74]) * (1.0 if overcast else 0.5),
            haze_m=plan.haze_m * rng.uniform(700, 2500), cloud=1.3 if overcast else cloud, wet=wet * 0.5, lit=0.0,
            glow=np.array([0.78, 0.83, 0.9]), balance=tint, beam=0.0,
        )  # fmt: skip


def scene_constants(config: DriveConfig, weather: Weather, measures: Measures, road: Road, here: float,
                    base: np.ndarray, lens: CameraIntrinsics) -> np.ndarray:  # fmt: skip
    """The vector that `table` names, for a camera car at `base` (world_from_base), which is `here` on the road (s)."""
    g = np.zeros(T.SCENE_SIZE)
    forward = base[:3, 0]
    flat = math.hypot(forward[0], forward[1])
    c, s = forward[0] / flat, forward[1] / flat
    g[T.G_NIGHT] = float(config.night)
    g[T.G_SUNX : T.G_SUNZ + 1] = weather.sun
    g[T.G_SUN] = weather.strength
    g[T.G_AMB_R : T.G_AMB_B + 1] = weather.ambient
    g[T.G_HAZE], g[T.G_CLOUD], g[T.G_WET], g[T.G_LIT] = weather.haze_m, weather.cloud, weather.wet, weather.lit
    g[T.G_HALF], g[T.G_WALK], g[T.G_LANE], g[T.G_SIDE] = measures.half, measures.walk, measures.lane, measures.side
    g[T.G_SEED] = config.seed % 100_003 * 17
    g[T.G_PIXEL] = 1.0 / lens.fx
    g[T.G_BASE_X], g[T.G_BASE_Y], g[T.G_YAW_C], g[T.G_YAW_S] = base[0, 3], base[1, 3], c, s
    g[T.G_PITCH] = -forward[2]
    g[T.G_HILLS] = road.hills
    g[T.G_GROUND] = road.elevation(here) + T.LAMPS_AHEAD * road.slope(here)
    g[T.G_BEAM] = weather.beam
    g[T.G_GLOW_R : T.G_GLOW_B + 1] = weather.glow
    g[T.G_CONTRAST] = 0.008 if config.night else 0.02
    ahead = T.GRID_CELL * T.GRID_SIZE * 0.3
    g[T.G_GRID_X] = base[0, 3] + c * ahead - T.GRID_CELL * T.GRID_SIZE / 2
    g[T.G_GRID_Y] = base[1, 3] + s * ahead - T.GRID_CELL * T.GRID_SIZE / 2
    ahead = T.SHADE_CELL * T.SHADE_SIZE * 0.35
    g[T.G_SHADE_X] = base[0, 3] + c * ahead - T.SHADE_CELL * T.SHADE_SIZE / 2
    g[T.G_SHADE_Y] = base[1, 3] + s * ahead - T.SHADE_CELL * T.SHADE_SIZE / 2
    return g
