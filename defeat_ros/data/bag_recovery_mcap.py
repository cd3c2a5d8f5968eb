"""Reading an MCAP file without footer or summary, or with chunks that fail their checksum; see `bag_recovery.py`."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.records import Channel as McapChannel
from mcap.records import Chunk, Schema

from defeat_ros.data.bag_recovery import Channel, Record, Scan, ros2_name
from defeat_ros.data.bag_unpack import unpack

_MAX_CHUNK = 1 << 30  # a chunk said to be larger is damage, not data: recorders make them of about 1 MB


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
            if whole:
                raw = unpack(chunk.compression, chunk.data)
                if chunk.uncompressed_crc and zlib.crc32(raw) != chunk.uncompressed_crc:
                    raise ValueError("wrong checksum")
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
            type=ros2_name(of.name) if of else "",
            encoding=channel.message_encoding,
            definition=of.data.decode("utf-8", "replace") if of else "",
            definition_format={"ros2msg": "msg", "ros1msg": "msg", "ros2idl": "idl"}.get(of.encoding if of else "", ""),
        )
