"""Reading a ROS 1 bag without its index; see `bag_recovery.py`."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

from defeat_ros.data.bag_recovery import Channel, Record, Scan, ros2_name
from defeat_ros.data.bag_unpack import unpack

_MAX_CHUNK = 1 << 30


class Ros1Scan(Scan):
    """A ROS 1 bag (version 2.0) without its index, which is written when recording ends."""

    def walk(self) -> Iterator[Record]:
        self.readable, self.complete, self.damaged_chunks = 13, False, 0
        channels: dict[int, Channel] = {}
        with self.path.open("rb") as file:
            file.seek(13)
            for header, data, whole in _ros1_records(file, self.size):
                kind = header.get(b"op", b"")
                # The index comes last, when recording ends; where it is missing, so may be messages.
                self.complete = self.complete or (kind == b"\x06" and whole)
                if kind != b"\x05":
                    if whole and (record := _ros1_record(header, data, channels)):
                        yield record
                else:
                    raw = self._decompress(header.get(b"compression", b""), data, whole)
                    for inner, content, entire in _ros1_records(BytesIO(raw), len(raw)):
                        if entire and (record := _ros1_record(inner, content, channels)):
                            self.readable += 0 if whole else len(content)
                            yield record
                if whole:
                    self.readable = file.tell()

    def _decompress(self, compression: bytes, data: bytes, whole: bool) -> bytes:
        try:
            if compression == b"none":
                return data
            if not whole:
                return b""
            return unpack(compression.decode("ascii"), data)
        except Exception:  # whatever a decompressor makes of damaged data
            self.damaged_chunks += 1
            return b""


def _ros1_records(file: BinaryIO, size: int) -> Iterator[tuple[dict[bytes, bytes], bytes, bool]]:
    """Header fields, data and whether it is entire of every record; the last may be cut."""
    while len(head := file.read(4)) == 4:
        length = struct.unpack("<I", head)[0]
        if length > size - file.tell() - 4:
            return
        fields, at, raw = {}, 0, file.read(length)
        while at + 4 <= length:
            part = struct.unpack_from("<I", raw, at)[0]
            name, _, value = raw[at + 4 : at + 4 + part].partition(b"=")
            fields[name] = value
            at += 4 + part
        length = struct.unpack("<I", file.read(4))[0]
        left = size - file.tell()
        if length > left:
            yield fields, file.read(min(left, _MAX_CHUNK)), False
            return
        if length > _MAX_CHUNK:  # damage, not data
            return
        yield fields, file.read(length), True


def _ros1_record(header: dict[bytes, bytes], data: bytes, channels: dict[int, Channel]) -> Record | None:
    """Take note of a connection; gives a message where its connection is known."""
    kind, key = header.get(b"op", b""), header.get(b"conn", b"")
    if len(key) != 4:
        return None
    number = struct.unpack("<I", key)[0]
    if kind == b"\x02" and number in channels and len(header.get(b"time", b"")) == 8:
        seconds, nanoseconds = struct.unpack("<II", header[b"time"])
        return channels[number], seconds * 10**9 + nanoseconds, data
    if kind == b"\x07":
        about = next(_ros1_records(BytesIO(struct.pack("<I", len(data)) + data + bytes(4)), len(data) + 8))[0]
        topic = "/" * header.get(b"topic", b"").startswith(b"/") + "/".join(
            part for part in header.get(b"topic", b"").decode("utf-8", "replace").split("/") if part
        )
        text = about.get(b"message_definition", b"").decode("utf-8", "replace")
        channels[number] = Channel(
            topic, ros2_name(about.get(b"type", b"").decode("utf-8", "replace")), "ros1", text, "msg"
        )
    return None
