"""Many bags, each through an engine of its own in one of several workers; a bag whose worker dies is gone on with."""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from defeat_ros import files
from defeat_ros.data.bag import BagReader
from defeat_ros.data.recording import is_bag
from defeat_ros.errors import ConfigError, DefeatError, OutputError, SourceError
from defeat_ros.inference.config import DepthConfig
from defeat_ros.inference.fleet_job import Job, Orders, Outcome, earlier_outcome, remove_partial
from defeat_ros.inference.outputs import TOPICS

RETRIES = 2
"""How often a bag is gone on with whose worker died."""


@dataclass(frozen=True)
class Progress:
    """How many images of a bag are done, told now and then by the process that does it."""

    name: str
    frames: int
    pid: int


@dataclass(frozen=True)
class Lost:
    """A worker died over a bag; whether the bag is gone on with."""

    name: str
    reason: str
    again: bool = True


Event = Progress | Lost | Outcome


class Workers(Protocol):
    """Where bags are processed.

    Attributes:
        count: how many at a time.
    """

    count: int

    def start(self, job: Job) -> None:
        """Begin a bag; not called while `count` of them are under way."""

    def wait(self) -> Sequence[Event]:
        """What has happened; waits a while for something to. An Outcome or a Lost is the last of its bag."""

    def close(self) -> None:
        """End every worker, also in the middle of a bag."""


def bag_name(path: Path) -> str:
    """What a bag is called: its folder's name, or its file's without .mcap, .db3 or .bag."""
    path = path.resolve() if path.name in ("", "..") else path  # otherwise a link has the name it goes by
    return path.name if path.is_dir() or not is_bag(path) else path.stem


def bag_names(sources: Sequence[Path]) -> list[str]:
    """The names of bags, each of them another.

    Raises:
        ConfigError: two are the same.
    """
    named: dict[str, Path] = {}
    for source in sources:
        name = bag_name(source)
        if name in named:
            raise ConfigError(f"'{named[name]}' and '{source}' are both called {name!r}, expected a name for each bag")
        named[name] = source
    return list(named)


def give_orders(folder: Path, config: DepthConfig, topics: Sequence[str], odom_topic: str | None = None) -> Orders:
    """What is the same for every bag; what cannot be done is told before any work begins.

    Args:
        folder: where the results go.
        config: parameters of the engine.
        topics: outputs to write.
        odom_topic: measured odometry of the bags, None for none.

    Raises:
        DefeatError: `topics` names one that does not exist.
        CheckpointError: the weights cannot be read.
    """
    from defeat_ros.checkpoint.reading import read_checkpoint
    from defeat_ros.inference.weights import find_checkpoint

    if unknown := [name for name in topics if name not in TOPICS]:
        raise DefeatError(f"topic {unknown[0]!r} is unknown, expected one of {', '.join(TOPICS)}")
    key = config.checkpoint_key
    weights = read_checkpoint(find_checkpoint(config.checkpoint), (lambda content: content[key]) if key else None)
    # Workers may run in another directory; on another machine the weights that ship may lie elsewhere.
    checkpoint = str(weights.path.absolute()) if config.checkpoint else ""
    hood_mask = str(Path(config.hood_mask).absolute()) if config.hood_mask else ""
    config = replace(config, checkpoint=checkpoint, hood_mask=hood_mask)
    return Orders(folder.absolute(), config, weights.sha256, tuple(topics), odom_topic)


@contextlib.contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Make the folder of results where it is missing, and keep others out of it for the length of a `with` block.

    Raises:
        OutputError: it is a bag or a file, cannot be made, or another process is filling it.
    """
    if folder.is_dir() and is_bag(folder):
        raise OutputError(f"'{folder}' is a bag, expected a folder for the results of those before it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make folder '{folder}': {error.strerror}") from error
    with files.sole_user(folder):
        yield


def plan(orders: Orders, sources: Sequence[Path], image_topic: str | None = None) -> tuple[list[Job], list[Outcome]]:
    """What is to be done, and what came of the other bags already: they are complete, or cannot be read.

    Args:
        orders: see `give_orders`.
        sources: the bags.
        image_topic: the images to take; None: the only ones there are.

    Raises:
        ConfigError: two bags have the same name.
        OutputError: where a result would go lies a bag to read, or something else.
    """
    jobs, known = [], []
    for name, source in zip(bag_names(sources), sources, strict=True):
        if source.exists() and (orders.folder / name).exists() and source.samefile(orders.folder / name):
            raise OutputError(f"the result of '{source}' would be in its own place, expected another folder")
        try:
            with BagReader(source) as bag:
                topic = bag.image_topic(image_topic)
                span = (bag.start_ns, bag.end_ns)
                job = Job(name, source.absolute(), topic, bag.topics[topic].count, span)
        except SourceError as error:
            known.append(Outcome(name, problem=str(error)))
            continue
        earlier = earlier_outcome(orders, job)
        if earlier is None:
            jobs.append(job)
        else:
            remove_partial(orders.folder, name)
            known.append(earlier)
    return jobs, known


def run_fleet(
    orders: Orders, jobs: Sequence[Job], workers: Workers, on_event: Callable[[Event], None] = lambda event: None
) -> list[Outcome]:
    """Process bags; the workers are closed at the end, and also when this is interrupted.

    Args:
        orders, jobs: see `plan`.
        workers: where.
        on_event: called with whatever happens.

    Returns:
        what came of each bag, in the order in which they ended.
    """
    waiting, running = deque(jobs), dict[str, Job]()
    losses, outcomes = Counter[str](), list[Outcome]()
    try:
        while waiting or running:
            while waiting and len(running) < workers.count:
                job = waiting.popleft()
                running[job.name] = job
                workers.start(job)
            for event in workers.wait():
                if isinstance(event, Progress):
                    on_event(event)
                    continue
                job, end = running.pop(event.name), event
                if isinstance(end, Lost):
                    losses[job.name] += 1
                    if losses[job.name] <= RETRIES:
                        waiting.append(job)  # behind the others, which may not kill their workers
                        on_event(end)
                        continue
                    on_event(replace(end, again=False))
                    problem = f"{losses[job.name]} workers died over it, the last: {end.reason}"
                    end = Outcome(job.name, problem=problem, unfinished=True)  # the same command may get further
                outcomes.append(_seen(orders, end))
                on_event(outcomes[-1])
    finally:
        workers.close()
        for outcome in outcomes:  # the others, of a run that is interrupted, are gone on with
            if not outcome.unfinished:
                remove_partial(orders.folder, outcome.name)
    return outcomes


def _seen(orders: Orders, outcome: Outcome) -> Outcome:
    """The outcome, or that the result is not where it should be: on a machine with storage of its own."""
    # Shared storage lists what has just come, where a look-up may still remember that nothing was there.
    if outcome.problem or any(path.name == outcome.name for path in orders.folder.iterdir()):
        return outcome
    return Outcome(outcome.name, problem=f"its worker wrote to another '{orders.folder}', expected shared storage")
