"""Reading camera intrinsics from files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from defeat_ros.data.messages import intrinsics_from_message
from defeat_ros.errors import FrameError, MessageError, SourceError
from defeat_ros.frame import CameraIntrinsics
from defeat_ros.untrusted import quoted, read_yaml

_MAX_BYTES = 1_000_000


def read_intrinsics(path: str | Path) -> CameraIntrinsics:
    """The camera in the YAML that camera_calibration writes, or in JSON `{width, height, fx, fy, cx, cy}`.

    The short form may also have `distortion_model` and `distortion`; other keys are ignored.

    Raises:
        SourceError: the file is missing, is neither of these, or its values cannot be those of a camera.
    """
    values = read_mapping(Path(path))
    try:
        if "camera_matrix" in values:
            return _from_calibration(values)
        width, height = (_whole(values, name) for name in ("width", "height"))
        fx, fy, cx, cy = (float(values[name]) for name in ("fx", "fy", "cx", "cy"))
        k, d = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0], list(values.get("distortion") or ())
        return _camera(width, height, k, d, values.get("distortion_model"))
    except KeyError as error:
        keys = "camera_matrix, image_width, image_height or width, height, fx, fy, cx, cy"
        raise SourceError(f"intrinsics {path} lack {error.args[0]!r}, expected {keys}") from None
    except (FrameError, MessageError, TypeError, ValueError, OverflowError) as error:
        raise SourceError(f"intrinsics {path} cannot be used: {error!s:.400}") from None


def read_kitti_calibration(path: Path, key: str, size_hw: tuple[int, int]) -> CameraIntrinsics | None:
    """The camera of one projection matrix ('P2' of calib.txt, 'P_rect_02' of calib_cam_to_cam.txt), None where absent.

    Args:
        path: file with lines `NAME: numbers`.
        key: name of the matrix.
        size_hw: size of the images, which calib.txt does not have.

    Raises:
        SourceError: the matrix cannot be that of a camera.
    """
    try:
        lines = [line.partition(":") for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError):
        return None
    for name, _, text in lines:
        if name.strip() == key:
            try:
                p = [float(value) for value in text.split()]
                return CameraIntrinsics(fx=p[0], fy=p[5], cx=p[2], cy=p[6], width=size_hw[1], height=size_hw[0])
            except (ValueError, IndexError, FrameError) as error:
                what = f"{key} of {path} is {quoted(text.strip())}"
                raise SourceError(f"{what}, expected 12 numbers: {error!s:.200}") from None
    return None


def read_mapping(path: Path) -> Mapping[str, Any]:
    """A YAML or JSON file that holds a mapping.

    Raises:
        SourceError: it cannot be read or holds something else.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise SourceError(f"intrinsics {path} have {path.stat().st_size} bytes, expected a short YAML or JSON file")
        values = read_yaml(path.read_text())
    except OSError as error:
        raise SourceError(f"intrinsics {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SourceError(f"intrinsics {path} are neither YAML nor JSON: {error}") from None
    if not isinstance(values, Mapping):
        raise SourceError(f"intrinsics {path} hold {type(values).__name__}, expected a mapping of names to values")
    return values


def _from_calibration(values: Mapping[str, Any]) -> CameraIntrinsics:
    def matrix(name: str) -> list[float]:
        return list(values[name]["data"]) if name in values else []

    return _camera(
        _whole(values, "image_width"),
        _whole(values, "image_height"),
        matrix("camera_matrix"),
        matrix("distortion_coefficients"),
        values.get("distortion_model"),
        matrix("rectification_matrix"),
        matrix("projection_matrix"),
    )


def _whole(values: Mapping[str, Any], name: str) -> int:
    number = float(values[name])
    if not number.is_integer():  # infinity and NaN neither
        raise ValueError(f"{name} is {quoted(values[name])}, expected a whole number")
    return int(number)


def _camera(
    width: int,
    height: int,
    k: list[float],
    d: list[float],
    model: str | None,
    r: Sequence[float] = (),
    p: Sequence[float] = (),
) -> CameraIntrinsics:
    """The values go through the same checks as those of a CameraInfo message."""
    values = {"D": d, "K": k, "R": r, "P": p, "width": width, "height": height, "distortion_model": model or ""}
    region = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    camera = intrinsics_from_message(SimpleNamespace(**values, binning_x=0, binning_y=0, roi=region))
    if camera is None:
        raise ValueError("the focal length is 0, expected a positive number")
    return camera
