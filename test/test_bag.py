"""Bags: round trips, every kind of file, damage of every kind, and what a reader does with odd content."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
import pytest
from bag_tools import (
    CAMERA,
    COUNT,
    PICTURES,
    START_NS,
    check_frames,
    cut,
    stream,
    write_mcap,
    write_ours,
    write_ros1,
    write_ros2,
    write_split,
)
from rosbags.highlevel import AnyReader
from rosbags.rosbag1 import Reader as Ros1Reader
from rosbags.rosbag2 import Reader as Ros2Reader
from rosbags.typesys import Stores, get_typestore

from defeat_ros.data.bag import BagReader, BagWriter, bag_messages
from defeat_ros.data.messages import image_from_message
from defeat_ros.errors import MessageError, OutputError, SourceError
from defeat_ros.frame import CameraIntrinsics

IMAGE = "sensor_msgs/msg/Image"
HEAD = {"stamp_ns": START_NS, "frame_id": "cam"}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ours(tmp_path_factory.mktemp("ours") / "drive")


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ros2(tmp_path_factory.mktemp("sqlite") / "drive", "sqlite3")


@pytest.fixture(scope="module")
def ros1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ros1(tmp_path_factory.mktemp("ros1") / "drive.bag")


def test_round_trip(ours: Path) -> None:
    assert check_frames(ours) == COUNT
    with BagReader(ours) as bag:
        assert bag.lost is None
        assert {name: topic.count for name, topic in bag.topics.items()} == {
            "/tf_static": 1, "/camera/image_raw": COUNT, "/camera/camera_info": COUNT, "/odom": COUNT,
        }  # fmt: skip
        assert (bag.start_ns, bag.duration_s) == (START_NS, (COUNT - 1) / 10)
        stamps = [message.stamp_ns for message in bag.messages()]
        assert stamps == sorted(stamps) and len(stamps) == 3 * COUNT + 1


def test_single_file_without_metadata(ours: Path, sqlite: Path, tmp_path: Path) -> None:
    for folder, name in ((ours, "drive.mcap"), (sqlite, "drive.db3")):
        assert check_frames(folder / name) == COUNT
        bare = tmp_path / name.replace(".", "_")
        bare.mkdir()
        shutil.copy(folder / name, bare / name)
        assert check_frames(bare) == COUNT  # a killed recorder writes no metadata.yaml


def test_other_tools_read_it(ours: Path) -> None:
    with AnyReader([ours]) as reader:
        assert reader.message_count == 3 * COUNT + 1
        latched = next(c for c in reader.connections if c.topic == "/tf_static")
        assert latched.ext.offered_qos_profiles[0].durability.name == "TRANSIENT_LOCAL"  # type: ignore[union-attr]
    with BagReader(ours) as bag:
        assert not any(".partial" in path.name for path in ours.parent.iterdir())
        assert bag.topics["/odom"].type == "nav_msgs/msg/Odometry"


def test_same_messages_same_bytes(ours: Path, tmp_path: Path) -> None:
    again = write_ours(tmp_path / "drive", atomic=True)
    for name in ("drive.mcap", "metadata.yaml"):
        assert (again / name).read_bytes() == (ours / name).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["drive"]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("compression", ["", "message", "file", "storage"])
def test_bags_of_others(tmp_path: Path, storage: str, compression: str) -> None:
    if (storage, compression) == ("sqlite3", "storage"):
        pytest.skip("SQLite has no compression of its own")
    assert check_frames(write_ros2(tmp_path / "bag", storage, compression)) == COUNT


@pytest.mark.parametrize("compression", ["", "bz2", "lz4"])
def test_ros1(tmp_path: Path, compression: str) -> None:
    path = write_ros1(tmp_path / "drive.bag", compression)
    assert check_frames(path) == COUNT
    with BagReader(path) as bag:
        message = next(bag.messages(["/camera/camera_info"]))
        assert message.type == "sensor_msgs/msg/CameraInfo" and message.message.K[0] == CAMERA.fx
        converted = message.cdr
    with BagWriter(tmp_path / "out") as out:
        out.write_cdr("/camera/camera_info", message.type, converted, message.stamp_ns)
    with BagReader(tmp_path / "out") as bag:
        assert next(bag.messages()).message.k[0] == CAMERA.fx


def test_unknown_types_harm_no_other(sqlite: Path) -> None:
    with BagReader(sqlite) as bag:
        assert next(bag.messages(["/odd"])).message.b.c == 7
        blank = next(bag.messages(["/blank"]))
        assert blank.cdr == blank.data
        with pytest.raises(MessageError, match="absent_msgs/msg/Void"):
            _ = blank.message


@pytest.mark.parametrize("share", [0.999, 0.9, 0.5, 0.2])
def test_cut_mcap(ours: Path, tmp_path: Path, share: float) -> None:
    path = cut(ours / "drive.mcap", tmp_path / "cut.mcap", share)
    frames = check_frames(path)
    assert frames >= int(share * COUNT) - 1
    with BagReader(path) as bag:
        assert bag.topics["/camera/image_raw"].count == frames
        if share < 0.99:
            assert bag.lost is not None and "cut.mcap is damaged" in bag.lost and f"{path.stat().st_size:,}" in bag.lost


def test_cut_mcap_in_a_bag_directory(ours: Path, tmp_path: Path) -> None:
    shutil.copytree(ours, tmp_path / "drive")
    cut(ours / "drive.mcap", tmp_path / "drive" / "drive.mcap", 0.6)
    assert COUNT > check_frames(tmp_path / "drive") > COUNT // 2


def test_cut_compressed_mcap(tmp_path: Path) -> None:
    whole = write_ros2(tmp_path / "bag", "mcap", "storage")
    path = cut(whole / "bag.mcap", tmp_path / "cut.mcap", 0.7)
    assert COUNT > check_frames(path) >= COUNT // 3


@pytest.mark.parametrize("share", [0.95, 0.5, 0.2])
def test_cut_sqlite(sqlite: Path, tmp_path: Path, share: float) -> None:
    path = cut(sqlite / "drive.db3", tmp_path / "cut.db3", share)
    frames = check_frames(path)
    assert COUNT > frames >= int(share * COUNT) - 3
    with BagReader(path) as bag:
        assert bag.lost is not None and "damaged" in bag.lost


@pytest.mark.parametrize("share", [0.9999, 0.9, 0.5, 0.2])
@pytest.mark.parametrize("compression", ["", "lz4"])
def test_cut_ros1(tmp_path: Path, share: float, compression: str) -> None:
    path = cut(write_ros1(tmp_path / "whole.bag", compression), tmp_path / "cut.bag", share)
    frames = check_frames(path)
    assert frames >= int(share * COUNT) - (5 if compression else 1)
    with BagReader(path) as bag:
        assert (bag.lost is not None) == (share < 0.99)


@pytest.mark.parametrize("index", [True, False])
def test_damage_in_the_middle(tmp_path: Path, index: bool) -> None:
    """Chunks that fail their checksum cost their own messages, whether the index at the end is there or not."""
    path = write_mcap(tmp_path / "bad.mcap")
    assert check_frames(path) == COUNT
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data if index else data[:-40])
    with BagReader(path) as bag:
        frames = [item.frame for item in bag.frames() if item.frame is not None]
        assert bag.lost is not None and "1 chunk" in bag.lost
    stamps = [frame.stamp_ns for frame in frames]
    assert COUNT > len(frames) >= COUNT - 5 and stamps == sorted(set(stamps))
    for frame in frames:
        np.testing.assert_array_equal(frame.image, PICTURES[(frame.stamp_ns - START_NS) // 10**8])


def test_write_ahead_log_of_a_killed_recorder(sqlite: Path, tmp_path: Path) -> None:
    path = tmp_path / "live.db3"
    shutil.copy(sqlite / "drive.db3", path)
    recorder = sqlite3.connect(path)
    recorder.execute("PRAGMA journal_mode=WAL")
    recorder.execute("DELETE FROM messages WHERE id > 10")
    recorder.commit()
    with BagReader(path) as bag:  # the log is not merged while the recorder holds the file
        assert sum(topic.count or 0 for topic in bag.topics.values()) == 10
    recorder.close()


def test_no_bags(tmp_path: Path) -> None:
    (tmp_path / "empty.mcap").touch()
    (tmp_path / "text.bag").write_text("hello, this is no bag at all")
    (tmp_path / "folder").mkdir()
    (tmp_path / "magic.mcap").write_bytes(b"\x89MCAP0\r\n")
    for name, text in (
        ("absent", "does not exist"), ("empty.mcap", "is empty"), ("folder", "is not a bag"),
        ("text.bag", "is no MCAP, .*ROS 1 bag: it begins with b'hello, t'"), ("magic.mcap", "none of its 8 bytes"),
    ):  # fmt: skip
        with pytest.raises(SourceError, match=text) as caught:
            BagReader(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_empty_bag(tmp_path: Path) -> None:
    BagWriter(tmp_path / "none").close()
    with BagReader(tmp_path / "none") as bag:
        assert (bag.topics, bag.duration_s, list(bag.messages()), bag.lost) == ({}, 0.0, [], None)
        with pytest.raises(SourceError, match="no image topic; it is empty"):
            bag.image_topic()


def test_writer_refuses(tmp_path: Path, ours: Path) -> None:
    with pytest.raises(OutputError, match="exists already"):
        BagWriter(ours)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file/bag"):
        BagWriter(tmp_path / "file" / "bag")
    with BagWriter(tmp_path / "bag") as bag:
        bag.write("/x", bag_messages().float64(1.0), 5)
        with pytest.raises(OutputError, match="expected std_msgs/msg/Float64"):
            bag.write("/x", bag_messages().clock(5), 6)
        with pytest.raises(OutputError, match="-1 ns"):
            bag.write("/x", bag_messages().float64(1.0), -1)
        with pytest.raises(MessageError, match="/y"):
            bag.write("/y", bag_messages().make("std_msgs/msg/Float64", data="text"), 5)
    with pytest.raises(OutputError, match="closed"):
        bag.write("/x", bag_messages().float64(1.0), 5)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interrupted_writing(tmp_path: Path, error: type[BaseException]) -> None:
    def record(path: Path, atomic: bool) -> None:
        with BagWriter(path, atomic=atomic) as bag:
            for number, item in enumerate(stream()):
                if number == 40:
                    raise error
                bag.write(*item)

    with pytest.raises(error):
        record(tmp_path / "part", atomic=False)
    with BagReader(tmp_path / "part") as bag:
        assert bag.lost is None and sum(topic.count or 0 for topic in bag.topics.values()) == 40
    with pytest.raises(error):
        record(tmp_path / "whole", atomic=True)
    assert [path.name for path in tmp_path.iterdir()] == ["part"]


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match="No space left"), BagWriter(tmp_path / "bag") as bag:
        for number, item in enumerate(stream()):
            if number == 80:
                monkeypatch.setattr("rosbags.rosbag2.storage_mcap.write_record", full)
            bag.write(*item)
    monkeypatch.undo()
    assert check_frames(tmp_path / "bag") > 5


def test_choice_of_topics(tmp_path: Path) -> None:
    make = bag_messages()
    picture, info = make.image(PICTURES[0], **HEAD), make.camera_info(CAMERA, **HEAD)

    def bag_of(name: str, *topics: str) -> BagReader:
        with BagWriter(tmp_path / name) as bag:
            for topic in topics:
                bag.write(topic, info if topic.endswith("info") else picture, 5)
        return BagReader(tmp_path / name)

    bag = bag_of("one", "/front/image", "/truth/depth", "/front/depth", "/front/camera_info", "/rear/camera_info")
    assert bag.image_topic() == "/front/image"
    assert bag.image_topic("/truth/depth") == "/truth/depth"
    assert bag.camera_info_topic("/front/image") == "/front/camera_info"
    assert bag.camera_info_topic("/front/image/compressed") == "/front/camera_info"
    assert bag.camera_info_topic("/other/image") is None
    with pytest.raises(SourceError, match="/front/camera_info"):
        bag.image_topic("/absent")
    with pytest.raises(SourceError, match="CameraInfo, expected Image"):
        bag.image_topic("/front/camera_info")
    assert bag_of("raw", "/camera/image_raw", "/b/image").image_topic() == "/camera/image_raw"
    several = bag_of("several", "/a/image", "/b/image", "/x/camera_info")
    assert several.camera_info_topic("/a/image") is None  # another camera's, whose size may be the same by chance
    assert [item.frame.intrinsics for item in several.frames("/a/image") if item.frame] == [None]
    nested = bag_of("nested", "/front/left/image", "/front/camera_info", "/front/image_rect/camera_info")
    assert nested.camera_info_topic("/front/left/image") is None
    assert nested.camera_info_topic("/front/image_raw/theora") == "/front/camera_info"
    assert nested.camera_info_topic("/front/image_rect/compressed") == "/front/image_rect/camera_info"
    with pytest.raises(SourceError, match="/a/image, /b/image"):
        several.image_topic()
    with pytest.raises(SourceError, match="no image topic"):
        bag_of("nothing", "/x/camera_info").image_topic()


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("/depth_camera/rgb/image_raw", False), ("/depth_camera/rgb/image_raw/compressed", False),
        ("/camera/depth/image_rect", True), ("/camera/depth/hd/image_rect", True), ("/camera/Depth/image", True),
        ("/camera/aligned_depth_to_color/image_raw", True), ("/camera/depth_registered/image/compressed", True),
        ("/front/depth_image", True), ("/front/image_raw/compressedDepth", True), ("/in_depth/view/front/image", False),
    ],
)  # fmt: skip
def test_depth_topics_by_name(tmp_path: Path, name: str, depth: bool) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.write(name, bag_messages().image(PICTURES[0], **HEAD), 5)
        bag.write("/truth/image", bag_messages().image(PICTURES[0], **HEAD), 5)
    with BagReader(tmp_path / "bag") as reader:
        if depth:
            with pytest.raises(SourceError, match=f"{name}, /truth/image; --image-topic picks one"):
                reader.image_topic()
        else:
            assert reader.image_topic() == name


@pytest.mark.parametrize(
    ("seconds", "nanoseconds", "fits"), [(-1, 0, False), (2**31 - 1, 10**9, False), (2**31 - 1, 999_999_999, True)]
)
def test_stamps_that_cannot_be_written(tmp_path: Path, seconds: int, nanoseconds: int, fits: bool) -> None:
    """Results have the stamp of their image, and a message's seconds are an int32 that drivers set to nonsense."""
    data = get_typestore(Stores.ROS2_HUMBLE).serialize_cdr(bag_messages().image(PICTURES[0], **HEAD), IMAGE)
    with BagWriter(tmp_path / "bag") as bag:  # the stamp is the first field behind the four bytes of the encapsulation
        bag.write_cdr("/camera/image_raw", IMAGE, bytes(data[:4]) + pack("<iI", seconds, nanoseconds) + data[12:], 30)
    with BagReader(tmp_path / "bag") as reader:
        [item] = reader.frames()
    stamp = seconds * 10**9 + nanoseconds
    if fits:
        assert item.frame is not None and item.frame.stamp_ns == item.stamp_ns == stamp
    else:
        assert (item.frame, item.reason, item.stamp_ns) == (None, "bad_stamp", 30)
        assert f"({stamp} ns), expected 0 to 2**31 s" in item.detail


