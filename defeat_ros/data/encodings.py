"""Pixel encodings of sensor_msgs/Image: from the bytes of a message to a typed array, and from that to RGB.

Knows names and layouts (sensor_msgs/image_encodings), not messages; see `messages.py` for those.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from defeat_ros.errors import MessageError
from defeat_ros.untrusted import quoted

# ROS names the first two pixels of the first row, OpenCV the second row's pixels two and three: RGGB there is BG here.
_BAYER = {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}
_CHANNELS = {"rgb": 3, "bgr": 3, "rgba": 4, "bgra": 4, "mono": 1}
_GENERIC = re.compile(r"^(8u|8s|16u|16s|32s|32f|64f)c(\d*)$")
_GENERIC_TYPES = {"8u": "u1", "8s": "i1", "16u": "u2", "16s": "i2", "32s": "i4", "32f": "f4", "64f": "f8"}
_PACKED_YUV = {
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
}
# Rows of the buffer per row of the image: a plane of luma followed by one of interleaved chroma.
_PLANAR_YUV = {"nv12": 1.5, "nv21": 1.5, "nv24": 3.0}
_EIGHT_BIT = ((np.arange(65536, dtype=np.uint32) + 128) // 257).astype(np.uint8)  # v * 255 / 65535, rounded
_AS_IMAGE = {"8uc1": "mono8", "8uc": "mono8", "8uc3": "bgr8", "8uc4": "bgra8", "16uc1": "mono16", "16uc": "mono16"}

IMAGE_ENCODINGS = (
    *(f"{name}{bits}" for name in _CHANNELS for bits in (8, 16)),
    *("8UC1", "8UC3", "8UC4", "16UC1"),
    *(f"bayer_{name}{bits}" for name in _BAYER for bits in (8, 16)),
    *_PACKED_YUV,
    *_PLANAR_YUV,
)


@dataclass(frozen=True)
class Layout:
    """How the pixels of an encoding lie in memory.

    Attributes:
        dtype: type of one value, native byte order.
        channels: values of one pixel in a row of the buffer.
        rows: rows of the buffer per row of the image.
        planar: whether a row of the buffer is not a row of pixels.
    """

    dtype: np.dtype
    channels: int
    rows: float = 1.0

    @property
    def planar(self) -> bool:
        return self.rows != 1.0


def layout_of(encoding: str) -> Layout:
    """The memory layout of an encoding, upper and lower case being the same.

    Raises:
        MessageError: the encoding is not known.
    """
    name = encoding.strip().lower()
    if name in _PACKED_YUV:
        return Layout(np.dtype("u1"), 2)
    if name in _PLANAR_YUV:
        return Layout(np.dtype("u1"), 1, _PLANAR_YUV[name])
    if found := _GENERIC.match(name):
        channels = int(found[2] or 1)
        if 1 <= channels <= 4096:
            return Layout(np.dtype(_GENERIC_TYPES[found[1]]), channels)
    if found := re.match(r"^(?:bayer_)?([a-z]+)(8|16)$", name):
        dtype = np.dtype("u1" if found[2] == "8" else "u2")
        if name.startswith("bayer_") and found[1] in _BAYER:
            return Layout(dtype, 1)
        if not name.startswith("bayer_") and found[1] in _CHANNELS:
            return Layout(dtype, _CHANNELS[found[1]])
    known = ", ".join(IMAGE_ENCODINGS)
    raise MessageError(f"encoding is {quoted(encoding)}, expected one of {known}", "unknown_encoding")


def to_rgb(array: np.ndarray, encoding: str) -> np.ndarray:
    """Pixels of any image encoding as RGB.

    Args:
        array: (H, W[, C]) as `layout_of` describes it; (H * rows, W) for the planar YUV ones.
        encoding: its ROS name.

    Returns:
        (H, W, 3) uint8 RGB, contiguous, its own memory; 16-bit values as v * 255 / 65535, rounded.

    Raises:
        MessageError: the encoding is no image (32FC1, say), or the size does not suit it.
    """
    name = encoding.strip().lower()
    name = _AS_IMAGE.get(name, name)
    if name.startswith("bayer_"):
        return _eight_bit(_convert(array, _BAYER[name[6:10]], "bayer"))
    if name in _PACKED_YUV:
        if array.shape[1] % 2:
            raise MessageError(f"width of a {encoding} image is {array.shape[1]}, expected an even number", "bad_size")
        return _convert(array, _PACKED_YUV[name], encoding)
    if name in _PLANAR_YUV:
        return _planar(array, name)
    converters: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "mono": lambda a: cv2.cvtColor(a, cv2.COLOR_GRAY2RGB),
        "rgb": lambda a: a.copy(),
        "bgr": lambda a: cv2.cvtColor(a, cv2.COLOR_BGR2RGB),
        "rgba": lambda a: cv2.cvtColor(a, cv2.COLOR_RGBA2RGB),
        "bgra": lambda a: cv2.cvtColor(a, cv2.COLOR_BGRA2RGB),
    }
    kind = name.rstrip("0123456789")
    if kind not in converters:
        expected = ", ".join(IMAGE_ENCODINGS)
        raise MessageError(f"encoding is {quoted(encoding)}, expected that of an image: {expected}", "unknown_encoding")
    return converters[kind](np.ascontiguousarray(_eight_bit(array)))


def _eight_bit(array: np.ndarray) -> np.ndarray:
    return _EIGHT_BIT[array] if array.dtype == np.uint16 else array


def _convert(array: np.ndarray, code: int, what: str) -> np.ndarray:
    try:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(array), code))
    except cv2.error as error:
        size = f"{array.shape[1]}x{array.shape[0]}"
        raise MessageError(f"{what} image of {size} cannot be converted: {error.err}", "decode_failed") from None


def _planar(array: np.ndarray, name: str) -> np.ndarray:
    """NV12, NV21 and NV24 (video range BT.601, as OpenCV has it for the first two)."""
    height, width = int(array.shape[0] / _PLANAR_YUV[name]), array.shape[1]
    if name == "nv24":
        # OpenCV has no NV24: the same constants by hand, chroma at full resolution.
        luma = 1.164 * np.maximum(array[:height].astype(np.float32) - 16.0, 0.0)
        chroma = array[height:].reshape(height, width, 2).astype(np.float32) - 128.0
        u, v = chroma[..., 0], chroma[..., 1]
        rgb = np.stack([luma + 1.596 * v, luma - 0.813 * v - 0.391 * u, luma + 2.018 * u], axis=-1)
        levels: np.ndarray = np.clip(np.rint(rgb), 0, 255)
        return levels.astype(np.uint8)
    if height % 2 or width % 2:
        raise MessageError(f"size of an {name} image is {width}x{height}, expected even numbers", "bad_size")
    return _convert(array, cv2.COLOR_YUV2RGB_NV12 if name == "nv12" else cv2.COLOR_YUV2RGB_NV21, name)
