"""Truth of KITTI's raw recordings and odometry sequences: poses, and lidar scans as depth.

Formats: devkit_raw_data (readme.txt, oxts/dataformat.txt) and devkit_odometry (readme.txt) of Geiger et al.,
http://www.cvlibs.net/datasets/kitti; the order of transforms as in pykitti (raw.py, utils.py).

    raw:      DATE/calib_{cam_to_cam,velo_to_cam,imu_to_velo}.txt
              DATE/DRIVE/{image_0N,velodyne_points,oxts}/{timestamps.txt,data/0000000000.{png,bin,txt}}
    odometry: sequences/NN/{calib.txt,times.txt,image_N/000000.png,velodyne/000000.bin}, poses/NN.txt
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from defeat_ros.data.folder import SourceItem, natural_key
from defeat_ros.data.image_truth import OPTICAL_FROM_ROS, ImageTruth, is_rotation, read_small_text
from defeat_ros.data.layout import read_times, stamps_of
from defeat_ros.data.lidar import depth_of_points, read_points
from defeat_ros.data.truth import PoseTrack, read_kitti_poses
from defeat_ros.errors import SourceError
from defeat_ros.geometry import invert, transform, transform_from_xyz_rpy
from defeat_ros.untrusted import quoted

_EARTH_RADIUS_M = 6378137.0  # as in the devkit's Mercator projection
_MAX_GAP_NS = 150_000_000  # packets come with the images, 10 a second


def kitti_truth(images: list[Path]) -> ImageTruth | None:
    """The truth about a folder of KITTI images, by what lies around it; None where nothing of KITTI does.

    Args:
        images: files of the folder.
    """
    folder = images[0].absolute().parent
    if folder.name == "data" and folder.parent.name.startswith("image_0"):
        drive = folder.parent.parent
        if (drive / "oxts").is_dir() or (drive / "velodyne_points").is_dir():
            return KittiRawTruth(folder)
    if folder.name in ("image_0", "image_1", "image_2", "image_3") and (folder.parent / "calib.txt").is_file():
        return KittiOdometryTruth(folder, images)
    return None


class _KittiTruth(ImageTruth):
    """What both layouts share: scans numbered as the images are."""

    _scans: Path
    _camera_from_lidar: np.ndarray | None = None

    def depth(self, item: SourceItem) -> np.ndarray | None:
        """The scan of the same number, projected; see `ImageTruth.depth`."""
        if self._camera_from_lidar is None or item.file is None or item.frame is None:
            return None
        scan, camera = self._scans / f"{item.file.stem}.bin", item.frame.intrinsics
        if camera is None or not scan.is_file():  # a few drives lack some scans
            return None
        points = read_points(scan, 4)
        # What lies behind the lidar is another exposure's; the published protocols leave it out too.
        return depth_of_points(points[points[:, 0] >= 0], self._camera_from_lidar, camera, 0.0)

    def _try(self, what: str, find: Callable[[], None]) -> None:
        try:
            find()
        except SourceError as error:
            self.told.append(f"no {what}: {error}")


class KittiRawTruth(_KittiTruth):
    """Of DATE/DRIVE/image_0N/data: OXTS packets as poses, Velodyne scans as depth."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._drive, self._camera = folder.parent.parent, folder.parent.name[-2:]
        self._scans = self._drive / "velodyne_points" / "data"
        self._track = PoseTrack([], np.zeros((0, 4, 4)))
        if self._scans.is_dir():
            self._try("depth", self._find_depth)
        if (self._drive / "oxts").is_dir():
            self._try("poses", self._find_poses)

    def pose(self, item: SourceItem) -> np.ndarray | None:
        """Interpolated between the packets before and after the image."""
        return self._track.at(item.stamp_ns)

    def _find_depth(self) -> None:
        self._camera_from_lidar = self._from_lidar()

    def _from_lidar(self) -> np.ndarray:
        cameras = read_calibration(self._calibration("calib_cam_to_cam.txt"))
        rectified = transform(cameras.rotation("R_rect_00"), np.zeros(3)) @ self._rigid("calib_velo_to_cam.txt")
        camera_from_lidar: np.ndarray = _offset(cameras.numbers(f"P_rect_{self._camera}", (3, 4))) @ rectified
        return camera_from_lidar

    def _find_poses(self) -> None:
        camera_from_imu = self._from_lidar() @ self._rigid("calib_imu_to_velo.txt")
        folder, times = self._drive / "oxts" / "data", self._drive / "oxts" / "timestamps.txt"
        files = sorted(folder.glob("*.txt"), key=natural_key)
        if not files or not times.is_file():
            missing = folder / "0000000000.txt" if not files else times
            raise SourceError(f"{missing} does not exist, expected OXTS packets with their times")
        stamps = stamps_of(files, read_times(times), times)
        world_from_imu = _oxts_poses(files)
        poses = OPTICAL_FROM_ROS @ world_from_imu @ invert(camera_from_imu)
        self._track = PoseTrack(stamps, poses, _MAX_GAP_NS)

    def _rigid(self, name: str) -> np.ndarray:
        calibration = read_calibration(self._calibration(name))
        return transform(calibration.rotation("R"), calibration.numbers("T", (3,)))

    def _calibration(self, name: str) -> Path:
        beside = self._drive / name
        return beside if beside.is_file() else self._drive.parent / name


