"""Opening bag files of every kind: with rosbags where it can, with a scan from the start where it cannot.

One of the modules that import rosbags (the others are `bag_types.py`, `bag_unpack.py` and `bag_writer.py`). Whatever
rosbags raises on damaged input ends here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag1 import Reader as Ros1Reader
from rosbags.rosbag2 import Reader as Ros2Reader

from defeat_ros.data.bag_recovery import (
    Channel,
    Record,
    Scan,
    SqliteScan,
    Storage,
    Unusable,
    is_record,
    plain_text,
    what_is_computed,
)
from defeat_ros.data.bag_recovery_mcap import McapScan
from defeat_ros.data.bag_recovery_ros1 import Ros1Scan
from defeat_ros.data.bag_types import Types, one_line
from defeat_ros.data.bag_unpack import UnpackedFiles, UnpackedMessages, bound_rosbags
from defeat_ros.data.folder import natural_key
from defeat_ros.errors import SourceError
from defeat_ros.untrusted import quoted, read_yaml

__all__ = ["Intact", "Types", "open_storages"]

bound_rosbags()

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
    files, packed = _listed_files(path)
    if not any(file.exists() for file in files):  # files that were renamed: the metadata tell of others
        found = [
            file for end in (".mcap", ".db3") for pattern in (f"*{end}", f"*{end}.zstd") for file in path.glob(pattern)
        ]
        files = sorted(found, key=natural_key)
    if not files:
        raise SourceError(f"{path} is not a bag: expected a directory with .mcap or .db3 files, or a .bag file")
    opened: list[Storage] = []
    try:
        # By their names, not by the metadata: a killed recorder leaves none, and some unpack what is there by hand.
        if whole := [file for file in files if file.suffix == ".zstd"]:
            opened.append(unpacked := UnpackedFiles(whole))
            places = dict(zip(whole, unpacked.paths, strict=True))
            files = [places.get(file, file) for file in files]
        for file in files:
            part = _open_part(file)
            opened.append(UnpackedMessages(part) if packed == "message" and not isinstance(part, Unusable) else part)
    except BaseException:
        for storage in opened:
            storage.close()
        raise
    if all(isinstance(storage, Unusable) for storage in opened):
        reasons = "; ".join(storage.lost for storage in opened if storage.lost)
        for storage in opened:
            storage.close()
        raise SourceError(f"bag {path} cannot be read: {reasons}")
    return opened


def _listed_files(directory: Path) -> tuple[list[Path], str]:
    """Files by metadata.yaml (none where a killed recorder wrote none), and what is packed: 'file', 'message' or ''.

    Raises:
        SourceError: they are packed in a way that is not known.
    """
    try:
        about = read_yaml((directory / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
        mode = str(about.get("compression_mode") or "").lower()
        form = str(about.get("compression_format") or "zstd").lower()
        files = [directory / Path(str(name)).name for name in about["relative_file_paths"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [], ""
    if mode not in ("file", "message"):
        return files, ""
    if form != "zstd":
        raise SourceError(f"compressed bag {directory} is packed with {quoted(form)}, expected zstd")
    return files, mode


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
        if not path.is_file():  # opening a pipe waits for its other end
            raise SourceError(f"{called} cannot be read: it is no regular file")
        with path.open("rb") as file:
            magic = file.read(8)
    except OSError as error:
        raise SourceError(f"{called} cannot be read: {error.strerror}") from None
    if not magic:
        raise SourceError(f"{called} is empty")
    if magic not in _KINDS:
        raise SourceError(f"{called} is no MCAP, rosbag2 database (.db3) or ROS 1 bag: it begins with {magic!r}")
    suffix, scan = _KINDS[magic]
    if scan is SqliteScan and (computed := what_is_computed(path)):
        raise SourceError(f"{called} has {computed}, expected plain tables as recorders make them")
    log = path.with_name(path.name + "-wal")
    try:
        # rosbags goes by the name's end, ignores the write-ahead log that a killed recorder leaves, and takes a name
        # for an address, in which these signs mean something: it would open another file.
        odd = scan is SqliteScan and not {*"?#%"}.isdisjoint(str(path))
        if path.suffix == suffix and not odd and not (log.exists() and log.stat().st_size):
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
        raise SourceError(f"{called} cannot be read: {one_line(error)}") from None
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
        chosen = [c for c in self._reader.connections if topics is None or plain_text(c.topic) in topics]
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
                failure = one_line(error)
                break
            if stamp != last:
                last = stamp
                delivered.clear()
            delivered[connection.topic] += 1
            if is_record(stamp, data):
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
    topic, kind = plain_text(connection.topic), plain_text(connection.msgtype)
    text = plain_text(definition.data)
    return Channel(topic, kind, plain_text(encoding), text, _FORMATS.get(definition.format, ""))
