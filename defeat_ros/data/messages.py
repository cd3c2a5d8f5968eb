"""Reading ROS messages into numpy, by duck typing.

Takes messages of rclpy and of rosbags (ROS 1 and ROS 2) alike, and imports neither.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from defeat_ros.data.compressed import decode_image
from defeat_ros.data.encodings import Layout, layout_of, to_rgb
from defeat_ros.data.image_headers import check_size
from defeat_ros.errors import FrameError, MessageError
from defeat_ros.frame import CameraIntrinsics
from defeat_ros.untrusted import quoted

_MODELS = {
    "": "",
    "none": "",
    "plumb_bob": "plumb_bob",
    "rational_polynomial": "rational_polynomial",
    "equidistant": "equidistant",
    "fisheye": "equidistant",
}
_COEFFICIENTS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
# What cv_bridge turns into rgb8 by itself; it knows 8UC<n> only as "no colour".
_CV_BRIDGE = frozenset(
    [f"{kind}{bits}" for kind in ("rgb", "bgr", "rgba", "bgra", "mono") for bits in (8, 16)]
    + [f"bayer_{kind}8" for kind in ("rggb", "bggr", "gbrg", "grbg")]
    + ["yuv422", "yuv422_yuy2"]
)


def stamp_from_message(msg: Any) -> int:
    """Time of a message's header, ns."""
    stamp = msg.header.stamp
    if hasattr(stamp, "nanosec"):
        return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
    return int(stamp.secs) * 1_000_000_000 + int(stamp.nsecs)


def image_from_message(msg: Any) -> np.ndarray:
    """The picture in a sensor_msgs Image or CompressedImage.

    Returns:
        (H, W, 3) uint8 RGB, contiguous, its own memory. Grey is repeated, alpha dropped, a Bayer mosaic and YUV
        converted, 16 bits scaled to 8.

    Raises:
        MessageError: the encoding is not that of a picture, the sizes contradict the
            data, or a compressed image is damaged.
    """
    if hasattr(msg, "format"):
        return decode_image(_buffer(msg.data), str(msg.format))
    array = array_from_message(msg)
    encoding = str(msg.encoding)
    if encoding in _CV_BRIDGE and _suits_cv_bridge(msg, array) and _cv_bridge() is not None:
        return _rgb_by_cv_bridge(msg)
    return to_rgb(array, encoding)


def array_from_message(msg: Any) -> np.ndarray:
    """The values of a sensor_msgs Image of any encoding, as they are.

    Returns:
        (H, W) or (H, W, C) of the encoding's type in native byte order, without the padding of its rows: a view of
        the message where that is possible. Planar YUV (nv12, nv21, nv24) keeps its extra rows.

    Raises:
        MessageError: the encoding is unknown, or the sizes contradict each other or the data.
    """
    layout = layout_of(str(msg.encoding))
    width, height, step, data = int(msg.width), int(msg.height), int(msg.step), _buffer(msg.data)
    rows = _check_layout(layout, msg, width, height, step, len(data))
    row_bytes = width * layout.channels * layout.dtype.itemsize
    lines = np.frombuffer(data, np.uint8, count=rows * step).reshape(rows, step)[:, :row_bytes]
    dtype = layout.dtype.newbyteorder(">" if msg.is_bigendian else "<")
    values = np.ascontiguousarray(lines).view(dtype).astype(layout.dtype, copy=False)
    return values if layout.channels == 1 else values.reshape(rows, width, layout.channels)


def depth_from_message(msg: Any) -> np.ndarray:
    """A depth image (REP 118).

    Returns:
        (H, W) float32, m. 32FC1 as it is (NaN unreliable, +Inf beyond the range); 16UC1 are millimetres, 0 is NaN.

    Raises:
        MessageError: the encoding is another one, or the sizes contradict the data.
    """
    name = str(msg.encoding).strip().lower()
    if name not in ("32fc1", "16uc1", "mono16"):
        what = f"encoding of the depth is {quoted(msg.encoding)}"
        raise MessageError(f"{what}, expected 32FC1 or 16UC1", "unknown_encoding")
    values = array_from_message(msg)
    if name == "32fc1":
        return values.copy()
    depth = values.astype(np.float32) / 1000.0
    depth[values == 0] = np.nan
    return depth


