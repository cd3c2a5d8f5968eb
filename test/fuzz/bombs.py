"""Chunks and files of bags that unpack to gigabytes, or claim to."""

from __future__ import annotations

import bz2
import functools
import struct
from random import Random
from typing import Any

import lz4.frame
import zstandard

ZEROS = bytes(16_000_000)
MAGIC = b"\x89MCAP0\r\n"


def record(opcode: int, body: bytes) -> bytes:
    """An MCAP record."""
    return struct.pack("<BQ", opcode, len(body)) + body


def _text(value: str) -> bytes:
    return struct.pack("<I", len(value.encode())) + value.encode()


def bombed_mcap(
    rng: Random, pressed: bytes | None = None, claims: int | None = None, kind: str = "", indexed: bool | None = None
) -> bytes:
    """A whole MCAP file with one chunk that unpacks to a gigabyte and more, or claims to.

    Args:
        pressed: the chunk's data; None chooses.
        claims: the size that it is said to have; None chooses.
        kind: 'zstd' or 'lz4'; '' chooses.
        indexed: whether it ends as a whole file does; None chooses.
    """
    kind = kind or rng.choice(["zstd", "lz4"])
    if pressed is None:
        pressed = bomb(kind, rng)
    claims = rng.choice([1000, 16_000_000, 2**30, 900_000_000, 2**40, 2**63]) if claims is None else claims
    body = struct.pack("<QQQI", 1, 2, claims, 0) + _text(kind) + struct.pack("<Q", len(pressed)) + pressed
    start = MAGIC + record(1, _text("ros2") + _text("x"))
    schema = record(3, struct.pack("<H", 1) + _text("sensor_msgs/msg/Image") + _text("ros2msg") + _text("uint8 a"))
    channel = record(4, struct.pack("<HH", 1, 1) + _text("/camera/image_raw") + _text("cdr") + struct.pack("<I", 0))
    if not (rng.random() < 0.5 if indexed is None else indexed):  # as a recorder leaves it that was killed
        return start + schema + channel + record(6, body)
    at = len(start)
    data = start + record(6, body) + record(15, bytes(4))
    # Says that the chunk has messages of channel 1, or it is not looked at.
    index = struct.pack("<QQQQIHQ", 1, 2, at, len(body) + 9, 10, 1, at + len(body) + 9) + struct.pack("<Q", 31)
    index += _text(kind)
    index += struct.pack("<QQ", len(pressed), claims)
    statistics = struct.pack("<QHIIIIQQ", 5, 1, 1, 0, 0, 1, 1, 2) + struct.pack("<IHQ", 10, 1, 5)
    summary = schema + channel + record(8, index) + record(11, statistics)
    return data + summary + record(2, struct.pack("<QQI", len(data), 0, 0)) + MAGIC


def bomb(kind: str, rng: Random, size: int = 900_000_000) -> bytes:
    """Zeros, packed by 'zstd', 'lz4' or 'bz2': with or without their size at the front."""
    return _bomb(kind, rng.random() < 0.3, rng.random() < 0.5, size)


@functools.cache
def _bomb(kind: str, lies: bool, told: bool, size: int) -> bytes:
    if kind == "bz2":
        return bz2.compress(bytes(9_000_000)) * (size // 9_000_000 + 1)
    if kind == "lz4":
        # One block repeated: it refers to what came before it in itself only.
        options: Any = {"block_size": lz4.frame.BLOCKSIZE_MAX4MB, "block_linked": False, "store_size": False}
        whole = lz4.frame.compress(bytes(4 << 20), **options)
        begun = lz4.frame.LZ4FrameCompressor(block_size=lz4.frame.BLOCKSIZE_MAX4MB, block_linked=False).begin()
        block = whole[len(begun) : -4]
        return begun + block * (size // (4 << 20)) + bytes(4)
    if lies:  # a header that claims what no memory holds
        return zstandard.ZstdCompressor().compress(b"x" * 999)[:4] + b"\xe0" + struct.pack("<Q", 2**40) + b"\1\0\0"
    packer = zstandard.ZstdCompressor(level=1).compressobj(size=size // len(ZEROS) * len(ZEROS) if told else -1)
    return b"".join([*(packer.compress(ZEROS) for _ in range(size // len(ZEROS))), packer.flush()])


def bombed_ros1(rng: Random, kind: str = "", pressed: bytes = b"") -> bytes:
    """A ROS 1 bag without index and one chunk that unpacks to much; arguments as of `bombed_mcap`."""
    kind = kind or rng.choice(["bz2", "lz4"])
    pressed = pressed or bomb(kind, rng)

    def head(**fields: bytes) -> bytes:
        parts = [name.encode() + b"=" + value for name, value in fields.items()]
        body = b"".join(struct.pack("<I", len(part)) + part for part in parts)
        return struct.pack("<I", len(body)) + body

    begin = head(op=b"\3", index_pos=bytes(8), conn_count=bytes(4), chunk_count=bytes(4)) + bytes(4)
    claims = struct.pack("<I", rng.choice([1000, 2**30, 2**32 - 1]))
    packed = head(op=b"\5", compression=kind.encode(), size=claims) + struct.pack("<I", len(pressed)) + pressed
    return b"#ROSBAG V2.0\n" + begin + packed
