"""Bags for tests: small recordings of every kind, whole and damaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from mcap.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Ros2Writer
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from defeat_ros.data.bag import BagReader, BagWriter, bag_messages
from defeat_ros.frame import CameraIntrinsics

START_NS = 1_700_000_000 * 10**9
STEP_NS = 10**8
COUNT = 30
CAMERA = CameraIntrinsics(fx=200.0, fy=210.0, cx=80.0, cy=60.0, width=160, height=120)
PICTURES = np.random.default_rng(3).integers(0, 256, (COUNT, 120, 160, 3), dtype=np.uint8)


def stream(count: int = COUNT) -> Iterator[tuple[str, Any, int]]:
    """Topic, message and stamp of a camera with its camera_info, odometry and a static transform."""
    make = bag_messages()
    yield "/tf_static", make.transforms([("base", "cam", np.eye(4))], stamp_ns=START_NS), START_NS
    for index in range(count):
        stamp = START_NS + index * STEP_NS
        yield "/camera/image_raw", make.image(PICTURES[index], stamp_ns=stamp, frame_id="cam"), stamp
        yield "/camera/camera_info", make.camera_info(CAMERA, stamp_ns=stamp, frame_id="cam"), stamp
        odometry = make.odometry(
            stamp_ns=stamp, frame_id="odom", child_frame_id="base", odom_from_base=np.eye(4), twist=np.zeros(6),
            pose_covariance=np.eye(6), twist_covariance=np.eye(6),
        )  # fmt: skip
        yield "/odom", odometry, stamp


def write_ours(path: Path, count: int = COUNT, **options: Any) -> Path:
    """A bag by our own writer."""
    with BagWriter(path, **options) as bag:
        for item in stream(count):
            bag.write(*item)
    return path


def write_ros2(path: Path, storage: str, compression: str = "", version: Any = 9) -> Path:
    """A bag by rosbags' writer, MCAP or SQLite, with a type in it that nobody knows."""
    types = get_typestore(Stores.ROS2_HUMBLE)
    inner_type = f"{'=' * 80}\nMSG: strange_msgs/Inner\nint32 c"
    types.register(get_types_from_msg(f"uint8 a\nstrange_msgs/Inner b\n{inner_type}", "strange_msgs/msg/Odd"))
    writer = Ros2Writer(path, version=version, storage_plugin=StoragePlugin[storage.upper()])
    if compression:
        writer.set_compression(CompressionMode[compression.upper()], CompressionFormat.ZSTD)
    with writer:
        odd = writer.add_connection("/odd", "strange_msgs/msg/Odd", typestore=types)
        blank = writer.add_connection("/blank", "absent_msgs/msg/Void", msgdef="", rihs01="RIHS01_0")
        known: dict[str, Any] = {}
        inner, outer = types.types["strange_msgs/msg/Inner"], types.types["strange_msgs/msg/Odd"]
        message = outer(a=1, b=inner(c=7))
        writer.write(odd, START_NS, types.serialize_cdr(message, "strange_msgs/msg/Odd"))
        writer.write(blank, START_NS, b"\x00\x01\x00\x00\x05")
        for topic, item, stamp in stream():
            name = item.__msgtype__
            if topic not in known:
                known[topic] = writer.add_connection(topic, name, typestore=types)
            writer.write(known[topic], stamp, types.serialize_cdr(item, name))
    return path


def write_mcap(path: Path) -> Path:
    """An MCAP file with compressed chunks and checksums, as ROS 2's own recorder makes them."""
    types = get_typestore(Stores.ROS2_HUMBLE)
    with path.open("wb") as file:
        writer = McapWriter(file, chunk_size=200_000)
        writer.start(profile="ros2", library="test")
        known: dict[str, int] = {}
        for topic, item, stamp in stream():
            name = item.__msgtype__
            if topic not in known:
                text = types.generate_msgdef(name, ros_version=2)[0].encode()
                known[topic] = writer.register_channel(topic, "cdr", writer.register_schema(name, "ros2msg", text))
            writer.add_message(known[topic], stamp, bytes(types.serialize_cdr(item, name)), stamp)
        writer.finish()
    return path


def write_ros1(path: Path, compression: str = "") -> Path:
    """A ROS 1 bag: camera and camera_info."""
    types = get_typestore(Stores.ROS1_NOETIC)
    writer = Ros1Writer(path)
    writer.chunk_threshold = 200_000
    if compression:
        writer.set_compression(Ros1Writer.CompressionFormat[compression.upper()])
    with writer:
        known: dict[str, Any] = {}
        for topic, item, stamp in stream():
            if topic not in ("/camera/image_raw", "/camera/camera_info"):
                continue
            name = item.__msgtype__
            if topic not in known:
                known[topic] = writer.add_connection(topic, name, typestore=types)
            writer.write(known[topic], stamp, types.serialize_ros1(_as_ros1(item, types), name))
    return path


def write_split(path: Path, count: int) -> Path:
    """A bag of several files and their list, as recorders split long drives: a picture in each, a ns apart."""
    make, scratch = bag_messages(), path.with_name(f"{path.name}_parts")
    path.mkdir()
    scratch.mkdir()
    names = [f"{path.name}_{part}.mcap" for part in range(count)]
    for part, name in enumerate(names):
        stamp = START_NS + part
        with BagWriter(scratch / name) as bag:
            bag.write("/camera/image_raw", make.image(PICTURES[part], stamp_ns=stamp, frame_id="cam"), stamp)
        (scratch / name / f"{name}.mcap").rename(path / name)
    about = yaml.safe_load((scratch / names[0] / "metadata.yaml").read_text())
    about["rosbag2_bagfile_information"]["relative_file_paths"] = names
    (path / "metadata.yaml").write_text(yaml.safe_dump(about))
    return path


def _as_ros1(item: Any, types: Any) -> Any:
    """The same message in the classes of ROS 1: a sequence number in the header, D K R P in upper case."""
    header = types.types["std_msgs/msg/Header"](seq=0, stamp=item.header.stamp, frame_id=item.header.frame_id)
    fields = {name: getattr(item, name) for name in item.__dataclass_fields__ if not name.startswith("_")}
    fields.pop("__msgtype__", None)
    fields["header"] = header
    if "CameraInfo" in item.__msgtype__:
        fields = {name.upper() if name in "dkrp" else name: value for name, value in fields.items()}
    return types.types[item.__msgtype__](**fields)


def cut(source: Path, target: Path, share: float) -> Path:
    """The first part of a file."""
    data = source.read_bytes()
    target.write_bytes(data[: round(len(data) * share)])
    return target


def check_frames(path: Path) -> int:
    """Read every frame, hold each against the picture that was written; returns how many there were."""
    with BagReader(path) as bag:
        frames = list(bag.frames())
    for item in frames:
        assert item.frame is not None, item
        assert item.frame.stamp_ns == START_NS + item.index * STEP_NS
        np.testing.assert_array_equal(item.frame.image, PICTURES[item.index])
        assert item.frame.intrinsics is not None and item.frame.intrinsics.K.tolist() == CAMERA.K.tolist()
        assert item.frame.frame_id == "cam"
    return len(frames)
