"""Unpacking what bags hold compressed, within bounds: a few kilobytes may unpack to what no memory or disk holds."""

from __future__ import annotations

import bz2
import contextlib
import shutil
import tempfile
from collections.abc import Collection, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import lz4.frame  # type: ignore[import-untyped]
import zstandard
from rosbags.rosbag1 import reader as rosbag1_reader
from rosbags.rosbag2 import storage_mcap

from defeat_ros.data.bag_recovery import Channel, Record, Storage, Unusable
from defeat_ros.errors import SourceError

MAX_CHUNK = 2**28
"""Bytes of an unpacked chunk or message; recorders make chunks of about 1 MB, or of one message that is larger."""
MAX_FILE_RATIO, MAX_SMALL_FILE = 300, 2**30
"""How much larger than packed a bag's file may become on the disk, above so many bytes."""

_PIECE = 1 << 20


def unpack(kind: str, data: bytes, most: int | None = None) -> bytes:
    """The data of a chunk or message.

    Args:
        kind: 'zstd', 'lz4', 'bz2', or '' or 'none' for data that are not packed.
        most: the largest result, bytes; None: MAX_CHUNK.

    Raises:
        ValueError: the kind is another one, or the result is larger.
        Exception: whatever a decompressor makes of damaged data.
    """
    if kind in ("", "none"):
        return data
    most = MAX_CHUNK if most is None else most
    if kind == "zstd":
        unpacked = _zstd(data, most)
    elif kind == "lz4":
        unpacked = lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=most + 1)
    elif kind == "bz2":
        unpacked = _bz2(data, most)
    else:
        raise ValueError(f"compression is {kind!r:.80}, expected zstd, lz4 or bz2")
    if len(unpacked) > most:
        raise ValueError(f"{len(data)} bytes unpack to more than {most}")
    return bytes(unpacked)


def _zstd(data: bytes, most: int) -> bytes:
    pieces, size = [], 0
    with zstandard.ZstdDecompressor().stream_reader(BytesIO(data), read_across_frames=True) as reader:
        while size <= most and (piece := reader.read(_PIECE)):
            pieces.append(piece)
            size += len(piece)
    return b"".join(pieces)


def _bz2(data: bytes, most: int) -> bytes:
    pieces, size = [], 0
    while data and size <= most:  # may hold several streams
        stream = bz2.BZ2Decompressor()
        pieces.append(stream.decompress(data, most + 1 - size))
        size += len(pieces[-1])
        data = stream.unused_data if stream.eof else b""
    return b"".join(pieces)


def bound_rosbags() -> None:
    """Make rosbags unpack chunks within the same bounds."""
    storage_mcap.DECOMPRESSORS.update({kind: _bounded(kind) for kind in ("lz4", "zstd")})
    rosbag1_reader.decompressors.update({kind: _bounded(kind) for kind in ("lz4", "bz2")})


def _bounded(kind: str) -> Any:
    return lambda data, claimed=None: unpack(kind, data, None if claimed is None else min(claimed, MAX_CHUNK))


class UnpackedFiles(Unusable):
    """The files of a bag whose recorder packed each as a whole (`compression_mode: FILE`), on disk for a while.

    Counts as an empty file of the bag, so that it is closed with the others.

    Attributes:
        paths: where they are now, in the same order; one that cannot be unpacked is not there.
    """

    def __init__(self, packed: list[Path]) -> None:
        super().__init__("")
        self._folder = tempfile.TemporaryDirectory(prefix="defeat_ros_bag_")
        self.paths = [Path(self._folder.name) / path.stem for path in packed]
        try:
            for source, target in zip(packed, self.paths, strict=True):
                if source.is_file():
                    _unpack_file(source, target)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove them."""
        self._folder.cleanup()


def _unpack_file(source: Path, target: Path) -> None:
    size = source.stat().st_size
    most = min(max(MAX_SMALL_FILE, MAX_FILE_RATIO * size), shutil.disk_usage(target.parent).free // 2)
    written = 0
    try:
        with source.open("rb") as packed, target.open("wb") as file:
            reader = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
            with contextlib.suppress(zstandard.ZstdError):  # cut or damaged: what came out so far may be read
                while piece := reader.read(_PIECE):
                    written += len(piece)
                    if written > most:
                        told = f"{source.name} of {size:,} bytes unpacks to more than {most:,}"
                        raise SourceError(f"{told}, too much here")
                    file.write(piece)
    except OSError as error:
        raise SourceError(f"{source.name} cannot be unpacked: {error.strerror}") from None


class UnpackedMessages:
    """A file of a bag whose recorder packed each message (`compression_mode: MESSAGE`)."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.start_ns, self.end_ns = storage.start_ns, storage.end_ns
        self._damaged = 0

    @property
    def counts(self) -> dict[Channel, int]:
        """As of the file."""
        return self._storage.counts

    @property
    def lost(self) -> str | None:
        """What is lost of the file, and messages that could not be unpacked."""
        damaged = f"{self._damaged} message(s) cannot be unpacked" if self._damaged else None
        return "; ".join(text for text in (self._storage.lost, damaged) if text) or None

    def messages(self, topics: Collection[str] | None) -> Iterator[Record]:
        """Those of the file; one that cannot be unpacked comes empty, so that it is counted where it is read."""
        self._damaged = 0
        for channel, stamp, data in self._storage.messages(topics):
            try:
                unpacked = unpack("zstd", data)
            except Exception:  # whatever the decompressor makes of damaged data
                self._damaged += 1
                unpacked = b""
            yield channel, stamp, unpacked

    def close(self) -> None:
        """Close the file."""
        self._storage.close()
