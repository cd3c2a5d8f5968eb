"""KITTI in its documented layouts: cameras, times, poses and depth against numbers."""

from __future__ import annotations

from pathlib import Path

import dataset_trees as trees
import numpy as np
import pytest

from defeat_ros.data.recording import open_recording
from defeat_ros.geometry import transform


def expected_depth(points: np.ndarray, projection: np.ndarray) -> np.ndarray:
    """The devkits' equation, point by point: (u z, v z, z) = P X, the nearest z of each pixel."""
    depth = np.full((trees.HEIGHT, trees.WIDTH), np.nan)
    for point in points.astype(np.float64):
        x, y, z = projection @ [*point, 1.0]
        u, v = round(x / z), round(y / z)
        if z > 0 and 0 <= u < trees.WIDTH and 0 <= v < trees.HEIGHT and not depth[v, u] <= z:
            depth[v, u] = z
    return depth


class TestKittiRaw:
    STEP = 6378137.0 * np.radians(1e-5)  # m
    RECT = np.eye(4)
    RECT[:3, :3] = trees.RECT_ROTATION

    def test_camera_depth_and_poses(self, tmp_path: Path) -> None:
        behind = np.array([[-5.0, 0.1, 0.1]], np.float32)
        drive = trees.kitti_raw(tmp_path, trees.PACKETS, np.vstack([trees.AHEAD, behind]))
        recording = open_recording(drive)
        items = list(recording)
        assert recording.warnings == [] and len(items) == 4
        assert {trees.camera_of(item) for item in items} == {trees.CAMERA}
        expected = expected_depth(trees.AHEAD, trees.P2 @ self.RECT @ trees.VELO)
        assert 50 < np.isfinite(expected).sum() < 400
        np.testing.assert_allclose(trees.known(items[0]), expected, rtol=1e-6)
        # The packets are 40 ms earlier than the images, the last image is later than all of them.
        assert items[3].world_from_camera is None
        first, second = (trees.pose_of(item) for item in items[:2])
        np.testing.assert_allclose(second[:3, 3] - first[:3, 3], [0, -0.4, self.STEP], atol=1e-5)
        # world: x south, y down, z east; camera: that of the rectified image, turned against the IMU.
        np.testing.assert_allclose(first[:3, :3], trees.RECT_ROTATION.T, atol=1e-9)
        # x_cam2 = R_rect (R x_velo + T) + t, x_velo = x_imu + T_imu, solved for the camera's centre.
        offset = np.linalg.solve(trees.P2[:, :3], trees.P2[:, 3])
        centre_velo = trees.VELO[:3, :3].T @ (trees.RECT_ROTATION.T @ -offset - trees.VELO[:3, 3])
        ahead, left, up = centre_velo - [-0.8, 0.3, -0.7]
        np.testing.assert_allclose(first[:3, 3], [-left, -up, ahead + 0.4 * self.STEP], atol=1e-5)

    def test_turning(self, tmp_path: Path) -> None:
        drive = trees.kitti_raw(tmp_path, (trees.PACKETS[-1], trees.PACKETS[-1]), trees.AHEAD)
        times = drive / "oxts" / "timestamps.txt"
        times.write_text((drive / "image_02" / "timestamps.txt").read_text())
        turned = trees.pose_of(next(iter(open_recording(drive))))[:3, :3] @ trees.RECT_ROTATION
        np.testing.assert_allclose(turned[:, 2], [-1, 0, 0], atol=1e-4)  # north, where z is east and y is down

    def test_what_is_missing_is_named(self, tmp_path: Path) -> None:
        drive = trees.kitti_raw(tmp_path, trees.PACKETS, trees.AHEAD)
        (drive / "velodyne_points" / "data" / "0000000001.bin").unlink()
        with (drive / "velodyne_points" / "data" / "0000000002.bin").open("ab") as file:
            file.write(b"cut")
        (drive.parent / "calib_imu_to_velo.txt").unlink()
        recording = open_recording(drive / "image_02")
        assert [item.depth is not None for item in recording] == [True, False, False, True]
        poses, depth = recording.warnings
        assert "calib_imu_to_velo.txt does not exist" in poses and poses.startswith("no poses: ")
        assert "0000000002.bin has 6403 bytes, expected a multiple of 16" in depth
        (drive.parent / "calib_velo_to_cam.txt").write_text("R: 1 2 3\n")
        assert "calib_velo_to_cam.txt is '1 2 3', expected 9 finite numbers" in open_recording(drive).warnings[0]
        (drive.parent / "calib_velo_to_cam.txt").write_text("R: 1 0 0 0 1 0 0 0 -1\n")
        assert (
            "R of " in open_recording(drive).warnings[0] and "expected a rotation" in open_recording(drive).warnings[0]
        )
        (drive / "oxts" / "data" / "0000000002.txt").write_text("49.0 soon")
        trees.write(drive.parent / "calib_velo_to_cam.txt", trees.VELO_TO_CAM)
        trees.write(drive.parent / "calib_imu_to_velo.txt", "R: 1 0 0 0 1 0 0 0 1\nT: 0 0 0\n")
        assert "0000000002.txt cannot be used" in open_recording(drive).warnings[0]

    def test_annotated_depth_counts_before_the_scan(self, tmp_path: Path) -> None:
        drive = trees.kitti_raw(tmp_path, trees.PACKETS, trees.AHEAD)
        annotated = np.full((trees.HEIGHT, trees.WIDTH), 256 * 7, np.uint16)
        trees.save(drive / "proj_depth" / "groundtruth" / "image_02" / "0000000001.png", annotated)
        items = list(open_recording(drive))
        assert (trees.known(items[1]) == 7).all() and np.isnan(trees.known(items[0])).any()


