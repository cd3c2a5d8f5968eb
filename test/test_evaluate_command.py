"""`defeat-ros evaluate` as a user types it, with an engine whose answers are known."""

import argparse
import json
import sys

import cv2
import numpy as np
import pytest
from bag_tools import CAMERA, START_NS, STEP_NS, write_ours
from fake_backend import FakeBackend

from defeat_ros.cli.evaluate import add_evaluate
from defeat_ros.data.bag import BagWriter, bag_messages
from defeat_ros.data.recording import unique_names
from defeat_ros.errors import ConfigError, OutputError, SourceError
from defeat_ros.evaluation.dark import darken
from defeat_ros.evaluation.options import NIGHT_BELOW
from defeat_ros.geometry import BODY_FROM_OPTICAL, rotation_from_vector, transform
from defeat_ros.inference.config import DepthConfig
from defeat_ros.inference.engine import DepthEngine
from defeat_ros.preprocess import resize_image

COUNT = 8
UNITS = 1 / (0.01 + 9.99 * 0.5)  # what the fake backend's disparity of 0.5 means
MOUNT = transform(np.eye(3), np.array([1.5, 0.0, 1.2])) @ BODY_FROM_OPTICAL


def truth_depth() -> np.ndarray:
    depth = np.repeat(np.geomspace(60, 3, CAMERA.height)[:, None], CAMERA.width, axis=1).astype(np.float32)
    depth[:10] = np.inf
    return depth


def base_pose(index: int) -> np.ndarray:
    """Straight ahead at 2 m a frame, somewhere in the world."""
    start = transform(rotation_from_vector(np.array([0.0, 0.0, 0.7])), np.array([30.0, -5.0, 0.0]))
    return start @ transform(np.eye(3), np.array([2.0 * index, 0.0, 0.0]))


def picture(grey: int = 120) -> np.ndarray:
    image = np.full((CAMERA.height, CAMERA.width, 3), grey, np.uint8)
    image[::7, ::5] = 255
    image[:, 40:50] = grey // 2  # left and right differ
    return image


def write_drive(path, grey: int = 120, stamps=range(COUNT), depth=truth_depth, topic="/truth/depth"):
    make, nothing = bag_messages(), np.zeros((6, 6))
    with BagWriter(path) as bag:
        bag.write("/tf_static", make.transforms([("base_link", "cam", MOUNT)], stamp_ns=START_NS), START_NS)
        for index in stamps:
            stamp = START_NS + index * STEP_NS
            header = {"stamp_ns": stamp, "frame_id": "cam"}
            image = picture(grey)
            bag.write("/camera/camera_info", make.camera_info(CAMERA, **header), stamp)
            bag.write("/camera/image_raw", make.image(image, **header), stamp)
            bag.write(topic, make.image(depth(), **header), stamp)
            odometry = make.odometry(
                stamp_ns=stamp, frame_id="world", child_frame_id="base_link", odom_from_base=base_pose(index),
                twist=np.zeros(6), pose_covariance=nothing, twist_covariance=nothing,
            )  # fmt: skip
            bag.write("/truth/odom", odometry, stamp)
    return path


@pytest.fixture(scope="module")
def drives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drives")
    return [str(write_drive(folder / "day")), str(write_drive(folder / "night", grey=20))]


def evaluate(*line, disp=0.5):
    """Run the command with a fresh engine; the backend is returned."""
    backend = FakeBackend(translation=(0.0, 0.0, -0.1), disp=disp)
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    add_evaluate(
        lambda name, run, about: commands.add_parser(name, help=about),
        lambda command: command.add_argument("--checkpoint", default=""),
        lambda options: DepthEngine(DepthConfig(input_size=(160, 128)), backend=backend),
    )
    options = parser.parse_args(["evaluate", *map(str, line)])
    options.run(options)
    return backend


def evaluated(capsys, *line):
    return evaluated_with(capsys, 0.5, *line)


def evaluated_with(capsys, disp, *line):
    """The report printed as JSON, from an engine with this disparity."""
    evaluate(*line, "--json", disp=disp)

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(capsys.readouterr().out, parse_constant=refuse)


