"""The drive: puts street, traffic, motion, ray caster and camera together, one frame at a time."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator

import numpy as np

from defeat_ros.data.night_drive import camera
from defeat_ros.data.night_drive import table as T
from defeat_ros.data.night_drive.config import DriveConfig, DriveFrame
from defeat_ros.data.night_drive.cull import nearest_first
from defeat_ros.data.night_drive.motion import EgoMotion, rotation
from defeat_ros.data.night_drive.plan import Plan
from defeat_ros.data.night_drive.raycast import render
from defeat_ros.data.night_drive.road import STEP, Road
from defeat_ros.data.night_drive.scene import Weather, scene_constants
from defeat_ros.data.night_drive.street import Measures, Street
from defeat_ros.data.night_drive.traffic import Traffic
from defeat_ros.errors import ConfigError
from defeat_ros.frame import CameraIntrinsics

VIEW_AHEAD, VIEW_BEHIND = 260.0, 25.0
METER_SIZE, METER_PERIOD_S, METER_WINDOW = (48, 36), 0.5, 5

# numba's simplest threading layer must not be entered by two threads at once.
_rendering = threading.Lock()


class NightDrive:
    """A rendered drive; frames can be asked for in any order and do not depend on it.

    Attributes:
        config: what was asked for.
        plan: what kind of drive that is.
        intrinsics: the camera, free of distortion; pixel centres lie at integer coordinates.
        base_from_camera: (4, 4) float64, pose of the optical frame in base_link, which lies on the ground below the
            rear axle, x forward, y left, z up.
    """

    def __init__(self, config: DriveConfig) -> None:
        self.config = config
        street, traffic, motion, lens, weather = (
            np.random.default_rng([config.seed, k]) for k in range(5)
        )  # fmt: skip
        plan = Plan.draw(config.seed) if config.varied else Plan()
        self.plan = plan
        self._measures = Measures.draw(street, plan)
        self._ego = EgoMotion(motion, plan, self._measures.side * self._measures.lane / 2)
        length = self._ego.travelled(config.seconds) + VIEW_AHEAD + 40.0
        self._road = Road(street, -60.0, length, plan.hills, np.random.default_rng([config.seed, 6]))
        self._street = Street(street, self._road, self._measures, plan)
        _lift(self._street.shapes, self._road)
        lamps = self._street.lights
        lamps[:, T.L_Z] += self._road.elevation(self._road.nearest(lamps[:, T.L_X : T.L_Y + 1]))
        self._traffic = Traffic(traffic, self._measures, plan, length, config.seconds, config.night)
        self._weather = Weather.draw(weather, config.night, plan)
        self.intrinsics, self.base_from_camera = _mount(lens, config.size, plan)
        self._meters: dict[int, float] = {}
        self._sensor = camera.Sensor(*config.size, np.random.default_rng([config.seed, 77]), plan)
        self._smear = lens.uniform(0.2, 1.0), lens.uniform(-0.5, 0.5) + math.pi / 2
        self._taste = lens.uniform(0.6, 1.15)  # how bright this camera likes the night
        self._drift = lens.uniform(0, 2 * math.pi, 2)

    def __len__(self) -> int:
        return self.config.frame_count

    def frames(self) -> Iterator[DriveFrame]:
        """Every frame, in order."""
        return (self.render(index) for index in range(len(self)))

    def render(self, index: int) -> DriveFrame:
        """One frame.

        Raises:
            ConfigError: there is no frame with that index.
        """
        if not 0 <= index < len(self):
            raise ConfigError(f"frame {index!r} was asked of a drive that has frames 0 to {len(self) - 1}")
        t = index / self.config.fps
        _width, _height = self.config.size
        radiance, depth, lights = self._cast(t, self.intrinsics, smooth=True)
        pose = self._ego.world_from_base(self._road, t) @ self.base_from_camera
        night = self.config.night
        sources = _glints(lights, pose, self.intrinsics, depth)
        smear, slant = self._smear
        radiance = camera.bloom(radiance, sources, night, slant, smear)
        exposure = self.exposure(t) * self.plan.exposure
        gain = (min(max(exposure / 0.6, 1.0), 6.0) * 4.0 if night else 1.0) * self.plan.noise
        noise = np.random.default_rng([self.config.seed, 77, index])
        image = self._sensor.develop(radiance, exposure, gain, self._weather.balance, noise)
        velocity = self._ego.velocity(self._road, t)
        return DriveFrame(image, depth, self.config.stamp_ns(index), pose, velocity)

    def exposure(self, t: float) -> float:
        """Factor from radiance to full scale at time t (s): follows what was metered over the last seconds."""
        at = t / METER_PERIOD_S
        newest = math.floor(at)
        # Weights rise and fall smoothly as keys enter and leave the window, so the exposure never jumps.
        keys = [max(newest - k, 0) for k in range(METER_WINDOW)]
        ages = [at - (newest - k) for k in range(METER_WINDOW)]
        weights = [math.sin(math.pi * min(age / METER_WINDOW, 1.0)) ** 2 + 1e-9 for age in ages]
        level = sum(w * self._meter(k) for w, k in zip(weights, keys, strict=True)) / sum(weights)
        night = self.config.night
        key, power = (0.052 * self._taste, 0.62) if night else (0.17, 0.85)
        reference = math.log(0.035) if night else math.log(0.25)
        wander = 0.07 * math.sin(0.5 * t + self._drift[0]) + 0.05 * math.sin(1.3 * t + self._drift[1])
        base = key / math.exp(reference)
        return base * math.exp(-power * (level - reference) + wander)

    def _meter(self, key: int) -> float:
        """What a small picture at a whole multiple of the metering period shows; remembered."""
        if key not in self._meters:
            width, height = METER_SIZE
            c = self.intrinsics
            small = CameraIntrinsics(
                c.fx * width / c.width, c.fy * height / c.height, (width - 1) / 2, (height - 1) / 2, width, height
            )
            radiance, _, _ = self._cast(key * METER_PERIOD_S, small, smooth=False)
            self._meters[key] = camera.meter(radiance)
        return self._meters[key]

    def _cast(self, t: float, lens: CameraIntrinsics, *, smooth: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Radiance (H, W, 3) float32, depth (H, W) float32 and the lights around at time t."""
        night, street, road = self.config.night, self._street, self._road
        base = self._ego.world_from_base(road, t)
        here = self._ego.travelled(t)
        low, high = here - VIEW_BEHIND, here + VIEW_AHEAD
        moving, lamps, feet = self._traffic.at(t, road, self._ego, low, high, night)
        _lift(moving, road)
        shapes = np.concatenate([street.shapes[(street.shape_s > low) & (street.shape_s < high)], moving])
        lit = (street.light_s > low) & (street.light_s < here + 170.0) & night
        lights = np.concatenate([street.lights[lit], lamps])
        blobs = np.concatenate([street.blobs[(street.blob_s > low) & (street.blob_s < here + 80.0)], feet])
        at = here - road.start
        near = (street.junctions[:, 0] > at - 60.0) & (street.junctions[:, 0] < at + VIEW_AHEAD)
        last = len(road.table)
        window = np.array([max(int((at - 80.0) / STEP), 0), min(int((at + VIEW_AHEAD + 60.0) / STEP), last)])
        g = scene_constants(self.config, self._weather, self._measures, road, here, base, lens)
        depth = np.empty((lens.height, lens.width), np.float32)
        colour = np.empty((lens.height, lens.width, 3), np.float32)
        pose = base @ self.base_from_camera
        shapes, nearest = nearest_first(shapes, pose)
        with _rendering:
            render(shapes, nearest, np.ascontiguousarray(lights), np.ascontiguousarray(blobs),
                   np.ascontiguousarray(street.junctions[near]), road.table, window, pose,
                   np.array([lens.fx, lens.fy, lens.cx, lens.cy]), g, smooth, colour, depth)  # fmt: skip
        return colour, depth, lights


