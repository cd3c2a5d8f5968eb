"""nuScenes in its documented layout: tables, times, poses and depth against numbers."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import dataset_trees as trees
import numpy as np
import pytest

from defeat_ros.data.nuscenes_tables import rows_of
from defeat_ros.data.recording import open_recording
from defeat_ros.errors import SourceError
from defeat_ros.geometry import transform


class TestNuScenes:
    def test_camera_times_poses_and_depth(self, tmp_path: Path) -> None:
        root = trees.nuscenes(tmp_path / "nu", trees.SWEEP)
        for source in (root / "scene-0061", root / "v1.0-mini" / "scene-0061" / "CAM_FRONT"):
            recording = open_recording(source)
            items = list(recording)
            assert recording.name == "scene-0061" and recording.warnings == []
            assert [(item.stamp_ns - items[0].stamp_ns) // 10**6 for item in items] == [0, 80, 500]
            assert items[0].stamp_ns == 1532402927612460000
            assert {trees.camera_of(item) for item in items} == {trees.CAMERA}
            # The map's x is the world's z; the camera is 1.7 m ahead of the vehicle and 1.5 m up.
            for item, x in zip(items, (100.0, 100.8, 105.0), strict=True):
                np.testing.assert_allclose(
                    trees.pose_of(item), transform(np.eye(3), np.array([0, -1.5, x + 1.7])), atol=1e-9
                )
            assert recording.base_from_camera is not None and recording.base_from_camera[2, 3] == 1.5
            assert items[1].depth is None  # no key frame
            # Scan 50 ms later, 0.5 m on: lidar 0.9 m ahead at 1.8 m: 20 + 0.9 + 0.5 - 1.7 m before the camera.
            depth = trees.known(items[0])
            assert np.isfinite(depth).sum() == 2
            assert depth[24, 32] == pytest.approx(19.7)
            # 9.7 m ahead, 2 m right, 1 m down: u = 32 + 60 * 2 / 9.7, v = 24 + 61 * 1 / 9.7.
            assert depth[30, 44] == pytest.approx(9.7)
        back = open_recording(root / "scene-0061" / "CAM_BACK")
        items = list(back)
        assert back.name == "scene-0061_CAM_BACK"
        np.testing.assert_allclose(trees.pose_of(items[0])[:3, :3] @ [0, 0, 1], [0, 0, -1], atol=1e-9)
        # 10 m behind the lidar, which is 1.2 m ahead of this camera and 0.5 m further on, 0.3 m higher.
        assert trees.known(items[0])[24 - round(61 * 0.3 / 8.3), 32] == pytest.approx(8.3)

    def test_only_key_frames(self, tmp_path: Path) -> None:
        root = trees.nuscenes(tmp_path / "nu", trees.SWEEP)
        shutil.rmtree(root / "sweeps")
        assert [item.depth is not None for item in open_recording(root / "scene-0061")] == [True, True]
        shutil.rmtree(root / "samples" / "LIDAR_TOP")
        recording = open_recording(root / "scene-0061")
        assert [item.depth for item in recording] == [None, None]
        assert re.search("scan .*LIDAR_TOP.*pcd.bin does not exist.* [(]2 times[)]", recording.warnings[0])
        shutil.rmtree(root / "samples")
        with pytest.raises(SourceError, match="has none of the 3 images its tables name, such as .*CAM_FRONT__15"):
            open_recording(root / "scene-0061")

    def test_scenes_that_are_not_there(self, tmp_path: Path) -> None:
        root = trees.nuscenes(tmp_path / "nu", trees.SWEEP)
        for name, text in (
            ("", "has several scenes, expected .*nu/SCENE, one of 'scene-0061, scene-0103'"),
            ("scene-7", "has no scene 'scene-7', expected"),
            ("other", "does not exist"),
        ):
            with pytest.raises(SourceError, match=text):
                open_recording(root / name)
        with pytest.raises(SourceError, match="has no image of CAM_FRONT_LEFT"):
            open_recording(root / "scene-0061" / "CAM_FRONT_LEFT")

    @pytest.mark.parametrize(
        ("table", "old", "new", "expected"),
        [
            ("sample_data", '"samples/CAM_FRONT', '"../CAM_FRONT', "filename .*[.][.]/CAM_FRONT.*expected one below"),
            (
                "sample_data",
                '"filename": "samples/CAM_FRONT',
                '"file": "samples/',
                "filename .* is None, expected text",
            ),
            ("ego_pose", "[\n1.0,\n0.0,\n0.0,\n0.0\n]", "[0, 0, 0, 0]", "rotation of a row of ego_pose"),
            ("ego_pose", '"CAM_FRONT 15', '"gone 15', "ego_pose of .* lacks 'CAM_FRONT 15"),
            ("calibrated_sensor", "60.0", '"wide"', "camera_intrinsic of calibrated_sensor"),
            ("scene", "[", "{", "scene.json begins with '{"),
            ("sample", "]", "", "sample.json ends in the middle"),
            ("sample_data", '"width": 64', '"width": NaN', "width of a row of sample_data is nan"),
        ],
    )
    def test_tables_that_contradict_themselves(
        self, tmp_path: Path, table: str, old: str, new: str, expected: str
    ) -> None:
        root = trees.nuscenes(tmp_path / "nu", trees.SWEEP)
        file = root / "v1.0-mini" / f"{table}.json"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        with pytest.raises(SourceError, match=expected) as caught:
            open_recording(root / "scene-0061")
        assert "\n" not in str(caught.value)

    def test_a_missing_table_is_named(self, tmp_path: Path) -> None:
        root = trees.nuscenes(tmp_path / "nu", trees.SWEEP)
        (root / "v1.0-mini" / "ego_pose.json").unlink()
        with pytest.raises(SourceError, match="ego_pose.json does not exist, expected a table of nuScenes"):
            open_recording(root / "scene-0061")

    def test_tables_larger_than_a_chunk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        rows = [{"token": f"t{index}", "name": 'a "]}, {" b', "deep": {"x": [1, {"y": index}]}} for index in range(50)]
        for indent in (None, 0, 2):
            (tmp_path / "scene.json").write_text(json.dumps(rows, indent=indent))
            for chunk in (1, 7, 100, 1 << 20):
                monkeypatch.setattr("defeat_ros.data.nuscenes_tables._CHUNK", chunk)
                assert list(rows_of(tmp_path, "scene")) == rows
