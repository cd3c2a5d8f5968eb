"""Configuration as frozen dataclasses: one description feeds YAML keys, ROS parameters and CLI flags."""

from __future__ import annotations

import contextlib
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

from defeat_ros.errors import ConfigError
from defeat_ros.untrusted import quoted

T = TypeVar("T")


@dataclass(frozen=True)
class Option:
    """What is known about one field besides its type and default."""

    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = False


def option(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    read_only: bool = False,
) -> Any:
    """A dataclass field with a description and limits; `read_only` where it is fixed at the start."""
    return field(default=default, metadata={"option": Option(help, minimum, maximum, choices, read_only)})


@dataclass(frozen=True)
class Entry:
    """One leaf of a configuration, under its dotted name."""

    name: str
    type: Any
    default: Any
    option: Option


def entries(cls: type, prefix: str = "") -> list[Entry]:
    """Every leaf option of a configuration class, in the order of its fields; nested classes give dotted names."""
    hints = typing.get_type_hints(cls)
    found: list[Entry] = []
    for item in fields(cls):
        if is_dataclass(hints[item.name]):
            found += entries(hints[item.name], f"{prefix}{item.name}.")
        else:
            found.append(Entry(prefix + item.name, hints[item.name], item.default, item.metadata["option"]))
    return found


def values(config: Any, prefix: str = "") -> dict[str, Any]:
    """The configuration as a flat dictionary with dotted names."""
    flat: dict[str, Any] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        nested = values(value, f"{prefix}{item.name}.") if is_dataclass(value) else {prefix + item.name: value}
        flat.update(nested)
    return flat


def changed(config: Any) -> dict[str, Any]:
    """The leaf values of a configuration that are not the defaults, by dotted name."""
    plain = {entry.name: entry.default for entry in entries(type(config))}
    return {name: value for name, value in values(config).items() if value != plain[name]}


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings, as YAML gives them, to one level with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in mapping.items():
        nested = flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
        flat.update(nested)
    return flat


def build(cls: type[T], mapping: Mapping[str, Any]) -> T:
    """Make a configuration from names (dotted or nested) and values; what is not named, or null, keeps its default.

    Raises:
        ConfigError: a name is unknown, or a value has the wrong type or is out of range.
    """
    given = flatten(mapping)
    known = {entry.name: entry for entry in entries(cls)}
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name[:100], known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"
            raise ConfigError(f"unknown parameter {quoted(name)}; {hint}")
    checked = {name: check(known[name], value) for name, value in given.items() if value is not None}
    return _construct(cls, checked, "")


def check(entry: Entry, value: Any) -> Any:
    """Bring a value to the option's type and hold it against its limits.

    Raises:
        ConfigError: it does not fit.
    """
    value = _coerce(entry, value)
    limits = entry.option
    if limits.choices and value not in limits.choices:
        raise ConfigError(f"parameter {entry.name!r} is {quoted(value)}, expected one of {', '.join(limits.choices)}")
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            continue
        low, high = limits.minimum, limits.maximum
        too_low, too_high = low is not None and number < low, high is not None and number > high
        # Not math.isfinite, which cannot tell of a whole number that no float holds.
        if not -math.inf < number < math.inf or too_low or too_high:
            bounds = f"{'-inf' if low is None else low} to {'inf' if high is None else high}"
            raise ConfigError(f"parameter {entry.name!r} is {quoted(value)}, expected {bounds}")
    return value


def yaml_lines(found: Iterable[Entry], indent: str = "") -> list[str]:
    """Options with their defaults and what they mean, as lines of a YAML file."""
    lines: list[str] = []
    group: list[str] = []
    for entry in found:
        *path, leaf = entry.name.split(".")
        shared = 0
        while shared < min(len(path), len(group)) and path[shared] == group[shared]:
            shared += 1
        lines += [f"{indent}{'  ' * depth}{path[depth]}:" for depth in range(shared, len(path))]
        group = path
        inner = indent + "  " * len(path)
        lines += [f"{inner}# {_explain(entry)}", f"{inner}{leaf}: {_yaml(entry.default)}"]
    return lines


def _explain(entry: Entry) -> str:
    limits, notes = entry.option, []
    if limits.choices:
        notes.append(" | ".join(limits.choices))
    if limits.minimum is not None or limits.maximum is not None:
        low = "" if limits.minimum is None else f"{limits.minimum:g}"
        high = "" if limits.maximum is None else f"{limits.maximum:g}"
        notes.append(f"{low} to {high}" if low and high else f"at least {low}" if low else f"at most {high}")
    return limits.help + (f" ({'; '.join(notes)})" if notes else "")


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return f"[{', '.join(_yaml(item) for item in value)}]"
    return repr(value)


def _coerce(entry: Entry, value: Any) -> Any:
    wanted = entry.type
    if typing.get_origin(wanted) is tuple:
        items, kinds = value, typing.get_args(wanted)
        variadic = len(kinds) == 2 and kinds[1] is Ellipsis
        if not isinstance(items, (list, tuple)) and not hasattr(items, "tolist"):
            raise ConfigError(f"parameter {entry.name!r} is {quoted(value)}, expected a list")
        if not variadic and len(items) != len(kinds):
            raise ConfigError(f"parameter {entry.name!r} is {quoted(value)}, expected {len(kinds)} values")
        return tuple(_scalar(entry, kinds[0], item) for item in items)
    return _scalar(entry, wanted, value)


def _scalar(entry: Entry, wanted: Any, value: Any) -> Any:
    if isinstance(wanted, types.UnionType):
        raise TypeError(f"{entry.name}: options have one type, got {wanted}")
    if wanted is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            value = float(value)  # YAML 1.1 takes 1e3 for text
    if isinstance(value, wanted) and not (wanted is not bool and isinstance(value, bool)):
        return value
    raise ConfigError(f"parameter {entry.name!r} is {quoted(value)}, expected a {wanted.__name__}")


def _construct(cls: type[T], flat: Mapping[str, Any], prefix: str) -> T:
    hints = typing.get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for item in fields(cls):  # type: ignore[arg-type]
        name = prefix + item.name
        if is_dataclass(hints[item.name]):
            arguments[item.name] = _construct(hints[item.name], flat, f"{name}.")
        elif name in flat:
            arguments[item.name] = flat[name]
    return cls(**arguments)
