"""Folders of images as a source of frames: plain ones, KITTI raw and KITTI odometry."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from calendar import timegm
from collections.abc import Iterator
from pathlib import Path
from time import strptime

import cv2
import numpy as np

from defeat_ros.data.compressed import check_size, decode_image
from defeat_ros.data.intrinsics import read_intrinsics, read_kitti_calibration, read_mapping
from defeat_ros.errors import MessageError, SourceError
from defeat_ros.frame import EPOCH_NS, CameraIntrinsics, Frame

DEFAULT_FPS = 10.0
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


class FrameSource(ABC):
    """Frames from files, in the order of time; may be iterated more than once.

    Attributes:
        expected: about how many there will be, None where that is not known.
        skipped: (name, reason) of every image that was left out so far; reasons are those of MessageError,
            'size_changed' and 'time_backwards'.
        intrinsics: the camera, None where it is not known.
        size_hw: size of every frame, px.
    """

    expected: int | None = None
    intrinsics: CameraIntrinsics | None = None
    size_hw: tuple[int, int]

    def __init__(self) -> None:
        self.skipped: list[tuple[str, str]] = []

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]: ...

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
        while self._due - self._slack <= stamp_ns:
            self._due += self._period
        return True


class FolderSource(FrameSource):
    """The images of a folder, sorted so that 2 comes before 10.

    Args:
        path: the folder, or a single image.
        fps: the rate at which the images were taken, Hz; of a folder that knows its times, the rate to thin it to.
        camera: its camera; None looks for camera.json, camera.yaml and KITTI's calibration.

    Raises:
        SourceError: no image can be read, times do not fit the images, or the camera has another size.
    """

    def __init__(self, path: Path, fps: float | None, camera: CameraIntrinsics | None) -> None:
        super().__init__()
        folder, times_file = _layout(path)
        self._files = _images(folder)
        if not self._files:
            raise SourceError(f"{path} has no images, expected {', '.join(IMAGE_SUFFIXES)} files or a KITTI layout")
        size_hw = self._first_size(path)
        if camera is None:
            camera = _camera_beside(path, folder, size_hw)
        self._set_camera(path, size_hw, camera)
        if times_file is not None:
            self._stamps, thin = _stamps_of(self._files, _read_times(times_file), times_file), fps
        else:
            known = _known_rate(path)
            rate, thin = known or fps or DEFAULT_FPS, fps if known else None
            self._stamps = [EPOCH_NS + round(index * 1e9 / rate) for index in range(len(self._files))]
        gaps = np.diff(np.array(self._stamps, dtype=np.int64))
        thinner = Thinner(thin, float(np.median(gaps)) if len(gaps) else 0.0)
        self._chosen = [item for item in zip(self._files, self._stamps, strict=True) if thinner.keep(item[1])]
        self.expected = len(self._chosen)

    def __iter__(self) -> Iterator[Frame]:
        self.skipped.clear()
        last = None
        for file, stamp in self._chosen:
            try:
                image = read_image(file)
            except MessageError as error:
                self.skipped.append((file.name, getattr(error, "reason", "decode_failed")))
                continue
            if image.shape[:2] != self.size_hw:
                self.skipped.append((file.name, "size_changed"))
            elif last is not None and stamp <= last:
                self.skipped.append((file.name, "time_backwards"))
            else:
                last = stamp
                yield Frame(image, stamp, intrinsics=self.intrinsics)

    def _first_size(self, path: Path) -> tuple[int, int]:
        for file in self._files:
            try:
                height, width = read_image(file).shape[:2]
            except MessageError:
                continue
            return height, width
        raise SourceError(f"none of the {len(self._files)} images in {path} can be read")


def read_image(path: Path) -> np.ndarray:
    """An image file as (H, W, 3) uint8 RGB; the data decide what it is, not the name.

    Raises:
        MessageError: it is damaged or no image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MessageError(f"image {path} cannot be read: {error.strerror}") from None
    if path.suffix.lower() in (".png", ".jpg", ".jpeg") or data[:2] in (b"\xff\xd8", b"\x89P"):
        return decode_image(data, path.suffix[1:])
    try:
        array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        array = None
    if array is None:
        raise MessageError(f"image {path} cannot be decoded")
    check_size(array.shape[1], array.shape[0])
    return cv2.cvtColor(array, cv2.COLOR_BGR2RGB)


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Sorts frame_2 before frame_10."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts]


