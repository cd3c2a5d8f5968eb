"""Writing rosbag2 with MCAP storage."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from defeat_ros.data.bag_append import end_chunk, forget_definitions, reopen
from defeat_ros.data.compose import MessageFactory
from defeat_ros.errors import MessageError, OutputError

_FOREVER = QosTime(9223372036, 854775807)


def bag_messages() -> MessageFactory:
    """Makes messages that a `BagWriter` takes."""
    types = get_typestore(Stores.ROS2_KILTED).types
    return MessageFactory(types.__getitem__, lambda array: array.reshape(-1).view(np.uint8))


class BagWriter:
    """A new bag, open for writing; use it as a context manager.

    The same messages give the same bytes. When the program fails, what was written so far becomes a proper bag
    (recorders want that), or, with `atomic`, nothing is left.

    Args:
        path: directory to make.
        atomic: write beside it and rename at the end, so that the path never holds half a bag.

    Raises:
        OutputError: the path exists or cannot be made.
    """

    _scratch: Path | None
    _writer: Writer | None

    def __init__(self, path: str | Path, *, atomic: bool = False) -> None:
        self._begin(Path(path))
        if self.path.exists() or self.path.is_symlink():
            raise OutputError(f"{self.path} exists already, expected a new path")
        try:
            target = self.path
            if atomic:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._scratch = Path(tempfile.mkdtemp(prefix=f".{self.path.name}-", dir=self.path.parent))
                target = self._scratch / self.path.name  # the bag's file is named after its directory
            # Version 8 of the metadata is the newest that ROS 2 Humble reads.
            self._writer = Writer(target, version=8, storage_plugin=StoragePlugin.MCAP)
            self._writer.open()
        except OSError as error:
            self._drop_scratch()
            if not atomic:
                with contextlib.suppress(OSError):
                    self.path.rmdir()  # made, and no file could be made in it
            raise self._output_error(error) from None
        except BaseException:
            self._drop_scratch()
            raise

    @classmethod
    def go_on(cls, path: Path, size: int, topics: Mapping[str, str]) -> BagWriter:
        """Go on with a bag that was not finished, or for some reason closed too early.

        Args:
            path: its directory.
            size: what `flush` gave; what was written later is cut off.
            topics: what `topics` was then.

        Raises:
            OutputError: it is not as it was then, or cannot be written.
        """
        made = cls.__new__(cls)
        made._begin(path)
        try:
            made._writer, totals = reopen(path, size)
        except OSError as error:
            raise made._output_error(error) from None
        for topic, type_name in topics.items():
            made._connections[topic] = made._connect(made._writer, topic, type_name)
        forget_definitions(made._writer, totals)
        return made

    def _begin(self, path: Path) -> None:
        self.path = path
        self._types: Typestore = get_typestore(Stores.ROS2_KILTED)
        self._connections: dict[str, Any] = {}
        self._scratch = None
        self._failed = False
        self._writer = None

    @property
    def topics(self) -> dict[str, str]:
        """Types of the topics so far, in the order in which they came."""
        return {topic: connection.msgtype for topic, connection in self._connections.items()}

    def flush(self, to_disk: bool = False) -> int:
        """Hand all that was written to the system, so that it is there when this process is killed.

        Args:
            to_disk: wait until it is on the disk, where it stays when the power fails.

        Returns:
            the size of the bag's file, bytes.

        Raises:
            OutputError: the bag is closed, or the disk is full.
        """
        if self._writer is None:
            raise OutputError(f"bag {self.path} is closed")
        try:
            size = end_chunk(self._writer)
            if to_disk:
                os.fdatasync(self._writer.storage.bio.fileno())
            return size
        except OSError as error:
            self._failed = True
            raise self._output_error(error) from None

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif self._scratch is not None:
            self.discard()
        else:
            try:
                self.close()
            except OutputError:  # what went wrong first is on its way already
                return

    def write(self, topic: str, message: Any, stamp_ns: int) -> None:
        """Append a message made by `bag_messages()`, recorded at stamp_ns.

        Raises:
            OutputError: the topic has another type, or the disk is full.
            MessageError: a field of the message does not fit its type.
        """
        name = message.__msgtype__
        try:
            data = self._types.serialize_cdr(message, name)
        except Exception as error:  # generated code on whatever the fields hold
            raise MessageError(f"message for {topic} does not fit {name}: {error}") from None
        self.write_cdr(topic, name, data, stamp_ns)

    def write_cdr(self, topic: str, type_name: str, cdr: bytes | memoryview, stamp_ns: int) -> None:
        """Append a serialised message; its type may be one that is not known here.

        Raises:
            OutputError: the topic has another type, the stamp is negative, the bag is closed, or the disk is full.
        """
        if self._writer is None:
            raise OutputError(f"bag {self.path} is closed")
        if stamp_ns < 0:
            raise OutputError(f"stamp of {topic} is {stamp_ns} ns, expected 0 or more")
        connection = self._connections.get(topic)
        if connection is None:
            connection = self._connections[topic] = self._connect(self._writer, topic, type_name)
        if connection.msgtype != type_name:
            raise OutputError(f"message for {topic} is {type_name}, expected {connection.msgtype} as before")
        try:
            self._writer.write(connection, stamp_ns, cdr)
        except OSError as error:
            self._failed = True
            raise self._output_error(error) from None

    def close(self) -> None:
        """Write the index and make the bag complete; once closed, does nothing.

        Raises:
            OutputError: the disk is full, or the path has come into being meanwhile.
        """
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            if self._failed:
                writer.abort()
            else:
                writer.close()
                if self._scratch is not None:
                    if self.path.exists():
                        raise OutputError(f"{self.path} exists already, expected a new path")
                    (self._scratch / self.path.name).rename(self.path)
        except OSError as error:
            _abort(writer)
            raise self._output_error(error) from None
        finally:
            self._drop_scratch()

    def discard(self) -> None:
        """Close without finishing; with `atomic` nothing remains."""
        writer, self._writer = self._writer, None
        if writer is not None:
            _abort(writer)
        self._drop_scratch()

    def _connect(self, writer: Writer, topic: str, type_name: str) -> Any:
        latched = topic.endswith("/tf_static") or topic == "tf_static"
        qos = Qos(
            QosHistory.KEEP_LAST,
            1 if latched else 10,
            QosReliability.RELIABLE,
            QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
            _FOREVER,
            _FOREVER,
            QosLiveliness.AUTOMATIC,
            _FOREVER,
            False,
        )
        if type_name in self._types.types:
            return writer.add_connection(topic, type_name, typestore=self._types, offered_qos_profiles=[qos])
        # Players look the type up by its name; the definition in the bag is for tools that do not have it.
        unknown = f"RIHS01_{0:064x}"
        return writer.add_connection(topic, type_name, msgdef="", rihs01=unknown, offered_qos_profiles=[qos])

    def _drop_scratch(self) -> None:
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _output_error(self, error: OSError) -> OutputError:
        return OutputError(f"bag {self.path} cannot be written: {error.strerror or error}")


def _abort(writer: Writer) -> None:
    try:
        writer.abort()
    except OSError:  # closing flushes, which fails again where the disk is full
        return
