"""What the commands share: parsing of sizes and NAME=VALUE, tables."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from defeat_ros.errors import ConfigError

Commands = Callable[[str, Any, str], argparse.ArgumentParser]
"""Adds a command by name, function and help."""


def size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT."""
    width, x, height = text.lower().partition("x")
    if not (x and width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is no size, expected WIDTHxHEIGHT such as 480x352")
    return int(width), int(height)


def parse_overrides(items: Sequence[str]) -> dict[str, Any]:
    """What `--set NAME=VALUE` says, values as YAML.

    Raises:
        ConfigError: an item has no '=' or its value is not YAML.
    """
    overrides: dict[str, Any] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals:
            raise ConfigError(f"--set {item!r} has no '=', expected NAME=VALUE")
        try:
            overrides[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {item!r}: the value is not YAML") from error
    return overrides


def print_table(title: str, rows: Sequence[tuple[str, Any]]) -> None:
    """Print names and values as a table on stdout."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")  # a hash is worth nothing cut short
    for name, value in rows:
        table.add_row(name, str(value))
    Console().print(table)
