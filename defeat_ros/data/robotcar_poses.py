"""Poses of an Oxford RobotCar drive: of its inertial navigation, or added up from its visual odometry.

Axes of the data set: vehicle, cameras and INS x ahead, y right, z down; world x north, y east, z down. As in the SDK,
extrinsics/CAMERA.txt is camera_from_vehicle and extrinsics/ins.txt is vehicle_from_ins (x y z roll pitch yaw), and the
vehicle is the stereo camera.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from defeat_ros.data.folder import SourceItem
from defeat_ros.data.image_truth import ImageTruth, read_small_text
from defeat_ros.data.truth import PoseTrack
from defeat_ros.errors import SourceError
from defeat_ros.geometry import invert, transform, transform_from_xyz_rpy
from defeat_ros.untrusted import quoted

# x right (east), y down, z ahead (north), of x ahead (north), y right (east), z down.
_OPTICAL_FROM_NED = transform(np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]]), np.zeros(3))
_LENS = invert(_OPTICAL_FROM_NED)
_VEHICLE_FROM_INS = (-1.7132, 0.1181, 1.1948, -0.0125, 0.0400, 0.0050)  # extrinsics/ins.txt of the SDK
_MAX_GAP_NS = 250_000_000  # visual odometry has one pose an image, and a few are missing
_COLUMNS = {
    "absolute": ("timestamp", "northing", "easting", "down", "roll", "pitch", "yaw"),
    "relative": ("source_timestamp", "x", "y", "z", "roll", "pitch", "yaw"),
}


class RobotCarTruth(ImageTruth):
    """Poses of one camera over time."""

    def __init__(self) -> None:
        super().__init__()
        self.track = PoseTrack([], np.zeros((0, 4, 4)))

    def pose(self, item: SourceItem) -> np.ndarray | None:
        """Interpolated between the poses before and after the image."""
        return self.track.at(item.stamp_ns)


def robotcar_truth(date: Path, camera: str, lens: np.ndarray | None, model: Path | None) -> RobotCarTruth:
    """Poses of a camera, from the first there is of gps/rtk.csv, rtk.csv, gps/ins.csv and vo/vo.csv.

    Args:
        date: folder of the drive.
        camera: its folder below that, 'stereo/centre' or 'mono_rear' say.
        lens: camera_from_image (4, 4) of the camera's model; None: it looks along the camera's x.
        model: file of the camera's model; extrinsics are looked for beside its folder too.
    """
    truth = RobotCarTruth()
    files = [date / name for name in ("gps/rtk.csv", "rtk.csv", "gps/ins.csv", "vo/vo.csv")]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return truth
    folders = [date / "extrinsics", date.parent / "extrinsics"]
    if model is not None:
        folders.insert(0, model.absolute().parent.parent / "extrinsics")
    try:
        vehicle_from_image = invert(_mount(camera.split("/")[0], folders)) @ (_LENS if lens is None else lens)
        if file.name == "vo.csv":
            stamps, world_from_vehicle = _added_up(file)
        else:
            stamps, world_from_ins = _absolute(file)
            world_from_vehicle = world_from_ins @ invert(_mount("ins", folders))
        poses = _OPTICAL_FROM_NED @ world_from_vehicle @ vehicle_from_image
        truth.track = PoseTrack(stamps, poses, _MAX_GAP_NS)
        truth.told.append(f"poses are those of {file.relative_to(date)}")
    except SourceError as error:
        truth.told.append(f"no poses: {error}")
    return truth


def _mount(name: str, folders: list[Path]) -> np.ndarray:
    """The SDK's transform of this name, from the first folder that has it; where none has, what is known of it."""
    for file in (folder / f"{name}.txt" for folder in folders):
        if not file.is_file():
            continue
        try:
            values = tuple(float(word) for word in read_small_text(file, "an extrinsic of the SDK").split())
            if len(values) == 6 and np.isfinite(values).all():
                return transform_from_xyz_rpy(values)
            raise ValueError(f"{len(values)} numbers")
        except ValueError as error:
            raise SourceError(f"{file} has {error}, expected x y z roll pitch yaw") from None
    if name in ("stereo", "ins"):
        return np.eye(4) if name == "stereo" else transform_from_xyz_rpy(_VEHICLE_FROM_INS)
    raise SourceError(f"{folders[0] / name}.txt does not exist, expected where {name} is mounted, from the SDK")


def _absolute(file: Path) -> tuple[list[int], np.ndarray]:
    """Stamps, ns, and world_from_ins (N, 4, 4), m."""
    stamps, poses = [], []
    for stamp, values in _rows(file, "absolute"):
        stamps.append(stamp)
        poses.append(transform_from_xyz_rpy(values))
    return stamps, np.array(poses).reshape(-1, 4, 4)


def _added_up(file: Path) -> tuple[list[int], np.ndarray]:
    """Stamps, ns, and poses of the vehicle since the first; each row is the later (source) in the earlier frame."""
    stamps, poses = [], [np.eye(4)]
    for stamp, values in _rows(file, "relative"):
        poses.append(poses[-1] @ transform_from_xyz_rpy(values))
        stamps.append(stamp)
    return stamps, np.array(poses[1:]).reshape(-1, 4, 4)


def _rows(file: Path, kind: str) -> Iterator[tuple[int, tuple[float, ...]]]:
    """Stamp, ns, and x y z roll pitch yaw of each row, by the names of the columns."""
    wanted = _COLUMNS[kind]
    try:
        with file.open(newline="", encoding="utf-8", errors="replace") as text:
            rows = csv.reader(text)
            names = [name.strip() for name in next(rows, [])]
            missing = [name for name in wanted if name not in names]
            if missing:
                raise SourceError(f"{file} begins with {quoted(','.join(names))}, expected columns {','.join(wanted)}")
            places = [names.index(name) for name in wanted]
            for number, row in enumerate(rows, 2):
                if not row:
                    continue
                try:
                    stamp, *values = (row[place] for place in places)
                    numbers = tuple(float(value) for value in values)
                    if not np.isfinite(numbers).all() or not 0 <= int(stamp) < 2**53:
                        raise ValueError
                except (ValueError, IndexError):
                    what = f"line {number} of {file} is {quoted(','.join(row))}"
                    raise SourceError(f"{what}, expected microseconds and finite numbers") from None
                yield 1000 * int(stamp), numbers
    except (OSError, csv.Error) as error:
        raise SourceError(f"{file} cannot be read: {error}") from None
