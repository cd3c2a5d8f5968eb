"""What the kinds of `defeat-ros evaluate` share: sources, options, reports."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from defeat_ros.files import json_text, write_json
from defeat_ros.progress import progress_bar
from defeat_ros.settings import build, entries

T = TypeVar("T")


def add_sources(parser: argparse.ArgumentParser, count: str) -> None:
    """The recordings; `count` is argparse's nargs."""
    about = "bag, folder of images, public data set or video; with =FILE after it, the camera's intrinsics"
    parser.add_argument("sources", nargs=count, metavar="SOURCE", help=about)
    parser.add_argument("--image-topic", metavar="TOPIC", help="images of bags, where they have several")
    parser.add_argument(
        "--fps", type=float, help="thin recordings to this rate, Hz (default: every frame; training thins to 10)"
    )


def add_out(parser: argparse.ArgumentParser, holds: str = "summary.json and pictures") -> None:
    """Where results go, besides the terminal."""
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"new folder for {holds}")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def add_config(parser: argparse.ArgumentParser, cls: type) -> None:
    """One flag for each field."""
    for entry in entries(cls):
        flag = "--" + entry.name.replace("_", "-")
        if entry.type is bool:
            parser.add_argument(flag, action="store_true", default=None, help=entry.option.help)
            continue
        shown = f"{entry.option.help} (default {entry.default})"
        choices = entry.option.choices or None
        parser.add_argument(flag, type=entry.type, choices=choices, default=None, help=shown)


def config_of(cls: type[T], options: argparse.Namespace) -> T:
    """The options as a configuration.

    Raises:
        ConfigError: see `settings.build`.
    """
    return build(cls, {entry.name: getattr(options, entry.name) for entry in entries(cls)})


def open_sources(options: argparse.Namespace, **topics: str | None) -> list[Any]:
    """The recordings with their names, each name once."""
    from defeat_ros.data.recording import is_bag, open_recording, parse_source, unique_names

    opened = []
    for text in options.sources:
        path, intrinsics = parse_source(text)
        named = {"image_topic": options.image_topic, **topics} if is_bag(path) else {}
        opened.append(open_recording(path, intrinsics=intrinsics, fps=options.fps, **named))
    return list(zip(unique_names([recording.name for recording in opened]), opened, strict=True))


@contextmanager
def bar(label: str, recordings: Sequence[Any], times: int = 1) -> Iterator[Callable[..., None]]:
    counts = [recording.expected for _, recording in recordings]
    total = times * sum(counts) if all(count is not None for count in counts) else None
    with progress_bar(label, total) as advance:
        yield advance


def make_out(out: Path | None) -> None:
    if out is not None:
        from defeat_ros.inference.pictures import make_folder

        make_folder(out)


def write(out: Path | None, report: dict[str, Any]) -> None:
    if out is not None:
        write_json(out / "summary.json", report)


def show(options: argparse.Namespace, report: dict[str, Any], tables: Callable[[], None]) -> None:
    if options.json:
        print(json_text(report))
    else:
        tables()
