"""Recordings with whatever truth they have: bags, image folders, public data sets and videos under one roof."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from defeat_ros.data.datasets import truth_of
from defeat_ros.data.folder import FolderSource, SourceItem
from defeat_ros.data.layout import stamps_of
from defeat_ros.data.recorded import Recorded, Recording
from defeat_ros.data.recorded_bag import BagRecording
from defeat_ros.data.sources import check_fps, open_frames, read_intrinsics
from defeat_ros.data.truth import depth_file, read_depth_png, read_kitti_poses
from defeat_ros.errors import MessageError, SourceError
from defeat_ros.frame import CameraIntrinsics

__all__ = ["Recorded", "Recording", "is_bag", "open_recording", "parse_source", "unique_names"]


def open_recording(
    path: str | Path,
    *,
    image_topic: str | None = None,
    intrinsics: CameraIntrinsics | str | Path | None = None,
    fps: float | None = None,
    depth_topic: str | None = None,
    odom_topic: str | None = None,
) -> Recording:
    """Open a bag, a folder of images, a KITTI or RobotCar drive, a nuScenes scene or a video.

    Depth comes from the depth topic of a bag, X_depth.png beside X.jpg, KITTI's proj_depth, or the data set's lidar;
    poses from the odometry of a bag, poses.txt (KITTI's format, one line for each image) in or above the folder of
    images, or what the data set has.

    Args:
        path: the file or folder; of nuScenes ROOT/SCENE or ROOT/SCENE/CAMERA.
        image_topic: images of a bag; None takes the only ones there are.
        intrinsics: the camera or its file, in place of what the recording itself says.
        fps: rate to thin to, Hz, see `open_frames`; None keeps all.
        depth_topic: depth images of a bag with the stamps of its images; None takes /truth/depth if it is there.
        odom_topic: nav_msgs/Odometry of a bag; None takes /truth/odom if it is there.

    Raises:
        SourceError: it cannot be read, lacks a topic that was named, or `fps` is no rate.
    """
    path = Path(path)
    check_fps(fps)
    if is_bag(path):
        camera = read_intrinsics(intrinsics) if isinstance(intrinsics, (str, Path)) else intrinsics
        return BagRecording(path, image_topic, camera, fps, depth_topic, odom_topic)
    for name, topic in (("image", image_topic), ("depth", depth_topic), ("odometry", odom_topic)):
        if topic is not None:
            raise SourceError(f"{path} is not a bag and has no {name} topic {topic!r}")
    return FileRecording(path, intrinsics, fps)


def is_bag(path: Path) -> bool:
    """Whether the path is a bag by its name or, of a folder, by what lies in it."""
    if path.is_dir():
        names = ("metadata.yaml", "*.mcap", "*.db3", "*.mcap.zstd", "*.db3.zstd")
        return any(next(path.glob(name), None) for name in names)
    return path.suffix.lower() in (".mcap", ".db3", ".bag")


def parse_source(text: str) -> tuple[Path, Path | None]:
    """`PATH` or `PATH=INTRINSICS` to the recording and the file of its camera; a path may itself have '=' in it.

    Raises:
        SourceError: one side of the '=' is empty.
    """
    left, equals, right = text.rpartition("=")
    if not equals or Path(text).exists():
        return Path(text), None
    if not left or not right:
        raise SourceError(f"source is {text!r}, expected PATH or PATH=INTRINSICS")
    return Path(left), Path(right)


def unique_names(names: Sequence[str]) -> list[str]:
    """Each name once: those that were taken before get the first free number, from _2 on, that no other one has."""
    made: list[str] = []
    for name in names:
        unique, number = name, 1
        while unique in made or (number > 1 and unique in names):
            number += 1
            unique = f"{name}_{number}"
        made.append(unique)
    return made


class FileRecording(Recording):
    """Images of a folder, data set or video; see `open_recording`."""

    def __init__(self, path: Path, camera: CameraIntrinsics | str | Path | None, fps: float | None) -> None:
        super().__init__(path)
        self._frames = open_frames(path, fps=fps, intrinsics=camera)
        self._truth = truth_of(self._frames)
        self._at_opening += self._truth.told
        self.base_from_camera = self._truth.base_from_camera
        self.expected = self._frames.expected
        self._poses = self._poses_of(self._frames) if isinstance(self._frames, FolderSource) else {}

    @property
    def name(self) -> str:
        """Name of the file or folder, or what the data set calls it."""
        return getattr(self._frames, "name", None) or super().name

    def _items(self) -> Iterator[Recorded]:
        for item in self._frames.items():
            name = item.name.replace(" ", "_") if item.file is None else item.file.stem
            depth = None
            if item.frame is not None and item.file is not None:
                depth = self._depth(item, item.file)
            pose = self._poses.get(item.file) if item.file else None
            if pose is None:
                pose = self._truth.pose(item)
            yield Recorded(name, item.stamp_ns, item.frame, item.reason, depth, pose)

    def _depth(self, item: SourceItem, image: Path) -> np.ndarray | None:
        file = depth_file(image)
        try:
            return read_depth_png(file) if file is not None else self._truth.depth(item)
        except (MessageError, SourceError) as error:
            self._warn("depth", str(error))
            return None

    def _poses_of(self, source: FolderSource) -> dict[Path, np.ndarray]:
        """The pose of each image, {} without poses.txt."""
        folder = source.files[0].absolute().parent
        for place in dict.fromkeys((folder, self.path.absolute(), folder.parent)):
            if not (file := place / "poses.txt").is_file():
                continue
            try:
                poses = read_kitti_poses(file)
                numbers = stamps_of(source.files, list(range(len(poses))), file, "poses")
            except SourceError as error:
                self._at_opening.append(f"no poses: {error}")
                return {}
            return {image: poses[number] for image, number in zip(source.files, numbers, strict=True)}
        return {}
