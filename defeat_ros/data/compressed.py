"""Decoding pictures from elsewhere: what is cut, too large or no image is refused before it costs memory or time."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from defeat_ros.data.encodings import to_rgb
from defeat_ros.data.image_headers import check_header, kind_of
from defeat_ros.errors import MessageError
from defeat_ros.untrusted import quoted

MAX_FILE_BYTES = 2**29


def decode_image(data: bytes | memoryview, format: str = "") -> np.ndarray:
    """Decode one JPEG or PNG.

    Args:
        data: the file's bytes.
        format: `format` of a CompressedImage, such as 'jpeg', 'rgb8; jpeg compressed bgr8' or
            'bayer_rggb8; jpeg compressed bayer_rggb8'. It tells a Bayer mosaic or swapped channels; the kind of file
            is taken from the data.

    Returns:
        (H, W, 3) uint8 RGB, contiguous; alpha is dropped, 16 bits are scaled to 8.

    Raises:
        MessageError: it is not a JPEG or PNG, is cut or damaged, or takes too much memory or time; see `check_header`.
    """
    if "compresseddepth" in format.lower():
        what = f"format is {quoted(format)}: compressed depth"
        raise MessageError(f"{what}, expected a compressed image", "unknown_encoding")
    data = bytes(data)
    if kind_of(data) not in ("jpeg", "png"):
        start = f"image data of format {quoted(format)} begin with {data[:8].hex(' ') or 'nothing'}"
        raise MessageError(f"{start}, expected JPEG or PNG", "decode_failed")
    # Unchanged: keeps 16 bits, and does not turn by EXIF what the intrinsics describe unturned.
    array = decode_file(data, cv2.IMREAD_UNCHANGED)
    return to_rgb(array, _encoding(array, format.lower()))


def decode_file(data: bytes, flags: int) -> np.ndarray:
    """Decode a JPEG, PNG, BMP, TIFF, WebP or PNM as `cv2.imdecode` does.

    Args:
        data: the file's bytes.
        flags: those of OpenCV, `cv2.IMREAD_COLOR` say.

    Returns:
        (H, W) or (H, W, C), uint8 or uint16.

    Raises:
        MessageError: it is none of these, is cut or damaged, or takes too much memory or time; see `check_header`.
    """
    width, height = check_header(data)
    try:
        array: np.ndarray | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise MessageError(f"{width}x{height} image cannot be decoded: {error.err}", "decode_failed") from None
    if array is None or array.dtype not in (np.uint8, np.uint16):
        raise MessageError(f"{width}x{height} image of {len(data)} bytes cannot be decoded", "decode_failed")
    return array


def read_file(path: Path) -> bytes:
    """The bytes of a picture's file.

    Raises:
        MessageError: it cannot be read, is no regular file, or is larger than any picture.
    """
    try:
        if not path.is_file():  # opening a pipe waits for its other end
            raise MessageError(f"image {path} is no regular file")
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            raise MessageError(f"image {path} has {size} bytes, expected at most {MAX_FILE_BYTES}", "too_large")
        return path.read_bytes()
    except OSError as error:
        raise MessageError(f"image {path} cannot be read: {error.strerror}") from None


def _encoding(array: np.ndarray, format: str) -> str:
    """The ROS encoding of what OpenCV decoded (which it believes to be grey, BGR or BGRA)."""
    bits = 8 * array.dtype.itemsize
    original, _, stored = format.partition(";")
    if array.ndim == 2:
        for text in (stored, original):
            if (at := text.find("bayer_")) >= 0 and text[at + 6 : at + 10] in ("rggb", "bggr", "gbrg", "grbg"):
                return f"{text[at : at + 10]}{bits}"
        return f"mono{bits}"
    # compressed_image_transport hands its buffer to the encoder as it is; 'compressed rgb8' has red and blue swapped.
    order = "rgb" if "compressed rgb" in stored else "bgr"
    return f"{order}{'a' if array.shape[2] == 4 else ''}{bits}"
