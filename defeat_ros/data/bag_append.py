"""Going on with an MCAP file whose writer was killed: cut to a length, indexed anew, and open at its end."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionMode
from rosbags.rosbag2.storage_mcap import McapWriter

from defeat_ros.errors import OutputError

_HEADER, _CHUNK, _MESSAGE_INDEX = 0x01, 0x06, 0x07


@dataclass
class _Chunk:
    """Where a chunk lies and what it holds, for the index at the file's end."""

    start: int
    end: int
    stamps: tuple[int, int]
    sizes: tuple[int, int]  # compressed, uncompressed
    compression: bytes
    indices: dict[int, int] = field(default_factory=dict)  # of each channel, where its messages are listed
    counts: dict[int, int] = field(default_factory=dict)
    last: int = 0

    def record(self) -> BytesIO:
        """Its entry of the index, as rosbags keeps it until the file is closed."""
        made = BytesIO()
        made.write(struct.pack("<QQQQ", *self.stamps, self.start, self.end - self.start))
        made.write(struct.pack("<I", 10 * len(self.indices)))
        for channel, offset in self.indices.items():
            made.write(struct.pack("<HQ", channel, offset))
        made.write(struct.pack("<QI", self.last - self.end, len(self.compression)) + self.compression)
        made.write(struct.pack("<QQ", *self.sizes))
        return made


def _storage(file: Path, size: int, chunks: list[_Chunk]) -> McapWriter:
    """rosbags' writer of a file that is there already."""
    with TemporaryDirectory() as scratch:  # rosbags only knows how to begin a file
        storage = McapWriter(Path(scratch), CompressionMode.NONE)
        storage.abort()
    storage.path = file
    storage.bio = file.open("r+b")
    storage.bio.truncate(size)
    storage.bio.seek(size)
    storage.chunks = [chunk.record() for chunk in chunks]
    filled = [chunk for chunk in chunks if chunk.counts]
    storage.message_start_time = min((chunk.stamps[0] for chunk in filled), default=2**63 - 1)
    storage.message_end_time = max((chunk.stamps[1] for chunk in filled), default=0)
    return storage


def reopen(path: Path, size: int) -> tuple[Writer, list[int]]:
    """A writer that goes on with the bag at `path` after its first `size` bytes; what comes behind them is cut off.

    Its topics are to be added again, in the same order, before `forget_definitions`.

    Args:
        path: directory of the bag.
        size: of its file when a chunk had just ended, bytes.

    Returns:
        the writer, and the number of messages there of each topic, in their order.

    Raises:
        OutputError: the file is no such bag.
        OSError: it cannot be read or written.
    """
    file = path / f"{path.name}.mcap"
    with file.open("rb") as opened:
        chunks = _chunks(opened, size, file)
    (path / "metadata.yaml").unlink(missing_ok=True)  # until it is finished again
    writer = Writer(path / "none", version=8, storage_plugin=StoragePlugin.MCAP)  # takes new paths only
    writer.path, writer.metapath = path, path / "metadata.yaml"
    storage = _storage(file, size, chunks)
    writer.storage = storage
    writer.min_timestamp, writer.max_timestamp = storage.message_start_time, storage.message_end_time
    channels = {channel for chunk in chunks for channel in chunk.counts}
    totals = [sum(chunk.counts.get(index, 0) for chunk in chunks) for index in range(1, max(channels, default=0) + 1)]
    return writer, totals


def forget_definitions(writer: Writer, totals: list[int]) -> None:
    """Take note that the topics added so far are defined in the file already, with so many messages each."""
    for connection, total in zip(writer.connections, totals, strict=False):
        writer.counts[connection.id] = writer.storage.channel_stats[connection.id] = total
    writer.storage.chunk.bio = BytesIO()


def end_chunk(writer: Writer) -> int:
    """Hand all that was written to the system, in a chunk of its own; gives the file's size, bytes.

    Raises:
        OSError: the disk is full.
    """
    storage = writer.storage
    if storage.chunk.bio.tell():
        storage.close_chunk()
    storage.bio.flush()
    return int(storage.bio.tell())


def _chunks(file: BinaryIO, size: int, path: Path) -> list[_Chunk]:
    chunks: list[_Chunk] = []
    at = 8
    while at < size:
        file.seek(at)
        head = file.read(9)
        if len(head) < 9:
            break
        code, length = struct.unpack("<BQ", head)
        start, at = at, at + 9 + length
        if code == _CHUNK:
            stamps = struct.unpack("<QQ", file.read(16))
            whole, _, letters = struct.unpack("<QII", file.read(16))
            compression = file.read(letters)
            packed = struct.unpack("<Q", file.read(8))[0]
            chunks.append(_Chunk(start, at, stamps, (packed, whole), compression, last=at))
        elif code == _MESSAGE_INDEX and chunks:
            channel, listed = struct.unpack("<HI", file.read(6))
            chunks[-1].indices[channel], chunks[-1].counts[channel], chunks[-1].last = start, listed // 16, at
        elif code != _HEADER:
            break
    if at != size or file.seek(0, 2) < size:
        raise OutputError(f"'{path}' is damaged: expected {size:,} bytes of chunks, as noted when they were written")
    return chunks