def _images(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    visible = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted((path for path in visible if path.suffix.lower() in IMAGE_SUFFIXES), key=natural_key)


def _layout(path: Path) -> tuple[Path, Path | None]:
    """The folder that holds the images, and the file with their times."""
    raw = [path, *(path / f"image_{camera}" for camera in ("02", "03", "00", "01"))]
    for folder in raw:
        if (folder / "data").is_dir() and (folder / "timestamps.txt").is_file():
            return folder / "data", folder / "timestamps.txt"
    for folder in (path / f"image_{camera}" for camera in (2, 3, 0, 1)):
        if folder.is_dir():
            times = path / "times.txt"
            return folder, times if times.is_file() else None
    return path, None


def _camera_beside(path: Path, folder: Path, size_hw: tuple[int, int]) -> CameraIntrinsics | None:
    """The camera that a folder describes itself: camera.json, camera.yaml, else KITTI's calibration files."""
    for parent in dict.fromkeys((path, folder)):
        for name in ("camera.json", "camera.yaml"):
            if (parent / name).is_file():
                return read_intrinsics(parent / name)
    if folder.name == "data":  # raw: DATE/DRIVE/image_02/data, with the calibration in DATE
        kitti, key = folder.parent, f"P_rect_{folder.parent.name[-2:]}"
        places = [kitti.parent / "calib_cam_to_cam.txt", kitti.parent.parent / "calib_cam_to_cam.txt"]
    elif folder.name.startswith("image_"):
        key, places = f"P{folder.name[-1:]}", [path / "calib.txt"]
    else:
        return None
    cameras = (read_kitti_calibration(place, key, size_hw) for place in places if place.is_file())
    return next((camera for camera in cameras if camera), None)


def _known_rate(path: Path) -> float | None:
    """The rate in the folder's camera.json, Hz."""
    file = path / "camera.json"
    rate = read_mapping(file).get("fps") if file.is_file() else None
    if rate is None:
        return None
    if not isinstance(rate, (int, float)) or not 0 < rate < 1e6:
        raise SourceError(f"fps in {file} is {rate!r}, expected a positive number")
    return float(rate)


def _read_times(path: Path) -> list[int]:
    """Stamps, ns: seconds since the start (times.txt), or dates with nanoseconds, in UTC (timestamps.txt)."""
    stamps = []
    for number, line in enumerate(path.read_text(errors="replace").split("\n"), 1):
        text = line.strip()
        if not text:
            continue
        try:
            if " " in text:
                date, _, fraction = text.partition(".")
                seconds = timegm(strptime(date, "%Y-%m-%d %H:%M:%S"))
                stamps.append(seconds * 10**9 + int(fraction.ljust(9, "0")[:9]))
            else:
                stamps.append(EPOCH_NS + round(float(text) * 1e9))
        except (ValueError, OverflowError):
            raise SourceError(f"line {number} of {path} is {text!r}, expected seconds or a date with time") from None
    return stamps


def _stamps_of(files: list[Path], times: list[int], source: Path) -> list[int]:
    """The time of each image: by the number in its name, as KITTI counts, else by its place."""
    if all(file.stem.isdecimal() and int(file.stem) < len(times) for file in files):
        return [times[int(file.stem)] for file in files]
    if len(files) == len(times):
        return list(times)
    raise SourceError(f"{source} has {len(times)} times, expected one for each of the {len(files)} images")