class KittiOdometryTruth(_KittiTruth):
    """Of sequences/NN/image_N: poses/NN.txt of camera 0, moved to this camera; scans as depth."""

    def __init__(self, folder: Path, images: list[Path]) -> None:
        super().__init__()
        self._sequence, self._images = folder.parent, images
        self._scans = self._sequence / "velodyne"
        self._camera_from_first = np.eye(4)
        self._poses: dict[Path, np.ndarray] = {}
        self._name = f"P{folder.name[-1]}"
        if self._scans.is_dir():
            self._try("depth", self._find_depth)
        self._file = self._sequence.parent.parent / "poses" / f"{self._sequence.name}.txt"
        if self._file.is_file():
            self._try("poses", self._find_poses)

    def pose(self, item: SourceItem) -> np.ndarray | None:
        """By the number in the image's name."""
        return None if item.file is None else self._poses.get(item.file)

    def _find_depth(self) -> None:
        calibration = read_calibration(self._sequence / "calib.txt")
        first_from_lidar = np.vstack([calibration.numbers("Tr", (3, 4)), [0.0, 0.0, 0.0, 1.0]])
        self._camera_from_lidar = _offset(calibration.numbers(self._name, (3, 4))) @ first_from_lidar

    def _find_poses(self) -> None:
        calibration = read_calibration(self._sequence / "calib.txt")
        first_from_camera = invert(_offset(calibration.numbers(self._name, (3, 4))))
        poses = read_kitti_poses(self._file) @ first_from_camera
        numbers = stamps_of(self._images, list(range(len(poses))), self._file, "poses")
        self._poses = {image: poses[number] for image, number in zip(self._images, numbers, strict=True)}


class Calibration:
    """The values of a calibration file by name."""

    def __init__(self, path: Path, values: dict[str, str]) -> None:
        self._path, self._values = path, values

    def numbers(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """One value, float64 of this shape.

        Raises:
            SourceError: it is missing, or is not as many finite numbers.
        """
        text = self._values.get(name)
        if text is None:
            raise SourceError(f"{self._path} has no {name}, expected a line '{name}: ' with {np.prod(shape)} numbers")
        try:
            made = np.array(text.split(), np.float64).reshape(shape)
            if np.isfinite(made).all():
                return made
        except ValueError:
            pass
        raise SourceError(f"{name} of {self._path} is {quoted(text)}, expected {np.prod(shape)} finite numbers")

    def rotation(self, name: str) -> np.ndarray:
        """One value that is a rotation (3, 3).

        Raises:
            SourceError: it is missing or something else.
        """
        made = self.numbers(name, (3, 3))
        if not is_rotation(made):
            raise SourceError(f"{name} of {self._path} is {quoted(self._values[name])}, expected a rotation")
        return made


def read_calibration(path: Path) -> Calibration:
    """A calibration file: lines `NAME: numbers`.

    Raises:
        SourceError: see `read_small_text`.
    """
    parts = (line.partition(":") for line in read_small_text(path, "KITTI's calibration").splitlines())
    return Calibration(path, {name.strip(): text.strip() for name, _, text in parts})


def _offset(projection: np.ndarray) -> np.ndarray:
    """The rectified camera of a projection matrix K [I | t] from rectified camera 0, (4, 4)."""
    try:
        return transform(np.eye(3), np.linalg.solve(projection[:, :3], projection[:, 3]))
    except np.linalg.LinAlgError:
        raise SourceError(f"projection matrix is {projection.tolist()}, expected that of a camera") from None


def _oxts_poses(files: list[Path]) -> np.ndarray:
    """world_from_imu (N, 4, 4), m, in a world with x east, y north, z up whose origin is the first packet."""
    poses, scale = [], 0.0
    for file in files:
        try:
            words = read_small_text(file, "an OXTS packet").split()[:6]
            lat, lon, alt, roll, pitch, yaw = (float(word) for word in words)
            if not (np.isfinite((lon, alt, roll, pitch, yaw)).all() and abs(lat) < 90):
                raise ValueError("it is not finite or beyond a pole")
            scale = scale or float(np.cos(np.radians(lat)))  # of the first packet, as the devkit does
            east = scale * _EARTH_RADIUS_M * np.radians(lon)
            north = scale * _EARTH_RADIUS_M * np.log(np.tan(np.radians(90.0 + lat) / 2.0))
        except ValueError as error:
            raise SourceError(
                f"OXTS packet {file} cannot be used: {error}; expected lat lon alt roll pitch yaw ..."
            ) from None
        poses.append(transform_from_xyz_rpy((east, north, alt, roll, pitch, yaw)))
    made = np.array(poses)
    made[:, :3, 3] -= made[0, :3, 3].copy()
    return made
