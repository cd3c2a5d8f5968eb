"""The command `defeat-ros process`: one bag, or many of them by several workers."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from defeat_ros.cli.common import Commands, engine_config, print_table
from defeat_ros.errors import ConfigError, DefeatError, shown
from defeat_ros.progress import plain_console, progress_bar

if TYPE_CHECKING:  # take seconds
    from defeat_ros.inference.fleet import Event, Workers
    from defeat_ros.inference.fleet_job import Job, Orders, Outcome
    from defeat_ros.inference.ledger import LedgerCounts


def add_process(
    add: Commands,
    add_engine_options: Callable[[argparse.ArgumentParser], None],
    make_engine: Callable[[argparse.Namespace], Any],
) -> None:
    """Add the command.

    Args:
        add: adds a command.
        add_engine_options: adds the options that say which engine to make.
        make_engine: makes it from the parsed options.
    """
    process = add("process", None, "every frame of a bag, or of many, through the engine, offline")
    process.set_defaults(run=lambda options: _process(options, make_engine))
    process.add_argument("bags", type=Path, nargs="+", metavar="IN_BAG")
    out = (
        "new bag, or an unfinished one, to go on with; of several IN_BAGs, a folder for OUT/<name of the bag>, where "
        "those that are complete are kept, so the same command goes on"
    )
    process.add_argument("out", type=Path, metavar="OUT", help=out)
    process.add_argument("--image-topic", help="needed where the bag has several")
    process.add_argument("--odom-topic", metavar="TOPIC", help="measured odometry of the bag, for the metric scale")
    process.add_argument(
        "--topics",
        nargs="+",
        metavar="TOPIC",
        help="outputs to write, by the node's names (default depth/image_rect depth/camera_info odom)",
    )
    workers = "of several bags: how many at a time, the cores shared between them (default: one for each core)"
    process.add_argument("--workers", type=int, metavar="N", help=workers)
    cluster = (
        "of several bags: as tasks of Ray; local starts it here, auto, HOST:PORT or ray://HOST:PORT connects to a "
        "cluster that has this package and shares the storage"
    )
    process.add_argument("--ray", metavar="ADDRESS", help=cluster)
    add_engine_options(process)


def _process(options: argparse.Namespace, make_engine: Any) -> None:
    if len(options.bags) > 1:
        return _process_many(options)
    for name in ("workers", "ray"):
        if getattr(options, name) is not None:
            raise ConfigError(f"--{name} is {getattr(options, name)!r} with one IN_BAG, expected several and a folder")
    return _process_one(options.bags[0], options, make_engine)


def _process_one(source: Path, options: argparse.Namespace, make_engine: Any) -> None:
    from defeat_ros.data.bag import BagReader
    from defeat_ros.inference.process import DEFAULT_TOPICS, process_bag
    from defeat_ros.inference.unfinished import Unfinished

    if Unfinished.find(options.out):  # before the weights are loaded
        print(f"defeat-ros: '{options.out}' is unfinished: going on with it", file=sys.stderr)
    with BagReader(source) as bag:
        topic = bag.image_topic(options.image_topic)
        total = bag.topics[topic].count
    engine = make_engine(options)
    with progress_bar("processing", total) as advance:
        topics = options.topics or DEFAULT_TOPICS
        try:
            done = process_bag(source, options.out, engine, topics, topic, options.odom_topic, advance)
        except KeyboardInterrupt:
            print(f"defeat-ros: '{options.out}' is unfinished; the same command goes on", file=sys.stderr)
            raise
    for line in done.warnings:
        print(f"defeat-ros: {shown(line)}", file=sys.stderr)
    counts = done.counts
    rows: list[tuple[str, Any]] = [("frames in", counts.received), ("published", counts.published)]
    rows += [(f"dropped: {reason}", number) for reason, number in counts.dropped.items()]
    if done.earlier:
        rows.append(("of these by an earlier run", done.earlier))
    rows += [("frames/s", f"{counts.received / max(done.seconds, 1e-9):.2f}"), *_engine_rows(engine.info)]
    print_table(f"{source} -> {options.out}", rows)


def _engine_rows(info: Any) -> list[tuple[str, Any]]:
    return [
        ("checkpoint", f"{info.checkpoint}{'' if info.trained else ' (UNTRAINED)'}"),
        ("backend", f"{info.backend} {info.precision}"),
        ("device", info.device),
    ]


def _process_many(options: argparse.Namespace) -> None:
    from defeat_ros.inference.fleet import bag_names, give_orders, plan, run_fleet, sole_user
    from defeat_ros.inference.process import DEFAULT_TOPICS

    if options.workers is not None and options.workers < 1:
        raise ConfigError(f"--workers is {options.workers}, expected at least 1")
    if options.ray is not None and importlib.util.find_spec("ray") is None:
        raise DefeatError(f"--ray {options.ray} needs Ray: pip install ray")
    names = bag_names(options.bags)
    orders = give_orders(options.out, engine_config(options), options.topics or DEFAULT_TOPICS, options.odom_topic)
    started = time.monotonic()
    with sole_user(options.out):
        jobs, outcomes = plan(orders, options.bags, options.image_topic)
        for outcome in outcomes:
            _tell(outcome)
        counts = [job.images for job in jobs]
        total = None if None in counts else sum(filter(None, counts))
        if jobs:
            workers = _workers(options, orders, len(jobs))
            with progress_bar("processing", total) as advance:
                teller = _Teller(jobs, advance)
                try:
                    outcomes += run_fleet(orders, jobs, workers, teller)
                except KeyboardInterrupt:
                    print(
                        f"defeat-ros: {teller.complete} of {len(jobs)} bags done; the same command goes on",
                        file=sys.stderr,
                    )
                    raise
    outcomes.sort(key=lambda outcome: names.index(outcome.name))
    _tell_engines(outcomes)
    _print_outcomes(f"{len(names)} bags -> {options.out}", outcomes, time.monotonic() - started)
    if failed := [outcome.name for outcome in outcomes if outcome.problem]:
        raise DefeatError(f"{len(failed)} of {len(names)} bags failed: {', '.join(failed)}")


def _workers(options: argparse.Namespace, orders: Orders, jobs: int) -> Workers:
    if options.ray is not None:
        from defeat_ros.inference.fleet_ray import RayWorkers

        return RayWorkers(orders, jobs, options.ray, options.workers)
    from defeat_ros.inference.fleet_local import LocalWorkers

    return LocalWorkers(orders, min(jobs, options.workers or len(os.sched_getaffinity(0))))


class _Teller:
    """Shows what happens: images on the bar, the rest as lines on stderr."""

    def __init__(self, jobs: Sequence[Job], advance: Callable[..., None]) -> None:
        self._images = {job.name: job.images or 0 for job in jobs}
        self._advance = advance
        self._frames: dict[str, int] = {}
        self._ended = 0
        self.complete = 0

    def __call__(self, event: Event) -> None:
        from defeat_ros.inference.fleet import Lost, Progress

        if isinstance(event, Progress):
            self._frames[event.name] = event.frames
        elif isinstance(event, Lost):
            self._frames[event.name] = 0
            if event.again:
                print(f"defeat-ros: {event.name}: {event.reason}; gone on with", file=sys.stderr)
        else:
            self._frames[event.name] = self._images[event.name]
            self._ended += 1
            self.complete += not event.problem
            _tell(event)
        self._advance(sum(self._frames.values()), label=f"processing, {self._ended} of {len(self._images)} bags")


def _tell(outcome: Outcome) -> None:
    if outcome.kept:
        print(f"defeat-ros: {outcome.name}: complete before, kept", file=sys.stderr)
    for line in outcome.warnings:
        print(f"defeat-ros: {shown(outcome.name)}: {shown(line)}", file=sys.stderr)
    if outcome.problem:
        print(f"{outcome.trace}defeat-ros: {shown(f'{outcome.name}: failed: {outcome.problem}')}", file=sys.stderr)


def _tell_engines(outcomes: Sequence[Outcome]) -> None:
    """What must be known of the engines, each thing once: bags differ in it where machines do."""
    engines = [outcome.engine for outcome in outcomes if outcome.engine is not None]
    lines = [f"checkpoint {engine.caution}" for engine in engines if engine.caution]
    lines += [line for engine in engines for line in engine.warnings]
    for line in dict.fromkeys(lines):
        print(f"defeat-ros: {shown(line)}", file=sys.stderr)


def _print_outcomes(title: str, outcomes: Sequence[Outcome], seconds: float) -> None:
    table = Table(title=title, title_justify="left")
    for column in ("bag", "", "frames in", "published", "dropped", "frames/s"):
        table.add_column(column, overflow="fold", justify="left" if column in ("bag", "", "dropped") else "right")
    whole = [outcome for outcome in outcomes if not outcome.problem]
    for outcome in outcomes:
        state = "kept" if outcome.kept else "done"
        cells = _cells([outcome.counts], outcome.counts.received / max(outcome.seconds, 1e-9))
        table.add_row(outcome.name, *(["failed", *4 * ["-"]] if outcome.problem else [state, *cells]))
    table.add_section()
    fresh = sum(outcome.counts.received for outcome in whole if not outcome.kept)
    table.add_row("total", "", *_cells([outcome.counts for outcome in whole], fresh / max(seconds, 1e-9)))
    plain_console().print(table)


def _cells(counts: Sequence[LedgerCounts], rate: float) -> list[str]:
    dropped: Counter[str] = Counter()
    for one in counts:
        dropped.update(one.dropped)
    reasons = "\n".join(f"{number} {reason}" for reason, number in dropped.items())
    received, published = sum(one.received for one in counts), sum(one.published for one in counts)
    return [str(received), str(published), reasons or "0", f"{rate:.2f}" if rate else "-"]