def intrinsics_from_message(msg: Any) -> CameraIntrinsics | None:
    """The camera that a sensor_msgs CameraInfo describes, for the image as it is delivered.

    Region of interest and binning are applied (in this order, as image_geometry does), so the result fits the image
    beside it and not the full sensor.

    Returns:
        The intrinsics, or None where the camera is not calibrated (K[0] is 0).

    Raises:
        MessageError: the distortion model is unknown, values are missing or out of range, or R is no rotation.
    """
    k, d, r, p = (_numbers(msg, name) for name in "KDRP")
    if len(k) != 9 or len(p) not in (0, 12) or len(r) not in (0, 9):
        raise MessageError(f"camera_info has {len(k)}, {len(r)}, {len(p)} values in K, R, P, expected 9, 9, 12")
    if k[0] == 0:
        return None
    model = _distortion_model(str(msg.distortion_model), d)
    roi, bin_x, bin_y = msg.roi, max(1, int(msg.binning_x)), max(1, int(msg.binning_y))
    left, top = int(roi.x_offset), int(roi.y_offset)
    width, height = int(roi.width) or int(msg.width), int(roi.height) or int(msg.height)

    def delivered(fx: float, fy: float, cx: float, cy: float) -> tuple[float, float, float, float]:
        return fx / bin_x, fy / bin_y, (cx - left) / bin_x, (cy - top) / bin_y

    fx, fy, cx, cy = delivered(k[0], k[4], k[2], k[5])
    try:
        return CameraIntrinsics(
            fx=fx,
            fy=fy,
            cx=cx,
            cy=cy,
            width=width // bin_x,
            height=height // bin_y,
            distortion_model=model,
            distortion=d if model else (),
            rectification=_rectification(r),
            projection=delivered(p[0], p[5], p[2], p[6]) if any(p) else None,
        )
    except FrameError as error:
        raise MessageError(f"camera_info cannot be used: {error}") from None


def _rectification(r: tuple[float, ...]) -> tuple[float, ...] | None:
    """R of a CameraInfo; None for the identity, and for all zeros, which drivers send that have not been calibrated."""
    matrix = np.reshape(r if any(r) else np.eye(3), (3, 3))
    # Written with few digits in many files. "not <=" also holds for NaN.
    if not (np.abs(matrix @ matrix.T - np.eye(3)).max() <= 1e-2 and np.linalg.det(matrix) > 0):
        values = ", ".join(f"{value:g}" for value in r)
        raise MessageError(f"R of the camera_info is ({values}), expected a rotation matrix")
    return None if np.array_equal(matrix, np.eye(3)) else r


def _numbers(msg: Any, name: str) -> tuple[float, ...]:
    """One of D, K, R, P: upper case in ROS 1, lower case in ROS 2."""
    values = getattr(msg, name.lower()) if hasattr(msg, name.lower()) else getattr(msg, name)
    return tuple(float(value) for value in values)


def _distortion_model(name: str, coefficients: tuple[float, ...]) -> str:
    model = _MODELS.get(name.strip().lower())
    if model is None or (model == "" and any(coefficients)):
        known = "plumb_bob, rational_polynomial or equidistant"
        what = f"distortion model is {quoted(name)} with {len(coefficients)} coefficients"
        raise MessageError(f"{what}, expected {known}")
    if model and coefficients and len(coefficients) not in _COEFFICIENTS[model]:
        expected = " or ".join(map(str, _COEFFICIENTS[model]))
        raise MessageError(f"{model} has {len(coefficients)} coefficients, expected {expected}")
    return model


def _buffer(data: Any) -> memoryview:
    """The bytes of a message's data field: array.array of rclpy, ndarray of rosbags, bytes of ROS 1."""
    if isinstance(data, (list, tuple)):
        data = bytes(data)
    return memoryview(data).cast("B") if len(data) else memoryview(b"")


def _check_layout(layout: Layout, msg: Any, width: int, height: int, step: int, length: int) -> int:
    """Hold the sizes against each other before anything is allocated; returns the rows of the buffer."""
    check_size(width, height)
    row_bytes = width * layout.channels * layout.dtype.itemsize
    if step < row_bytes:
        raise MessageError(f"step is {step}, expected at least {row_bytes} for {width} x {msg.encoding}", "bad_step")
    rows = height * layout.rows
    if rows != int(rows):
        raise MessageError(f"size of an {msg.encoding} image is {width}x{height}, expected even numbers", "bad_size")
    if length < int(rows) * step:
        expected = f"{int(rows) * step} for {width}x{height} {msg.encoding} with step {step}"
        raise MessageError(f"image has {length} bytes, expected {expected}", "short_data")
    return int(rows)


def _suits_cv_bridge(msg: Any, array: np.ndarray) -> bool:
    """Whether cv_bridge reads the rows right.

    It ignores their padding (old versions) or counts it in whole pixels (new ones), which shears the picture, and
    swaps bytes in a way that numpy 2 no longer has.
    """
    plain = int(msg.step) * array.shape[0] == array.nbytes
    return plain and (array.itemsize == 1 or not msg.is_bigendian)


def _rgb_by_cv_bridge(msg: Any) -> np.ndarray:
    """What a ROS installation's own converter makes of the message; falls back to ours where it gives up."""
    try:
        return np.array(_cv_bridge().imgmsg_to_cv2(msg, "rgb8"), copy=True)
    except Exception:
        return _rgb_by_ourselves(msg)


def _rgb_by_ourselves(msg: Any) -> np.ndarray:
    return to_rgb(array_from_message(msg), str(msg.encoding))


@functools.cache
def _cv_bridge() -> Any:
    """A CvBridge, or None where there is none or it was built for another numpy."""
    try:
        from cv_bridge import CvBridge

        return CvBridge()
    except Exception:
        return None
