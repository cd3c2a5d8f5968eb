"""One bag of many: made under a hidden name, renamed once it is whole, with a record of how it was made.

Wherever a worker is killed, the folder of results holds whole bags only, and under hidden names what is gone on with.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defeat_ros.errors import DefeatError, OutputError
from defeat_ros.files import is_left_alone, write_json
from defeat_ros.inference.config import DepthConfig
from defeat_ros.inference.ledger import LedgerCounts
from defeat_ros.inference.unfinished import OtherVersion, can_go_on, made_of, what_differs

if TYPE_CHECKING:  # takes seconds
    from defeat_ros.inference.weights import EngineInfo

RECORD = "process.json"
"""File in a finished bag: what came of it, and what it was made of."""
REPORT_EVERY_S = 0.2


@dataclass(frozen=True)
class Orders:
    """What is the same for every bag.

    Attributes:
        folder: where the results go.
        config: parameters of the engine.
        checkpoint_sha256: of the weight file.
        topics: outputs to write.
        odom_topic: measured odometry of the bags, None for none.
    """

    folder: Path
    config: DepthConfig
    checkpoint_sha256: str
    topics: tuple[str, ...]
    odom_topic: str | None = None


@dataclass(frozen=True)
class Job:
    """One bag.

    Attributes:
        name: of the bag, and of its result in the folder.
        source: the bag.
        image_topic: the images to take.
        images: how many there are, None where it is not known.
        recorded_ns: recording time of its first and last message, ns.
    """

    name: str
    source: Path
    image_topic: str
    images: int | None
    recorded_ns: tuple[int, int]


@dataclass(frozen=True)
class Outcome:
    """What came of a bag.

    Attributes:
        name: of the bag.
        counts: its images, published or dropped by reason.
        warnings: what the user should know.
        seconds: time spent, s.
        problem: why there is no result; '' where there is one.
        trace: of an error that nobody expected.
        kept: whether it was there before.
        unfinished: whether what was done before the problem is kept, to be gone on with.
        engine: what ran, None where nothing did.
    """

    name: str
    counts: LedgerCounts = field(default_factory=lambda: LedgerCounts(0, 0))
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    problem: str = ""
    trace: str = ""
    kept: bool = False
    unfinished: bool = False
    engine: EngineInfo | None = None


def do_job(orders: Orders, job: Job, report: Callable[[int], None] = lambda frames: None) -> Outcome:
    """Process a bag; whatever goes wrong is told in the outcome.

    Args:
        orders, job: what to do.
        report: called with the number of images that are done, not with each of them.
    """
    hidden = _hidden(orders.folder, job.name)
    attempt = None
    try:
        if (done := earlier_outcome(orders, job)) is not None:
            return replace(done, kept=False)  # its worker died between the last step and telling of it
        _make(hidden)
        while True:
            attempt = _attempt(hidden, orders, job)
            try:
                outcome = _process(orders, job, attempt / job.name, report)
                break
            except OtherVersion:  # left before an upgrade: nobody can go on with it
                shutil.rmtree(attempt)
        _finish(attempt / job.name, orders.folder / job.name)
        return outcome
    except OutputError as error:  # the disk is full, say: no reason to do it all again
        attempt, left = None, attempt
        return Outcome(job.name, problem=str(error), unfinished=left is not None)
    except DefeatError as error:
        return Outcome(job.name, problem=str(error))
    except Exception as error:
        return Outcome(job.name, problem=f"{type(error).__name__}: {error}", trace=traceback.format_exc())
    finally:
        if attempt is not None:
            shutil.rmtree(attempt, ignore_errors=True)
        with contextlib.suppress(OSError):  # another attempt is in it
            hidden.rmdir()


def earlier_outcome(orders: Orders, job: Job) -> Outcome | None:
    """What an earlier run made of the same bag in the same way; None where it is still to be done.

    Raises:
        OutputError: what lies there is something else.
    """
    out = orders.folder / job.name
    if not out.exists() and not out.is_symlink():
        return None
    advice = "remove it or name another folder"
    try:
        record = json.loads((out / RECORD).read_text(encoding="utf-8"))
        found, counts = dict(record["made_of"]), LedgerCounts(**record["counts"])
        outcome = Outcome(job.name, counts, tuple(record["warnings"]), float(record["seconds"]), kept=True)
    except (OSError, ValueError, KeyError, TypeError):
        raise OutputError(f"'{out}' exists and no {RECORD} says what it was made of; {advice}") from None
    if differs := what_differs(found, _made_of(orders, job)):
        raise OutputError(f"'{out}' exists, made with {differs}; {advice}")
    return outcome


def remove_partial(folder: Path, name: str) -> None:
    """Remove what a killed worker left of a bag."""
    shutil.rmtree(_hidden(folder, name), ignore_errors=True)


def _hidden(folder: Path, name: str) -> Path:
    return folder / f".partial-{name}"


def _attempt(hidden: Path, orders: Orders, job: Job) -> Path:
    """A folder to make the bag in: where a dead worker left it unfinished, else a new one.

    Another folder for each attempt: a worker that is only believed dead cannot write into its successor's bag.
    """
    for left in sorted(hidden.iterdir(), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        bag = left / job.name
        if is_left_alone(bag) and can_go_on(bag, _made_of(orders, job)):
            return left
        if is_left_alone(bag) or not bag.exists():
            shutil.rmtree(left, ignore_errors=True)
    made = hidden / f"{os.getpid()}-{time.time_ns()}"
    _make(made)
    return made


def _process(orders: Orders, job: Job, partial: Path, report: Callable[[int], None]) -> Outcome:
    from defeat_ros.inference.engine import DepthEngine
    from defeat_ros.inference.process import process_bag

    engine = DepthEngine(orders.config)
    frames, reported = 0, float("-inf")

    def on_frame() -> None:
        nonlocal frames, reported
        frames += 1
        if time.monotonic() - reported >= REPORT_EVERY_S:
            reported = time.monotonic()
            report(frames)

    done = process_bag(job.source, partial, engine, orders.topics, job.image_topic, orders.odom_topic, on_frame)
    record = {
        "source": str(job.source),
        "counts": {
            "received": done.counts.received,
            "published": done.counts.published,
            "dropped": done.counts.dropped,
        },
        "warnings": done.warnings,
        "seconds": done.seconds,
        "engine": asdict(engine.info),
        "made_of": _made_of(orders, job),
    }
    write_json(partial / RECORD, record)
    return Outcome(job.name, done.counts, done.warnings, done.seconds, engine=engine.info)


def _made_of(orders: Orders, job: Job) -> dict[str, Any]:
    about = (job.image_topic, job.images, job.recorded_ns)
    return made_of(orders.config, orders.checkpoint_sha256, orders.topics, orders.odom_topic, *about)


def _make(folder: Path) -> None:
    # Not its parents: on a machine that does not share the folder of results they are missing, and shall be.
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make '{folder}': {error.strerror}") from error


def _finish(partial: Path, out: Path) -> None:
    """Give a bag its name once it is on the disk: after a power cut, too, what has the name is whole.

    Raises:
        OutputError: something has come to lie there, or the disk fails.
    """
    try:
        for path in (*partial.iterdir(), partial):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        partial.rename(out)
    except OSError as error:
        raise OutputError(f"cannot make '{out}': {error.strerror}") from error
