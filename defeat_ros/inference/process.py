"""Every image of a bag through the engine, offline and in order: the same predictions as live, none superseded."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from defeat_ros.data.bag import BagFrame, BagReader, BagWriter, bag_messages
from defeat_ros.data.transforms import find_transform, transforms_from_message
from defeat_ros.errors import DefeatError, FrameError, MessageError
from defeat_ros.inference.config import DepthConfig
from defeat_ros.inference.engine import DepthEngine
from defeat_ros.inference.ledger import Ledger, LedgerCounts
from defeat_ros.inference.outputs import TOPICS, OutputComposer, base_from_camera, wanted_results

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
    on_frame: Callable[[], None] = lambda: None,
) -> ProcessSummary:
    """Predict every image of a bag and write the results, under `/` and their topic names, to a new bag.

    Args:
        source: rosbag2 or ROS 1 bag.
        out: bag to make; what was written stays readable when processing stops half-way.
        engine: a fresh engine.
        topics: which of `TOPICS` to write.
        image_topic: the images to take; None: the only ones there are.
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
    with BagReader(source) as bag:
        images = bag.image_topic(image_topic)
        if bag.camera_info_topic(images) is None:
            notes.add("no_camera_info", f"no camera_info beside {images}: depth has none either and is not rectified")
        mount = base_from_camera(engine.config)
        composer = OutputComposer(
            bag_messages(), engine.config, _mount_of_bag(bag, engine.config, images) if mount is None else mount
        )
        with BagWriter(out) as writer:
            for item in bag.frames(images):
                ledger.receive()
                try:
                    made = _messages(item, engine, composer, topics, notes)
                except (MessageError, FrameError) as error:
                    ledger.drop(f"rejected_{error.reason}")
                    notes.add(error.reason, f"images rejected ({error.reason}), the first one: {error}")
                else:
                    for name, message in made.items():
                        writer.write(f"/{name}", message, item.stamp_ns)
                    ledger.publish() if made else ledger.drop("nothing_to_publish")
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


def _messages(
    item: BagFrame, engine: DepthEngine, composer: OutputComposer, topics: Collection[str], notes: _Notes
) -> dict[str, Any]:
    """The output messages of one image; raises MessageError or FrameError where it cannot be used."""
    if item.frame is None:
        raise MessageError(item.detail, item.reason or "bad_message")
    if item.warning:
        notes.add("camera_info", item.warning)
    return composer.messages(engine(item.frame, wanted_results(topics)), topics)


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
