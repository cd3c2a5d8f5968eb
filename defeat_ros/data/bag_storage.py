"""Opening bag files of every kind: with rosbags where it can, with a scan from the start where it cannot.

One of the two modules that import rosbags (the other is `bag_writer.py`). Whatever rosbags raises on damaged input
ends here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import yaml
from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag1 import Reader as Ros1Reader
from rosbags.rosbag2 import Reader as Ros2Reader
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from defeat_ros.data.bag_recovery import Channel, Record, Scan, SqliteScan, Storage, Unusable
from defeat_ros.data.bag_recovery_mcap import McapScan
from defeat_ros.data.bag_recovery_ros1 import Ros1Scan
from defeat_ros.data.folder import natural_key
from defeat_ros.errors import MessageError, SourceError

_KINDS: dict[bytes, tuple[str, type[Scan]]] = {
    b"\x89MCAP0\r\n": (".mcap", McapScan),
    b"SQLite f": (".db3", SqliteScan),
    b"#ROSBAG ": (".bag", Ros1Scan),
}
_FORMATS = {MessageDefinitionFormat.MSG: "msg", MessageDefinitionFormat.IDL: "idl"}


def open_storages(path: Path) -> list[Storage]:
    """The files of a bag in their order: of a rosbag2 directory, or the one that was named.

    A file of a directory that is missing or of no use is among them, empty, and says so in its `lost`.

    Raises:
        SourceError: there is nothing, or nothing that can be read.
    """
    if not path.exists():
        raise SourceError(f"bag {path} does not exist")
    if not path.is_dir():
        return [_open_file(path, f"bag {path}")]
    files, compressed = _listed_files(path)
    if compressed:
        try:
            return [Intact(Ros2Reader(path), path, None)]
        except Exception as error:
            raise SourceError(f"compressed bag {path} cannot be read: {_one_line(error)}") from None
    if not any(file.exists() for file in files):  # files that were renamed: the metadata tell of others
        found = [file for pattern in ("*.mcap", "*.db3") for file in path.glob(pattern)]
        files = sorted(found, key=natural_key)
    if not files:
        raise SourceError(f"{path} is not a bag: expected a directory with .mcap or .db3 files, or a .bag file")
    opened: list[Storage] = []
    try:
        opened.extend(_open_part(file) for file in files)
    except BaseException:
        for storage in opened:
            storage.close()
        raise
    if all(isinstance(storage, Unusable) for storage in opened):
        reasons = "; ".join(str(storage.lost) for storage in opened)
        raise SourceError(f"bag {path} cannot be read: {reasons}")
    return opened


def _listed_files(directory: Path) -> tuple[list[Path], bool]:
    """Files by metadata.yaml (none where a killed recorder wrote none), and whether they are compressed."""
    try:
        about = yaml.safe_load((directory / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
        mode = str(about.get("compression_mode") or "").lower()
        files = [directory / Path(str(name)).name for name in about["relative_file_paths"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return [], False
    return files, mode not in ("", "none")


def _open_part(path: Path) -> Storage:
    """A file of a split bag, whose other files count also where this one is of no use."""
    if not path.exists():
        return Unusable(f"{path.name} is missing")
    try:
        return _open_file(path, path.name)
    except SourceError as error:
        return Unusable(str(error))


def _open_file(path: Path, called: str) -> Storage:
    """Opens a file; errors speak of it as `called`."""
    try:
        with path.open("rb") as file:
            magic = file.read(8)
    except OSError as error:
        raise SourceError(f"{called} cannot be read: {error.strerror}") from None
    if not magic:
        raise SourceError(f"{called} is empty")
    if magic not in _KINDS:
        raise SourceError(f"{called} is no MCAP, rosbag2 database (.db3) or ROS 1 bag: it begins with {magic!r}")
    suffix, scan = _KINDS[magic]
    log = path.with_name(path.name + "-wal")
    try:
        # rosbags goes by the name's end, and ignores the write-ahead log that a killed recorder leaves.
        if path.suffix == suffix and not (log.exists() and log.stat().st_size):
            return Intact(Ros1Reader(path) if suffix == ".bag" else Ros2Reader(path), path, scan)
    except PermissionError:
        raise SourceError(f"{called} cannot be read: permission denied") from None
    except Exception:  # damaged in one of many ways; the scan finds out how much is left
        pass
    return _scan(scan, path, called)


def _scan(kind: type[Scan], path: Path, called: str) -> Scan:
    try:
        found = kind(path)
    except OSError as error:
        raise SourceError(f"{called} cannot be read: {error.strerror}") from None
    except Exception as error:
        raise SourceError(f"{called} cannot be read: {_one_line(error)}") from None
    if not found.counts and not found.complete:
        raise SourceError(f"{called} is damaged: none of its {found.size:,} bytes holds a readable message")
    return found


class Intact:
    """A file that rosbags opens. Should reading fail on the way, a scan goes on after the last message delivered."""

    def __init__(self, reader: Any, path: Path, scan: type[Scan] | None) -> None:
        reader.open()
        self._reader, self._path, self._scan = reader, path, scan
        self._channels = {(c.id, c.topic): _channel(c) for c in reader.connections}
        self.counts: dict[Channel, int] = {}
        for connection in reader.connections:
            channel = self._channels[connection.id, connection.topic]
            self.counts[channel] = self.counts.get(channel, 0) + connection.msgcount
        some = any(self.counts.values())
        self.start_ns: int = reader.start_time if some else 0
        self.end_ns: int = reader.end_time - 1 if some else 0
        self.lost: str | None = None

    def messages(self, topics: Collection[str] | None) -> Iterator[Record]:
        chosen = [c for c in self._reader.connections if topics is None or c.topic in topics]
        if not chosen:
            return
        last, delivered = None, Counter[str]()  # the delivered ones of the last stamp
        records = self._reader.messages(chosen)
        while True:
            try:
                connection, stamp, data = next(records)
            except StopIteration:
                return
            except Exception as error:
                failure = _one_line(error)
                break
            if stamp != last:
                last = stamp
                delivered.clear()
            delivered[connection.topic] += 1
            yield self._channels[connection.id, connection.topic], stamp, bytes(data)
        self.lost = f"{self._path.name} is damaged: {failure}"
        if self._scan is None:
            return
        try:
            rest = _scan(self._scan, self._path, self._path.name)
        except SourceError as error:  # other files of the bag may be whole
            self.lost = str(error)
            return
        self.lost = rest.lost or self.lost
        yield from rest.messages(topics, last, delivered)

    def close(self) -> None:
        try:
            self._reader.close()
        except Exception:  # closed before, or broken: nothing that could be done about it
            return


def _channel(connection: Any) -> Channel:
    encoding = getattr(connection.ext, "serialization_format", "ros1")
    definition = connection.msgdef
    return Channel(connection.topic, connection.msgtype, encoding, definition.data, _FORMATS.get(definition.format, ""))


class Types:
    """Deserialises messages by the definitions in the bag, each type on its own: a strange one harms no other."""

    def __init__(self) -> None:
        self._stores: dict[tuple[Channel, bool], Typestore] = {}

    def message(self, channel: Channel, data: bytes) -> Any:
        """The message as an object.

        Raises:
            MessageError: its type or encoding is not known, or the bytes do not fit the type.
        """

        def decode(store: Typestore) -> Any:
            read = store.deserialize_ros1 if channel.encoding == "ros1" else store.deserialize_cdr
            return read(data, channel.type)

        return self._guarded(channel, decode)

    def cdr(self, channel: Channel, data: bytes) -> bytes:
        """The message as ROS 2 serialises it.

        Raises:
            MessageError: it is a ROS 1 message of unknown type or wrong length.
        """
        if channel.encoding != "ros1":
            return data
        # The conversion wants the ROS 2 definitions: it skips the sequence number that ROS 1 has in its headers.
        return bytes(self._guarded(channel, lambda store: store.ros1_to_cdr(data, channel.type), ros1=False))

    def _guarded(self, channel: Channel, use: Callable[[Typestore], Any], ros1: bool | None = None) -> Any:
        if channel.encoding not in ("cdr", "ros1"):
            raise MessageError(f"messages of {channel.topic} are {channel.encoding!r}, expected cdr or ros1")
        try:
            return use(self._store(channel, channel.encoding == "ros1" if ros1 is None else ros1))
        except MessageError:
            raise
        except Exception as error:  # rosbags runs generated code on what may be anything
            text = f"message of {channel.topic} cannot be read as {channel.type}: {_one_line(error)}"
            raise MessageError(text) from None

    def _store(self, channel: Channel, ros1: bool) -> Typestore:
        if (channel, ros1) not in self._stores:
            self._stores[channel, ros1] = _typestore(channel, ros1)
        return self._stores[channel, ros1]


def _typestore(channel: Channel, ros1: bool) -> Typestore:
    """Types with the definition in the bag, or the well-known ones where it has none or converts to ROS 2."""
    default = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_KILTED)
    known = channel.type in default.types
    converts = channel.encoding == "ros1" and not ros1
    if known and (converts or not channel.definition.strip()):
        return default
    if not channel.definition.strip():
        raise MessageError(f"type {channel.type!r} of {channel.topic} is not known, and the bag does not define it")
    try:
        types: dict[str, Any] = {}
        if channel.definition_format == "idl":
            for part in re.split(r"(?m)^={80}\n(?:IDL: .*\n)?", channel.definition):
                types.update(get_types_from_idl(part) if part.strip() else {})
        else:
            types = get_types_from_msg(channel.definition, channel.type)
        store = default if converts else get_typestore(Stores.EMPTY)
        store.register({name: types[name] for name in types if name not in store.types})
    except Exception:
        if known:
            return default
        raise
    return store


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