def test_depth_table_files_and_numbers(drives, tmp_path, capsys):
    out = tmp_path / "out"
    evaluate("depth", *drives, "--baselines", "--every", 2, "--out", out)
    printed = capsys.readouterr().out
    assert "overall" in printed and "day (day)" in printed and "night (night)" in printed
    assert (
        f"median grey level below {NIGHT_BELOW:g}" in printed and "optimistic" in printed and "not_chosen 4" in printed
    )
    kinds = [f"{name}_{kind}" for name in ("day", "night") for kind in ("best.jpg", "median.jpg", "worst.jpg")]
    charts = ["day_distance.png", "night_distance.png", "distance.png"]
    assert {path.name for path in out.iterdir()} == {"summary.json", *kinds, *charts}
    assert cv2.imread(str(out / "day_best.jpg")).shape[1] == 960
    report = json.loads((out / "summary.json").read_text())
    assert report["protocol"]["night_below_grey_level"] == NIGHT_BELOW and set(report["conditions"]) == {"day", "night"}
    assert report["checkpoint"]["backend"] == "fake"
    for source in report["sources"].values():
        frames = source["frames"]
        assert frames["in"] == COUNT == frames["evaluated"] + sum(frames["skipped"].values())
    overall = report["overall"]
    assert overall["network"]["frames"] == COUNT and sum(overall["network"]["pixels_by_distance"]) > 0
    # The fake depth is one number: scaled by its median, it is the constant baseline.
    network, constant = overall["network"]["median_scaled"], overall["constant"]["median_scaled"]
    assert network == pytest.approx(constant, rel=1e-5)
    truth = truth_depth()[10:]
    assert overall["network"]["scale"]["mean"] == pytest.approx(np.median(truth) / UNITS, rel=1e-5)
    assert network["abs_rel"] == pytest.approx(np.mean(np.abs(np.median(truth) - truth) / truth), rel=1e-5)
    assert overall["network"]["unscaled"]["abs_rel"] == pytest.approx(np.mean(1 - UNITS / truth), rel=1e-5)
    assert overall["rows"]["unscaled"]["abs_rel"] < 0.02 < constant["abs_rel"]
    with pytest.raises(OutputError, match="not empty"):
        evaluate("depth", *drives, "--out", out)


def test_dark_and_crop_reach_the_network(drives, capsys):
    plain = evaluate("depth", drives[0], "--every", 4)
    assert all(call[2] == {"disp"} and call[1] is None for call in plain.calls), "depth alone, of single frames"
    dark, again = (evaluate("depth", drives[0], "--every", 4, "--dark", 5) for _ in range(2))
    assert dark.calls[0][0].mean() < 0.5 * plain.calls[0][0].mean()
    assert (dark.calls[1][0] == again.calls[1][0]).all() and (dark.calls[0][0] != dark.calls[1][0]).any()
    seen = resize_image(picture(), (128, 160))
    assert (dark.calls[1][0] == darken(seen, 5, np.random.default_rng([0, 4]))).all(), "at the networks' size"
    capsys.readouterr()
    report = evaluated(capsys, "depth", drives[0], "--every", 4, "--dark", 5)
    assert "input size" in report["protocol"]["dark_corrupts"]
    assert sum(report["overall"]["network"]["pixels_by_distance"]) == 2 * 110 * 160, "truth keeps its size"
    report = evaluated(capsys, "depth", drives[0], "--crop", "garg", "--condition", "night", "--max-depth", 20)
    assert report["sources"]["day"]["condition"] == "night"
    pixels = report["overall"]["network"]["pixels_by_distance"]
    assert len(pixels) == 4 and sum(pixels) == COUNT * (119 - 48) * (154 - 5), "all of the crop is nearer than 20 m"
    evaluate("depth", drives[0], "--crop-aspect", "--every", COUNT, "--dark", 1)


def test_crop_aspect_cuts_image_and_truth(drives, tmp_path, capsys):
    line = ("depth", drives[0], "--every", COUNT, "--crop-aspect", "--out", tmp_path / "out", "--json")
    cut = evaluate(*line)
    middle = slice(5, 155)  # 160:128 of 160x120 is 150x120
    assert (cut.calls[0][0] == resize_image(picture()[:, middle], (128, 160))).all()
    assert (cut.calls[0][0] != resize_image(picture(), (128, 160))).any()
    report = json.loads(capsys.readouterr().out)
    assert sum(report["overall"]["network"]["pixels_by_distance"]) == 110 * 150


