"""Reading bags that a proper reader refuses: cut off while recording, with a damaged part, without an index.

Each kind of file is walked from its start, record by record, as far as it makes sense; no index is needed or believed.
A file is walked twice: once when it is opened, to learn topics and times, and once for the messages. One chunk or
message is in memory at a time.
"""

from __future__ import annotations

import bz2
import sqlite3
import struct
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import lz4.frame  # type: ignore[import-untyped]
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.records import Channel as McapChannel
from mcap.records import Chunk, Schema
from mcap.stream_reader import get_chunk_data_stream

_MAX_CHUNK = 1 << 30  # a chunk said to be larger is damage, not data: recorders make them of about 1 MB


@dataclass(frozen=True)
class Channel:
    """One topic as a bag file describes it.

    Attributes:
        topic, type: names; the type in ROS 2 style, 'sensor_msgs/msg/Image'.
        encoding: how its messages are serialised: 'cdr', 'ros1', or something that cannot be read.
        definition: text of the message definition, '' where the file has none.
        definition_format: 'msg', 'idl' or ''.
    """

    topic: str
    type: str
    encoding: str = "cdr"
    definition: str = ""
    definition_format: str = ""


Record = tuple[Channel, int, bytes]


class Scan:
    """A bag file read from front to back.

    Attributes:
        counts: number of readable messages by channel.
        start_ns, end_ns: log time of the first and last of them, 0 where there are none.
        lost: what could not be read, None where everything could.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.readable = 0
        self.complete = False
        self.damaged_chunks = 0
        self.counts: Counter[Channel] = Counter()
        self.start_ns = self.end_ns = 0
        for channel, stamp, _ in self.walk():
            self.start_ns = min(stamp, self.start_ns) if self.counts else stamp
            self.end_ns = max(stamp, self.end_ns)
            self.counts[channel] += 1
        self.lost = self._describe_loss()

    def _describe_loss(self) -> str | None:
        if self.complete and not self.damaged_chunks:
            return None
        if self.readable >= self.size:
            text = f"{self.path.name} was not finished by its recorder: all of its {self.size:,} bytes can be read"
        else:
            text = f"{self.path.name} is damaged: {self.readable:,} of {self.size:,} bytes can be read"
        if self.damaged_chunks:
            text += f", {self.damaged_chunks} chunk(s) in between cannot"
        if self.counts:
            text += f"; {self.counts.total()} messages, to {(self.end_ns - self.start_ns) / 1e9:.1f} s"
        return text

    def messages(self, topics: Collection[str] | None, after_ns: int | None = None) -> Iterator[Record]:
        """Messages of some topics (None: of all), in the order of the file."""
        for record in self.walk():
            if (topics is None or record[0].topic in topics) and (after_ns is None or record[1] > after_ns):
                yield record

    def walk(self) -> Iterator[Record]:
        """Every readable message; leaves `readable`, `complete` and `damaged_chunks` as found on the way."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is held between walks."""


class McapScan(Scan):
    """An MCAP file without footer or summary, or with chunks that fail their checksum."""

    def walk(self) -> Iterator[Record]:
        self.readable, self.complete, self.damaged_chunks = 8, False, 0
        schemas: dict[int, Schema] = {}
        channels: dict[int, Channel] = {}
        with self.path.open("rb") as file:
            file.seek(end := 8)
            for opcode, body, whole in _mcap_records(file, self.size):
                start, end, before = end, file.tell(), self.damaged_chunks
                if opcode == Opcode.CHUNK:
                    yield from self._chunk(body, whole, schemas, channels)
                elif whole:
                    if record := _mcap_record(opcode, body, schemas, channels):
                        yield record
                    self.complete = self.complete or opcode in (Opcode.DATA_END, Opcode.FOOTER)
                if whole and self.damaged_chunks == before:
                    self.readable += end - start
            if self.complete and not self.damaged_chunks:
                self.readable = self.size

    def _chunk(
        self, body: bytes, whole: bool, schemas: dict[int, Schema], channels: dict[int, Channel]
    ) -> Iterator[Record]:
        """The messages of a chunk by time; of a chunk that the file's end cuts, those that are there entirely."""
        records: list[Record] = []
        try:
            chunk = Chunk.read(ReadDataStream(BytesIO(body)))
            if chunk.uncompressed_size > _MAX_CHUNK:
                raise ValueError(f"chunk of {chunk.uncompressed_size} bytes")
            if whole:
                raw = get_chunk_data_stream(chunk, validate_crc=True)[0].read(chunk.uncompressed_size)
            elif chunk.compression == "":
                raw = chunk.data
            else:
                return
            for opcode, inner, entire in _mcap_records(BytesIO(raw), len(raw)):
                if entire and (record := _mcap_record(opcode, inner, schemas, channels)):
                    records.append(record)
                    self.readable += 0 if whole else len(inner)
        except Exception:  # whatever a decompressor makes of damaged data
            self.damaged_chunks += whole
        yield from sorted(records, key=lambda record: record[1])


