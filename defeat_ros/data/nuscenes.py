"""Scenes of nuScenes as a source of frames, with poses and lidar depth.

Format: docs/schema_nuscenes.md of https://github.com/nutonomy/nuscenes-devkit; depth as its
`NuScenesExplorer.map_pointcloud_to_image`: lidar to vehicle at the scan's time, to the world, to the vehicle at the
image's time, to the camera; nearer than 1 m left out. Images come without distortion.

    ROOT/v1.0-mini/{scene,sample,sample_data,calibrated_sensor,ego_pose,sensor}.json
    ROOT/{samples,sweeps}/CAM_FRONT/*.jpg, ROOT/samples/LIDAR_TOP/*.pcd.bin
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from defeat_ros.data.folder import SourceItem
from defeat_ros.data.image_truth import OPTICAL_FROM_ROS, ImageTruth, ListedImages
from defeat_ros.data.lidar import depth_of_points, read_points
from defeat_ros.data.nuscenes_tables import pose_of, rows_of, text_of, whole_of, word
from defeat_ros.errors import FrameError, SourceError
from defeat_ros.frame import CameraIntrinsics
from defeat_ros.geometry import invert
from defeat_ros.untrusted import quoted

CAMERAS = tuple(f"CAM_{side}" for side in ("FRONT", "FRONT_LEFT", "FRONT_RIGHT", "BACK", "BACK_LEFT", "BACK_RIGHT"))
_LIDAR = "LIDAR_TOP"
_NEAREST_M = 1.0  # the devkit's min_dist: nearer points are those of the vehicle itself


@dataclass(frozen=True)
class SceneName:
    """Where a scene lies.

    Attributes:
        root: folder with `samples` in it.
        tables: folder of the version's tables.
        scene: its name, '' where none was given.
        camera: one of `CAMERAS`.
    """

    root: Path
    tables: Path
    scene: str
    camera: str


@dataclass(frozen=True)
class _Shot:
    """One image or scan."""

    file: Path
    stamp_ns: int
    key_sample: str  # '' between key frames
    world_from_vehicle: np.ndarray


@dataclass(frozen=True)
class _Sensor:
    vehicle_from_sensor: np.ndarray
    row: dict[str, Any]


def find_nuscenes(path: Path) -> SceneName | None:
    """What `ROOT[/VERSION][/SCENE[/CAMERA]]` names, of which SCENE and CAMERA are no folders; None if not nuScenes."""
    rest, scene, camera = path, "", CAMERAS[0]
    if rest.name in CAMERAS and not rest.exists():
        rest, camera = rest.parent, rest.name
    if rest.name.startswith("scene-") and not rest.exists():
        rest, scene = rest.parent, rest.name
    if _has_tables(rest):
        return SceneName(rest.absolute().parent, rest, scene, camera)
    versions = [folder for folder in sorted(rest.glob("v1.0-*")) if _has_tables(folder)] if rest.is_dir() else []
    if not versions:
        return None
    holds = (folder for folder in versions if scene and any(r.get("name") == scene for r in rows_of(folder, "scene")))
    return SceneName(rest, next(holds, versions[0]), scene, camera)


class NuScenesSource(ListedImages):
    """The images of one camera in one scene, at 12 Hz with the sweeps, at 2 Hz where only key frames are there.

    Args:
        path: ROOT/SCENE, ROOT/SCENE/CAMERA, or either with the version's folder after ROOT.
        fps: rate to thin them to, Hz; None keeps all.
        camera: in place of the tables' own.

    Raises:
        SourceError: no scene or one that is not there is named, a table is missing or contradicts itself, or there is
            no image.
    """

    def __init__(self, path: Path, fps: float | None, camera: CameraIntrinsics | None) -> None:
        found = find_nuscenes(path)
        if found is None:
            raise SourceError(f"{path} has no v1.0-*/scene.json, expected the root of nuScenes and a scene")
        self._found = found
        cameras, lidars = self._read_tables()
        sensor, shots = cameras
        present = [shot for shot in shots if shot.file.is_file()]
        if not present:
            first = shots[0].file if shots else found.root / "samples" / found.camera
            raise SourceError(
                f"{path} has none of the {len(shots)} images its tables name, such as {first}: expected the file blobs "
                "beside the tables"
            )
        if not (found.root / "sweeps" / found.camera).is_dir():
            shots = [shot for shot in shots if shot.key_sample]
        super().__init__(path, [(shot.file, shot.stamp_ns) for shot in shots], fps)
        self.name = found.scene if found.camera == CAMERAS[0] else f"{found.scene}_{found.camera}"
        size = whole_of(sensor.row, "height", "sample_data"), whole_of(sensor.row, "width", "sample_data")
        self._set_camera(path, size, camera or _intrinsics(sensor.row, size))
        self._truth = NuScenesTruth(sensor, shots, lidars)

    def truth(self) -> ImageTruth:
        """Poses of all images, depth of the key frames."""
        return self._truth

    def _read_tables(self) -> tuple[tuple[_Sensor, list[_Shot]], tuple[_Sensor, list[_Shot]] | None]:
        found, tables = self._found, self._found.tables
        samples = self._samples()
        channels = {found.camera, _LIDAR}
        sensors = {
            text_of(row, "token", "sensor"): text_of(row, "channel", "sensor")
            for row in rows_of(tables, "sensor")
            if word(row, "channel") in channels
        }
        calibrated = {
            text_of(row, "token", "calibrated_sensor"): (sensors[word(row, "sensor_token")], row)
            for row in rows_of(tables, "calibrated_sensor")
            if word(row, "sensor_token") in sensors
        }
        data = [
            row
            for row in rows_of(tables, "sample_data")
            if word(row, "sample_token") in samples and word(row, "calibrated_sensor_token") in calibrated
        ]
        wanted = {word(row, "ego_pose_token") for row in data} - {""}
        poses = {
            word(row, "token"): pose_of(row, "ego_pose")
            for row in rows_of(tables, "ego_pose")
            if word(row, "token") in wanted
        }
        made = {}
        for channel in channels:
            rows = [row for row in data if calibrated[row["calibrated_sensor_token"]][0] == channel]
            tokens = {row["calibrated_sensor_token"] for row in rows}
            if len(tokens) > 1:
                raise SourceError(f"{channel} of {found.scene} has {len(tokens)} calibrations, expected one")
            if rows:
                row = calibrated[tokens.pop()][1]
                about = {**row, **{name: rows[0].get(name) for name in ("width", "height")}}
                shots = sorted((self._shot(row, poses) for row in rows), key=lambda shot: shot.stamp_ns)
                made[channel] = (_Sensor(pose_of(row, "calibrated_sensor"), about), shots)
        if found.camera not in made:
            raise SourceError(f"{found.scene} in {tables} has no image of {found.camera}, expected sample_data of it")
        return made[found.camera], made.get(_LIDAR)

    def _samples(self) -> set[str]:
        """Tokens of the scene's samples."""
        found = self._found
        scenes = {text_of(row, "name", "scene"): row for row in rows_of(found.tables, "scene")}
        if found.scene not in scenes:
            names = sorted(scenes)
            some = ", ".join(names[:10]) + (f" ... ({len(names)} in all)" if len(names) > 10 else "")
            given = f"no scene {found.scene!r}" if found.scene else "several scenes"
            raise SourceError(f"{found.tables} has {given}, expected {found.root}/SCENE, one of {quoted(some)}")
        token = text_of(scenes[found.scene], "token", "scene")
        return {
            text_of(row, "token", "sample")
            for row in rows_of(found.tables, "sample")
            if row.get("scene_token") == token
        }

    def _shot(self, row: dict[str, Any], poses: dict[str, np.ndarray]) -> _Shot:
        name = text_of(row, "filename", "sample_data")
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or not parts.parts:
            raise SourceError(
                f"filename of a row of sample_data is {quoted(name)}, expected one below {self._found.root}"
            )
        pose = poses.get(word(row, "ego_pose_token"))
        if pose is None:
            raise SourceError(
                f"ego_pose of {self._found.tables} lacks {quoted(row.get('ego_pose_token'))}, that of {name}"
            )
        key = text_of(row, "sample_token", "sample_data") if row.get("is_key_frame") else ""
        return _Shot(self._found.root / name, 1000 * whole_of(row, "timestamp", "sample_data"), key, pose)


