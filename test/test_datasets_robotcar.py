"""Oxford RobotCar in its documented layout: colours, distortion, times and poses against numbers."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import cv2
import dataset_trees as trees
import numpy as np
import pytest

from defeat_ros.data.recording import open_recording
from defeat_ros.data.sources import open_frames
from defeat_ros.errors import SourceError


class TestRobotCar:
    def test_images_times_and_camera(self, tmp_path: Path) -> None:
        date = trees.robotcar(tmp_path)
        for source in (date, date / "stereo" / "centre"):
            recording = open_recording(source)
            items = list(recording)
            assert recording.name == "2014-12-16-18-44-24_stereo_centre"
            assert [item.stamp_ns for item in items] == [1000 * (trees.STAMP_US + 62500 * i) for i in range(3)]
            assert {trees.camera_of(item) for item in items} == {trees.CAMERA}
            assert items[0].frame is not None
            image = items[0].frame.image
            # Two colours that meet at column 32 as recorded, and four to the left once undistorted.
            assert (image[2:-2, 2:26] == (10, 20, 30)).all() and (image[2:-2, 30:58] == trees.COLOUR).all()
            assert (image[:, 61:] == 0).all()  # nothing was seen there
        rear = open_recording(date / "mono_rear")
        frame = next(iter(rear)).frame
        assert frame is not None and (frame.image == trees.COLOUR).all()
        assert "mono_rear_distortion_lut.bin does not exist" in rear.warnings[0]
        assert len(list(open_frames(date, fps=8.0))) == 2

    def test_models_elsewhere_and_none(self, tmp_path: Path) -> None:
        date = trees.robotcar(tmp_path)
        (tmp_path / "models").rename(tmp_path / "sdk")
        assert next(iter(open_frames(date))).intrinsics is None
        (told,) = open_recording(date).warnings
        assert re.search("camera is not known: .*2014-12-16-18-44-24/models/stereo_narrow_left.txt and .* do not", told)
        for given in (tmp_path / "sdk", tmp_path / "sdk" / "stereo_narrow_left.txt"):
            assert next(iter(open_frames(date, intrinsics=given))).intrinsics == trees.CAMERA
        with pytest.raises(SourceError, match="sdk/stereo_wide_left.txt does not exist"):
            (date / "stereo" / "centre").rename(date / "stereo" / "left")
            open_frames(date, intrinsics=tmp_path / "sdk")
        with pytest.raises(SourceError, match="nothing.txt does not exist, expected a camera model"):
            open_frames(date, intrinsics=tmp_path / "nothing.txt")

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("60 61 32\n", "expected 4, got 3"),
            ("60 0 32 24\n", "focal lengths must be positive"),
            ("60 61 32 24\n1 0\n", "cannot be used"),
            ("60 61 32 24\n" + "2 0 0 0\n0 2 0 0\n0 0 2 0\n0 0 0 1\n", "the matrix is"),
        ],
    )
    def test_bad_models(self, tmp_path: Path, text: str, expected: str) -> None:
        date = trees.robotcar(tmp_path)
        (tmp_path / "models" / "stereo_narrow_left.txt").write_text(text)
        with pytest.raises(SourceError, match=f"stereo_narrow_left.txt cannot be used: .*{expected}|{expected}"):
            open_frames(date)

    def test_images_that_are_missing(self, tmp_path: Path) -> None:
        date = trees.robotcar(tmp_path)
        (date / "stereo" / "centre" / f"{trees.STAMP_US + 62500}.png").unlink()
        (told,) = open_recording(date).warnings
        assert re.fullmatch("1 images that .*/stereo.timestamps lists are missing between the first and the last", told)

    def test_tables_that_do_not_fit(self, tmp_path: Path) -> None:
        date = trees.robotcar(tmp_path)
        table = tmp_path / "models" / "stereo_narrow_left_distortion_lut.bin"
        for data, text in (
            (bytes(16 * 100), "is for 100 pixels, expected 3072 as in the 64x48"),
            (bytes(17), "lut.bin has 17 bytes, expected a pair of float64 for each pixel"),
            (np.full(2 * 3072, np.inf).tobytes(), "lut.bin has values up to inf, expected places in an image"),
        ):
            table.write_bytes(data)
            with pytest.raises(SourceError, match=text):
                open_frames(date)

    def test_images_in_colour_are_finished(self, tmp_path: Path) -> None:
        date = trees.robotcar(tmp_path)
        for file in (date / "stereo" / "centre").iterdir():
            assert cv2.imwrite(str(file), np.full((trees.HEIGHT, trees.WIDTH, 3), (1, 2, 3), np.uint8))
        assert (next(iter(open_frames(date))).image == (3, 2, 1)).all()

    def test_poses_of_the_ins(self, tmp_path: Path) -> None:
        date = trees.robotcar(tmp_path)
        step = "{},INS_SOLUTION_GOOD,51.7,-1.2,112,5735000,{},-100,30U,0,1,0,0,0,{}\n"
        rows = (step.format(trees.STAMP_US - 20000 + 20000 * i, 620000 + i, np.pi / 2) for i in range(9))
        trees.write(date / "gps" / "ins.csv", trees.INS + "".join(rows))
        recording = open_recording(date)
        first, second, third = (trees.pose_of(item) for item in recording)
        assert recording.warnings == ["poses are those of gps/ins.csv"]
        # The car looks east, where the world's x is east, y down, z north; the INS sits 1.7 m behind the camera.
        np.testing.assert_allclose(first[:3, :3] @ [0, 0, 1], [1, 0, 0], atol=1e-9)
        np.testing.assert_allclose(first[:3, :3] @ [1, 0, 0], [0, 0, -1], atol=1e-9)
        np.testing.assert_allclose(first[:3, 3], [620001 + 1.7, -100 - 1.2, 5735000 + 0.1], atol=1e-6)
        np.testing.assert_allclose(second[:3, 3] - first[:3, 3], [62.5 / 20, 0, 0], atol=1e-6)
        np.testing.assert_allclose(third[:3, 3] - first[:3, 3], [125 / 20, 0, 0], atol=1e-6)
        rear = trees.pose_of(next(iter(open_recording(date / "mono_rear"))))
        np.testing.assert_allclose(rear[:3, :3] @ [0, 0, 1], [-1, 0, 0], atol=1e-9)  # looks back
        # The vehicle (the stereo camera) lies 2 m behind what the rear camera sees, 0.4 m below it.
        vehicle = np.array([620001.05 + 1.7, -100 - 1.2, 5735000 + 0.1])
        np.testing.assert_allclose(rear[:3, 3] - vehicle, [-2.0, -0.4, 0], atol=1e-6)

    def test_rtk_counts_before_ins_and_vo_last(self, tmp_path: Path) -> None:
        date = trees.robotcar(tmp_path)
        later = [trees.STAMP_US + 62500 * index for index in range(3)]
        turn = f"0,0,{np.pi / 2}"
        rows = f"{later[0]},{later[0] - 62500},0,0,0,0,0,0\n{later[1]},{later[0]},2,0,0,{turn}\n"
        trees.write(date / "vo" / "vo.csv", trees.VO + rows + f"{later[2]},{later[1]},3,0,0,0,0,0\n")
        recording = open_recording(date)
        poses = [trees.pose_of(item) for item in recording]
        assert recording.warnings == ["poses are those of vo/vo.csv"]
        # Two metres ahead, a right turn, three metres to the right; the world is the first vehicle's: z ahead.
        np.testing.assert_allclose([pose[:3, 3] for pose in poses], [[0, 0, 0], [0, 0, 2], [3, 0, 2]], atol=1e-9)
        row = f"{later[0]},51.7,-1.2,112,7,5,0,30U,0,1,0,0,0,0\n"
        trees.write(date / "rtk.csv", trees.RTK + row)
        only = [item.world_from_camera for item in open_recording(date)]
        np.testing.assert_allclose(only[0][:3, 3], [5 - 0.1, -1.2, 7 + 1.7], atol=1e-9)  # type: ignore[index]
        assert only[1:] == [None, None]

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("timestamp,x\n1,2\n", "begins with 'timestamp,x', expected columns timestamp,northing"),
            (trees.INS + "soon" + 14 * ",0" + "\n", "line 2 of .*ins.csv is 'soon,"),
            (trees.INS + "1,2\n", "line 2 of .*ins.csv is '1,2', expected microseconds"),
        ],
    )
    def test_bad_poses_are_told(self, tmp_path: Path, text: str, expected: str) -> None:
        date = trees.robotcar(tmp_path)
        trees.write(date / "gps" / "ins.csv", text)
        recording = open_recording(date)
        assert all(item.world_from_camera is None for item in recording)
        assert re.search(f"^no poses: .*{expected}", recording.warnings[0])

    def test_the_shared_night_images(self, shared_dir: Path, tmp_path: Path) -> None:
        """Two images that somebody demosaiced and cut, put where the data set has them."""
        folder = tmp_path / "2014-12-16-18-44-24" / "stereo" / "centre"
        folder.mkdir(parents=True)
        files = sorted((shared_dir / "data" / "robotcar_night").glob("*.png"))
        if not files:
            pytest.skip("robotcar_night is not here")
        for index, file in enumerate(files):
            shutil.copy(file, folder / f"{trees.STAMP_US + 62500 * index}.png")
        items = list(open_recording(folder))
        assert [item.frame.size_hw for item in items if item.frame] == [(800, 1260)] * len(files)