class TestKittiOdometry:
    def test_camera_depth_and_poses(self, tmp_path: Path) -> None:
        sequence = trees.kitti_odometry(tmp_path, trees.POSES, trees.AHEAD)
        offset = np.linalg.solve(trees.P2[:, :3], trees.P2[:, 3])
        for source in (sequence, sequence / "image_2"):
            items = list(open_recording(source))
            assert [item.stamp_ns - items[0].stamp_ns for item in items] == [0, 10**8, 2 * 10**8, 3 * 10**8]
            assert {trees.camera_of(item) for item in items} == {trees.CAMERA}
            for item, pose in zip(items, trees.POSES, strict=True):
                np.testing.assert_allclose(trees.pose_of(item), pose @ transform(np.eye(3), -offset), atol=1e-9)
            expected = expected_depth(trees.AHEAD, trees.P2 @ trees.VELO)
            np.testing.assert_allclose(trees.known(items[2]), expected, rtol=1e-6)
        right = [item.frame.image[0, 0, 0] for item in open_recording(sequence / "image_3") if item.frame]
        assert right == [18, 23, 28, 33]

    def test_what_is_missing_is_named(self, tmp_path: Path) -> None:
        sequence = trees.kitti_odometry(tmp_path, trees.POSES, trees.AHEAD)
        poses = tmp_path / "dataset" / "poses" / "09.txt"
        poses.write_text("".join(poses.read_text().splitlines(True)[:2]))
        calibration = sequence / "calib.txt"
        calibration.write_text(calibration.read_text().replace("Tr:", "Tr_gone:"))
        depth, lacking = open_recording(sequence).warnings
        assert "calib.txt has no Tr, expected a line 'Tr: ' with 12 numbers" in depth
        assert "09.txt has 2 poses, expected one for each of the 4 images" in lacking

    def test_the_shared_excerpt(self, shared_dir: Path, tmp_path: Path) -> None:
        """51 real images and poses, put where the data set has them, are read as they are from their own folder."""
        plain = shared_dir / "data" / "kitti_stereo"
        if not plain.is_dir():
            pytest.skip("kitti_stereo is not here")
        known = list(open_recording(plain / "left"))
        sequence = tmp_path / "sequences" / "11"
        sequence.mkdir(parents=True)
        (sequence / "image_0").symlink_to(plain / "left")
        camera = trees.camera_of(known[0])
        assert camera is not None
        projection = f"{camera.fx!r} 0 {camera.cx!r} 0 0 {camera.fy!r} {camera.cy!r} 0 0 0 1 0"
        trees.write(sequence / "calib.txt", f"P0: {projection}\nTr: 0 -1 0 0 0 0 -1 0 1 0 0 0\n")
        trees.write(sequence / "times.txt", "".join(f"{0.1 * index:.6e}\n" for index in range(len(known))))
        (tmp_path / "poses").mkdir()
        (tmp_path / "poses" / "11.txt").symlink_to(plain / "poses.txt")
        recording = open_recording(sequence)
        for item, other in zip(recording, known, strict=True):
            assert item.stamp_ns == other.stamp_ns and trees.camera_of(item) == trees.camera_of(other)
            np.testing.assert_array_equal(trees.pose_of(item), trees.pose_of(other))
        assert recording.warnings == []
