"""Which of the public data sets a path is, and what of them plays a part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from defeat_ros.data.folder import FolderSource, FrameSource
from defeat_ros.data.image_truth import ImageTruth
from defeat_ros.data.intrinsics import read_intrinsics
from defeat_ros.data.kitti import kitti_truth
from defeat_ros.data.nuscenes import NuScenesSource, find_nuscenes
from defeat_ros.data.robotcar import RobotCarSource, find_robotcar
from defeat_ros.frame import CameraIntrinsics

# Beside images or in a folder above them: what their poses, depth and cameras are read from.
_AROUND = (
    *("calib*.txt", "times.txt", "timestamps.txt", "oxts/timestamps.txt", "poses/*.txt"),
    *("velodyne/*.bin", "velodyne_points/data/*.bin"),
    *("gps/*.csv", "rtk.csv", "vo/vo.csv", "models/*", "extrinsics/*"),
)


def is_source(path: Path) -> bool:
    """Whether there is something to read: a file or folder, or a scene of nuScenes, which is neither."""
    return path.exists() or find_nuscenes(path) is not None


def open_dataset(path: Path, fps: float | None, intrinsics: CameraIntrinsics | Path | None) -> FrameSource | None:
    """The images of a RobotCar drive or a nuScenes scene; None where the path is neither.

    Args:
        path: see `RobotCarSource` and `NuScenesSource`.
        fps: rate to thin them to, Hz; None keeps all.
        intrinsics: the camera, its file, or RobotCar's folder of camera models.

    Raises:
        SourceError: it is one of them and cannot be read.
    """
    if path.is_dir() and find_robotcar(path) is not None:
        return RobotCarSource(path, fps, intrinsics)
    if find_nuscenes(path) is not None:
        return NuScenesSource(path, fps, read_intrinsics(intrinsics) if isinstance(intrinsics, Path) else intrinsics)
    return None


def truth_of(frames: FrameSource) -> ImageTruth:
    """What the data set that the images are from knows about them; nothing where they are from none."""
    if isinstance(frames, (RobotCarSource, NuScenesSource)):
        truth = frames.truth()
        truth.told[:0] = [line for line in frames.told if line not in truth.told]
        return truth
    found = kitti_truth(frames.files) if isinstance(frames, FolderSource) else None
    return found or ImageTruth()


def files_around(path: Path) -> Iterator[Path]:
    """Files outside the path itself that its truth and cameras are read from."""
    scene = find_nuscenes(path)
    if scene is not None:
        yield from scene.tables.glob("*.json")
    for parent in list(path.parents)[:3]:
        for pattern in _AROUND:
            yield from parent.glob(pattern)