def _mount(rng: np.random.Generator, size: tuple[int, int], plan: Plan) -> tuple[CameraIntrinsics, np.ndarray]:
    """A camera behind the windscreen: its lens, and base_from_camera."""
    width, height = size
    focal = width * rng.uniform(*plan.focal)
    lens = CameraIntrinsics(focal, focal * plan.stretch, (width - 1) / 2, (height - 1) / 2, width, height)
    pose = np.eye(4)
    optical = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    pose[:3, :3] = rotation(plan.roll_rad, rng.uniform(*plan.pitch_rad), rng.normal(0, plan.yaw_rad)) @ optical
    pose[:3, 3] = rng.uniform(*plan.ahead_m), rng.uniform(*plan.left_m), rng.uniform(*plan.height_m)
    return lens, pose


def _lift(shapes: np.ndarray, road: Road) -> None:
    """Raise shapes (N, SHAPE_COLUMNS) of a street in the plane to the height of a hilly road, in place."""
    if not road.hills:
        return
    s = road.nearest(shapes[:, T.X : T.Y + 1])
    # What stands on a slope reaches into the ground on one side.
    stands = (shapes[:, T.KIND] == T.BOX) & (shapes[:, T.Z] < 0.3)
    sunk = np.where(stands, np.abs(road.slope(s)) * np.maximum(shapes[:, T.HX], shapes[:, T.HY]), 0.0)
    shapes[:, T.Z] += road.elevation(s) - sunk
    shapes[:, T.H] += sunk


def _glints(lights: np.ndarray, pose: np.ndarray, lens: CameraIntrinsics, depth: np.ndarray) -> np.ndarray:
    """Lamps that shine into the lens: (K, 6) float64 u, v, radius (px) and strength per colour.

    A lamp far away is smaller than a pixel; rays would hit it now and then, so its light is added where it is seen.
    """
    found = []
    camera_from_world = np.linalg.inv(pose)
    for light in lights:
        x, y, z = camera_from_world[:3, :3] @ light[:3] + camera_from_world[:3, 3]
        if z < 1.0:
            continue
        u, v = lens.fx * x / z + lens.cx, lens.fy * y / z + lens.cy
        if not (-0.5 <= u < lens.width - 0.5 and -0.5 <= v < lens.height - 0.5):
            continue
        patch = depth[max(round(v) - 1, 0) : round(v) + 2, max(round(u) - 1, 0) : round(u) + 2]
        seen = float((patch > z - 0.6 - 0.01 * z).mean())
        sight = (pose[:3, 3] - light[:3]) / np.linalg.norm(pose[:3, 3] - light[:3])
        lamp = light[T.L_DZ] < -0.5
        aim = 1.0 if lamp else max(float(sight @ light[T.L_DX : T.L_DZ + 1]), 0.0) ** 2
        if seen * aim < 0.02:
            continue
        power = light[T.L_R : T.L_B + 1] * (0.16 if lamp else 0.35)
        scale = (lens.fx / 400.0) ** 2
        strength = power * seen * aim * 300.0 * scale / (z + 6.0) ** 1.35
        found.append([u, v, max(0.7, 0.09 * lens.fx / z), *strength])
    return np.array(found).reshape(-1, 6)
