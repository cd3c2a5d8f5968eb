"""A result that is being made: what it is made of, and how far it is, so that the same command can go on with it.

Beside the bag lies `STATE` for as long as the bag is not whole: written once a second, after the bag's own bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defeat_ros.data.bag import BagReader
from defeat_ros.errors import OutputError
from defeat_ros.files import json_text, write_whole
from defeat_ros.inference.config import DepthConfig
from defeat_ros.inference.memory import Kinds, MemoryUnfit, dump, load_values
from defeat_ros.settings import values

STATE = "process.state"
"""File in the directory of an unfinished bag."""
LARGEST = 1 << 30
"""Bytes of it that are read: it holds a few images, of at most 100 million pixels or so."""
ADVICE = "remove it or name another path"
_MAGIC = b"defeat_ros state 1\n"


class OtherVersion(OutputError):
    """An unfinished result whose memories are of another version, which remembered other things."""


def made_of(
    config: DepthConfig,
    checkpoint_sha256: str,
    topics: tuple[str, ...],
    odom_topic: str | None,
    image_topic: str,
    images: int | None,
    recorded_ns: tuple[int, int],
) -> dict[str, Any]:
    """All that decides what a result is, as JSON gives it back.

    Args:
        config: parameters of the engine.
        checkpoint_sha256: of the weight file.
        topics: outputs to write.
        odom_topic: measured odometry of the bag, None for none.
        image_topic, images: the images to take, and how many there are, None where it is not known.
        recorded_ns: recording time of the bag's first and last message, ns.
    """
    facts = {
        **values(config),
        "checkpoint": checkpoint_sha256,
        "topics": sorted(topics),
        "odom_topic": odom_topic,
        "image_topic": image_topic,
        "images": images,
        "recorded_ns": recorded_ns,
    }
    return dict(json.loads(json_text(facts)))


def images_of(bag: BagReader, image_topic: str) -> tuple[str, int | None, tuple[int, int]]:
    """The last three of `made_of`, of a bag."""
    return image_topic, bag.topics[image_topic].count, (bag.start_ns, bag.end_ns)


def what_differs(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str | None:
    """The first thing in which one `made_of` differs from another, as words; None where nothing does."""
    other = next((name for name, value in expected.items() if found.get(name, value) != value), None)
    return None if other is None else f"{other} {found[other]}, expected {expected[other]}"


@dataclass(frozen=True)
class Unfinished:
    """What was kept of an unfinished result.

    Attributes:
        out: directory of its bag.
        state: memories of its parts, and values.
    """

    out: Path
    state: bytes

    @classmethod
    def find(cls, out: Path) -> Unfinished | None:
        """What lies at a path, None where there is nothing.

        Raises:
            OutputError: it is something else, whole already, or damaged; or nothing may be made there.
        """
        if not out.exists() and not out.is_symlink():
            above = next(folder for folder in out.absolute().parents if folder.exists())
            if not os.access(above, os.W_OK | os.X_OK):  # told before the weights are loaded
                raise OutputError(f"bag {out} cannot be written: no permission to write in '{above}'")
            return None
        file = out / STATE
        if not file.is_file():
            raise OutputError(f"{out} exists already, expected a new path")
        try:
            data = file.read_bytes() if file.stat().st_size <= LARGEST else b""
        except OSError as error:
            raise OutputError(f"'{file}' cannot be read: {error.strerror}; {ADVICE}") from None
        start = len(_MAGIC) + 32
        if not data.startswith(_MAGIC) or data[len(_MAGIC) : start] != hashlib.sha256(data[start:]).digest():
            raise OutputError(f"'{file}' is damaged; {ADVICE}")
        return cls(out, data[start:])

    def differs(self, expected: Mapping[str, Any]) -> str | None:
        """In what it was made of something else, see `what_differs`.

        Raises:
            MemoryUnfit: it was made by another version.
        """
        return what_differs(load_values(self.state, {}, {}, only=("made_of",))["made_of"], expected)

    def recall(self, parts: Mapping[str, Any], kinds: Kinds, expected: Mapping[str, Any]) -> dict[str, Any]:
        """Give the parts their memories; returns the values that were kept with them.

        Raises:
            OutputError: it was made of something else than `expected`; `OtherVersion`: by another version.
        """
        try:
            if differs := self.differs(expected):
                raise OutputError(f"'{self.out}' is unfinished, made with {differs}; {ADVICE}")
            return load_values(self.state, parts, kinds)
        except MemoryUnfit as error:
            text = f"'{self.out}' is unfinished, made by another version ({error}); {ADVICE}"
            raise OtherVersion(text) from None


def can_go_on(out: Path, expected: Mapping[str, Any]) -> bool:
    """Whether an unfinished result of just this lies at a path."""
    try:
        found = Unfinished.find(out)
        return found is not None and found.differs(expected) is None
    except (OutputError, MemoryUnfit):
        return False


def keep(out: Path, memories: Mapping[str, Any]) -> None:
    """Write how far the result at `out` is, whole or not at all.

    Raises:
        OutputError: the disk is full or not writable.
    """
    data = dump(memories)
    write_whole(out / STATE, lambda file: file.write(_MAGIC + hashlib.sha256(data).digest() + data))


def finished(out: Path) -> None:
    """The result is whole: nothing is to be gone on with.

    Raises:
        OutputError: it cannot be removed.
    """
    try:
        (out / STATE).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot remove '{out / STATE}': {error.strerror}") from error
