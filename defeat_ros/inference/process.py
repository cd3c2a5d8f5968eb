"""Every image of a bag through the engine, offline and in order: the same predictions as live, none superseded."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from defeat_ros.data.bag import BagFrame, BagReader, BagWriter, bag_messages
from defeat_ros.data.recorded_bag import find_topic
from defeat_ros.data.transforms import find_transform, transforms_from_message
from defeat_ros.data.truth import pose_from_odometry
from defeat_ros.errors import DefeatError, FrameError, MessageError
from defeat_ros.inference.ahead import ahead
from defeat_ros.inference.config import DepthConfig
from defeat_ros.inference.engine import DepthEngine, Perceived
from defeat_ros.inference.ledger import Ledger, LedgerCounts
from defeat_ros.inference.outputs import TOPICS, OutputComposer, base_from_camera, wanted_results

ODOMETRY_AHEAD_NS = 200_000_000
"""The pose after an image is needed to interpolate at it."""
DEFAULT_TOPICS = ("depth/image_rect", "depth/camera_info", "odom")


@dataclass(frozen=True)
class ProcessSummary:
    """What came of a bag.

    Attributes:
        counts: every image of the bag, published or dropped by reason.
        warnings: what the user should know, each once.
        seconds: time spent, s.
    """

    counts: LedgerCounts
    warnings: tuple[str, ...]
    seconds: float


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
        out: bag to make; what was written stays readable when processing stops half-way.
        engine: a fresh engine.
        topics: which of `TOPICS` to write.
        image_topic: the images to take; None: the only ones there are.
        odom_topic: measured odometry of the bag, for the scale; None: there is none.
        on_frame: called after each image.

    Raises:
        SourceError: no bag, no images, or several image topics and none chosen.
        OutputError: the output exists or cannot be written.
        FrameError: features are asked for at an input size that is too small for them.
        DefeatError: `topics` names one that does not exist.
    """
    if unknown := [name for name in topics if name not in TOPICS]:
        raise DefeatError(f"topic {unknown[0]!r} is unknown, expected one of {', '.join(TOPICS)}")
    if "features" in wanted_results(topics) and engine.features_problem:
        raise FrameError(f"cannot compute features: {engine.features_problem}")
    started, ledger, notes = time.monotonic(), Ledger(), _Notes()
    with BagReader(source) as bag, ExitStack() as stack:
        images = bag.image_topic(image_topic)
        if bag.camera_info_topic(images) is None:
            notes.add("no_camera_info", f"no camera_info beside {images}: depth has none either and is not rectified")
        mount = base_from_camera(engine.config)
        if mount is None:
            mount = _mount_of_bag(bag, engine.config, images)
        if mount is not None:
            engine.base_from_camera = mount
        composer = OutputComposer(bag_messages(), engine.config, mount)
        _note_what_is_missing(notes, engine.config, mount, odom_topic, topics)
        odometry = None
        if odom_topic is not None:
            odometry = stack.enter_context(closing(_MeasuredOdometry(bag, odom_topic, engine, notes)))
        with BagWriter(out) as writer:
            # Reading and decoding, the networks, and the rest with the writing, each on a thread of its own.
            frames = ahead(bag.frames(images))
            halves = stack.enter_context(closing(ahead(_perceive(item, engine, topics) for item in frames)))
            for item, half in halves:
                ledger.receive()
                if odometry is not None:
                    odometry.feed(item.stamp_ns)
                try:
                    if item.warning:
                        notes.add("camera_info", item.warning)
                    if isinstance(half, Exception):
                        raise half
                    prediction = engine.conclude(half)
                    made, withheld = composer.messages(prediction, topics), prediction.withheld
                except (MessageError, FrameError) as error:
                    ledger.drop(f"rejected_{error.reason}")
                    notes.add(error.reason, f"images rejected ({error.reason}), the first one: {error}")
                else:
                    for name, message in made.items():
                        writer.write(f"/{name}", message, item.stamp_ns)
                    ledger.publish() if made else ledger.drop(withheld or "nothing_to_publish")
                on_frame()
        if bag.lost:
            notes.add("damage", f"the bag is damaged: {bag.lost}")
    return ProcessSummary(ledger.counts(), notes.lines(), time.monotonic() - started)


class _Notes:
    """One line a kind, however often it happens."""

    def __init__(self) -> None:
        self._lines: dict[str, tuple[str, int]] = {}

    def add(self, kind: str, line: str) -> None:
        first, count = self._lines.get(kind, (line, 0))
        self._lines[kind] = (first, count + 1)

    def lines(self) -> tuple[str, ...]:
        return tuple(line if count == 1 else f"{line} ({count} times)" for line, count in self._lines.values())


def _note_what_is_missing(
    notes: _Notes, config: DepthConfig, mount: np.ndarray | None, odom_topic: str | None, topics: Collection[str]
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
) -> tuple[BagFrame, Perceived | MessageError | FrameError]:
    """The first half of an image's prediction, or why it cannot be used."""
    if item.frame is None:
        return item, MessageError(item.detail, item.reason or "bad_message")
    try:
        return item, engine.perceive(item.frame, wanted_results(topics))
    except (MessageError, FrameError) as error:
        return item, error


class _MeasuredOdometry:
    """Hands the odometry of a bag to the engine, not much ahead of the images."""

    def __init__(self, bag: BagReader, topic: str, engine: DepthEngine, notes: _Notes) -> None:
        find_topic(bag, topic, topic, "nav_msgs/msg/Odometry")  # raises where it is not there, or something else
        self._bag = BagReader(bag.path)  # reads on from its own place
        self._messages = self._bag.messages({topic})
        self._engine, self._notes = engine, notes
        self._fed_ns = 0

    def close(self) -> None:
        """Close its reader."""
        self._bag.close()

    def feed(self, image_ns: int) -> None:
        """Everything up to a little after the time of an image."""
        while self._fed_ns < image_ns + ODOMETRY_AHEAD_NS:
            message = next(self._messages, None)
            if message is None:
                return
            try:
                self._fed_ns, pose = pose_from_odometry(message.message)
                frames = message.message.header.frame_id, message.message.child_frame_id
            except (MessageError, AttributeError) as error:
                self._notes.add("odom_in", f"odometry that cannot be used: {error}")
                continue
            problem = self._engine.measured.add(self._fed_ns, pose, *frames)
            if problem:
                self._notes.add(problem, problem)
        if complaint := self._engine.measured.complaint(image_ns):
            self._notes.add("odom_in_times", complaint)


def _mount_of_bag(bag: BagReader, config: DepthConfig, image_topic: str) -> np.ndarray | None:
    """Pose of the camera on the base from the bag's `/tf_static`, None where it does not tell."""
    if "/tf_static" not in bag.topics:
        return None
    try:
        found = [one for m in bag.messages({"/tf_static"}) for one in transforms_from_message(m.message)]
        camera = next((m.message.header.frame_id for m in bag.messages({image_topic})), None)
    except MessageError:
        return None
    return find_transform(found, config.base_frame, camera) if camera else None
