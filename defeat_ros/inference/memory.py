"""What the parts of a run remember from frame to frame, as bytes: to go on after the process was killed.

A part says in `REMEMBERED` which of its attributes hold its memory; the others are parameters, or follow from these.
Parts are recalled in place. Not pickle: a file can give wrong numbers, but run nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from safetensors.numpy import load, save


class MemoryUnfit(Exception):
    """What was kept is not a memory of these parts: damaged, or of another version."""


Kinds = Mapping[str, Callable[..., Any]]
"""Dataclasses that may be among what is remembered, by name."""


def dump(parts: Mapping[str, Any]) -> bytes:
    """The memories of parts, and values, by name."""
    arrays: dict[str, np.ndarray] = {}
    told = {name: _pack(part, arrays) for name, part in parts.items()}
    return bytes(save(arrays, {"told": json.dumps(told)}))


def load_values(
    data: bytes, parts: Mapping[str, Any], kinds: Kinds, only: Collection[str] | None = None
) -> dict[str, Any]:
    """Give parts their memories back.

    Args:
        data: from `dump`.
        parts: those that were there then, by name.
        kinds: see `Kinds`.
        only: names of the values to give; None: of all.

    Returns:
        the values among what was dumped, by name.

    Raises:
        MemoryUnfit: they do not fit; some parts may have been changed.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        told = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["told"])
        arrays = load(data)
        for name, part in parts.items():
            _recall(part, told.pop(name), arrays, kinds)
        return {name: _unpack(value, arrays, kinds) for name, value in told.items() if only is None or name in only}
    except Exception as error:  # whatever comes of bytes that are something else
        raise MemoryUnfit(" ".join(str(error).split()) or type(error).__name__) from error


def _pack(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.ndarray):
        name = str(len(arrays))
        arrays[name] = np.ascontiguousarray(value)
        return {"array": name}
    if isinstance(value, (list, tuple)):
        alike = len(value) > 1 and all(isinstance(one, np.ndarray) and one.shape == value[0].shape for one in value)
        if isinstance(value, list) and alike:  # thousands of poses are one array
            return {"stack": _pack(np.stack(value), arrays)["array"]}
        return {type(value).__name__: [_pack(one, arrays) for one in value]}
    if isinstance(value, dict):
        return {"dict": [[_pack(key, arrays), _pack(one, arrays)] for key, one in value.items()]}
    if (names := getattr(value, "REMEMBERED", None)) is not None:
        return {"part": {name: _pack(getattr(value, name), arrays) for name in names}}
    if is_dataclass(value):
        inside = {field.name: _pack(getattr(value, field.name), arrays) for field in fields(value)}
        return {"kind": type(value).__name__, "fields": inside}
    raise TypeError(f"{type(value).__name__} cannot be kept")


def _unpack(told: Any, arrays: Mapping[str, np.ndarray], kinds: Kinds) -> Any:
    if not isinstance(told, dict):
        return told
    if "array" in told:
        return arrays[told["array"]].copy()  # what is read lies in the bytes, which are not to be written to
    if "stack" in told:
        return list(arrays[told["stack"]].copy())
    if "dict" in told:
        return {_unpack(key, arrays, kinds): _unpack(one, arrays, kinds) for key, one in told["dict"]}
    if "kind" in told:
        inside = {name: _unpack(one, arrays, kinds) for name, one in told["fields"].items()}
        return kinds[told["kind"]](**inside)
    if "list" in told:
        return [_unpack(one, arrays, kinds) for one in told["list"]]
    return tuple(_unpack(one, arrays, kinds) for one in told["tuple"])


def _recall(part: Any, told: Any, arrays: Mapping[str, np.ndarray], kinds: Kinds) -> None:
    inside = told["part"]
    if sorted(inside) != sorted(part.REMEMBERED):
        raise ValueError(f"{type(part).__name__} remembers {sorted(part.REMEMBERED)}, found {sorted(inside)}")
    for name, value in inside.items():
        if isinstance(value, dict) and "part" in value:
            _recall(getattr(part, name), value, arrays, kinds)
        else:
            setattr(part, name, _unpack(value, arrays, kinds))
