"""Picture and video files: broken, cut, and made to grow when they are decoded."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np

from fuzz import Target, mutate, write

SIDE = (24, 32)
SUFFIXES = ("png", "jpg", "bmp", "tiff", "webp", "ppm")
BIG = [1, 64, 4000, 9999, 10000, 16383, 30000, 65535, 2**20, 2**31 - 1, 2**32 - 1]


def pictures(folder: Path) -> list[bytes]:
    """Whole pictures of every kind that is read; also warms the decoders up."""
    rng = np.random.default_rng(1)
    image = np.ascontiguousarray(rng.integers(0, 256, (3, 4, 3), np.uint8).repeat(8, 0).repeat(8, 1))
    made = [_encoded(suffix, image) for suffix in SUFFIXES]
    made += [_encoded("png", image[..., 0]), _encoded("png", image.astype(np.uint16) * 257)]
    made += [_encoded("png", np.dstack([image, image[..., :1]])), _encoded("jpg", image[..., 0])]
    made.append(bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1]))
    for data in made:
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return made


def _encoded(suffix: str, image: np.ndarray) -> bytes:
    return bytes(cv2.imencode(f".{suffix}", image)[1])


def broken_picture(whole: list[bytes], rng: Random) -> bytes:
    """One picture, broken: blindly, in the sizes of its header, or a bomb."""
    data = rng.choice(whole)
    way = rng.random()
    if way < 0.4:
        return mutate.blind(rng, data, first=64)
    if way < 0.5:
        return png_bomb(rng)
    if way < 0.6:
        return jpeg_bomb(next(one for one in whole if b"\xff\xc2" in one[:700] and one[:2] == b"\xff\xd8"), rng)
    if data.startswith(b"\x89PNG"):
        return _png_header(data, rng)
    if data.startswith(b"\xff\xd8"):
        return _jpeg_header(data, rng)
    return _plain_header(data, rng)


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG with its checksum right."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_bomb(rng: Random) -> bytes:
    """Rows of zeros: a thousandth of what they decode to."""
    width, height = rng.choice(BIG), rng.choice(BIG)
    bits, colour = rng.choice([(8, 0), (8, 2), (16, 2), (16, 6), (8, 6), (1, 0), (8, 3), (5, 9)])
    real = min(width * height * bits // 8, 2_000_000) if rng.random() < 0.8 else 1000
    pressed = zlib.compress(bytes(real)) if rng.random() < 0.5 else zlib.compress(bytes(20_000_000), 9)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, rng.choice([0, 0, 1, 9])))
    extra = b""
    if rng.random() < 0.3:  # texts and profiles that unpack to much more
        extra = chunk(rng.choice([b"zTXt", b"iCCP"]), b"a\0\0" + zlib.compress(bytes(30_000_000), 9))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", pressed) + chunk(b"IEND", b"")


def jpeg_bomb(progressive: bytes, rng: Random) -> bytes:
    """A progressive JPEG of any size whose scans are repeated: each of them costs time over the whole picture."""
    at = progressive.index(b"\xff\xc2")
    size = struct.pack(">HH", rng.choice([24, 3000, 9000, 65500]), rng.choice([32, 3000, 9000, 65500]))
    data = progressive[: at + 5] + size + progressive[at + 9 :]
    scan = data.rindex(b"\xff\xda")
    return data[:scan] + data[scan:-2] * rng.choice([1, 10, 1000, 20000]) + b"\xff\xd9"


def _png_header(data: bytes, rng: Random) -> bytes:
    body = bytearray(data[16:29])
    for _ in range(rng.randint(1, 2)):
        if rng.random() < 0.6:
            struct.pack_into(">I", body, rng.choice([0, 4]), rng.choice(BIG))
        else:
            body[rng.randrange(8, 13)] = rng.choice([0, 1, 2, 3, 4, 6, 7, 8, 16, 255])
    return data[:8] + chunk(b"IHDR", bytes(body)) + data[33:]


def _jpeg_header(data: bytes, rng: Random) -> bytes:
    at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    broken = bytearray(data)
    if rng.random() < 0.7:
        struct.pack_into(">H", broken, at + rng.choice([5, 7]), rng.choice(BIG) % 65536)
    else:
        broken[at + rng.randrange(1, 19)] = rng.choice([0, 1, 2, 4, 0x11, 0x44, 0xC2, 0xC3, 0xC9, 255])
    return bytes(broken)


def _plain_header(data: bytes, rng: Random) -> bytes:
    """BMP, TIFF, WebP and PPM: numbers among the first and last bytes, where their sizes are."""
    if data.startswith(b"P6"):
        return f"P6\n{rng.choice(BIG)} {rng.choice(BIG)}\n{rng.choice([1, 255, 65535, 10**9])}\n".encode() + data[-200:]
    if data.startswith(b"BM") and rng.random() < 0.7:
        broken = bytearray(data)
        struct.pack_into("<i", broken, rng.choice([18, 22]), rng.choice([*BIG[:9], -1, -9999, -20000]))
        return bytes(broken)
    where = rng.choice([0, max(0, len(data) - 250)])
    part = bytearray(data[where : where + 250])
    for _ in range(rng.randint(1, 4)):
        width = rng.choice([2, 4])
        at = 2 * rng.randrange(len(part) // 2 - 2)
        part[at : at + width] = (rng.choice(BIG) % 2 ** (8 * width)).to_bytes(width, "little")
    return data[:where] + bytes(part) + data[where + 250 :]


# Files: folders of pictures with what lies around them, and videos


def _folder_seeds(folder: Path) -> list[bytes]:
    whole = pictures(folder)
    _use_folder({"a.png": whole[0]}, folder / "warm")
    return whole


def _make_folder(whole: list[bytes], rng: Random) -> dict[str, bytes]:
    suffix = rng.choice(["png", "jpg", "bmp", "tif", "webp", "ppm", "pgm"])
    made = {f"{index}.{suffix}": rng.choice(whole) for index in range(rng.randint(0, 2))}
    made[f"broken.{suffix}"] = broken_picture(whole, rng)
    if rng.random() < 0.3:
        made["camera.json"] = mutate.words(rng).encode("utf-8", "replace")
    if rng.random() < 0.2:
        made["0_depth.png"] = broken_picture(whole, rng)
    return made


def _use_folder(files: dict[str, bytes], folder: Path) -> None:
    from defeat_ros.data.recording import open_recording

    for item in open_recording(write(folder / "in", files)):
        assert item.frame is None or item.frame.image.dtype == np.uint8


def _video_seeds(folder: Path) -> list[bytes]:
    import av

    made = []
    for codec, suffix, pixels in (
        ("mpeg4", "mp4", "yuv420p"),
        ("mjpeg", "avi", "yuvj420p"),
        ("ffv1", "mkv", "yuv420p"),
    ):
        path = folder / f"a.{suffix}"
        with av.open(str(path), "w") as out:
            stream = out.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
            for index in range(4):
                image = np.full((48, 64, 3), 40 * index, np.uint8)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixels)))
            out.mux(stream.encode())
        made.append(path.read_bytes())
        _use_video(made[-1], write(folder / codec, {}))
    return made


def _make_video(whole: list[bytes], rng: Random) -> bytes:
    data = rng.choice(whole)
    if rng.random() < 0.4:  # sizes and times: numbers where 64 and 48 or small ones stand
        broken = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            places = [at for at in range(len(data) - 4) if data[at + 1] in (48, 64) and data[at] == 0]
            at = rng.choice(places) if places and rng.random() < 0.6 else rng.randrange(len(data) - 4)
            broken[at : at + 2] = rng.choice([b"\xff\xff", b"\x40\x00", b"\x00\x00", b"\x7f\xff", b"\x00\x01"])
        return bytes(broken)
    return mutate.blind(rng, data, most=8)


def _use_video(data: bytes, folder: Path) -> None:
    from defeat_ros.data.sources import convert, open_frames

    path = folder / "input.mp4"
    path.write_bytes(data)
    frames = open_frames(path)
    for frame in frames:
        assert frame.image.dtype == np.uint8
    convert(path, folder / "bag", compressed=True)


def _make_depth(whole: list[bytes], rng: Random) -> Any:
    return broken_picture(whole, rng)


def _use_depth(data: bytes, folder: Path) -> None:
    from defeat_ros.data.truth import read_depth_png
    from defeat_ros.inference.view import ViewMaker

    path = folder / "0_depth.png"
    path.write_bytes(data)
    try:
        ViewMaker((64, 64), (0, 0), str(path))
    finally:
        read_depth_png(path)


TARGETS = (
    Target("image_folder", _folder_seeds, _make_folder, _use_folder, share=3, quick=40),
    Target("video", _video_seeds, _make_video, _use_video, share=2, quick=15),
    Target("depth_png_and_mask", pictures, _make_depth, _use_depth, share=2, quick=40),
)