def test_rejected_frames_and_warnings(tmp_path: Path) -> None:
    make = bag_messages()
    other = CameraIntrinsics(fx=1.0, fy=1.0, cx=1.0, cy=1.0, width=3, height=2)
    with BagWriter(tmp_path / "bag") as bag:
        bag.write("/camera/image_raw", make.image(PICTURES[0], **HEAD), 10)  # before the first camera_info
        bag.write("/camera/camera_info", make.camera_info(CAMERA, **HEAD), 20)
        bag.write("/camera/image_raw", make.image(PICTURES[1], "what16", **HEAD), 30)
        short = make.image(PICTURES[1], **HEAD)
        short.data = short.data[:-5]
        bag.write("/camera/image_raw", short, 40)
        bag.write_cdr("/camera/image_raw", "sensor_msgs/msg/Image", b"\x00\x01\x00\x00\x01\x02", 50)
        bag.write("/camera/camera_info", make.camera_info(other, **HEAD), 60)
        bag.write("/camera/image_raw", make.image(PICTURES[2], stamp_ns=0, frame_id=""), 70)
    with BagReader(tmp_path / "bag") as reader:
        frames = list(reader.frames())
    assert [item.reason for item in frames] == [None, "unknown_encoding", "short_data", "bad_message", None]
    assert [item.index for item in frames] == list(range(5))
    assert frames[0].frame is not None and frames[0].frame.intrinsics is not None
    assert "what16" in frames[1].detail
    last = frames[4]
    assert last.frame is not None and last.frame.intrinsics is None
    assert last.warning is not None and "3x2" in last.warning and "160x120" in last.warning
    assert (last.stamp_ns, last.frame.frame_id) == (70, "camera_optical_frame")


