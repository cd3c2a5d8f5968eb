"""Reading bags that a proper reader refuses: cut off while recording, with a damaged part, without an index.

Each kind of file is walked from its start, record by record, as far as it makes sense; no index is needed or believed.
A file is walked twice: once when it is opened, to learn topics and times, and once for the messages. One chunk or
message is in memory at a time. MCAP and ROS 1 files have modules of their own beside this one.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


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


class Storage(Protocol):
    """One file of a bag; see `Scan` for the meaning."""

    start_ns: int
    end_ns: int

    @property
    def counts(self) -> dict[Channel, int]: ...
    @property
    def lost(self) -> str | None: ...
    def messages(self, topics: Collection[str] | None) -> Iterator[Record]: ...
    def close(self) -> None: ...


class Scan(ABC):
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

    def messages(
        self,
        topics: Collection[str] | None,
        last_ns: int | None = None,
        delivered: Mapping[str, int] | None = None,
    ) -> Iterator[Record]:
        """Messages of some topics (None: of all), in the order of the file.

        Args:
            topics: names.
            last_ns: where another reader gave up: the log time of its last message; None for everything.
            delivered: how many messages of each topic it had given at that time. One stamp is often shared, by an
                image and its camera_info say, so the time alone does not tell what is still missing.
        """
        known = Counter(delivered)
        for record in self.walk():
            topic, stamp = record[0].topic, record[1]
            if (topics is not None and topic not in topics) or (last_ns is not None and stamp < last_ns):
                continue
            if stamp == last_ns and known[topic]:
                known[topic] -= 1
                continue
            yield record

    @abstractmethod
    def walk(self) -> Iterator[Record]:
        """Every readable message; leaves `readable`, `complete` and `damaged_chunks` as found on the way."""

    def close(self) -> None:  # noqa: B027 (most scans have nothing to close)
        """Nothing is held between walks."""


class Unusable:
    """A file of a split bag of which nothing can be read; `lost` says why, the rest is that of an empty file."""

    def __init__(self, lost: str) -> None:
        self.lost: str | None = lost
        self.counts: dict[Channel, int] = {}
        self.start_ns = self.end_ns = 0

    def messages(self, topics: Collection[str] | None) -> Iterator[Record]:
        """None."""
        return iter(())

    def close(self) -> None:
        """Nothing is held."""


class SqliteScan(Scan):
    """A rosbag2 database that is cut; rows come in the order in which they were recorded."""

    def walk(self) -> Iterator[Record]:
        self.readable, self.complete = 0, False
        connection = _connect(self.path)
        try:
            # Without this SQLite refuses a file that is shorter than its header says.
            connection.execute("PRAGMA writable_schema=ON")
            channels = self._channels(connection)
            for topic, stamp, data in connection.execute("SELECT topic_id, timestamp, data FROM messages ORDER BY id"):
                if topic in channels and is_record(stamp, data):
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
            names = plain_text(topic), plain_text(kind), plain_text(encoding)
            found[key] = Channel(*names, plain_text(text), formats.get(style, ""))
        return found


def _connect(path: Path) -> sqlite3.Connection:
    # A write-ahead log holds what a killed recorder had not yet moved over; an immutable database ignores it.
    log = path.with_name(path.name + "-wal")
    options = "mode=ro" if log.exists() and log.stat().st_size else "immutable=1"
    return sqlite3.connect(f"{path.resolve().as_uri()}?{options}", uri=True)


_COMPUTED = re.compile(r"\bvirtual\b|\bgenerated\b|\bas\s*\(", re.IGNORECASE)


def what_is_computed(path: Path) -> str | None:
    """What of a database is no plain data, None for nothing: a view may compute forever, and take all memory."""
    # Whatever is too damaged for this is so for the readers as well; SQLite's own messages may be no UTF-8 then.
    with contextlib.suppress(sqlite3.Error, ValueError), contextlib.closing(_connect(path)) as connection:
        connection.text_factory = lambda data: data.decode(errors="replace")
        connection.execute("PRAGMA writable_schema=ON")  # as the scan does, which then reads past what is malformed
        for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master"):
            if kind not in ("table", "index") or _COMPUTED.search(str(sql)):
                return f"the {kind} {str(name)!r:.80}, which is computed"
    return None


def is_record(stamp: object, data: object) -> bool:
    """Whether these can be a message's time and bytes: a column of a database takes values of any kind."""
    # bytes(5) would be five zeros, bytes(10**10) all the memory.
    return type(stamp) is int and isinstance(data, (bytes, bytearray, memoryview))


def plain_text(value: object) -> str:
    """A name in a database as text, of whatever kind it is."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def ros2_name(name: str) -> str:
    """'sensor_msgs/Image' as 'sensor_msgs/msg/Image'."""
    parts = name.split("/")
    return f"{parts[0]}/msg/{parts[1]}" if len(parts) == 2 else name
