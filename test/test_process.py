"""Offline processing of real bags with the real engine at a small input size."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from defeat_ros import CameraIntrinsics, DepthEngine, Frame
from defeat_ros.data.bag import BagReader, BagWriter, bag_messages
from defeat_ros.data.messages import depth_from_message, stamp_from_message
from defeat_ros.errors import CheckpointError, DefeatError, FrameError, OutputError, SourceError
from defeat_ros.inference.process import process_bag
from defeat_ros.networks import make_untrained

CAMERA = CameraIntrinsics(fx=60.0, fy=60.0, cx=47.5, cy=31.5, width=96, height=64)
STEP_NS = 10**8


def engine(weights: Path) -> DepthEngine:
    return DepthEngine.from_ckpt(weights, input_size=[96, 64])


def picture(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 255, (64, 96, 3), np.uint8)


def write_bag(path: Path, count: int = 6, topic: str = "/camera/image_raw", camera: CameraIntrinsics | None = CAMERA,
              spoil: dict[int, dict] | None = None) -> Path:  # fmt: skip
    make = bag_messages()
    with BagWriter(path) as bag:
        for i in range(count):
            stamp = 10**18 + i * STEP_NS
            if camera is not None:
                bag.write("/camera/camera_info", make.camera_info(camera, stamp_ns=stamp, frame_id="cam"), stamp)
            message = make.image(picture(i), stamp_ns=stamp, frame_id="cam")
            for field, value in (spoil or {}).get(i, {}).items():
                if field == "stamp_ns":
                    message.header.stamp = make.time(value)
                else:
                    setattr(message, field, value)
            bag.write(topic, message, stamp)
    return path


def depths(path: Path) -> Iterator[tuple[int, np.ndarray, bytes]]:
    with BagReader(path) as bag:
        for message in bag.messages({"/depth/image_rect"}):
            yield stamp_from_message(message.message), depth_from_message(message.message), message.data


def test_every_frame_comes_out_once_and_equal_to_the_engine(tmp_path, weights):
    done = process_bag(write_bag(tmp_path / "in"), tmp_path / "out", engine(weights))
    assert (done.counts.received, done.counts.published, done.counts.dropped) == (6, 6, {})
    assert done.counts.pending == 0 and not done.warnings
    direct = engine(weights)
    for index, (stamp, depth, _) in enumerate(depths(tmp_path / "out")):
        assert stamp == 10**18 + index * STEP_NS
        np.testing.assert_array_equal(depth, direct(Frame(picture(index), stamp, "cam", CAMERA), ("depth",)).depth)
    with BagReader(tmp_path / "out") as bag:
        assert {name: topic.count for name, topic in bag.topics.items()} == {
            "/depth/image_rect": 6, "/depth/camera_info": 6, "/odom": 6,
        }  # fmt: skip


def test_twice_gives_the_same_bytes(tmp_path, weights):
    source = write_bag(tmp_path / "in", 3)
    topics = ("depth/image_rect", "depth/color", "odom")
    for name in "ab":
        (tmp_path / name).mkdir()
        process_bag(source, tmp_path / name / "out", engine(weights), topics)
    first, second = ((tmp_path / name / "out" / "out.mcap").read_bytes() for name in "ab")
    assert first == second


def test_bad_frames_are_dropped_by_name_and_the_rest_goes_on(tmp_path, weights):
    spoil = {
        1: {"encoding": "zebra8"},
        2: {"height": 640},
        3: {"stamp_ns": 10**18},
        4: {"height": 0, "width": 0, "step": 0, "data": np.zeros(0, np.uint8)},
    }
    done = process_bag(write_bag(tmp_path / "in", 7, spoil=spoil), tmp_path / "out", engine(weights))
    assert done.counts.received == 7 and done.counts.pending == 0
    assert done.counts.published + sum(done.counts.dropped.values()) == 7
    assert done.counts.dropped == {
        "rejected_unknown_encoding": 1, "rejected_short_data": 1, "rejected_duplicate_stamp": 1, "rejected_bad_size": 1,
    }  # fmt: skip
    assert any("zebra8" in line for line in done.warnings)


def test_no_camera_info_still_gives_depth(tmp_path, weights):
    done = process_bag(write_bag(tmp_path / "in", 3, camera=None), tmp_path / "out", engine(weights))
    assert done.counts.published == 3
    assert any("no camera_info" in line for line in done.warnings)
    with BagReader(tmp_path / "out") as bag:
        assert "/depth/camera_info" not in bag.topics


def test_camera_info_of_another_size_is_said(tmp_path, weights):
    other = CameraIntrinsics(fx=60.0, fy=60.0, cx=47.5, cy=31.5, width=192, height=128)
    done = process_bag(write_bag(tmp_path / "in", 3, camera=other), tmp_path / "out", engine(weights))
    assert done.counts.published == 3
    assert any("192x128, expected the image's 96x64" in line for line in done.warnings)


def test_cut_bag_gives_what_is_readable(tmp_path, weights):
    source = write_bag(tmp_path / "in", 40)
    file = next((tmp_path / "in").glob("*.mcap"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    done = process_bag(source, tmp_path / "out", engine(weights), ("depth/image_rect",))
    assert 5 < done.counts.published < 40 and done.counts.pending == 0
    assert any("damaged" in line for line in done.warnings)
    assert sum(1 for _ in depths(tmp_path / "out")) == done.counts.published


def test_refusals_before_anything_is_written(tmp_path, weights):
    source = write_bag(tmp_path / "in", 2)
    (tmp_path / "taken").mkdir()
    run = engine(weights)
    with pytest.raises(OutputError, match="taken exists"):
        process_bag(source, tmp_path / "taken", run)
    with pytest.raises(DefeatError, match="'depth/zebra' is unknown, expected one of depth/image_rect"):
        process_bag(source, tmp_path / "out", run, ("depth/zebra",))
    with pytest.raises(SourceError, match="no topic '/other'"):
        process_bag(source, tmp_path / "out", run, image_topic="/other")
    with pytest.raises(SourceError):
        process_bag(tmp_path / "nowhere", tmp_path / "out", run)
    assert not (tmp_path / "out").exists()


def test_several_image_topics_need_a_choice(tmp_path, weights):
    make = bag_messages()
    with BagWriter(tmp_path / "in") as bag:
        for topic in ("/left/image", "/right/image"):
            bag.write(topic, make.image(picture(0), stamp_ns=10**18, frame_id="cam"), 10**18)
    with pytest.raises(SourceError, match="several image topics, name one: /left/image, /right/image"):
        process_bag(tmp_path / "in", tmp_path / "out", engine(weights))
    done = process_bag(tmp_path / "in", tmp_path / "out", engine(weights), image_topic="/left/image")
    assert done.counts.published == 1


def test_mount_comes_from_tf_static(tmp_path, weights):
    """With a camera turned to the left, the base's motion is not the camera's own."""
    from defeat_ros.geometry import BODY_FROM_OPTICAL, transform_from_xyz_rpy

    mount = transform_from_xyz_rpy((0.0, 0.0, 1.0, 0.0, 0.0, np.pi / 2)) @ BODY_FROM_OPTICAL
    make = bag_messages()
    with BagWriter(tmp_path / "in") as bag:
        static = make.transforms([("base_link", "mast", np.eye(4)), ("mast", "cam", mount)], stamp_ns=10**18)
        bag.write("/tf_static", static, 10**18)
        for i in range(3):
            stamp = 10**18 + i * STEP_NS
            bag.write("/camera/image_raw", make.image(picture(i), stamp_ns=stamp, frame_id="cam"), stamp)
    process_bag(tmp_path / "in", tmp_path / "out", engine(weights), ("odom",))
    direct = engine(weights)
    states = [direct(Frame(picture(i), 10**18 + i * STEP_NS), ("odometry",)).odometry for i in range(3)]
    with BagReader(tmp_path / "out") as bag:
        last = [message.message for message in bag.messages()][-1].pose.pose.position
    x, y, z = (mount @ states[-1].odom_from_camera @ np.linalg.inv(mount))[:3, 3]
    np.testing.assert_allclose([last.x, last.y, last.z], [x, y, z], atol=1e-12)


def test_a_frame_that_fills_no_topic_is_not_called_published(tmp_path, weights):
    source = write_bag(tmp_path / "in", 2, camera=None)
    done = process_bag(source, tmp_path / "out", engine(weights), ("depth/camera_info",))
    assert (done.counts.published, done.counts.dropped) == (0, {"nothing_to_publish": 2})


def test_features_at_an_input_too_small_are_refused_at_once(tmp_path, weights):
    with pytest.raises(FrameError, match="cannot compute features: image size is 96x64"):
        process_bag(write_bag(tmp_path / "in", 2), tmp_path / "out", engine(weights), ("features/image",))
    assert not (tmp_path / "out").exists()


def test_backwards_stamps_start_over(tmp_path, weights):
    spoil = {3: {"stamp_ns": 10**18 - 5 * 10**9}}
    done = process_bag(write_bag(tmp_path / "in", 6, spoil=spoil), tmp_path / "out", engine(weights))
    assert done.counts.published == 6


def test_weights_without_the_full_scale_are_refused(tmp_path):
    make_untrained(tmp_path / "coarse.safetensors", seed=0, scales=[1, 2])
    with pytest.raises(CheckpointError, match=r"scales \[1, 2\], expected 0"):
        engine(tmp_path / "coarse.safetensors")


def test_odometry_of_the_bag_gives_the_scale(tmp_path, weights):
    """A rendered drive's own odometry stands in for wheels; frames before the first pose have the learned scale."""
    from defeat_ros.data.night_drive import DriveConfig, NightDrive
    from defeat_ros.data.synth import record_drive

    record_drive(NightDrive(DriveConfig(seconds=1.5, seed=4201, size=(320, 240))), tmp_path / "in")
    metric = DepthEngine.from_ckpt(weights, scale={"mode": "odometry"})
    topics = ("depth/image_rect", "depth/scale", "depth/points", "depth/confidence")
    done = process_bag(tmp_path / "in", tmp_path / "out", metric, topics, odom_topic="/truth/odom")
    assert done.counts.published == 15 and not done.warnings
    with BagReader(tmp_path / "out") as bag:
        scales = [message.message.data for message in bag.messages({"/depth/scale"})]
        assert {name.strip("/") for name in bag.topics} == set(topics)
    assert np.isnan(scales[0]) and 0.5 < scales[-1] < 2.0
    wrong = DepthEngine.from_ckpt(weights, base_frame="base_footprint")
    done = process_bag(tmp_path / "in", tmp_path / "other", wrong, topics, odom_topic="/truth/odom")
    assert "child frame 'base_link', expected the base_frame 'base_footprint'" in done.warnings[0]


def test_a_scale_that_is_required_drops_frames_until_it_is_known(tmp_path, weights):
    required = DepthEngine.from_ckpt(weights, input_size=[96, 64], scale={"required": True})
    done = process_bag(write_bag(tmp_path / "in"), tmp_path / "out", required, ("depth/image_rect",))
    assert done.counts.dropped == {"scale_unknown": 6} and done.counts.published == 0


def test_an_odometry_topic_that_is_not_there(tmp_path, weights):
    with pytest.raises(SourceError, match="no topic '/wheels'"):
        process_bag(write_bag(tmp_path / "in"), tmp_path / "out", engine(weights), odom_topic="/wheels")
    assert not (tmp_path / "out").exists()
