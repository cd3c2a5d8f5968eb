"""Every image of a bag through the engine, offline and in order: the same predictions as live, none superseded."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from defeat_ros.data.bag import BagReader, BagWriter, bag_messages
from defeat_ros.data.transforms import find_transform, transforms_from_message
from defeat_ros.errors import DefeatError, FrameError
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
        DefeatError: `topics` names one that does not exist.
    """
    if unknown := [name for name in topics if name not in TOPICS]:
        raise DefeatError(f"topic {unknown[0]!r} is unknown, expected one of {', '.join(TOPICS)}")
    started, ledger = time.monotonic(), Ledger()
    warnings: dict[str, None] = {}
    with BagReader(source) as bag:
        images = bag.image_topic(image_topic)
        if bag.camera_info_topic(images) is None:
            warnings[f"no camera_info beside {images}: depth has no camera_info and is not rectified"] = None
        mount = base_from_camera(engine.config)
        if mount is None:
            mount = _mount_of_bag(source, engine.config, images)
        composer = OutputComposer(bag_messages(), engine.config, mount)
        with BagWriter(out) as writer:
            for item in bag.frames(images):
                ledger.receive()
                if item.warning:
                    warnings[item.warning] = None
                if item.frame is None:
                    ledger.drop(f"rejected_{item.reason}")
                    warnings[f"rejected images ({item.reason}): {item.detail}"] = None
                else:
                    try:
                        prediction = engine(item.frame, wanted_results(topics))
                    except FrameError as error:
                        ledger.drop(f"rejected_{error.reason}")
                        warnings[str(error)] = None
                    else:
                        for name, message in composer.messages(prediction, topics).items():
                            writer.write(f"/{name}", message, item.stamp_ns)
                        ledger.publish()
                on_frame()
        if bag.lost:
            warnings[f"the bag is damaged: {bag.lost}"] = None
    return ProcessSummary(ledger.counts(), tuple(warnings), time.monotonic() - started)


def _mount_of_bag(source: Path, config: DepthConfig, image_topic: str) -> np.ndarray | None:
    """Pose of the camera on the base from the bag's `/tf_static`, None where it does not tell."""
    transforms: list[tuple[str, str, np.ndarray]] = []
    camera: str | None = None
    with BagReader(source) as bag:
        if "/tf_static" not in bag.topics:
            return None
        for message in bag.messages({"/tf_static", image_topic}):
            if message.topic == "/tf_static":
                transforms += transforms_from_message(message.message)
            elif camera is None:
                camera = message.message.header.frame_id
            if camera is not None and transforms:
                break
    return find_transform(transforms, config.base_frame, camera) if camera else None