def test_the_crop_decides_which_frames_have_truth(tmp_path):
    def outside():
        depth = np.full((CAMERA.height, CAMERA.width), np.nan, np.float32)
        depth[:40] = 10.0
        return depth

    drive = write_drive(tmp_path / "above", stamps=range(2), depth=outside)
    assert evaluate("depth", drive).calls
    with pytest.raises(SourceError, match="no_truth_in_crop 2"):
        evaluate("depth", drive, "--crop", "garg", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists(), "told before any work"


def test_beyond_the_range_is_the_farthest_depth_there_is(drives, capsys):
    report = evaluated_with(capsys, 0.0, "depth", drives[0], "--every", COUNT)
    network, truth = report["overall"]["network"], truth_depth()[10:]
    assert network["scale"]["mean"] == pytest.approx(np.median(truth) / 100.0, rel=1e-5) and network["missing"] == 0


def test_predictions_of_a_bag(drives, tmp_path, capsys):
    doubled = write_drive(
        tmp_path / "made", stamps=[1, 2, 5], depth=lambda: truth_depth() * 2, topic="/depth/image_rect"
    )
    report = evaluated(capsys, "depth", drives[0], "--predictions", doubled, "--out", tmp_path / "out")
    scores = report["overall"]["predictions"]
    assert scores["frames"] == 3 and scores["median_scaled"]["abs_rel"] == pytest.approx(0, abs=1e-6)
    assert scores["scale"]["mean"] == pytest.approx(0.5) and scores["unscaled"]["abs_rel"] > 0.3
    assert report["sources"]["day"]["frames"]["skipped"] == {"no_prediction": COUNT - 3}
    assert (tmp_path / "out" / "day_worst.jpg").is_file()
    with pytest.raises(ConfigError, match="1 bags, expected 2"):
        evaluate("depth", *drives, "--predictions", doubled)
    with pytest.raises(ConfigError, match="dark"):
        evaluate("depth", drives[0], "--predictions", doubled, "--dark", 1)
    with pytest.raises(SourceError, match="'/depth/other'"):
        evaluate("depth", drives[0], "--predictions", doubled, "--prediction-topic", "/depth/other")
    with pytest.raises(SourceError, match=r"'/truth/odom' is nav_msgs/msg/Odometry, expected sensor_msgs/msg/Image"):
        evaluate("depth", drives[0], "--predictions", doubled, "--prediction-topic", "/truth/odom")


def test_predictions_with_holes(drives, tmp_path, capsys):
    def holes():
        depth = truth_depth()
        depth[:, :40] = np.nan
        return depth

    def nothing():
        return truth_depth() * np.nan

    holed = write_drive(tmp_path / "holed", depth=holes, topic="/depth/image_rect")
    evaluate("depth", drives[0], "--predictions", holed)
    assert "predictions has no finite depth at 25 % of the pixels" in capsys.readouterr().out
    empty = write_drive(tmp_path / "empty", depth=nothing, topic="/depth/image_rect")
    report = evaluated(capsys, "depth", *drives, "--predictions", holed, empty, "--out", tmp_path / "out")
    assert report["overall"]["predictions"]["scale"]["mean"] == pytest.approx(1.0)
    assert report["overall"]["predictions"]["scale"]["unknown"] == COUNT
    assert report["sources"]["night"]["methods"]["predictions"]["scale"]["mean"] is None
    evaluate("depth", drives[0], "--predictions", empty)


def test_same_names_stay_apart(drives, capsys):
    report = evaluated(capsys, "depth", drives[0], drives[0], "--every", COUNT)
    assert set(report["sources"]) == {"day", "day_2"}
    assert unique_names(["drive", "drive", "drive_2"]) == ["drive", "drive_3", "drive_2"]
    assert unique_names(["a", "a", "a", "a_2", "a_2"]) == ["a", "a_3", "a_4", "a_2", "a_2_2"]


def test_depth_faults(drives, tmp_path):
    bare = write_ours(tmp_path / "bare", count=3)
    with pytest.raises(SourceError, match=r"bare can be evaluated \(no_truth 3\)"):
        evaluate("depth", drives[0], bare)
    with pytest.raises(ConfigError, match="'every' is 0"):
        evaluate("depth", drives[0], "--every", 0)
    with pytest.raises(ConfigError, match="'dark' is 6"):
        evaluate("depth", drives[0], "--dark", 6)
    with pytest.raises(ConfigError, match="'garg'.*crop_aspect"):
        evaluate("depth", drives[0], "--crop", "garg", "--crop-aspect")
    with pytest.raises(SourceError, match="nowhere"):
        evaluate("depth", tmp_path / "nowhere")
    with pytest.raises(SystemExit):
        evaluate("depth")


def test_charts_without_matplotlib_keep_the_numbers(drives, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(OutputError, match="matplotlib"):
        evaluate("depth", drives[0], "--every", COUNT, "--out", tmp_path / "out")
    assert (tmp_path / "out" / "summary.json").is_file() and "day (day)" in capsys.readouterr().out
    with pytest.raises(OutputError, match="matplotlib"):
        evaluate("odometry", drives[0], "--out", tmp_path / "paths")
    assert (tmp_path / "paths" / "summary.json").is_file() and "ATE rmse" in capsys.readouterr().out


def test_odometry_of_the_engine(drives, tmp_path, capsys):
    report = evaluated(capsys, "odometry", *drives, "--out", tmp_path / "out")
    assert set(report["trajectories"]) == {"day", "night"}
    one = report["trajectories"]["day"]
    # The engine goes ahead by 0.1 times the mean inverse depth a frame, the truth by 2 m.
    assert one["scale_sim3"] == pytest.approx(2.0 / (0.1 / UNITS), rel=1e-4)
    assert one["ate_rmse"]["sim3"] < 1e-4 and one["path_length"] == pytest.approx(14.0)
    assert one["rpe_trans"]["rmse"] < 1e-4 and one["steps"]["direction_mean"] < 1e-2, "of the camera, not the base"
    assert one["frames"] == {"in": COUNT, "skipped": {}} and one["restarts"] == {}
    assert one["segments_scaled"]["t_rel"] is None and report["mean"]["t_rel as is, %"] is None
    assert "Umeyama" in report["protocol"]["alignment"]["sim3"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "summary.json", "day_odometry.png", "night_odometry.png",
    }  # fmt: skip


def test_motion_that_was_never_measured_is_no_result(tmp_path, capsys):
    drive = write_drive(tmp_path / "slow", stamps=[0, 20, 40, 60])
    with pytest.raises(SourceError, match=r"none of the 3 motions .*gap 3.*max_gap_s is .* 2 s apart.*--set max_gap_s"):
        evaluate("odometry", drive)
    broken = write_drive(tmp_path / "broken", stamps=[0, 1, 2, 22, 23])
    one = evaluated(capsys, "odometry", broken)["trajectories"]["broken"]
    assert one["restarts"] == {"gap": 1}
    assert one["warnings"] == ["1 of 4 motions are unknown (gap 1) and count as standing still"]


def test_odometry_of_two_trajectories(drives, tmp_path, capsys):
    lines = []
    for index in range(COUNT):
        x, y, _ = base_pose(index)[:3, 3] * 0.5
        stamp = START_NS + index * STEP_NS + 4_000_000
        lines.append(f"{stamp // 10**9}.{stamp % 10**9:09d} {x} {y} 0 0 0 {np.sin(0.35)} {np.cos(0.35)}")
    (tmp_path / "made.txt").write_text("\n".join(lines))
    report = evaluated(capsys, "odometry", "--estimate", tmp_path / "made.txt", "--truth", drives[0])
    one = report["trajectories"]["made"]
    assert one["poses"] == COUNT and one["scale_sim3"] == pytest.approx(2.0) and one["rpe_rot"]["rmse"] < 1e-4
    evaluate("odometry", "--estimate", tmp_path / "made.txt", "--truth", drives[0], "--max-difference", 0.01)
    printed = capsys.readouterr()
    assert "unmatched" not in printed.out and "RPE rot mean" in printed.out
    assert "too short" in printed.out and "ATE rmse, SE(3), m" in printed.out and "14.0 m long" in printed.err
    (tmp_path / "part.txt").write_text("\n".join(lines[2:]))
    evaluate("odometry", "--estimate", tmp_path / "part.txt", "--truth", drives[0])
    assert ", 2 of the truth unmatched" in capsys.readouterr().out
    with pytest.raises(SourceError, match=r"within 0\.001 s"):
        evaluate("odometry", "--estimate", tmp_path / "made.txt", "--truth", drives[0], "--max-difference", 0.001)
    with pytest.raises(ConfigError, match="--truth"):
        evaluate("odometry", "--estimate", tmp_path / "made.txt")
    with pytest.raises(ConfigError, match="0 SOURCE"):
        evaluate("odometry")


def test_the_engine_against_a_file(drives, tmp_path, capsys):
    poses = "".join(f"1 0 0 0 0 1 0 0 0 0 1 {index * 3}\n" for index in range(COUNT))
    (tmp_path / "poses.txt").write_text(poses)
    one = evaluated(capsys, "odometry", drives[0], "--truth", tmp_path / "poses.txt")["trajectories"]["day"]
    assert one["scale_sim3"] == pytest.approx(3.0 / (0.1 / UNITS), rel=1e-4) and one["steps"]["direction_mean"] < 1e-2
    assert any("paired by order" in line for line in one["notes"])
    with pytest.raises(ConfigError, match="2 SOURCE"):
        evaluate("odometry", *drives, "--truth", tmp_path / "poses.txt")


def test_odometry_without_truth(drives, tmp_path):
    bare = write_ours(tmp_path / "bare", count=3)
    with pytest.raises(SourceError, match="has no poses, expected"):
        evaluate("odometry", drives[0], bare)


def test_real_lidar(shared_dir, capsys):
    lidar = shared_dir / "data" / "kitti_lidar"
    report = evaluated(capsys, "depth", lidar, "--crop", "garg", "--baselines")
    scores = report["overall"]
    assert scores["network"]["frames"] == 3 and report["sources"]["kitti_lidar"]["condition"] == "day"
    assert scores["rows"]["unscaled"]["abs_rel"] < scores["constant"]["unscaled"]["abs_rel"] < 0.6