def _mcap_records(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes, bool]]:
    """Opcode, body and whether it is entire of every record; the last may be cut. Indices come without their body."""
    needed = (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.MESSAGE, Opcode.CHUNK)
    while len(head := file.read(9)) == 9:
        opcode, length = struct.unpack("<BQ", head)
        left = size - file.tell()
        if length > left:
            if opcode == Opcode.CHUNK and left <= _MAX_CHUNK:
                yield opcode, file.read(left), False
            return
        if opcode in needed and length <= _MAX_CHUNK:
            yield opcode, file.read(length), True
        else:
            file.seek(length, 1)
            yield opcode, b"", True
        if opcode == Opcode.FOOTER:
            return


def _mcap_record(opcode: int, body: bytes, schemas: dict[int, Schema], channels: dict[int, Channel]) -> Record | None:
    """Take note of a schema or channel; gives a message where its channel is known."""
    if opcode == Opcode.MESSAGE and len(body) >= 22:
        channel_id, _, log_time, _ = struct.unpack_from("<HIQQ", body)
        known = channels.get(channel_id)
        return (known, log_time, body[22:]) if known else None
    try:
        _mcap_definition(opcode, body, schemas, channels)
    except Exception:  # a damaged name or length: its messages then have no channel
        return None
    return None


def _mcap_definition(opcode: int, body: bytes, schemas: dict[int, Schema], channels: dict[int, Channel]) -> None:
    if opcode == Opcode.SCHEMA:
        schema = Schema.read(ReadDataStream(BytesIO(body)))
        schemas[schema.id] = schema
    elif opcode == Opcode.CHANNEL:
        channel = McapChannel.read(ReadDataStream(BytesIO(body)))
        of = schemas.get(channel.schema_id)
        channels[channel.id] = Channel(
            topic=channel.topic,
            type=_ros2_name(of.name) if of else "",
            encoding=channel.message_encoding,
            definition=of.data.decode("utf-8", "replace") if of else "",
            definition_format={"ros2msg": "msg", "ros1msg": "msg", "ros2idl": "idl"}.get(of.encoding if of else "", ""),
        )


class SqliteScan(Scan):
    """A rosbag2 database that is cut; rows come in the order in which they were recorded."""

    def walk(self) -> Iterator[Record]:
        self.readable, self.complete = 0, False
        # A write-ahead log holds what a killed recorder had not yet moved over; an immutable database ignores it.
        log = self.path.with_name(self.path.name + "-wal")
        options = "mode=ro" if log.exists() and log.stat().st_size else "immutable=1"
        connection = sqlite3.connect(f"{self.path.resolve().as_uri()}?{options}", uri=True)
        try:
            # Without this SQLite refuses a file that is shorter than its header says.
            connection.execute("PRAGMA writable_schema=ON")
            channels = self._channels(connection)
            for topic, stamp, data in connection.execute("SELECT topic_id, timestamp, data FROM messages ORDER BY id"):
                if topic in channels:
                    self.readable += len(data)
                    yield channels[topic], stamp, data
            self.complete, self.readable = True, self.size
        except (sqlite3.Error, TypeError, ValueError):
            return
        finally:
            connection.close()

    def _channels(self, connection: sqlite3.Connection) -> dict[int, Channel]:
        try:
            rows = connection.execute(
                "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            )
            definitions = {row[0]: row[1:] for row in rows}
        except sqlite3.Error:  # the table is younger than the format
            definitions = {}
        formats = {"ros2msg": "msg", "ros2idl": "idl"}
        found = {}
        for key, topic, kind, encoding in connection.execute("SELECT id, name, type, serialization_format FROM topics"):
            style, text = definitions.get(kind, ("", ""))
            found[key] = Channel(topic, kind, encoding, text, formats.get(style, ""))
        return found


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
            return bz2.decompress(data) if compression == b"bz2" else lz4.frame.decompress(data)
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
            topic, _ros2_name(about.get(b"type", b"").decode("utf-8", "replace")), "ros1", text, "msg"
        )
    return None


def _ros2_name(name: str) -> str:
    """'sensor_msgs/Image' as 'sensor_msgs/msg/Image'."""
    parts = name.split("/")
    return f"{parts[0]}/msg/{parts[1]}" if len(parts) == 2 else name
