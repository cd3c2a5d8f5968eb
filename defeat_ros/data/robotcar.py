"""Drives of the Oxford RobotCar data set as a source of frames, with poses.

Format: the data set's SDK (https://github.com/ori-mrg/robotcar-dataset-sdk: image.py, camera_model.py,
interpolate_poses.py, transform.py) and https://robotcar-dataset.robots.ox.ac.uk/documentation.

    DATE/stereo/{left,centre,right}/STAMP.png, DATE/mono_{left,right,rear}/STAMP.png   Bayer mosaics, microseconds
    DATE/stereo.timestamps, DATE/mono_rear.timestamps and so on: STAMP CHUNK           of all images
    DATE/gps/{rtk,ins}.csv, DATE/vo/vo.csv                                            poses
    models/CAMERA.txt, models/CAMERA_distortion_lut.bin, extrinsics/CAMERA.txt        of the SDK
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from defeat_ros.data.compressed import decode_file, read_file
from defeat_ros.data.encodings import to_rgb
from defeat_ros.data.image_truth import ImageTruth, ListedImages, is_rotation, read_small_text
from defeat_ros.data.intrinsics import read_intrinsics
from defeat_ros.data.layout import camera_beside
from defeat_ros.data.robotcar_poses import robotcar_truth
from defeat_ros.errors import FrameError, MessageError, SourceError
from defeat_ros.frame import CameraIntrinsics
from defeat_ros.untrusted import quoted

_MODELS = {
    "stereo/centre": "stereo_narrow_left",
    "stereo/left": "stereo_wide_left",
    "stereo/right": "stereo_wide_right",
    **{name: name for name in ("mono_left", "mono_right", "mono_rear")},
}
_STAMP = re.compile(r"[0-9]{16}")  # microseconds since 1970, of any day between 2001 and 2286


@dataclass(frozen=True)
class CameraModel:
    """What the SDK says about one camera.

    Attributes:
        pinhole: fx, fy, cx, cy of the undistorted image, px.
        camera_from_image: (4, 4), the optical frame of this lens on the camera (x ahead, y right, z down).
        file: where that stands.
        lut: (2, H * W) float32, the x and y in the image as recorded of each undistorted pixel; None without file.
    """

    pinhole: tuple[float, float, float, float]
    camera_from_image: np.ndarray
    file: Path
    lut: np.ndarray | None


def find_robotcar(path: Path) -> tuple[Path, str] | None:
    """The folder of the date and the camera, of the path of either; None where this is no RobotCar drive."""
    for camera in _MODELS:
        if _has_stamped(path / camera):
            return path, camera
    parts = path.absolute().parts
    for camera in _MODELS:
        count = len(camera.split("/"))
        if "/".join(parts[-count:]) == camera and _has_stamped(path):
            return path.absolute().parents[count - 1], camera
    return None


class RobotCarSource(ListedImages):
    """The images of one camera, demosaiced and undistorted; those that are in colour are so already.

    Args:
        path: folder of a date (then the first of stereo/centre, left, right, mono_left, right, rear it has), or of
            one of its cameras.
        fps: rate to thin them to, Hz; None keeps all.
        camera: the SDK's folder of camera models or the file of one, or the camera of images that were undistorted
            before; None looks for `models` in and beside the date's folder, and for camera.json with the images.

    Raises:
        SourceError: there is no image, or a model cannot be used.
    """

    def __init__(self, path: Path, fps: float | None, camera: CameraIntrinsics | Path | None) -> None:
        found = find_robotcar(path)
        if found is None:
            raise SourceError(f"{path} has no stereo/centre/STAMP.png or the like, expected a date of Oxford RobotCar")
        self._date, self._camera = found
        folder = self._date / self._camera
        files = sorted(file for file in folder.glob("*.png") if _STAMP.fullmatch(file.stem))
        super().__init__(path, [(file, 1000 * int(file.stem)) for file in files], fps, self._image)
        self.name = f"{self._date.name}_{self._camera.replace('/', '_')}"
        # stereo of the SDK is GBRG, the others are RGGB.
        self._mosaic = "bayer_gbrg8" if self._camera.startswith("stereo") else "bayer_rggb8"
        self._model: CameraModel | None = None
        self._maps: tuple[np.ndarray, np.ndarray] | None = None
        size = self._first_size(files)
        known: CameraIntrinsics | None = None
        models: Path | None = None
        if isinstance(camera, CameraIntrinsics):
            known = camera
        elif camera is None:
            known = camera_beside(folder, folder, size)
        elif camera.is_dir() or camera.suffix == ".txt":
            models = camera
        else:
            known = read_intrinsics(camera)
        if known is None:
            self._model = self._find_model(models)
        if self._model is not None:
            known = self._undistorting(self._model, size)
        self._set_camera(path, size, known)
        self._tell_gaps([int(file.stem) for file in files])

    def truth(self) -> ImageTruth:
        """Poses of the images, by what the drive has."""
        if self._model is None:
            return robotcar_truth(self._date, self._camera, None, None)
        return robotcar_truth(self._date, self._camera, self._model.camera_from_image, self._model.file)

    def _find_model(self, given: Path | None) -> CameraModel | None:
        name = f"{_MODELS[self._camera]}.txt"
        if given is not None:
            return read_camera_model(given / name if given.is_dir() else given)
        places = (self._date / "models" / name, self._date.parent / "models" / name)
        for place in places:
            if place.is_file():
                return read_camera_model(place)
        self.told.append(f"the camera is not known: {places[0]} and {places[1]} do not exist, expected one of them")
        return None

    def _tell_gaps(self, stamps_us: list[int]) -> None:
        """Images between the first and the last that are listed but not there, as where a chunk was not unpacked."""
        file = self._date / f"{self._camera.split('/')[0]}.timestamps"
        if not file.is_file():
            return
        try:
            with file.open(errors="replace") as lines:  # `STAMP CHUNK`
                listed = {int(found[0]) for line in lines if (found := _STAMP.match(line))}
        except OSError as error:
            self.told.append(f"{file} cannot be read: {error.strerror}")
            return
        missing = sum(stamps_us[0] < stamp < stamps_us[-1] for stamp in listed.difference(stamps_us))
        if missing:
            self.told.append(f"{missing} images that {file} lists are missing between the first and the last")

    def _undistorting(self, model: CameraModel, size: tuple[int, int]) -> CameraIntrinsics:
        height, width = size
        if model.lut is not None:
            if model.lut.shape[1] != height * width:
                raise SourceError(
                    f"the table beside {model.file} is for {model.lut.shape[1]} pixels, expected {height * width} "
                    f"as in the {width}x{height} images of {self.path}"
                )
            x, y = model.lut.reshape(2, height, width)
            self._maps = x, y
        else:
            table = f"{model.file.with_suffix('')}_distortion_lut.bin"
            self.told.append(f"images are taken as free of distortion: {table} does not exist")
        fx, fy, cx, cy = model.pinhole
        return CameraIntrinsics(fx=fx, fy=fy, cx=cx, cy=cy, width=width, height=height)

    def _image(self, file: Path) -> np.ndarray:
        pixels = decode_file(read_file(file), cv2.IMREAD_UNCHANGED)
        if pixels.ndim == 2 and pixels.dtype == np.uint8:
            image = to_rgb(pixels, self._mosaic)
        elif pixels.ndim == 3 and pixels.shape[2] == 3:  # somebody demosaiced and undistorted it
            return to_rgb(pixels, "bgr8" if pixels.dtype == np.uint8 else "bgr16")
        else:
            raise MessageError(f"image {file} is {pixels.shape} {pixels.dtype}, expected an 8 bit mosaic or RGB")
        if self._maps is None or image.shape[:2] != self._maps[0].shape:
            return image
        return np.asarray(cv2.remap(image, *self._maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT))

    def _first_size(self, files: list[Path]) -> tuple[int, int]:
        for file in files:
            try:
                height, width = self._image(file).shape[:2]
            except MessageError:
                continue
            return height, width
        raise SourceError(f"none of the {len(files)} images in {self.path} can be read")


def read_camera_model(path: Path) -> CameraModel:
    """A camera model of the SDK: `fx fy cx cy`, then four rows of a matrix; the look-up table lies beside it.

    Raises:
        SourceError: it is missing or is none, or the table has no pairs of numbers.
    """
    try:
        lines = read_small_text(path, "a camera model of the SDK").splitlines()
        rows = [[float(word) for word in line.split()] for line in lines if line.strip()]
        fx, fy, cx, cy = rows[0]
        CameraIntrinsics(fx=fx, fy=fy, cx=cx, cy=cy, width=1, height=1)
        matrix = np.array(rows[1:])
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not is_rotation(matrix[:3, :3]):
            raise ValueError(f"the matrix is {quoted(matrix.tolist())}")
    except (ValueError, IndexError, FrameError) as error:
        raise SourceError(
            f"camera model {path} cannot be used: {error}; expected a line fx fy cx cy and four of a rigid transform"
        ) from None
    return CameraModel((fx, fy, cx, cy), matrix, path, _read_lut(path.with_name(f"{path.stem}_distortion_lut.bin")))


def _read_lut(path: Path) -> np.ndarray | None:
    if not path.is_file():
        return None
    size = path.stat().st_size
    if size % 16 or not 0 < size < 2**30:
        raise SourceError(f"table {path} has {size} bytes, expected a pair of float64 for each pixel")
    try:
        places = np.fromfile(path, "<f8").reshape(2, -1)
    except OSError as error:
        raise SourceError(f"table {path} cannot be read: {error.strerror}") from None
    if not np.abs(places).max() < 1e6:
        raise SourceError(f"table {path} has values up to {np.abs(places).max()}, expected places in an image, px")
    return places.astype(np.float32)


def _has_stamped(folder: Path) -> bool:
    return folder.is_dir() and any(_STAMP.fullmatch(file.stem) for file in folder.glob("*.png"))
