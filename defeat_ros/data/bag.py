"""Reading and writing ROS bags.

Reads rosbag2 (MCAP, SQLite; directories or single files) and ROS 1 bags, also damaged ones; writes rosbag2 with MCAP.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from defeat_ros.data.bag_recovery import Channel, Storage
from defeat_ros.data.bag_storage import Types, open_storages
from defeat_ros.data.bag_writer import BagWriter, bag_messages
from defeat_ros.data.messages import image_from_message, intrinsics_from_message, stamp_from_message
from defeat_ros.errors import MessageError, SourceError
from defeat_ros.frame import DEFAULT_FRAME_ID, CameraIntrinsics, Frame

__all__ = ["BagFrame", "BagMessage", "BagReader", "BagTopic", "BagWriter", "bag_messages"]

_IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
_TRANSPORTS = ("compressed", "compressedDepth", "theora", "ffmpeg")  # what image_transport appends to a topic
_END_OF_TIME_NS = 2**31 * 10**9  # a stamp's seconds are an int32


@dataclass(frozen=True)
class BagTopic:
    """A topic of a bag; count is the number of messages that can be read, None where it is not known."""

    name: str
    type: str
    count: int | None


class BagMessage:
    """One message of a bag.

    Attributes:
        topic, type: names; the type in ROS 2 style.
        stamp_ns: when it was recorded (not the time in its header), ns.
        data: its bytes as they lie in the bag.
    """

    __slots__ = ("_channel", "_types", "data", "stamp_ns", "topic", "type")

    def __init__(self, channel: Channel, stamp_ns: int, data: bytes, types: Types) -> None:
        self.topic, self.type, self.stamp_ns, self.data = channel.topic, channel.type, stamp_ns, data
        self._channel, self._types = channel, types

    @property
    def message(self) -> Any:
        """The message as an object, decoded at every use.

        Raises:
            MessageError: its type is not known or its bytes do not fit.
        """
        return self._types.message(self._channel, self.data)

    @property
    def cdr(self) -> bytes:
        """Its bytes as ROS 2 serialises them; those of a ROS 1 bag are converted.

        Raises:
            MessageError: they cannot be converted.
        """
        return self._types.cdr(self._channel, self.data)


@dataclass(frozen=True)
class BagFrame:
    """What became of one image message.

    Attributes:
        index: its number among the messages of the topic, from 0.
        stamp_ns: time in its header (recording time where that is 0 or cannot be used), ns.
        frame: the image, None where it could not be used.
        reason: why not: the `reason` of the MessageError.
        detail: the same as a sentence.
        warning: why the frame has no intrinsics although the bag has a camera_info.
    """

    index: int
    stamp_ns: int
    frame: Frame | None
    reason: str | None = None
    detail: str = ""
    warning: str | None = None


class BagReader:
    """A bag, open for reading; use it as a context manager.

    Args:
        path: a rosbag2 directory, or a single .mcap, .db3 or .bag file.

    Attributes:
        topics: by name.
        start_ns, end_ns: recording time of the first and last message, ns; 0 in an empty bag.

    Raises:
        SourceError: there is no such bag, it is something else, or nothing of it can be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._types = Types()
        self._storages: list[Storage] = open_storages(self.path)
        self.topics: dict[str, BagTopic] = {}
        for storage in self._storages:
            for channel, count in storage.counts.items():
                known = self.topics.get(channel.topic)
                total = count + ((known.count or 0) if known else 0)
                self.topics[channel.topic] = BagTopic(channel.topic, known.type if known else channel.type, total)
        filled = [storage for storage in self._storages if any(storage.counts.values())]
        self.start_ns = min((storage.start_ns for storage in filled), default=0)
        self.end_ns = max((storage.end_ns for storage in filled), default=0)

    def __enter__(self) -> BagReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        for storage in self._storages:
            storage.close()

    @property
    def duration_s(self) -> float:
        """Time from the first to the last message, s."""
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def lost(self) -> str | None:
        """What cannot be read because of damage, None for nothing. Damage within an intact file shows while reading."""
        return "; ".join(storage.lost for storage in self._storages if storage.lost) or None

    def messages(self, topics: Collection[str] | None = None) -> Iterator[BagMessage]:
        """The messages of some topics (None: of all), by recording time; of a damaged file in its own order."""
        for storage in self._storages:
            for channel, stamp, data in storage.messages(topics):
                yield BagMessage(channel, stamp, data, self._types)

    def image_topic(self, wanted: str | None = None) -> str:
        """The topic to take images from: the wanted one, else /camera/image_raw, else the only one there is.

        Topics under /truth/ and those of depth (see `_is_depth`) do not count unless wanted: the type does not tell
        depth from colour.

        Raises:
            SourceError: the wanted topic is missing or no image, there is none, or there are several.
        """
        if wanted is not None:
            topic = self.topics.get(wanted)
            if topic is None:
                raise SourceError(f"bag {self.path} has no topic {wanted!r}; {self._listing()}")
            if topic.type not in _IMAGES:
                raise SourceError(f"topic {wanted!r} is {topic.type}, expected Image or CompressedImage")
            return wanted
        images = [topic.name for topic in self.topics.values() if topic.type in _IMAGES]
        candidates = [name for name in images if not name.startswith("/truth/") and not _is_depth(name)]
        if "/camera/image_raw" in candidates:
            return "/camera/image_raw"
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise SourceError(f"bag {self.path} has several image topics, name one: {', '.join(sorted(candidates))}")
        if images:
            raise SourceError(
                f"bag {self.path} has no image topic but those that look like depth or truth: "
                f"{', '.join(sorted(images))}; --image-topic picks one"
            )
        raise SourceError(f"bag {self.path} has no image topic; {self._listing()}")

    def camera_info_topic(self, image_topic: str) -> str | None:
        """The CameraInfo beside an image topic: in its namespace, or in that of the topic it is a transport of.

        /camera/image_raw/compressed belongs to /camera/camera_info. That of another namespace is another camera's.
        """
        space, _, last = image_topic.rpartition("/")
        above, _, base = space.rpartition("/")
        transported = last in _TRANSPORTS or base.startswith("image")
        for parent in (space, above) if transported else (space,):
            topic = self.topics.get(f"{parent}/camera_info")
            if topic is not None and topic.type == _CAMERA_INFO:
                return topic.name
        return None

    def frames(
        self, image_topic: str | None = None, camera_info_topic: str | None = None, start: int = 0
    ) -> Iterator[BagFrame]:
        """Every image message as a frame or as a rejection, with the intrinsics valid when it was recorded.

        Args:
            image_topic: see `image_topic()`.
            camera_info_topic: None finds it by `camera_info_topic()`. Its first message holds for earlier images too.
            start: index of the first image to give; those before it are not decoded.

        Raises:
            SourceError: the topics do not exist or cannot be told.
        """
        images = self.image_topic(image_topic)
        infos = camera_info_topic or self.camera_info_topic(images)
        if infos is not None and infos not in self.topics:
            raise SourceError(f"bag {self.path} has no topic {infos!r}; {self._listing()}")
        first = next(self.messages({infos}), None) if infos else None
        camera, complaint = _camera(first) if first else (None, None)
        index = 0
        for message in self.messages({images, infos} if infos else {images}):
            if message.topic == infos:
                camera, complaint = _camera(message)
            else:
                if index >= start:
                    yield _bag_frame(index, message, camera, complaint)
                index += 1

    def _listing(self) -> str:
        topics = ", ".join(f"{topic.name} ({topic.type})" for topic in self.topics.values())
        return f"it has {topics}" if topics else "it is empty"


