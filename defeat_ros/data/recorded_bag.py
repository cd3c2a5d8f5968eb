"""A bag as a recording: images, with depth and odometry of other topics beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from defeat_ros.data.bag import BagFrame, BagReader
from defeat_ros.data.folder import Thinner
from defeat_ros.data.messages import depth_from_message, stamp_from_message
from defeat_ros.data.recorded import Recorded, Recording
from defeat_ros.data.transforms import find_transform, transforms_from_message
from defeat_ros.data.truth import PoseTrack, pose_from_odometry
from defeat_ros.errors import MessageError, SourceError
from defeat_ros.frame import CameraIntrinsics, Frame
from defeat_ros.geometry import BODY_FROM_OPTICAL

DEPTH_TOPIC, ODOM_TOPIC = "/truth/depth", "/truth/odom"

_DEPTH_SLACK_NS = 1_000_000  # stamps that went through float seconds differ by less


class BagRecording(Recording):
    """Images of a bag; see `open_recording` of recording.py."""

    def __init__(
        self,
        path: Path,
        image_topic: str | None,
        camera: CameraIntrinsics | None,
        fps: float | None,
        depth_topic: str | None,
        odom_topic: str | None,
    ) -> None:
        super().__init__(path)
        self._camera, self._fps = camera, fps
        with BagReader(path) as bag:
            self._images = bag.image_topic(image_topic)
            self._depths = find_topic(bag, depth_topic, DEPTH_TOPIC, "sensor_msgs/msg/Image")
            odometry = find_topic(bag, odom_topic, ODOM_TOPIC, "nav_msgs/msg/Odometry")
            count = bag.topics[self._images].count
            self._gap_ns = bag.duration_s * 1e9 / max(1, (count or 1) - 1)
            self._check_camera(bag)
            self._track: PoseTrack | None = None
            self._mount = np.eye(4)
            if odometry:
                self._track, self.base_from_camera = self._motion(bag, odometry)
                self._mount = BODY_FROM_OPTICAL if self.base_from_camera is None else self.base_from_camera
            if bag.lost:
                self._at_opening.append(f"bag {path} is damaged: {bag.lost}")
        kept = min(1.0, fps * self._gap_ns / 1e9) if fps else 1.0
        self.expected = None if count is None else math.ceil(count * kept)

    def _items(self) -> Iterator[Recorded]:
        thinner, last = Thinner(self._fps, self._gap_ns), None
        # Two readers: each reads on from its own place.
        with BagReader(self.path) as bag, BagReader(self.path) as other:
            depths = _Depths(other, self._depths, self._warn) if self._depths else None
            for item in bag.frames(self._images):
                stamp, frame, reason = item.stamp_ns, item.frame, item.reason
                if frame is not None and last is not None and stamp <= last:
                    frame, reason = None, "time_backwards"
                elif not thinner.keep(stamp):
                    continue
                elif frame is not None:
                    frame, reason = self._with_camera(frame, item)
                if frame is None:
                    yield Recorded(f"{item.index:06d}", stamp, None, reason)
                    continue
                last = stamp
                pose = self._track.at(stamp) if self._track else None
                yield Recorded(
                    name=f"{item.index:06d}",
                    stamp_ns=stamp,
                    frame=frame,
                    depth=depths.at(stamp) if depths else None,
                    world_from_camera=None if pose is None else pose @ self._mount,
                )

    def _with_camera(self, frame: Frame, item: BagFrame) -> tuple[Frame | None, str | None]:
        camera = self._camera
        if camera is None:
            if item.warning:
                self._warn("camera_info", item.warning)
            return frame, None
        if frame.size_hw != (camera.height, camera.width):
            return None, "size_changed"
        return Frame(frame.image, frame.stamp_ns, frame.frame_id, camera), None

    def _check_camera(self, bag: BagReader) -> None:
        """A camera that was given has to fit the first image, as it does for folders."""
        camera = self._camera
        first = next((item.frame for item in bag.frames(self._images) if item.frame), None) if camera else None
        if camera and first and first.size_hw != (camera.height, camera.width):
            size = f"{first.size_hw[1]}x{first.size_hw[0]}"
            raise SourceError(f"intrinsics are for {camera.width}x{camera.height}, expected {size}, as in {self.path}")

    def _motion(self, bag: BagReader, topic: str) -> tuple[PoseTrack, np.ndarray | None]:
        """Where the base was, and how the camera is mounted on it, where that is known."""
        stamps, poses, mounts, unusable, child = [], [], [], 0, ""
        for message in bag.messages({topic, "/tf_static"}):
            try:
                decoded = message.message
                if message.topic == topic:
                    stamp, pose = pose_from_odometry(decoded)
                    child = child or str(decoded.child_frame_id).lstrip("/")
                    stamps.append(stamp)
                    poses.append(pose)
                else:
                    mounts += transforms_from_message(decoded)
            except (MessageError, AttributeError):
                unusable += 1
        if unusable:
            self._at_opening.append(f"{unusable} messages of {topic} and /tf_static cannot be used")
        optical = next((item.frame.frame_id for item in bag.frames(self._images) if item.frame), "").lstrip("/")
        mount = find_transform(mounts, child, optical) if child and optical else None
        if mount is None:
            self._at_opening.append(
                f"/tf_static does not lead from {child!r} of {topic} to the camera {optical!r}: "
                "the camera is taken to sit at its origin and look ahead"
            )
        return PoseTrack(stamps, np.array(poses)), mount


def find_topic(bag: BagReader, wanted: str | None, default: str, kind: str) -> str | None:
    """The topic that was named, else the default where it is there.

    Raises:
        SourceError: the named topic is not there, or the topic's type is not `kind`.
    """
    topic = bag.topics.get(wanted or default)
    if topic is None:
        if wanted is not None:
            raise SourceError(f"bag {bag.path} has no topic {wanted!r}; it has {', '.join(bag.topics) or 'none'}")
        return None
    if topic.type != kind:
        raise SourceError(f"topic {topic.name!r} is {topic.type}, expected {kind}")
    return topic.name


class _Depths:
    """The depth image of each stamp, read along with the images; holds few at a time."""

    def __init__(self, bag: BagReader, topic: str, warn: Callable[[str, str], None]) -> None:
        self._messages = bag.messages({topic})
        self._warn = warn
        self._held: dict[int, Any] = {}

    def at(self, stamp_ns: int) -> np.ndarray | None:
        """The depth of this time, which must not go back; (H, W) float32, m."""
        while not self._held or max(self._held) < stamp_ns:
            message = next(self._messages, None)
            if message is None:
                break
            try:
                decoded = message.message
                self._held[stamp_from_message(decoded)] = decoded
            except (MessageError, AttributeError) as error:
                self._warn("depth", f"depth cannot be read: {error}")
        self._held = {stamp: kept for stamp, kept in self._held.items() if stamp >= stamp_ns - _DEPTH_SLACK_NS}
        nearest = min(self._held, key=lambda stamp: abs(stamp - stamp_ns), default=None)
        if nearest is None or abs(nearest - stamp_ns) > _DEPTH_SLACK_NS:
            return None
        try:
            return depth_from_message(self._held[nearest])
        except MessageError as error:
            self._warn("depth", f"depth cannot be read: {error}")
            return None
