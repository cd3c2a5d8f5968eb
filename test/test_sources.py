"""Folders, KITTI layouts and videos as sources of frames, and their conversion to a bag."""

from __future__ import annotations

import json
import os
from calendar import timegm
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from defeat_ros.data.bag import BagReader
from defeat_ros.data.folder import Thinner
from defeat_ros.data.sources import convert, open_frames, read_intrinsics
from defeat_ros.errors import OutputError, SourceError
from defeat_ros.frame import DEFAULT_FRAME_ID, EPOCH_NS, CameraIntrinsics

WIDTH, HEIGHT = 64, 48
CAMERA = CameraIntrinsics(fx=60.0, fy=61.0, cx=32.0, cy=24.0, width=WIDTH, height=HEIGHT)
SHORT = {"width": WIDTH, "height": HEIGHT, "fx": 60.0, "fy": 61.0, "cx": 32.0, "cy": 24.0}

CALIBRATION = """
image_width: 64
image_height: 48
camera_name: front
camera_matrix:
  rows: 3
  cols: 3
  data: [60, 0, 32, 0, 61, 24, 0, 0, 1]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [0.1, -0.2, 0.001, 0.002, 0]
rectification_matrix:
  rows: 3
  cols: 3
  data: [1, 0, 0, 0, 1, 0, 0, 0, 1]
projection_matrix:
  rows: 3
  cols: 4
  data: [55, 0, 31, 0, 0, 56, 23, 0, 0, 0, 1, 0]
"""


def picture(index: int) -> np.ndarray:
    """A flat RGB image whose grey level tells its number."""
    return np.full((HEIGHT, WIDTH, 3), 5 * index + 3, np.uint8)


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)


def numbers(frames: object) -> list[int]:
    """Which pictures came, by their grey level."""
    return [round((float(frame.image.mean()) - 3) / 5) for frame in frames]  # type: ignore[attr-defined]


