"""What lies around the images of a folder: KITTI's layouts, times and calibration, camera files, sidecars."""

from __future__ import annotations

from calendar import timegm
from pathlib import Path
from time import strptime

from defeat_ros.data.intrinsics import read_intrinsics, read_kitti_calibration, read_mapping
from defeat_ros.errors import FrameError, SourceError
from defeat_ros.frame import EPOCH_NS, CameraIntrinsics
from defeat_ros.untrusted import quoted

_ODOMETRY_CAMERAS = tuple(f"image_{camera}" for camera in (2, 3, 0, 1))


def find_layout(path: Path) -> tuple[Path, Path | None]:
    """The folder that holds the images, and the file with their times."""
    raw = [path, *(path / f"image_{camera}" for camera in ("02", "03", "00", "01"))]
    for folder in raw:
        if (folder / "data").is_dir() and (folder / "timestamps.txt").is_file():
            return folder / "data", folder / "timestamps.txt"
    for folder in (path / camera for camera in _ODOMETRY_CAMERAS):
        if folder.is_dir():
            times = path / "times.txt"
            return folder, times if times.is_file() else None
    beside = path.absolute().parent / "times.txt"
    if path.name in _ODOMETRY_CAMERAS and beside.is_file():  # one camera of an odometry sequence
        return path, beside
    return path, None


def camera_beside(path: Path, folder: Path, size_hw: tuple[int, int]) -> CameraIntrinsics | None:
    """The camera that a folder describes itself: camera.json, camera.yaml, else KITTI's calibration files."""
    for parent in dict.fromkeys((path, folder)):
        for name in ("camera.json", "camera.yaml"):
            if (parent / name).is_file():
                return read_intrinsics(parent / name)
    if folder.name == "data":  # raw: DATE/DRIVE/image_02/data, with the calibration in DATE
        kitti, key = folder.parent, f"P_rect_{folder.parent.name[-2:]}"
        places = [kitti.parent / "calib_cam_to_cam.txt", kitti.parent.parent / "calib_cam_to_cam.txt"]
    elif folder.name.startswith("image_"):
        key, places = f"P{folder.name[-1:]}", [folder.absolute().parent / "calib.txt"]
    else:
        key, places = "", []
    cameras = (read_kitti_calibration(place, key, size_hw) for place in places if place.is_file())
    found = next((camera for camera in cameras if camera), None)
    above = _camera_above(path, size_hw) if found is None else None
    return read_intrinsics(above) if above else found


def _camera_above(path: Path, size_hw: tuple[int, int]) -> Path | None:
    """camera.json one folder up, of the folders left and right of a stereo camera, where it fits the images' size."""
    file = path.absolute().parent / "camera.json"
    if path.absolute().name not in ("left", "right") or not path.is_dir() or not file.is_file():
        return None
    try:
        camera = read_intrinsics(file)
    except SourceError:
        return None
    return file if (camera.height, camera.width) == size_hw else None


def known_rate(path: Path, size_hw: tuple[int, int]) -> float | None:
    """The rate in the folder's camera.json, or in that of `_camera_above`, Hz."""
    file = path / "camera.json"
    if not file.is_file():
        file = _camera_above(path, size_hw) or file
    rate = read_mapping(file).get("fps") if file.is_file() else None
    if rate is None:
        return None
    if not isinstance(rate, (int, float)) or not 0 < rate < 1e6:
        raise SourceError(f"fps in {file} is {quoted(rate)}, expected a positive number")
    return float(rate)


def read_times(path: Path) -> list[int]:
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
            what = f"line {number} of {path} is {quoted(text)}"
            raise SourceError(f"{what}, expected seconds or a date with time") from None
    return stamps


def stamps_of(files: list[Path], times: list[int], source: Path, what: str = "times") -> list[int]:
    """The time (or what else `source` has a line of) of each image.

    By the number in its name, as KITTI counts, else by its place.

    Raises:
        SourceError: there are not as many.
    """
    if all(file.stem.isdecimal() and int(file.stem) < len(times) for file in files):
        return [times[int(file.stem)] for file in files]
    if len(files) == len(times):
        return list(times)
    raise SourceError(f"{source} has {len(times)} {what}, expected one for each of the {len(files)} images")


def sidecar_camera(path: Path) -> CameraIntrinsics | None:
    """The camera in `clip.json` or `clip.yaml` beside `clip.mp4`; None where there is no such file.

    Raises:
        SourceError: there is one, with a focal length or camera matrix in it, that cannot be used.
    """
    for file in (path.with_suffix(".json"), path.with_suffix(".yaml")):
        if not file.is_file():
            continue
        try:
            keys = read_mapping(file).keys()
        except SourceError:
            continue  # such as the labels of an image, a list
        if keys & {"fx", "camera_matrix"}:
            return read_intrinsics(file)
    return None


def own_camera(file: Path) -> CameraIntrinsics | None:
    """The camera beside one image; raises FrameError where it cannot be used."""
    try:
        return sidecar_camera(file)
    except SourceError as error:
        raise FrameError(str(error), "bad_intrinsics") from None