def _is_depth(topic: str) -> bool:
    """Whether the name is that of a depth image.

    It is where a part of it is 'depth', or one of the last two (the image and what it is an image of) contains it;
    a transport at the end does not count. So /camera/depth/image_rect, /camera/aligned_depth_to_color/image_raw and
    /front/depth_image/compressed are depth; /depth_camera/rgb/image_raw is a colour image of a depth camera.
    """
    parts = topic.strip("/").split("/")
    if parts[-1] == "compressedDepth":
        return True
    parts = [part.lower() for part in (parts[:-1] if parts[-1] in _TRANSPORTS else parts)]
    return "depth" in parts or any("depth" in part for part in parts[-2:])


def _camera(message: BagMessage) -> tuple[CameraIntrinsics | None, str | None]:
    """Intrinsics of a CameraInfo, or why there are none."""
    try:
        camera = intrinsics_from_message(message.message)
    except (MessageError, AttributeError) as error:
        return None, f"{message.topic} cannot be used: {error}"
    return camera, None if camera else f"{message.topic} is of a camera that is not calibrated"


def _bag_frame(index: int, message: BagMessage, camera: CameraIntrinsics | None, complaint: str | None) -> BagFrame:
    stamp = message.stamp_ns
    try:
        decoded = message.message
        written = stamp_from_message(decoded) or stamp
        if not 0 <= written < _END_OF_TIME_NS:
            seconds = f"{written / 1e9:.9g} s ({written} ns)"
            raise MessageError(f"stamp of the image is {seconds}, expected 0 to 2**31 s", "bad_stamp")
        stamp = written
        image = image_from_message(decoded)
    except MessageError as error:
        return BagFrame(index, stamp, None, error.reason, str(error))
    if camera is not None and (camera.height, camera.width) != image.shape[:2]:
        size = f"{image.shape[1]}x{image.shape[0]}"
        complaint = f"camera_info is for {camera.width}x{camera.height}, expected the image's {size}"
        camera = None
    frame = Frame(image, stamp, str(decoded.header.frame_id) or DEFAULT_FRAME_ID, camera)
    return BagFrame(index, stamp, frame, warning=complaint)
