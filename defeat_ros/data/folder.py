"""Folders of images as a source of frames: plain ones, KITTI raw and KITTI odometry."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from defeat_ros.data.compressed import decode_file, decode_image, read_file
from defeat_ros.data.image_headers import kind_of
from defeat_ros.data.layout import camera_beside, find_layout, known_rate, own_camera, read_times, stamps_of
from defeat_ros.errors import FrameError, MessageError, SourceError
from defeat_ros.frame import EPOCH_NS, CameraIntrinsics, Frame

DEFAULT_FPS = 10.0
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


@dataclass(frozen=True)
class SourceItem:
    """One image of a source, usable or not.

    Attributes:
        name: of the image within its source.
        stamp_ns: its time, ns; of a part of a video that does not decode, that of the frame before it.
        frame: the image, None where it could not be used.
        reason: why not, as in `FrameSource.skipped`.
        file: where it lies, None within a video.
    """

    name: str
    stamp_ns: int
    frame: Frame | None
    reason: str | None = None
    file: Path | None = None


class FrameSource(ABC):
    """Frames from files, in the order of time; may be iterated more than once.

    Attributes:
        expected: about how many there will be, None where that is not known.
        skipped: (name, reason) of every image that was left out so far; reasons are those of MessageError,
            'size_changed', 'time_backwards' and 'bad_intrinsics'.
        intrinsics: the camera, None where it is not known; that of the first image where each has its own.
        size_hw: size of every frame, px; of the first where each image has its own camera.
    """

    expected: int | None = None
    intrinsics: CameraIntrinsics | None = None
    size_hw: tuple[int, int]

    def __init__(self) -> None:
        self.skipped: list[tuple[str, str]] = []

    @abstractmethod
    def items(self) -> Iterator[SourceItem]:
        """Every image with its time, also those of no use."""

    def __iter__(self) -> Iterator[Frame]:
        self.skipped.clear()
        for item in self.items():
            if item.frame is not None:
                yield item.frame
            else:
                self.skipped.append((item.name, item.reason or "bad_message"))

    def _set_camera(self, name: object, size_hw: tuple[int, int], camera: CameraIntrinsics | None) -> None:
        if camera is not None and (camera.height, camera.width) != size_hw:
            given = f"{camera.width}x{camera.height}"
            raise SourceError(f"intrinsics are for {given}, expected {size_hw[1]}x{size_hw[0]}, the size of {name}")
        self.size_hw, self.intrinsics = size_hw, camera


class Thinner:
    """Chooses frames by time so that about `fps` remain: of 30 Hz every third for 10.

    Args:
        fps: wanted rate, Hz; None keeps everything.
        gap_ns: time between two frames of the source, ns.
    """

    def __init__(self, fps: float | None, gap_ns: float) -> None:
        self._period = None if fps is None else 1e9 / fps
        self._slack = 0.5 * gap_ns
        self._due: float | None = None

    def keep(self, stamp_ns: int) -> bool:
        """Whether to keep the frame of this time; call once for each, in order."""
        if self._period is None:
            return True
        if self._due is None:
            self._due = float(stamp_ns)
        if stamp_ns < self._due - self._slack:
            return False
        # At once, however far the clock jumped.
        self._due += ((stamp_ns - self._due + self._slack) // self._period + 1) * self._period
        return True


class FolderSource(FrameSource):
    """The images of a folder, sorted so that 2 comes before 10.

    Args:
        path: the folder, or a single image.
        fps: the rate at which the images were taken, Hz; of a folder that knows its times, the rate to thin it to.
        camera: its camera; None looks for camera.json, camera.yaml, KITTI's calibration, camera.json beside the
            folders left and right of a stereo camera, and X.json or X.yaml beside each X.jpg.

    Attributes:
        files: the images, before thinning.

    Raises:
        SourceError: no image can be read, times do not fit the images, or the camera has another size.
    """

    def __init__(self, path: Path, fps: float | None, camera: CameraIntrinsics | None) -> None:
        super().__init__()
        folder, times_file = find_layout(path)
        self.files = _images(folder)
        if not self.files:
            raise SourceError(f"{path} has no images, expected {', '.join(IMAGE_SUFFIXES)} files or a KITTI layout")
        size_hw = self._first_size(path)
        if camera is None:
            camera = camera_beside(path, folder, size_hw)
        self._each_its_own = camera is None
        if camera is None:
            camera = self._first_camera()
            size_hw = (camera.height, camera.width) if camera else size_hw
        self._set_camera(path, size_hw, camera)
        if times_file is not None:
            self._stamps, thin = stamps_of(self.files, read_times(times_file), times_file), fps
        else:
            known = known_rate(path, size_hw)
            rate, thin = known or fps or DEFAULT_FPS, fps if known else None
            self._stamps = [EPOCH_NS + round(index * 1e9 / rate) for index in range(len(self.files))]
        gaps = np.diff(np.array(self._stamps, dtype=np.int64))
        thinner = Thinner(thin, float(np.median(gaps)) if len(gaps) else 0.0)
        self._chosen = [item for item in zip(self.files, self._stamps, strict=True) if thinner.keep(item[1])]
        self.expected = len(self._chosen)

    def items(self) -> Iterator[SourceItem]:
        """Every image with its time, also those of no use."""
        return items_in_time(self._chosen, self._frame)

    def _frame(self, file: Path, stamp_ns: int) -> Frame:
        image = read_image(file)
        camera = own_camera(file) if self._each_its_own else self.intrinsics
        if camera is None or not self._each_its_own:
            if image.shape[:2] != self.size_hw:
                raise FrameError(f"{file} is {image.shape[1]}x{image.shape[0]}", "size_changed")
        elif image.shape[:2] != (camera.height, camera.width):
            raise FrameError(f"{file} is {image.shape[1]}x{image.shape[0]}, its camera has another", "bad_intrinsics")
        return Frame(image, stamp_ns, intrinsics=camera)

    def _first_camera(self) -> CameraIntrinsics | None:
        for file in self.files:
            with suppress(FrameError):
                camera = own_camera(file)
                if camera is not None:
                    return camera
        return None

    def _first_size(self, path: Path) -> tuple[int, int]:
        for file in self.files:
            try:
                height, width = read_image(file).shape[:2]
            except MessageError:
                continue
            return height, width
        raise SourceError(f"none of the {len(self.files)} images in {path} can be read")


def items_in_time(files: Iterable[tuple[Path, int]], read: Callable[[Path, int], Frame]) -> Iterator[SourceItem]:
    """Every image with its time, also those of no use, and those that are not later than the one before.

    Args:
        files: with their stamps, ns.
        read: makes the frame; MessageError or FrameError say why there is none.
    """
    last = None
    for file, stamp in files:
        try:
            frame = read(file, stamp)
            if last is not None and stamp <= last:
                raise FrameError(f"{file} is not later than the image before it", "time_backwards")
        except (MessageError, FrameError) as error:
            yield SourceItem(file.name, stamp, None, error.reason, file)
        else:
            last = stamp
            yield SourceItem(file.name, stamp, frame, file=file)


def read_image(path: Path) -> np.ndarray:
    """An image file as (H, W, 3) uint8 RGB; the data decide what it is, not the name.

    Raises:
        MessageError: it is damaged or no image.
    """
    data = read_file(path)
    if path.suffix.lower() in (".png", ".jpg", ".jpeg") or kind_of(data) in ("jpeg", "png"):
        return decode_image(data, path.suffix[1:])
    array = decode_file(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return np.asarray(cv2.cvtColor(array, cv2.COLOR_BGR2RGB))


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Sorts frame_2 before frame_10."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts]


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return [folder]
    visible = (path for path in folder.iterdir() if not path.name.startswith("."))
    images = sorted((path for path in visible if path.suffix.lower() in IMAGE_SUFFIXES), key=natural_key)
    stems = {path.stem for path in images}
    return [path for path in images if not _is_truth(path, stems)]


def _is_truth(path: Path, stems: Collection[str]) -> bool:
    """X_depth.png beside an image X is the depth of that image, not one itself."""
    return path.suffix.lower() == ".png" and path.stem.endswith("_depth") and path.stem.removesuffix("_depth") in stems
