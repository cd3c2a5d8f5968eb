"""How large a picture is, told from its header alone, so that none is decoded that costs too much memory or time."""

from __future__ import annotations

import re
import struct
import zlib

from defeat_ros.errors import MessageError

MAX_PIXELS = 100_000_000
MAX_BYTES = 2**28
"""Of a compressed picture once it is decoded: 89 Mpx of 8-bit colour. It becomes as much again as RGB."""
MAX_SCANS = 200
"""Of a JPEG; a progressive one has about 10, at most 192 make sense."""
MAX_WORK = 2 * 10**9
"""Pixels times scans of a JPEG: each scan of a progressive one is work over the whole picture, about 10 s for these."""

_SCAN = b"\xff\xda"
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0-15 without DHT, JPG, DAC
_TIFF = {b"II*\0": "<", b"MM\0*": ">"}
_PNM = re.compile(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})\s")


def kind_of(data: bytes) -> str:
    """'jpeg', 'png', 'bmp', 'tiff', 'webp', 'pnm', or '' for anything else, by the first bytes."""
    if data[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:2] == b"BM":
        return "bmp"
    if data[:4] in _TIFF:
        return "tiff"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return "pnm" if data[:1] == b"P" and data[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6") else ""


def check_header(data: bytes) -> tuple[int, int]:
    """Refuse a picture that is cut, or that takes too much memory or time to decode.

    Returns:
        Its width and height, px.

    Raises:
        MessageError: it is one of these, or no JPEG, PNG, BMP, TIFF, WebP or PNM.
    """
    sizes = {"jpeg": _jpeg_size, "png": _png_size, "bmp": _bmp_size, "tiff": _tiff_size, "webp": _webp_size}
    kind = kind_of(data)
    if not kind:
        start = data[:8].hex(" ") or "nothing"
        raise MessageError(
            f"image data begin with {start}, expected JPEG, PNG, BMP, TIFF, WebP or PNM", "decode_failed"
        )
    try:
        width, height, pixel_bytes = sizes.get(kind, _pnm_size)(data)
    except (struct.error, IndexError):
        raise MessageError(f"{kind.upper()} of {len(data)} bytes is cut or damaged", "decode_failed") from None
    check_size(width, height, pixel_bytes)
    return width, height


def check_size(width: int, height: int, pixel_bytes: int = 1) -> None:
    """Refuse an empty image and one of more than 100 Mpx, or 268 MB where it is still to be decoded.

    Args:
        width, height: px.
        pixel_bytes: memory that decoding takes, bytes per pixel.

    Raises:
        MessageError: it is one of these.
    """
    if width <= 0 or height <= 0:
        raise MessageError(f"image size is {width}x{height}, expected at least 1x1", "bad_size")
    if width * height > MAX_PIXELS:
        raise MessageError(f"image size is {width}x{height}, expected at most {MAX_PIXELS} pixels", "too_large")
    if (needed := width * height * pixel_bytes) > MAX_BYTES:
        size = f"{width}x{height} takes {needed} bytes to decode"
        raise MessageError(f"image size is {size}, expected at most {MAX_BYTES}", "too_large")


def _jpeg_size(data: bytes) -> tuple[int, int, int]:
    """Width, height and bytes per pixel from the frame header; refuses a file without its end marker."""
    size, sequential, at = None, False, 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # stands alone
            at += 2
            continue
        if marker in _JPEG_SIZES and at + 10 <= len(data):
            size, sequential = struct.unpack_from(">HHB", data, at + 5), marker in (0xC0, 0xC1, 0xC9)
        if marker == 0xDA:  # what follows is image data, in which the end marker cannot occur
            if size is None or data.rfind(b"\xff\xd9", at) < 0:
                break
            height, width, parts = size
            if sequential and data[at + 4] == parts:
                return width, height, parts
            # Colours or refinements come in scans of their own: the decoder holds 16-bit coefficients of all.
            _check_work(width, height, data.count(_SCAN, at))
            return width, height, 3 * parts
        at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
    raise MessageError(f"JPEG of {len(data)} bytes is cut or damaged: it has no end", "decode_failed")


def _check_work(width: int, height: int, scans: int) -> None:
    if width * height * scans > MAX_WORK or scans > MAX_SCANS:
        expected = f"at most {MAX_SCANS}, and {MAX_WORK} pixels in all of them"
        raise MessageError(f"JPEG of {width}x{height} has {scans} scans, expected {expected}", "too_large")


def _png_size(data: bytes) -> tuple[int, int, int]:
    """Width, height and bytes per pixel from the header; refuses a file that lacks its end or has a wrong checksum."""
    size, at = None, 8
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            break
        if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise MessageError(f"PNG of {len(data)} bytes is damaged: wrong checksum at byte {at}", "decode_failed")
        if kind == b"IHDR" and length >= 10:
            width, height, bits, colours = struct.unpack_from(">IIBB", data, at + 8)
            # OpenCV makes one, three or four channels of it; a palette is colour.
            channels = {0: 1, 2: 3, 3: 4, 4: 4, 6: 4}.get(colours, 4)
            size = width, height, channels * (2 if bits > 8 else 1)
        if kind == b"IEND" and size is not None:
            return size
        at = end
    raise MessageError(f"PNG of {len(data)} bytes is cut: it has no end", "decode_failed")


def _bmp_size(data: bytes) -> tuple[int, int, int]:
    if struct.unpack_from("<I", data, 14)[0] == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return width, abs(height), 4


def _tiff_size(data: bytes) -> tuple[int, int, int]:
    """Of the first picture in the file, which is the one that is decoded; samples of up to 64 bits pass through."""
    order = _TIFF[data[:4]]
    at = struct.unpack_from(f"{order}I", data, 4)[0]
    found = {}
    for index in range(struct.unpack_from(f"{order}H", data, at)[0]):
        tag, kind, _, long = struct.unpack_from(f"{order}HHII", data, at + 2 + 12 * index)
        found[tag] = struct.unpack_from(f"{order}H", data, at + 10 + 12 * index)[0] if kind == 3 else long
    return found.get(256, 0), found.get(257, 0), 3


def _webp_size(data: bytes) -> tuple[int, int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    elif kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    return width, height, 4


def _pnm_size(data: bytes) -> tuple[int, int, int]:
    found = _PNM.match(data[:4096])
    if found is None:
        raise MessageError(f"PNM of {len(data)} bytes is cut or damaged: it has no size", "decode_failed")
    return int(found[1]), int(found[2]), 3
