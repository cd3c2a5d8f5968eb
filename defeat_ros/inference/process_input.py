"""What `process` takes from a bag beside its images, and what it notes on the way."""

from __future__ import annotations

import numpy as np

from defeat_ros.data.bag import BagReader
from defeat_ros.data.recorded_bag import find_topic
from defeat_ros.data.transforms import find_transform, transforms_from_message
from defeat_ros.data.truth import pose_from_odometry
from defeat_ros.errors import MessageError
from defeat_ros.inference.config import DepthConfig
from defeat_ros.inference.engine import DepthEngine

ODOMETRY_AHEAD_NS = 200_000_000
"""The pose after an image is needed to interpolate at it."""


class Notes:
    """One line a kind, however often it happens."""

    REMEMBERED = ("_lines",)

    def __init__(self) -> None:
        self._lines: dict[str, tuple[str, int]] = {}

    def add(self, kind: str, line: str) -> None:
        """Note something; of a kind the first line is kept."""
        first, count = self._lines.get(kind, (line, 0))
        self._lines[kind] = (first, count + 1)

    def lines(self) -> tuple[str, ...]:
        """What was noted, each kind once."""
        return tuple(line if count == 1 else f"{line} ({count} times)" for line, count in self._lines.values())


class OdometryOfBag:
    """Hands the odometry of a bag to the engine, not much ahead of the images.

    Raises:
        SourceError: the topic is not there, or something else.
    """

    REMEMBERED = ("_taken", "_fed_ns")

    def __init__(self, bag: BagReader, topic: str, engine: DepthEngine, notes: Notes) -> None:
        find_topic(bag, topic, topic, "nav_msgs/msg/Odometry")
        self._bag = BagReader(bag.path)  # reads on from its own place
        self._messages = self._bag.messages({topic})
        self._engine, self._notes = engine, notes
        self._fed_ns = self._taken = self._passed = 0

    def close(self) -> None:
        """Close its reader."""
        self._bag.close()

    def feed(self, image_ns: int) -> None:
        """Everything up to a little after the time of an image."""
        while self._passed < self._taken:  # by an earlier run
            next(self._messages, None)
            self._passed += 1
        while self._fed_ns < image_ns + ODOMETRY_AHEAD_NS:
            message = next(self._messages, None)
            if message is None:
                return
            self._taken = self._passed = self._taken + 1
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


def mount_of_bag(bag: BagReader, config: DepthConfig, image_topic: str) -> np.ndarray | None:
    """Pose (4, 4) of the camera on the base from the bag's `/tf_static`, None where it does not tell."""
    if "/tf_static" not in bag.topics:
        return None
    try:
        found = [one for m in bag.messages({"/tf_static"}) for one in transforms_from_message(m.message)]
        camera = next((m.message.header.frame_id for m in bag.messages({image_topic})), None)
    except MessageError:
        return None
    return find_transform(found, config.base_frame, camera) if camera else None