class NuScenesTruth(ImageTruth):
    """Poses of a camera, and the scans of its key frames."""

    def __init__(self, camera: _Sensor, shots: list[_Shot], lidars: tuple[_Sensor, list[_Shot]] | None) -> None:
        super().__init__()
        self._shots = {shot.file: shot for shot in shots}
        self.base_from_camera = camera.vehicle_from_sensor
        self._vehicle_from_lidar = np.eye(4) if lidars is None else lidars[0].vehicle_from_sensor
        self._scans = {} if lidars is None else {shot.key_sample: shot for shot in lidars[1] if shot.key_sample}

    def pose(self, item: SourceItem) -> np.ndarray | None:
        """Of the vehicle when the image was taken, and where the camera is on it."""
        shot = self._shots.get(item.file) if item.file else None
        return None if shot is None else OPTICAL_FROM_ROS @ shot.world_from_vehicle @ self.base_from_camera

    def depth(self, item: SourceItem) -> np.ndarray | None:
        """The scan of the image's sample, the vehicle's motion between the two taken out."""
        shot = self._shots.get(item.file) if item.file else None
        scan = self._scans.get(shot.key_sample) if shot else None
        if shot is None or scan is None or item.frame is None or item.frame.intrinsics is None:
            return None
        world_from_camera = shot.world_from_vehicle @ self.base_from_camera
        camera_from_lidar = invert(world_from_camera) @ scan.world_from_vehicle @ self._vehicle_from_lidar
        return depth_of_points(read_points(scan.file, 5), camera_from_lidar, item.frame.intrinsics, _NEAREST_M)


def _intrinsics(row: dict[str, Any], size_hw: tuple[int, int]) -> CameraIntrinsics:
    given = row.get("camera_intrinsic")
    try:
        k = np.array(given, np.float64)
        if k.shape != (3, 3):
            raise ValueError(f"{k.shape}")
        fx, fy, cx, cy = (float(value) for value in (k[0, 0], k[1, 1], k[0, 2], k[1, 2]))
        return CameraIntrinsics(fx=fx, fy=fy, cx=cx, cy=cy, width=size_hw[1], height=size_hw[0])
    except (TypeError, ValueError, FrameError) as error:
        raise SourceError(
            f"camera_intrinsic of calibrated_sensor is {quoted(given)}: {error}; expected 3x3 numbers"
        ) from None


def _has_tables(folder: Path) -> bool:
    return (folder / "scene.json").is_file() and (folder / "sample_data.json").is_file()