def write_video(path: Path, count: int = 30, noise: int = 0) -> Path:
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(count):
            image = picture(index) + rng.integers(0, noise + 1, (HEIGHT, WIDTH, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images, numbered without leading zeros, some of them of no use."""
    for index in range(12):
        save(tmp_path / "images" / f"frame_{index}.png", picture(index))
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path / "images"


def test_calibration_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(CALIBRATION)
    camera = read_intrinsics(tmp_path / "a.yaml")
    assert camera == CameraIntrinsics(
        fx=60, fy=61, cx=32, cy=24, width=64, height=48, distortion_model="plumb_bob",
        distortion=(0.1, -0.2, 0.001, 0.002, 0.0), projection=(55, 56, 31, 23),
    )  # fmt: skip
    (tmp_path / "zero.yaml").write_text(
        CALIBRATION.replace("[1, 0, 0, 0, 1, 0, 0, 0, 1]", "[0, 0, 0, 0, 0, 0, 0, 0, 0]").replace(": 64", ": 64.0")
    )
    assert read_intrinsics(tmp_path / "zero.yaml") == camera
    (tmp_path / "b.json").write_text(json.dumps({**SHORT, "fps": 12, "note": "anything"}))
    assert read_intrinsics(tmp_path / "b.json") == CAMERA


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "NoneType"),
        ("[1, 2]", "list"),
        ("{", "neither YAML nor JSON"),
        ('{"fx": 3}', "'width'"),
        (json.dumps({**SHORT, "fx": "wide"}), "wide"),
        (json.dumps({**SHORT, "fx": 0}), "focal length"),
        (json.dumps({**SHORT, "width": -4}), "-4"),
        (json.dumps({**SHORT, "width": 3.9}), "width is 3.9, expected a whole number"),
        (json.dumps({**SHORT, "height": 10**400}), "too large"),
        (json.dumps({**SHORT, "fx": 10**400}), "too large"),
        ("{width: .inf, height: 48, fx: 60, fy: 61, cx: 32, cy: 24}", "width is inf, expected a whole number"),
        ("{width: 64, height: .nan, fx: 60, fy: 61, cx: 32, cy: 24}", "height is nan, expected a whole number"),
        (CALIBRATION.replace("image_width: 64", "image_width: 64.5"), "image_width is 64.5"),
        (CALIBRATION.replace("image_height: 48", "image_height: .inf"), "image_height is inf"),
        (
            CALIBRATION.replace("[1, 0, 0, 0, 1, 0, 0, 0, 1]", "[1, 0, 0, 0, 1, 0, 0, 0, 0]"),
            "1, 0, 0, 0, 1, 0, 0, 0, 0",
        ),
        (CALIBRATION.replace("[1, 0, 0, 0, 1, 0, 0, 0, 1]", "[2, 0, 0, 0, 2, 0, 0, 0, 2]"), "expected a rotation"),
        (CALIBRATION.replace("plumb_bob", "thin_prism"), "thin_prism"),
        (CALIBRATION.replace("image_width", "width"), "image_width"),
        (CALIBRATION.replace("[60, 0, 32, 0,", "[60, 0,"), "7"),
        (CALIBRATION.replace("data: [60, 0, 32, 0, 61, 24, 0, 0, 1]", "data: 5"), "5"),
    ],
)
def test_bad_calibration_files(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(SourceError, match="bad.yaml") as caught:
        read_intrinsics(tmp_path / "bad.yaml")
    assert "\n" not in str(caught.value)
    assert expected in str(caught.value) or expected == "5"
    with pytest.raises(SourceError, match="absent"):
        read_intrinsics(tmp_path / "absent.yaml")


def test_plain_folder(folder: Path) -> None:
    source = open_frames(folder, intrinsics=CAMERA)
    frames = list(source)
    assert numbers(frames) == list(range(12))  # 2 before 10
    assert [frame.stamp_ns for frame in frames] == [EPOCH_NS + index * 10**8 for index in range(12)]
    assert all(frame.intrinsics == CAMERA for frame in frames)
    assert (source.expected, source.skipped, source.size_hw) == (12, [], (HEIGHT, WIDTH))
    np.testing.assert_array_equal(frames[3].image, picture(3))
    assert [frame.stamp_ns for frame in open_frames(folder, fps=4)][:2] == [EPOCH_NS, EPOCH_NS + 250_000_000]
    assert numbers(source) == list(range(12))  # once more


def test_unusable_images_are_skipped_and_counted(folder: Path) -> None:
    good = (folder / "frame_4.png").read_bytes()
    (folder / "frame_4.png").write_bytes(good[: len(good) // 2])
    (folder / "frame_5.png").write_text("no image")
    save(folder / "frame_6.png", picture(6)[:-2])
    save(folder / "frame_7.png", picture(7)[..., 0])  # grey is fine
    os.truncate(folder / "frame_0.png", 0)
    source = open_frames(folder)
    frames = list(source)
    assert numbers(frames) == [1, 2, 3, 7, 8, 9, 10, 11]
    assert frames[0].stamp_ns == EPOCH_NS + 10**8  # a skipped image keeps its place in time
    assert source.skipped == [
        ("frame_0.png", "decode_failed"), ("frame_4.png", "decode_failed"),
        ("frame_5.png", "decode_failed"), ("frame_6.png", "size_changed"),
    ]  # fmt: skip


def test_folder_with_camera_file(folder: Path) -> None:
    (folder / "camera.json").write_text(json.dumps({**SHORT, "fps": 20}))
    frames = list(open_frames(folder))
    assert frames[1].stamp_ns - frames[0].stamp_ns == 50_000_000
    assert frames[0].intrinsics == CAMERA
    assert numbers(open_frames(folder, fps=10)) == [0, 2, 4, 6, 8, 10]
    (folder / "camera.json").write_text(json.dumps({**SHORT, "fps": "fast"}))
    with pytest.raises(SourceError, match="fast"):
        open_frames(folder)


def test_intrinsics_of_another_size(folder: Path, tmp_path: Path) -> None:
    other = CameraIntrinsics(fx=1, fy=1, cx=1, cy=1, width=640, height=480)
    for source in (folder, write_video(tmp_path / "v.mp4")):
        with pytest.raises(SourceError, match="640x480, expected 64x48"):
            open_frames(source, intrinsics=other)


def test_kitti_raw(tmp_path: Path) -> None:
    drive = tmp_path / "2011_09_26" / "drive_0001"
    for index in (0, 1, 3):  # one is missing
        save(drive / "image_02" / "data" / f"{index:010d}.png", picture(index))
    times = "\n".join(f"2011-09-26 13:02:25.{index}94360375" for index in range(4))
    (drive / "image_02" / "timestamps.txt").write_text(times + "\n")
    numbers12 = "60 0 32 4 0 61 24 5 0 0 1 6"
    (tmp_path / "2011_09_26" / "calib_cam_to_cam.txt").write_text(f"calib_time: x\nP_rect_02: {numbers12}\n")
    start = timegm((2011, 9, 26, 13, 2, 25)) * 10**9
    for source in (drive, drive / "image_02"):
        frames = list(open_frames(source))
        assert numbers(frames) == [0, 1, 3]
        assert [frame.stamp_ns - start for frame in frames] == [94360375, 194360375, 394360375]
        assert frames[0].intrinsics == CAMERA
    assert numbers(open_frames(drive, fps=5)) == [0, 3]


def test_kitti_odometry(tmp_path: Path) -> None:
    for index in range(4):
        save(tmp_path / "image_2" / f"{index:06d}.png", picture(index))
    (tmp_path / "times.txt").write_text("0.0\n1.036224e-01\n2.073297e-01\n3.110e-01\n")
    (tmp_path / "calib.txt").write_text("P0: 1 0 1 0 0 1 1 0 0 0 1 0\nP2: 60 0 32 4 0 61 24 5 0 0 1 6\n")
    frames = list(open_frames(tmp_path))
    assert [frame.stamp_ns - EPOCH_NS for frame in frames] == [0, 103622400, 207329700, 311000000]
    assert frames[0].intrinsics == CAMERA
    (tmp_path / "times.txt").write_text("0.0\n0.1\n")
    with pytest.raises(SourceError, match="2 times, expected one for each of the 4 images"):
        open_frames(tmp_path)
    (tmp_path / "times.txt").write_text("0.0\nsoon\n")
    with pytest.raises(SourceError, match="line 2 .* 'soon'"):
        open_frames(tmp_path)


def test_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4")
    source = open_frames(path)
    assert (source.expected, source.size_hw) == (30, (HEIGHT, WIDTH))
    assert len(list(source)) == 30
    source = open_frames(path, fps=10)
    frames = list(source)
    assert source.expected == 10 and numbers(frames) == pytest.approx(range(0, 30, 3), abs=1)
    assert [frame.stamp_ns - EPOCH_NS for frame in frames] == pytest.approx([k * 10**8 for k in range(10)], abs=2e6)
    assert np.abs(frames[4].image.astype(int) - picture(12)).max() <= 4


def test_cut_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.avi", noise=60)
    os.truncate(path, path.stat().st_size * 9 // 10)
    source = open_frames(path)
    count = len(list(source))
    assert 10 < count < 30


@pytest.mark.parametrize("rate", [30, 25, 15, 10, 9.66, 5])
def test_thinning(rate: float) -> None:
    thinner = Thinner(10, 1e9 / rate)
    stamps = [round(index * 1e9 / rate) for index in range(int(rate * 10))]
    chosen = [stamp for stamp in stamps if thinner.keep(stamp)]
    assert len(chosen) == pytest.approx(10 * min(10, rate), abs=1)


def test_no_sources(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "1.png").write_text("no image")
    for name, text in (
        ("absent", "does not exist"), ("folder", "has no images"), ("text.mp4", "cannot be read"), ("bad", "none of"),
    ):  # fmt: skip
        with pytest.raises(SourceError, match=text) as caught:
            open_frames(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(SourceError, match="fps is -1"):
        open_frames(tmp_path / "folder", fps=-1)


@pytest.mark.parametrize("compressed", [False, True])
def test_convert(folder: Path, tmp_path: Path, compressed: bool) -> None:
    (folder / "frame_4.png").write_bytes(b"")
    steps: list[tuple[int, int | None]] = []
    summary = convert(
        folder, tmp_path / "bag", CAMERA, compressed=compressed, progress=lambda done, of: steps.append((done, of))
    )
    assert (summary.frames, summary.duration_s, summary.size_hw) == (11, 1.1, (HEIGHT, WIDTH))
    assert summary.skipped == (("frame_4.png", "decode_failed"),)
    assert steps[0] == (1, 12) and steps[-1] == (11, 12)
    with BagReader(tmp_path / "bag") as bag:
        assert (bag.image_topic(), summary.camera_info_topic) == (summary.image_topic, "/camera/camera_info")
        frames = [item.frame for item in bag.frames() if item.frame is not None]
    assert numbers(frames) == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11]
    assert frames[0].frame_id == DEFAULT_FRAME_ID == "camera_optical_frame"
    assert frames[0].intrinsics is not None and frames[0].intrinsics.K.tolist() == CAMERA.K.tolist()
    with pytest.raises(OutputError, match="exists already"):
        convert(folder, tmp_path / "bag")


def test_failed_conversion_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    def interrupt(done: int, _: int | None) -> None:
        if done == 3:
            raise KeyboardInterrupt

    before = sorted(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        convert(folder, tmp_path / "bag", progress=interrupt)
    with pytest.raises(SourceError):
        convert(folder, tmp_path / "bag", CameraIntrinsics(fx=1, fy=1, cx=1, cy=1, width=9, height=9))
    assert sorted(tmp_path.iterdir()) == before


def test_real_recordings(tmp_path: Path) -> None:
    """Where the data for development are beside the checkout."""
    data = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (data / "video" / "night.mp4").exists():
        pytest.skip("the recordings for development are not here")
    few = tmp_path / "few"
    few.mkdir()
    images = sorted((data / "kitti_residential").glob("*.jpg"))[:5]
    for item in (*images, data / "kitti_residential" / "camera.json"):
        (few / item.name).symlink_to(item)
    summary = convert(few, tmp_path / "bag")
    assert (summary.frames, summary.size_hw, summary.skipped) == (5, (375, 1242), ())
    with BagReader(tmp_path / "bag") as bag:
        assert all(item.frame is not None and item.frame.intrinsics is not None for item in bag.frames())
    video = open_frames(data / "video" / "night.mp4", fps=10)
    stamps = [frame.stamp_ns for frame, _ in zip(video, range(20), strict=False)]
    assert np.diff(stamps).mean() == pytest.approx(1e8, rel=0.02)
