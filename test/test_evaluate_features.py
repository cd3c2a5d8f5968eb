"""Matching of features against ORB where the truth is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_drive import CAMERA, HEIGHT, WIDTH, draw, world_from_camera, write_drive

from defeat_ros.cli import main
from defeat_ros.evaluation.features import Matches, View, match, true_places

DRIVE = [(0.1 * index, 0.1 * index) for index in range(6)]


def view(x: float, z: float, kind: str, light: float = 1.0) -> View:
    """A view whose features tell the place in the world, or nothing."""
    image, depth = draw(x, z)
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH]
    rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones_like(u, float)], -1)
    pose = world_from_camera(x, z)
    points = (rays * depth[..., None]) @ pose[:3, :3].T + pose[:3, 3]
    if kind == "noise":
        points = np.random.default_rng(int(100 * x)).standard_normal(points.shape)
    features = np.concatenate([points, np.full((HEIGHT, WIDTH, 1), 5.0)], -1)
    features = (features / np.linalg.norm(features, axis=-1, keepdims=True)).astype(np.float32)
    return View((light * image).astype(np.uint8), features, depth, CAMERA, pose)


def test_features_that_tell_the_place_find_it_and_noise_does_not() -> None:
    first = view(0.0, 0.0, "place")
    right = match(first, view(0.3, 0.2, "place"), tolerance_px=2.0)
    assert right.points > 100
    assert right.features > 0.95 * right.points
    assert 0.95 * right.repeatable < right.features_at_keypoints <= right.points
    assert right.orb < right.repeatable
    wrong = match(view(0.1, 0.0, "noise"), view(0.3, 0.2, "noise"), tolerance_px=2.0)
    assert wrong.features < 0.02 * wrong.points < wrong.orb


def test_places_agree_with_the_world_and_hidden_points_are_left_out() -> None:
    first, second = view(0.0, 0.0, "place"), view(1.0, 0.0, "place")
    points = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), -1).reshape(-1, 2).astype(float)
    places, visible = true_places(points, first, second)
    depth = first.depth[points[:, 1].astype(int), points[:, 0].astype(int)]
    np.testing.assert_allclose(places[:, 0], points[:, 0] - CAMERA.fx / depth, atol=1e-6)
    np.testing.assert_allclose(places[:, 1], points[:, 1], atol=1e-6)
    far = visible & (depth > 30)
    there = np.rint(places[far]).astype(int)
    assert far.any() and (second.depth[there[:, 1], there[:, 0]] > 30).all()
    assert not visible[depth > 30].all()


def test_nothing_to_match_is_no_error() -> None:
    blank = replace(view(0.0, 0.0, "place"), image=np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    assert match(blank, blank, 2.0) == Matches(pairs=1)
    assert Matches().report()["features_over_orb"] is None


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], weights: Path) -> None:
    day = write_drive(tmp_path / "day", DRIVE)
    night = write_drive(tmp_path / "night", DRIVE, light=0.4)
    arguments = ["evaluate", "features", str(day), str(night), "--every", "2", "--offset", "1", "--json"]
    engine = ["--checkpoint", str(weights), "--set", "input_size=[128,128]"]
    arguments += [*engine, "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    scores = report["pairs"]["day in night"]
    assert scores["points"] > 100 and 0 <= scores["features"] <= 1 and scores["orb"] > 0.1
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == report
    assert main(arguments[:3]) == 1
    assert "pairs" in capsys.readouterr().err
    bare = write_drive(tmp_path / "bare", DRIVE, truth=False)
    assert main(["evaluate", "features", str(day), str(bare), *engine]) == 1
    assert "true pose and true depth" in capsys.readouterr().err
