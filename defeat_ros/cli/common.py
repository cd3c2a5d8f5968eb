"""What the commands share: parsing of sizes and NAME=VALUE, tables."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from defeat_ros.errors import ConfigError, shown
from defeat_ros.untrusted import quoted, read_yaml

if TYPE_CHECKING:
    from defeat_ros.inference.config import DepthConfig

LONGEST = 400
"""Characters of a value that a table shows; --json has all of it."""

Commands = Callable[[str, Any, str], argparse.ArgumentParser]
"""Adds a command by name, function and help."""


def size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT."""
    width, x, height = text.lower().partition("x")
    if not (x and width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is no size, expected WIDTHxHEIGHT such as 480x352")
    return int(width), int(height)


def parse_pairs(option: str, items: Sequence[str], form: str = "NAME=VALUE") -> list[tuple[str, str]]:
    """Names and values of a repeatable option, as they stand.

    Raises:
        ConfigError: an item has no '='.
    """
    pairs = []
    for item in items:
        name, equals, value = item.partition("=")
        if not equals:
            raise ConfigError(f"{option} {quoted(item)} has no '=', expected {form}")
        pairs.append((name, value))
    return pairs


def parse_overrides(items: Sequence[str]) -> dict[str, Any]:
    """What `--set NAME=VALUE` says, values as YAML.

    Raises:
        ConfigError: an item has no '=' or its value is not YAML.
    """
    overrides: dict[str, Any] = {}
    for name, value in parse_pairs("--set", items):
        try:
            overrides[name] = read_yaml(value)
        except ValueError as error:
            given = quoted(f"{name}={value}")
            raise ConfigError(f"--set {given}: the value is not YAML that can be used: {error}") from error
    return overrides


def engine_config(options: argparse.Namespace) -> DepthConfig:
    """The engine's parameters from `--params-file`, `--set` and `--checkpoint`.

    Raises:
        ConfigError: see `parse_overrides` and `load_config`.
    """
    from defeat_ros.inference.config import load_config

    overrides = parse_overrides(options.set)
    if options.checkpoint:
        overrides["checkpoint"] = options.checkpoint
    return load_config(options.params_file, overrides)


def provenance_rows(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a weight file says of its origin, for reading: hundreds of recordings are counted, long commands cut."""
    rows: list[tuple[str, str]] = []
    for name, value in sorted(told.items()):
        if name == "metrics" and isinstance(value, Mapping):
            rows += [(f"measured: {condition}", _figures(scores)) for condition, scores in value.items()]
        elif name == "data" and isinstance(value, list):
            rows.append((name, _counted(value)))
        elif name == "config" and isinstance(value, Mapping):
            rows.append(("config, where not the default", _unusual(value)))
        else:
            text = str(value)
            half = LONGEST // 2
            rows.append((name, text if len(text) <= LONGEST else f"{text[:half]} ... {text[-half:]}"))
    return rows


def _counted(recordings: list[Any]) -> str:
    told = [one for one in recordings if isinstance(one, Mapping)]
    used = [one for one in told if "left_out" not in one]
    frames = sum(one["frames"] for one in used if isinstance(one.get("frames"), int))
    left = f", {len(told) - len(used)} left out" if len(used) < len(told) else ""
    return f"{len(used)} recordings, {frames} frames{left}"


def _unusual(config: Mapping[str, Any]) -> str:
    from defeat_ros.settings import entries
    from defeat_ros.training.config import TrainConfig

    usual = {entry.name: entry.default for entry in entries(TrainConfig)}
    told = {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
    rows = [f"{key}={value}" for key, value in told.items() if key not in usual or value != usual[key]]
    return ", ".join(rows) or "nothing"


def _figures(scores: Any) -> str:
    if not isinstance(scores, Mapping):
        return str(scores)
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in scores.items()
    )


def print_table(title: str, rows: Sequence[tuple[str, Any]]) -> None:
    """Print names and values as a table on stdout."""
    table = Table(title=Text(shown(title), style="table.title"), title_justify="left", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")  # a hash is worth nothing cut short
    for name, value in rows:
        table.add_row(Text(shown(name)), Text(shown(value)))  # not markup: a weight file can say anything
    Console().print(table)
