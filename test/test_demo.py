"""The demonstration as a newcomer runs it, only shorter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import cv2
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from defeat_ros.cli import main
from defeat_ros.data.bag import BagReader

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """One demonstration, its printed output and its folder."""
    out = tmp_path_factory.mktemp("demo") / "demo_out"
    line = [sys.executable, "-m", "defeat_ros.cli", "demo", "--out", str(out), "--seconds", "4", "--fps", "5"]
    environment = {**os.environ, "COLUMNS": "100"}
    done = subprocess.run([*line, "--size", "320x256"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_frames_add_up_and_are_measured(demo):
    out, printed = demo
    summary = json.loads((out / "summary.json").read_text())
    frames = summary["frames"]
    assert frames["in"] == 20 and frames["published"] >= 1
    assert frames["in"] == frames["published"] + sum(frames["dropped"].values())
    assert 0 < summary["depth"]["abs_rel"] < 0.2, "as good as the model card says, more or less"
    # A slow machine publishes too few poses of so short a drive to be aligned.
    assert bool(summary["odometry"]) == (frames["published"] >= 3)
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p99"]
    for name in ("frames in", "published", "latency p50 / p99", "depth against truth", "checkpoint", "device"):
        assert name in printed
    assert summary["checkpoint"]["trained"] and "UNTRAINED" not in printed


def test_pictures_and_film(demo):
    out, _ = demo
    picture = cv2.imread(str(out / "preview.png"))
    assert picture.shape[1] == 3 * 320 and picture.std() > 20
    with av.open(str(out / "preview.mp4")) as film:
        assert film.streams.video[0].codec_context.name == "h264"
        assert sum(1 for _ in film.decode(video=0)) == 20


def test_bags_hold_what_was_published(demo):
    out, _ = demo
    published = json.loads((out / "summary.json").read_text())["frames"]["published"]
    with BagReader(out / "out") as bag:
        counts = {topic.name: topic.count for topic in bag.topics.values()}
    assert counts["/depth/image_rect"] == counts["/depth/camera_info"] == counts["/odom"] == published
    assert counts["/diagnostics"] >= 2


def test_the_view_has_everything_in_its_place_on_one_time_line(demo):
    """All that the Foxglove layout shows is in one bag, with the transforms that place it."""
    out, _ = demo
    layout = json.loads((ROOT / "config" / "foxglove_layout.json").read_text())
    told = json.dumps(layout["configById"])
    published = json.loads((out / "summary.json").read_text())["frames"]["published"]
    with BagReader(out / "view") as bag:
        counts = {topic.name: topic.count for topic in bag.topics.values()}
        assert 3.0 < bag.duration_s < 6.0
        edges = {
            (one.header.frame_id, one.child_frame_id)
            for message in bag.messages({"/tf", "/tf_static"})
            for one in message.message.transforms
        }
        (cloud,) = {message.message.header.frame_id for message in bag.messages({"/depth/points"})}
    shown = {"/camera/image_raw", "/depth/color", "/depth/confidence", "/features/color", "/depth/points", "/odom"}
    assert all(f'"{topic}"' in told for topic in shown) and shown <= set(counts)
    assert counts["/tf"] == counts["/depth/points"] == published and counts["/camera/image_raw"] == 20
    assert ("odom", "base_link") in edges and any(child == cloud for _, child in edges)


def test_a_folder_of_somebody_else_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("x")
    assert main(["demo", "--out", str(tmp_path)]) == 1
    assert "is not from an earlier demo" in capsys.readouterr().err
    assert (tmp_path / "thesis.tex").read_text() == "x"