def test_split_bag(ours: Path, tmp_path: Path) -> None:
    """Recorders split long bags: files follow each other as the metadata say, or by number without it."""
    folder = write_split(tmp_path / "split", 11)
    for listed in (True, False):
        if not listed:
            (folder / "metadata.yaml").unlink()
        with BagReader(folder) as reader:
            pictures = [image_from_message(message.message) for message in reader.messages()]
            assert (reader.topics["/camera/image_raw"].count, reader.end_ns - reader.start_ns) == (11, 10)
            assert reader.lost is None
        np.testing.assert_array_equal(pictures, PICTURES[:11])


def test_unusable_files_of_a_split_bag(tmp_path: Path) -> None:
    """Each costs its own messages and is named; the rest is read."""
    folder = write_split(tmp_path / "split", 6)
    names = [f"split_{part}.mcap" for part in range(6)]
    (folder / names[1]).unlink()
    (folder / names[2]).write_bytes(b"")
    (folder / names[3]).write_text("hello, this is no bag at all")
    cut(folder / names[4], folder / names[4], 0.001)
    with BagReader(folder) as reader:
        assert reader.lost is not None
        sentences = reader.lost.split("; ")
        stamps = [message.stamp_ns - START_NS for message in reader.messages()]
        assert (reader.start_ns - START_NS, reader.end_ns - START_NS) == (0, 5)
    assert stamps == [0, 5]
    for sentence, text in zip(sentences, ("is missing", "is empty", "is no MCAP", "is damaged: none"), strict=True):
        assert sentence.startswith(f"{names[sentences.index(sentence) + 1]} {text}")
    for name in (names[0], names[5]):
        (folder / name).write_bytes(b"")
    with pytest.raises(SourceError, match="split cannot be read: split_0.mcap is empty; split_1.mcap is missing"):
        BagReader(folder)
    for name in names:  # without any of its files, whatever the metadata say
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(SourceError, match="is not a bag"):
        BagReader(folder)


