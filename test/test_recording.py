"""Recordings of every kind with their truth."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bag_tools import write_ours
from drawn_drive import (
    BASE_FROM_CAMERA,
    CAMERA,
    PERIOD_NS,
    camera_json,
    draw,
    world_from_camera,
    write_drive,
    write_folder,
)
from test_sources import write_video

from defeat_ros.data.recording import Recorded, open_recording, parse_source
from defeat_ros.data.truth import PoseTrack, read_depth_png, read_kitti_poses
from defeat_ros.errors import MessageError, SourceError
from defeat_ros.frame import EPOCH_NS, CameraIntrinsics
from defeat_ros.geometry import BODY_FROM_OPTICAL, invert, rotation_from_vector, transform

PATH = [(0.1 * index, 0.3 * index) for index in range(6)]


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drive(tmp_path_factory.mktemp("drive") / "bag", PATH)


def save_depth(path: Path, depth: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.round(np.nan_to_num(depth, posinf=0) * 256).astype(np.uint16))


def unusable(items: list[Recorded]) -> dict[int, str | None]:
    return {number: item.reason for number, item in enumerate(items) if item.frame is None}


class TestBags:
    def test_everything_there_is(self, bag: Path) -> None:
        recording = open_recording(bag)
        items = list(recording)
        assert (recording.name, recording.path, recording.expected, recording.warnings) == ("bag", bag, 6, [])
        assert [item.stamp_ns for item in items] == [EPOCH_NS + index * PERIOD_NS for index in range(6)]
        assert len({item.name for item in items}) == 6
        for item, position in zip(items, PATH, strict=True):
            image, depth = draw(*position)
            assert item.frame is not None and item.depth is not None and item.world_from_camera is not None
            np.testing.assert_array_equal(item.frame.image, image)
            np.testing.assert_array_equal(item.depth, depth)
            np.testing.assert_allclose(item.world_from_camera, world_from_camera(*position), atol=1e-9)
            assert item.frame.intrinsics is not None and item.frame.intrinsics.K.tolist() == CAMERA.K.tolist()
        assert [item.stamp_ns for item in recording] == [item.stamp_ns for item in items]  # once more

    def test_without_truth_and_without_mount(self, tmp_path: Path) -> None:
        plain = open_recording(write_drive(tmp_path / "plain", PATH, truth=False))
        assert all(item.depth is None and item.world_from_camera is None for item in plain)
        assert plain.warnings == []
        loose = open_recording(write_drive(tmp_path / "loose", PATH, mount=False))
        assert "/tf_static does not lead from 'base_link' of /truth/odom to the camera 'camera'" in loose.warnings[0]
        for item, position in zip(loose, PATH, strict=True):
            base = world_from_camera(*position) @ invert(BASE_FROM_CAMERA)
            assert item.world_from_camera is not None
            np.testing.assert_allclose(item.world_from_camera, base @ BODY_FROM_OPTICAL, atol=1e-9)

    def test_topics_that_are_named(self, bag: Path, tmp_path: Path) -> None:
        other = write_ours(tmp_path / "other", 3)
        assert all(item.world_from_camera is None for item in open_recording(other))
        poses = [item.world_from_camera for item in open_recording(other, odom_topic="/odom")]
        assert all(pose is not None and np.array_equal(pose, np.eye(4)) for pose in poses)
        for options, text in (
            ({"odom_topic": "/none"}, "no topic '/none'"),
            ({"depth_topic": "/camera/camera_info"}, "expected sensor_msgs/msg/Image"),
            ({"image_topic": "/none"}, "no topic '/none'"),
        ):
            with pytest.raises(SourceError, match=text):
                open_recording(bag, **options)  # type: ignore[arg-type]

    def test_what_cannot_be_used_is_told(self, tmp_path: Path) -> None:
        stamps = [EPOCH_NS + index * PERIOD_NS for index in (0, 1, 2, 2, 1, 5)]
        path = write_drive(tmp_path / "bag", PATH, stamps, damaged=[1])
        items = list(open_recording(path))
        assert unusable(items) == {1: "short_data", 3: "time_backwards", 4: "time_backwards"}
        assert items[5].frame is not None and items[5].depth is not None

    def test_given_camera_and_rate(self, bag: Path) -> None:
        camera = CameraIntrinsics(**{**vars(CAMERA), "fx": 77.0})
        items = list(open_recording(bag, intrinsics=camera, fps=5.0))
        assert [(item.stamp_ns - EPOCH_NS) // PERIOD_NS for item in items] == [0, 2, 4]
        assert all(item.frame is not None and item.frame.intrinsics == camera for item in items)
        assert all(item.depth is not None for item in items)
        with pytest.raises(SourceError, match="intrinsics are for 9x9, expected 128x96"):
            open_recording(bag, intrinsics=CameraIntrinsics(fx=1, fy=1, cx=1, cy=1, width=9, height=9))

    @pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
    def test_no_rate(self, bag: Path, fps: float) -> None:
        with pytest.raises(SourceError, match=f"fps is {fps}, expected"):
            open_recording(bag, fps=fps)

    def test_no_camera_info(self, tmp_path: Path) -> None:
        frames = [item.frame for item in open_recording(write_drive(tmp_path / "bag", PATH, camera_info=False))]
        assert all(frame is not None and frame.intrinsics is None for frame in frames)


class TestFolders:
    def test_each_image_with_its_own_camera_and_depth(self, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "images", PATH[:4], camera=False)
        for index in range(4):
            cut = CameraIntrinsics(**{**vars(CAMERA), "height": CAMERA.height - index, "fx": 90.0 + index})
            image, depth = draw(*PATH[index])
            assert cv2.imwrite(str(folder / f"{index:06d}.png"), image[: cut.height, :, ::-1])
            save_depth(folder / f"{index:06d}_depth.png", depth[: cut.height])
            (folder / f"{index:06d}.json").write_text(json.dumps(camera_json(cut)))
        (folder / "000002.json").write_text(json.dumps(camera_json(CAMERA)))  # that of another size
        (folder / "000003_depth.png").write_bytes(b"no image")
        recording = open_recording(folder)
        items = list(recording)
        assert recording.expected == 4 and unusable(items) == {2: "bad_intrinsics"}
        for index in (0, 1):
            frame, depth = items[index].frame, items[index].depth
            assert frame is not None and frame.intrinsics is not None and depth is not None
            assert frame.size_hw == depth.shape == (CAMERA.height - index, CAMERA.width)
            assert frame.intrinsics.fx == 90.0 + index
            truth = draw(*PATH[index])[1][: frame.size_hw[0]]
            np.testing.assert_allclose(depth[np.isfinite(truth)], truth[np.isfinite(truth)], atol=1 / 500)
            assert np.isnan(depth[~np.isfinite(truth)]).all()
        assert items[3].depth is None and "000003_depth.png cannot be read: image data" in recording.warnings[0]

    def test_depth_names_without_images_are_images(self, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "images", PATH[:2])
        (folder / "000001.png").rename(folder / "lake_depth.png")
        assert [item.name for item in open_recording(folder)] == ["000000", "lake_depth"]

    def test_labels_beside_images_are_no_cameras(self, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "images", PATH[:2], camera=False)
        (folder / "000000.json").write_text('{"shapes": []}')
        (folder / "000001.json").write_text("[1, 2]")
        assert all(item.frame is not None and item.frame.intrinsics is None for item in open_recording(folder))

    def test_poses_and_camera_one_folder_up(self, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "left", PATH, camera=False)
        (tmp_path / "camera.json").write_text(json.dumps({**camera_json(CAMERA), "fps": 20}))
        lines = [" ".join(map(str, world_from_camera(*position)[:3].reshape(-1))) for position in PATH]
        (tmp_path / "poses.txt").write_text("\n".join(lines))
        items = list(open_recording(folder))
        assert items[1].stamp_ns - items[0].stamp_ns == PERIOD_NS // 2
        for item, position in zip(items, PATH, strict=True):
            assert item.frame is not None and item.frame.intrinsics == CAMERA
            np.testing.assert_array_equal(item.world_from_camera, world_from_camera(*position))
        (folder / "000002.png").unlink()  # the others keep theirs, by the number in their names
        np.testing.assert_array_equal(list(open_recording(folder))[2].world_from_camera, world_from_camera(*PATH[3]))
        (tmp_path / "poses.txt").write_text("\n".join(lines[:3]))
        recording = open_recording(folder)
        assert all(item.world_from_camera is None for item in recording)
        assert "3 poses, expected one for each of the 5 images" in recording.warnings[0]

    def test_kitti_raw_depth(self, tmp_path: Path) -> None:
        data = write_folder(tmp_path / "drive" / "image_02" / "data", PATH[:2])
        (tmp_path / "drive" / "image_02" / "timestamps.txt").write_text("0.0\n0.1\n")
        save_depth(tmp_path / "drive" / "proj_depth" / "groundtruth" / "image_02" / "000001.png", draw(*PATH[1])[1])
        depths = [item.depth for item in open_recording(data.parent.parent)]
        assert depths[0] is None and depths[1] is not None

    def test_real_data(self, shared_dir: Path) -> None:
        single = list(open_recording(shared_dir / "data" / "kitti_lidar"))
        assert [item.frame.size_hw for item in single if item.frame] == [(370, 1224), (375, 1242), (375, 1242)]
        for item in single:
            assert item.frame is not None and item.depth is not None and item.frame.intrinsics is not None
            assert item.depth.shape == item.frame.size_hw
            assert 2 < np.nanmin(item.depth) < np.nanmax(item.depth) < 90 and 0.9 < np.isnan(item.depth).mean() < 0.99
        stereo = list(open_recording(shared_dir / "data" / "kitti_stereo" / "left"))
        assert len(stereo) == 51 and all(item.world_from_camera is not None for item in stereo)
        last = stereo[-1]
        assert last.world_from_camera is not None and last.frame is not None and last.frame.intrinsics is not None
        assert last.world_from_camera[2, 3] > 20


def test_video_with_a_sidecar(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4")
    assert all(item.frame and item.frame.intrinsics is None for item in open_recording(path))
    camera = CameraIntrinsics(fx=60.0, fy=61.0, cx=32.0, cy=24.0, width=64, height=48)
    (tmp_path / "clip.json").write_text(json.dumps(camera_json(camera)))
    items = list(open_recording(path, fps=10))
    assert len(items) == 10 and all(item.frame and item.frame.intrinsics == camera for item in items)
    assert len({item.name for item in items}) == 10 and " " not in items[0].name
    with pytest.raises(SourceError, match="no odometry topic '/odom'"):
        open_recording(path, odom_topic="/odom")


def test_source_texts(tmp_path: Path) -> None:
    assert parse_source("a/b") == (Path("a/b"), None)
    assert parse_source("a/b=c.yaml") == (Path("a/b"), Path("c.yaml"))
    assert parse_source("run=3=c.yaml") == (Path("run=3"), Path("c.yaml"))
    (tmp_path / "run=3").mkdir()
    assert parse_source(f"{tmp_path}/run=3") == (tmp_path / "run=3", None)
    for text in ("=c.yaml", "a="):
        with pytest.raises(SourceError, match=f"source is '{text}'"):
            parse_source(text)


class TestPoseTrack:
    first = transform(rotation_from_vector(np.array([0.0, 0.0, 0.1])), np.array([1.0, 2.0, 3.0]))
    second = transform(rotation_from_vector(np.array([0.0, 0.0, 0.5])), np.array([3.0, 2.0, 1.0]))

    def track(self, gap_ns: int) -> PoseTrack:
        return PoseTrack([gap_ns, 0], np.array([self.second, self.first]))

    @pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
    def test_between(self, share: float) -> None:
        found = self.track(PERIOD_NS).at(round(share * PERIOD_NS))
        angle = 0.1 + 0.4 * share
        expected = transform(rotation_from_vector(np.array([0, 0, angle])), np.array([1 + 2 * share, 2, 3 - 2 * share]))
        assert found is not None
        np.testing.assert_allclose(found, expected, atol=1e-12)

    def test_not_beyond_and_not_far(self) -> None:
        track = self.track(PERIOD_NS)
        assert track.at(-1) is None and track.at(PERIOD_NS + 1) is None
        assert self.track(2 * PERIOD_NS).at(PERIOD_NS) is not None
        assert self.track(3 * PERIOD_NS).at(PERIOD_NS) is None
        assert PoseTrack([], np.zeros((0, 4, 4))).at(5) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 2 3", "12 numbers"),
        ("a " * 12, "12 numbers"),
        ("1 0 0 0 0 1 0 0 0 0 2 0", "rotation"),
        ("nan " * 12, "rotation"),
    ],
)
def test_bad_poses(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "poses.txt").write_text(text)
    with pytest.raises(SourceError, match=rf"line 1 of .*poses.txt is .* {expected}|line 1 .*expected a {expected}"):
        read_kitti_poses(tmp_path / "poses.txt")


@pytest.mark.parametrize("values", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.uint16)])
def test_depth_of_another_kind(tmp_path: Path, values: Any) -> None:
    assert cv2.imwrite(str(tmp_path / "d.png"), values)
    with pytest.raises(MessageError, match="expected a 16 bit grey PNG"):
        read_depth_png(tmp_path / "d.png")


def test_a_clock_that_jumps_costs_no_frames_unseen_and_no_time(tmp_path):
    """The first stamp is from another clock: what comes after it lies before it, and is counted, thinned or not."""
    later = [EPOCH_NS + index * PERIOD_NS for index in range(5)]
    bag = write_drive(tmp_path / "bag", [(0.0, 0.1 * index) for index in range(6)], [EPOCH_NS + 10**15, *later])
    for fps in (None, 10.0):
        reasons = [item.reason for item in open_recording(bag, fps=fps)]
        assert reasons == [None, *["time_backwards"] * 5]
    ahead = write_drive(tmp_path / "ahead", [(0.0, 0.1 * index) for index in range(6)], [*later, EPOCH_NS + 4 * 10**17])
    began = time.monotonic()
    assert len(list(open_recording(ahead, fps=10.0))) == 6
    assert time.monotonic() - began < 20
