"""What the bytes of a bag's messages mean."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from defeat_ros.data.bag_recovery import Channel
from defeat_ros.errors import MessageError

MAX_DEFINITION, MAX_ITEMS = 200_000, 10_000
"""Characters of a message definition, and items of the arrays of fixed length in it."""


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
            text = f"message of {channel.topic} cannot be read as {channel.type}: {one_line(error)}"
            raise MessageError(text) from None

    def _store(self, channel: Channel, ros1: bool) -> Typestore:
        if (channel, ros1) not in self._stores:
            self._stores[channel, ros1] = _typestore(channel, ros1)
        return self._stores[channel, ros1]


def _typestore(channel: Channel, ros1: bool) -> Typestore:
    """The well-known types; of others those with the definition in the bag.

    rosbags turns a definition into a program. Its grammar lets names and numbers through, no more; what we decode is
    well known, so that no bag has a say in it.
    """
    default = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_KILTED)
    if channel.type in default.types:
        return default
    converts = channel.encoding == "ros1" and not ros1
    if not channel.definition.strip():
        raise MessageError(f"type {channel.type!r} of {channel.topic} is not known, and the bag does not define it")
    types = _defined_types(channel)
    store = default if converts else get_typestore(Stores.EMPTY)
    store.register({name: types[name] for name in types if name not in store.types})
    return store


def _defined_types(channel: Channel) -> dict[str, Any]:
    """What a bag defines of a type, within bounds: of an array each item becomes lines of a program."""
    text = channel.definition
    where = f"definition of {channel.type!r:.80} in the bag"
    if len(text) > MAX_DEFINITION or ("<<" in text and channel.definition_format == "idl"):
        raise MessageError(f"{where} has {len(text)} characters or shifts, expected at most {MAX_DEFINITION} and none")
    types: dict[str, Any] = {}
    if channel.definition_format == "idl":
        for part in re.split(r"(?m)^={80}\n(?:IDL: .*\n)?", text):
            types.update(get_types_from_idl(part) if part.strip() else {})
    else:
        types = get_types_from_msg(text, channel.type)
    sizes = [kind[1][1] for _, fields in types.values() for _, kind in fields if kind[0] == Nodetype.ARRAY]
    if (items := sum(map(abs, sizes))) > MAX_ITEMS:
        raise MessageError(f"{where} has arrays of {items} items, expected at most {MAX_ITEMS}")
    return types


def one_line(error: BaseException) -> str:
    """Its message as one line."""
    return " ".join(str(error).split()) or type(error).__name__