@pytest.mark.parametrize("kind", ["mcap", "db3", "bag"])
@pytest.mark.parametrize("topics", [None, {"/camera/image_raw", "/camera/camera_info"}])
def test_nothing_is_lost_where_reading_falls_over(
    ours: Path, sqlite: Path, ros1: Path, monkeypatch: pytest.MonkeyPatch, kind: str, topics: set[str] | None
) -> None:
    """An image and its camera_info have the same stamp: giving up between them costs neither."""
    path = {"mcap": ours / "drive.mcap", "db3": sqlite / "drive.db3", "bag": ros1}[kind]
    with BagReader(path) as bag:
        everything = sorted((m.stamp_ns, m.topic, m.data) for m in bag.messages(topics))
    reader = Ros1Reader if kind == "bag" else Ros2Reader
    original = reader.messages

    for count in range(9):

        def failing(self: Any, *args: Any, count: int = count, **options: Any) -> Iterator[Any]:
            yield from islice(original(self, *args, **options), count)
            raise ValueError("damaged")

        monkeypatch.setattr(reader, "messages", failing)
        with BagReader(path) as bag:
            assert sorted((m.stamp_ns, m.topic, m.data) for m in bag.messages(topics)) == everything
            assert bag.lost == f"{path.name} is damaged: damaged"


def test_types_unknown_to_the_writer(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_cdr("/own", "own_msgs/msg/Thing", b"\x00\x01\x00\x00\x05\x00\x00\x00", 7)
    with BagReader(tmp_path / "bag") as reader:
        message = next(reader.messages())
    assert (message.type, message.cdr) == ("own_msgs/msg/Thing", b"\x00\x01\x00\x00\x05\x00\x00\x00")
