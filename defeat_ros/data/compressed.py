"""Decoding JPEG and PNG from elsewhere: what is cut, too large or no image is refused before it costs memory."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np

from defeat_ros.data.encodings import to_rgb
from defeat_ros.errors import MessageError

MAX_PIXELS = 100_000_000

_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0-15 without DHT, JPG, DAC


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
        MessageError: it is not a JPEG or PNG, is cut or damaged, or has more than 100 Mpx.
    """
    if "compresseddepth" in format.lower():
        raise MessageError(f"format is {format!r}: compressed depth, expected a compressed image", "unknown_encoding")
    data = bytes(data)
    if data.startswith(_JPEG):
        width, height = _jpeg_size(data)
    elif data.startswith(_PNG):
        width, height = _png_size(data)
    else:
        start = data[:8].hex(" ") or "nothing"
        raise MessageError(f"image data of format {format!r} begin with {start}, expected JPEG or PNG", "decode_failed")
    check_size(width, height)
    try:
        # Unchanged: keeps 16 bits, and does not turn by EXIF what the intrinsics describe unturned.
        array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise MessageError(f"{width}x{height} image cannot be decoded: {error.err}", "decode_failed") from None
    if array is None or array.dtype not in (np.uint8, np.uint16):
        raise MessageError(f"{width}x{height} image of {len(data)} bytes cannot be decoded", "decode_failed")
    return to_rgb(array, _encoding(array, format.lower()))


def check_size(width: int, height: int) -> None:
    """Refuse an empty image and one of more than 100 Mpx.

    Raises:
        MessageError: it is one of these.
    """
    if width <= 0 or height <= 0:
        raise MessageError(f"image size is {width}x{height}, expected at least 1x1", "bad_size")
    if width * height > MAX_PIXELS:
        raise MessageError(f"image size is {width}x{height}, expected at most {MAX_PIXELS} pixels", "too_large")


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


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height from the frame header; refuses a file without its end marker."""
    size, at = None, 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # stands alone
            at += 2
            continue
        if marker in _JPEG_SIZES and at + 9 <= len(data):
            height, width = struct.unpack_from(">HH", data, at + 5)
            size = width, height
        if marker == 0xDA:  # what follows is image data, in which the end marker cannot occur
            if size is None or data.rfind(b"\xff\xd9", at) < 0:
                break
            return size
        at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
    raise MessageError(f"JPEG of {len(data)} bytes is cut or damaged: it has no end", "decode_failed")


def _png_size(data: bytes) -> tuple[int, int]:
    """Width and height from the header; refuses a file that lacks its end or has a wrong checksum."""
    size, at = None, len(_PNG)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            break
        if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise MessageError(f"PNG of {len(data)} bytes is damaged: wrong checksum at byte {at}", "decode_failed")
        if kind == b"IHDR" and length >= 8:
            size = struct.unpack_from(">II", data, at + 8)
        if kind == b"IEND" and size is not None:
            return int(size[0]), int(size[1])
        at = end
    raise MessageError(f"PNG of {len(data)} bytes is cut: it has no end", "decode_failed")
