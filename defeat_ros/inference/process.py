"""Every image of a bag through the engine, offline and in order: the same predictions as live, none superseded.

Killed in the middle, it leaves a bag that can be read to the last frame but one, and goes on when it is started again;
the bag then becomes what it would have been, to the last byte.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from defeat_ros.data.bag import BagFrame, BagReader, BagWriter, bag_messages
from defeat_ros.errors import BackendError, DefeatError, FrameError, MessageError, OutputError
from defeat_ros.files import sole_user
from defeat_ros.inference.ahead import ahead
from defeat_ros.inference.config import DepthConfig
from defeat_ros.inference.engine import MEMORIES, DepthEngine, Perceived
from defeat_ros.inference.ledger import Ledger, LedgerCounts
from defeat_ros.inference.outputs import TOPICS, OutputComposer, base_from_camera, wanted_results
from defeat_ros.inference.process_input import Notes, OdometryOfBag, mount_of_bag
from defeat_ros.inference.unfinished import Unfinished, finished, images_of, keep, made_of

DEFAULT_TOPICS = ("depth/image_rect", "depth/camera_info", "odom")
KEEP_EVERY_S = 1.0
"""How often is kept how far it is: this much is done again, and not written twice, after the process was killed."""


@dataclass(frozen=True)
class ProcessSummary:
    """What came of a bag.

    Attributes:
        counts: every image of the bag, published or dropped by reason.
        warnings: what the user should know, each once.
        seconds: time spent, s, by all the runs that it took.
        earlier: how many of the images were done by an earlier run that did not finish.
    """

    counts: LedgerCounts
    warnings: tuple[str, ...]
    seconds: float
    earlier: int = 0


def process_bag(
    source: Path,
    out: Path,
    engine: DepthEngine,
    topics: Collection[str] = DEFAULT_TOPICS,
    image_topic: str | None = None,
    odom_topic: str | None = None,
    on_frame: Callable[[], None] = lambda: None,
) -> ProcessSummary:
    """Predict every image of a bag and write the results, under `/` and their topic names, to a new bag.

    Args:
        source: rosbag2 or ROS 1 bag.
        out: bag to make, or one of the same images and parameters that is unfinished: to be gone on with. What was
            written stays readable when processing stops half-way.
        engine: a fresh engine.
        topics: which of `TOPICS` to write.
        image_topic: the images to take; None: the only ones there are.
        odom_topic: measured odometry of the bag, for the scale; None: there is none.
        on_frame: called after each image, also for those of an earlier run.

    Raises:
        SourceError: no bag, no images, or several image topics and none chosen.
        OutputError: the output exists, was made of something else, or cannot be written; says how far it is.
        FrameError: features are asked for at an input size that is too small for them.
        DefeatError: `topics` names one that does not exist.
    """
    if unknown := [name for name in topics if name not in TOPICS]:
        raise DefeatError(f"topic {unknown[0]!r} is unknown, expected one of {', '.join(TOPICS)}")
    if "features" in wanted_results(topics) and engine.features_problem:
        raise FrameError(f"cannot compute features: {engine.features_problem}")
    with BagReader(source) as bag, ExitStack() as stack:
        images = bag.image_topic(image_topic)
        run = _Run(bag, images, engine, topics, odom_topic, stack)
        facts = made_of(engine.config, engine.info.sha256, tuple(topics), odom_topic, *images_of(bag, images))
        writer = run.open(out, facts, stack)
        for _ in range(run.earlier):
            on_frame()
        try:
            # Reading and decoding, the networks, and the rest with the writing, each on a thread of its own.
            frames = ahead(bag.frames(images, start=run.earlier))
            halves = stack.enter_context(closing(ahead(_perceive(item, engine, topics) for item in frames)))
            for item, half in halves:
                run.step(item, half, writer)
                on_frame()
            if bag.lost:
                run.notes.add("damage", f"the bag is damaged: {bag.lost}")
            writer.close()
            finished(out)
        except OutputError as error:
            raise OutputError(f"{error}; {run.told()}") from None
        return ProcessSummary(run.ledger.counts(), run.notes.lines(), run.seconds, run.earlier)


class _Run:
    """The half of processing that goes image by image and remembers, and how far it is."""

    def __init__(
        self,
        bag: BagReader,
        images: str,
        engine: DepthEngine,
        topics: Collection[str],
        odom_topic: str | None,
        stack: ExitStack,
    ) -> None:
        self.ledger, self.notes, self.earlier = Ledger(), Notes(), 0
        self._engine, self._topics = engine, topics
        self._began, self._before_s, self._kept = time.monotonic(), 0.0, float("-inf")
        if bag.camera_info_topic(images) is None:
            line = f"no camera_info beside {images}: depth has none either and is not rectified"
            self.notes.add("no_camera_info", line)
        mount = base_from_camera(engine.config)
        if mount is None:
            mount = mount_of_bag(bag, engine.config, images)
        if mount is not None:
            engine.base_from_camera = mount
        self._composer = OutputComposer(bag_messages(), engine.config, mount)
        _note_what_is_missing(self.notes, engine.config, mount, odom_topic, topics)
        self._parts = {"ledger": self.ledger, "notes": self.notes, "engine": engine, "composer": self._composer}
        self._odometry = None
        if odom_topic is not None:
            self._odometry = stack.enter_context(closing(OdometryOfBag(bag, odom_topic, engine, self.notes)))
            self._parts["odometry"] = self._odometry

    @property
    def seconds(self) -> float:
        """Time spent, s, with that of earlier runs."""
        return self._before_s + time.monotonic() - self._began

    def open(self, out: Path, facts: dict[str, Any], stack: ExitStack) -> BagWriter:
        """Begin a bag, or go on with an unfinished one; nobody else can until the stack is closed.

        Raises:
            OutputError: see `process_bag`.
        """
        self._out, self._facts = out, facts
        if not (out.exists() or out.is_symlink()):
            writer = stack.enter_context(BagWriter(out))
            stack.enter_context(sole_user(out))
            try:
                self._keep(writer)
            except OutputError:  # nothing is done yet, so nothing is left
                writer.discard()
                shutil.rmtree(out, ignore_errors=True)
                raise
            return writer
        if found := Unfinished.find(out):
            stack.enter_context(sole_user(out))
            found = Unfinished.find(out)  # as it is now: another process may just have ended
        assert found is not None
        told = found.recall(self._parts, MEMORIES, facts)
        self.earlier = self.ledger.counts().received
        self._before_s = told["seconds"]
        if told["runs"] != self._runs():
            self.notes.add("runs", f"the first {self.earlier} images were done by {told['runs']}")
        return stack.enter_context(BagWriter.go_on(out, told["size"], told["bag"]))

    def step(self, item: BagFrame, half: Perceived | Exception, writer: BagWriter) -> None:
        """The second half of an image's prediction, and writing it.

        Raises:
            OutputError: it cannot be written.
        """
        self.ledger.receive()
        if self._odometry is not None:
            self._odometry.feed(item.stamp_ns)
        if item.warning:
            self.notes.add("camera_info", item.warning)
        try:
            if isinstance(half, Exception):
                raise half
            prediction = self._engine.conclude(half)
            made, withheld = self._composer.messages(prediction, self._topics), prediction.withheld
        except (MessageError, FrameError) as error:
            self.ledger.drop(f"rejected_{error.reason}")
            self.notes.add(error.reason, f"images rejected ({error.reason}), the first one: {error}")
        except BackendError as error:
            self.ledger.drop("failed_backend")
            self.notes.add("failed_backend", f"images failed (failed_backend), the first one: {error}")
        else:
            try:
                for name, message in made.items():
                    writer.write(f"/{name}", message, item.stamp_ns)
                writer.flush()
            except OutputError:
                self.ledger.drop("not_written")
                raise
            self.ledger.publish() if made else self.ledger.drop(withheld or "nothing_to_publish")
        for line in self._engine.news():
            self.notes.add(line, line)
        if time.monotonic() - self._kept >= KEEP_EVERY_S:
            self._keep(writer)

    def told(self) -> str:
        """How far it is, as words."""
        counts = self.ledger.counts()
        dropped = "".join(f", {number} {reason}" for reason, number in counts.dropped.items())
        return f"{counts.received} images in: {counts.published} published{dropped}; the same command goes on"

    def _keep(self, writer: BagWriter) -> None:
        size = writer.flush(to_disk=True)
        values = {
            "made_of": self._facts,
            "bag": writer.topics,
            "size": size,
            "seconds": self.seconds,
            "runs": self._runs(),
        }
        keep(self._out, {**self._parts, **values})
        self._kept = time.monotonic()

    def _runs(self) -> str:
        info = self._engine.info
        return f"{info.backend} {info.precision} on {info.device}"


def _note_what_is_missing(
    notes: Notes, config: DepthConfig, mount: np.ndarray | None, odom_topic: str | None, topics: Collection[str]
) -> None:
    frame = config.scale.odom_tf_frame
    if frame:
        notes.add("odom_tf_frame", f"tf of {frame!r} is not read from bags: name its topic of odometry")
    if config.scale.mode == "odometry" and odom_topic is None:
        notes.add("odom_in", "scale.mode is odometry without a topic of odometry: depth stays in scene units")
    if mount is None and config.points.frame == "base" and "depth/points" in topics:
        notes.add("mount", "no mount from base_from_camera or /tf_static: no points in the base frame")


def _perceive(
    item: BagFrame, engine: DepthEngine, topics: Collection[str]
) -> tuple[BagFrame, Perceived | MessageError | FrameError | BackendError]:
    """The first half of an image's prediction, or why it cannot be used."""
    if item.frame is None:
        return item, MessageError(item.detail, item.reason or "bad_message")
    try:
        return item, engine.perceive(item.frame, wanted_results(topics))
    except (MessageError, FrameError, BackendError) as error:
        return item, error
