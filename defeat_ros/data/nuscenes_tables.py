"""The tables of nuScenes: JSON arrays of rows, read one by one since the largest have millions.

Format: docs/schema_nuscenes.md of https://github.com/nutonomy/nuscenes-devkit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from defeat_ros.errors import SourceError
from defeat_ros.geometry import rotation_from_quaternion, transform
from defeat_ros.untrusted import quoted

_CHUNK = 1 << 20
_MAX_ROW = 1 << 22
_BETWEEN = re.compile(r"[\s,]*")


def rows_of(folder: Path, table: str) -> Iterator[dict[str, Any]]:
    """The rows of a table, without holding more than one of them.

    Args:
        folder: that of the version, `v1.0-mini` say.
        table: its name, 'scene' say.

    Raises:
        SourceError: it is missing, or no JSON array of objects.
    """
    file = folder / f"{table}.json"
    decoder, text, begun = json.JSONDecoder(), "", False
    try:
        with file.open(encoding="utf-8") as stream:
            while chunk := stream.read(_CHUNK):
                text += chunk
                at = 0
                if not begun:
                    at = _after(text, 0)
                    if text[at : at + 1] != "[":
                        raise SourceError(f"{file} begins with {quoted(text[at : at + 20])}, expected a JSON array")
                    at, begun = at + 1, True
                while (at := _after(text, at)) < len(text):
                    if text[at] == "]":
                        return
                    if text[at] != "{":
                        raise SourceError(f"{file} holds {quoted(text[at : at + 20])}, expected objects in an array")
                    try:
                        row, at = decoder.raw_decode(text, at)
                    except ValueError as error:  # cut by the end of the chunk
                        if len(text) - at > _MAX_ROW:
                            raise SourceError(f"{file} is no JSON: {error}") from None
                        break
                    yield row
                text = text[at:]
    except FileNotFoundError:
        raise SourceError(f"{file} does not exist, expected a table of nuScenes") from None
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise SourceError(f"{file} is no JSON: {error}") from None
    raise SourceError(f"{file} ends in the middle or is no JSON: {quoted(text[:60])}, expected an array of rows")


def _after(text: str, at: int) -> int:
    found = _BETWEEN.match(text, at)
    return found.end() if found else at


def text_of(row: Mapping[str, Any], name: str, table: str) -> str:
    """A value that has to be text.

    Raises:
        SourceError: it is missing or something else.
    """
    value = row.get(name)
    if not isinstance(value, str):
        raise SourceError(f"{name} of a row of {table} is {quoted(value)}, expected text; the row: {quoted(dict(row))}")
    return value


def pose_of(row: Mapping[str, Any], table: str) -> np.ndarray:
    """`translation`, m, and `rotation` (w x y z) of a row as one transform (4, 4).

    Raises:
        SourceError: they are missing or none.
    """
    try:
        position = np.array(row["translation"], np.float64)
        w, x, y, z = (float(value) for value in row["rotation"])
        if position.shape != (3,) or not np.isfinite(position).all():
            raise ValueError("translation")
        return transform(rotation_from_quaternion(x, y, z, w), position)
    except (KeyError, TypeError, ValueError):
        what = f"translation and rotation of a row of {table} are"
        given = f"{quoted(row.get('translation'))} and {quoted(row.get('rotation'))}"
        raise SourceError(f"{what} {given}, expected x y z in m and a quaternion w x y z") from None


def word(row: Mapping[str, Any], name: str) -> str:
    """A value to compare with tokens and names: '' where it is missing or no text."""
    value = row.get(name)
    return value if isinstance(value, str) else ""


def whole_of(row: Mapping[str, Any], name: str, table: str) -> int:
    """A value that has to be a whole number, at least 0 and below 2^53.

    Raises:
        SourceError: it is missing or something else.
    """
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1 or not 0 <= value < 2**53:
        raise SourceError(f"{name} of a row of {table} is {quoted(value)}, expected a whole number")
    return int(value)
