"""Frames from files: image folders, public data sets and videos; and their conversion to a bag."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from defeat_ros.data.bag import BagWriter, bag_messages
from defeat_ros.data.datasets import is_source, open_dataset
from defeat_ros.data.folder import DEFAULT_FPS, IMAGE_SUFFIXES, FolderSource, FrameSource
from defeat_ros.data.intrinsics import read_intrinsics
from defeat_ros.data.layout import sidecar_camera
from defeat_ros.data.video import VideoSource
from defeat_ros.errors import SourceError
from defeat_ros.frame import DEFAULT_FRAME_ID, CameraIntrinsics

__all__ = ["ConvertSummary", "FrameSource", "check_fps", "convert", "open_frames", "read_intrinsics"]


@dataclass(frozen=True)
class ConvertSummary:
    """What `convert` did.

    Attributes:
        frames: number written.
        skipped: (name, reason) of the images left out.
        duration_s: time from the first frame to the last, s.
        size_hw: size of the frames, px.
        image_topic, camera_info_topic: where they are in the bag; the second is None where the camera is not known.
        told: what the user should know about the source, one line each.
    """

    frames: int
    skipped: tuple[tuple[str, str], ...]
    duration_s: float
    size_hw: tuple[int, int]
    image_topic: str
    camera_info_topic: str | None
    told: tuple[str, ...] = ()


def check_fps(fps: float | None) -> None:
    """See that a rate to thin to, Hz, is one; None is.

    Raises:
        SourceError: it is not between 0 and 1e6.
    """
    if fps is not None and not 0 < fps < 1e6:
        raise SourceError(f"fps is {fps}, expected a positive number below 1e6")


def open_frames(
    source: str | Path, *, fps: float | None = None, intrinsics: CameraIntrinsics | str | Path | None = None
) -> FrameSource:
    """Open a video, an image, a folder of images, a KITTI or RobotCar drive, or a nuScenes scene.

    Args:
        source: the file or folder; of nuScenes ROOT/SCENE or ROOT/SCENE/CAMERA.
        fps: of a source that knows its times (videos, data sets, camera.json with `fps`), the rate to thin it to, None
            for all frames; of a plain folder, the rate at which the images were taken (10 if None). Hz.
        intrinsics: the camera or its file (of RobotCar also the folder of its camera models); None takes what a
            folder itself has, or clip.json beside clip.mp4.

    Raises:
        SourceError: it cannot be read, or the intrinsics are for another size.
    """
    path = Path(source)
    check_fps(fps)
    if not is_source(path):
        raise SourceError(f"{path} does not exist")
    given = Path(intrinsics) if isinstance(intrinsics, str) else intrinsics
    if (dataset := open_dataset(path, fps, given)) is not None:
        return dataset
    camera = read_intrinsics(intrinsics) if isinstance(intrinsics, (str, Path)) else intrinsics
    if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
        return FolderSource(path, fps, camera)
    return VideoSource(path, fps, camera or sidecar_camera(path))


def convert(
    source: str | Path,
    out_bag: str | Path,
    intrinsics: CameraIntrinsics | str | Path | None = None,
    fps: float | None = DEFAULT_FPS,
    image_topic: str = "/camera/image_raw",
    frame_id: str = DEFAULT_FRAME_ID,
    compressed: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> ConvertSummary:
    """Write the frames of a video or folder to a bag, with camera_info where the camera is known.

    Args:
        source, intrinsics, fps: see `open_frames`.
        out_bag: the bag to make; it appears when it is complete.
        image_topic: topic of the images; '/compressed' is appended to it for compressed ones.
        frame_id: the camera's optical frame.
        compressed: write JPEG (quality 95) instead of raw pixels.
        progress: called after each frame with the number so far and the expected one.

    Raises:
        SourceError: the source cannot be read or has no usable frame.
        OutputError: the bag exists or cannot be written.
    """
    frames = open_frames(source, fps=fps, intrinsics=intrinsics)
    make = bag_messages()
    info_topic = f"{image_topic.rpartition('/')[0]}/camera_info"
    topic = f"{image_topic}/compressed" if compressed else image_topic
    written, first, last = 0, 0, 0
    with BagWriter(out_bag, atomic=True) as bag:
        for frame in frames:
            stamp = frame.stamp_ns
            if frame.intrinsics is not None:
                bag.write(info_topic, make.camera_info(frame.intrinsics, stamp_ns=stamp, frame_id=frame_id), stamp)
            if compressed:
                message = make.compressed_image(frame.image, stamp_ns=stamp, frame_id=frame_id)
            else:
                message = make.image(frame.image, stamp_ns=stamp, frame_id=frame_id)
            bag.write(topic, message, stamp)
            first, last = first if written else stamp, stamp
            written += 1
            if progress is not None:
                progress(written, frames.expected)
        if not written:
            raise SourceError(f"{source} has no frame that can be decoded")
    return ConvertSummary(
        frames=written,
        skipped=tuple(frames.skipped),
        duration_s=(last - first) / 1e9,
        size_hw=frames.size_hw,
        image_topic=topic,
        camera_info_topic=info_topic if frames.intrinsics is not None else None,
        told=tuple(getattr(frames, "told", ())),
    )
