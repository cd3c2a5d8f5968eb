"""Public data sets through the commands: conversion, training, evaluation, and the page about them."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import dataset_trees as trees
import numpy as np
import pytest

from defeat_ros.cli.main import command_line, main
from defeat_ros.data.bag import BagReader
from defeat_ros.data.recording import Recording, open_recording
from defeat_ros.data.sources import convert
from defeat_ros.errors import DefeatError, SourceError
from defeat_ros.evaluation.depth_run import measure_depth, require_truth
from defeat_ros.evaluation.options import DepthEvaluation
from defeat_ros.frame import Frame
from defeat_ros.training.prepare import SourceSpec, prepare_source
from defeat_ros.training.source_spec import fingerprint_of


def sources(root: Path) -> dict[str, Path]:
    """A tree of each kind, with truth, and the path that names it."""
    date = trees.robotcar(root / "robotcar")
    rows = "".join(f"{trees.STAMP_US + 62500 * i},{trees.STAMP_US},1,0,0,0,0,0\n" for i in range(3))
    trees.write(date / "vo" / "vo.csv", trees.VO + rows)
    return {
        "kitti/2011_09_26/2011_09_26_drive_0001_sync": trees.kitti_raw(root / "kitti", trees.PACKETS, trees.AHEAD),
        "dataset/sequences/09": trees.kitti_odometry(root, trees.POSES, trees.AHEAD),
        "robotcar/2014-12-16-18-44-24": date,
        "nuscenes/scene-0061": trees.nuscenes(root / "nuscenes", trees.SWEEP) / "scene-0061",
    }


def test_convert_and_train_read_them_all(tmp_path: Path) -> None:
    for place, (name, source) in enumerate(sources(tmp_path).items()):
        assert source == tmp_path / name
        summary = convert(source, tmp_path / f"bag {place}", fps=None)
        assert summary.frames >= 3 and summary.skipped == ()
        with BagReader(tmp_path / f"bag {place}") as bag:
            frames = [item.frame for item in bag.frames()]
        assert all(frame is not None and frame.intrinsics is not None for frame in frames)
        assert [frame.stamp_ns for frame in frames if frame] == [item.stamp_ns for item in open_recording(source)]
        prepared = prepare_source(SourceSpec.parse(str(source)), (48, 64), tmp_path / "cache")
        assert len(prepared) == summary.frames and prepared.poses is not None
        assert (prepared.depth_known is not None) == ("robotcar" not in name)


def test_what_truth_is_read_from_is_in_the_fingerprint(tmp_path: Path) -> None:
    found = list(sources(tmp_path).values())
    specs = [found[0] / "image_02", found[1] / "image_2", found[2] / "stereo" / "centre", found[3]]
    files = ["2011_09_26/calib_imu_to_velo.txt", "poses/09.txt", "vo/vo.csv", "v1.0-mini/ego_pose.json"]
    for path, name in zip(specs, files, strict=True):
        before = fingerprint_of(SourceSpec(path))
        (file,) = tmp_path.rglob(f"**/{name}")
        file.write_text(file.read_text() + "\n")
        assert fingerprint_of(SourceSpec(path)) != before


def test_damage_is_declared_or_told(tmp_path: Path) -> None:
    """Whatever happens to a file beside the images: a declared error, or all images with the truth that is left."""
    rng = np.random.default_rng(7)
    refused = 0
    for name, source in sources(tmp_path).items():
        root = tmp_path / name.split("/")[0]
        files = sorted(file for file in root.rglob("*") if file.suffix in (".txt", ".csv", ".json", ".bin"))
        for _ in range(30):
            file = files[rng.integers(len(files))]
            whole = file.read_bytes()
            file.write_bytes(damaged(whole, rng))
            try:
                assert all(item.stamp_ns >= 0 for item in open_recording(source))
            except DefeatError as error:
                refused += 1
                assert str(error)
            file.write_bytes(whole)
    assert 10 < refused < 100


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut, or with a few bytes changed, doubled or replaced by words that upset parsers."""
    at = int(rng.integers(len(data) + 1))
    kind = rng.integers(4)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + rng.bytes(4) + data[at + 4 :]
    if kind == 2:
        return data[:at] + data[at : at + 40] * 3 + data[at + 40 :]
    words = (b"nan", b"-inf", b"1e999", b"[]", b"{", b"null", b"\xff", b'"', b"9" * 5000, b"\n")
    return data[:at] + words[rng.integers(len(words))] + data[at:]


PAGE = (Path(__file__).resolve().parents[1] / "docs" / "datasets.md").read_text()


def test_documented_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """Each is understood, names a source that the trees have, and converting runs; the scripts make what they say."""
    sources(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("test_files.txt").write_text(
        "".join(f"2011_09_26/2011_09_26_drive_0001_sync 000000000{i} l\n" for i in (1, 3))
    )
    eigen, nights = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    subprocess.run(["bash", "-euc", eigen], check=True)
    said = subprocess.run(["bash", "-euc", nights], check=True, capture_output=True, text=True).stdout
    assert said == "scene-0061 Night\nscene-0103 Night\n"
    chosen = list(open_recording("eigen/2011_09_26/2011_09_26_drive_0001_sync"))
    assert [(item.name, item.depth is not None) for item in chosen] == [("0000000001", True), ("0000000003", True)]
    commands = [shlex.split(line.split("#")[0])[1:] for line in PAGE.splitlines() if line.startswith("defeat-ros ")]
    assert len(commands) >= 16
    for command in commands:
        words = [
            word for given in command for word in (sorted(map(str, Path().glob(given))) if "*" in given else [given])
        ]
        options = command_line().parse_args(words)
        for source in getattr(options, "sources", None) or getattr(options, "data", None) or [options.source]:
            path, _, camera = str(source).partition("=")
            frames = [item.frame for item in open_recording(path, intrinsics=camera or None)]
            assert all(frame is not None and frame.intrinsics is not None for frame in frames), source
        if words[0] == "convert":
            assert main(words) == 0, capsys.readouterr().err


class Tripled:
    """Three times the true depth, which median scaling makes good."""

    name, input_size = "tripled", None

    def __init__(self, recording: Recording) -> None:
        self._truth = {item.stamp_ns: item.depth for item in recording}

    def restart(self) -> None:
        pass

    def __call__(self, frame: Frame) -> np.ndarray:
        depth = self._truth[frame.stamp_ns]
        assert depth is not None
        return 3 * np.nan_to_num(depth, nan=1.0)


def test_depth_is_evaluated(tmp_path: Path) -> None:
    counts = {}
    for name, source in sources(tmp_path).items():
        recording = open_recording(source)
        config = DepthEvaluation(crop="garg" if "nuscenes" not in name else "none")
        if "robotcar" in name:
            with pytest.raises(SourceError, match="no frame of .* can be evaluated [(]no_truth 3[)]"):
                require_truth(recording, config)
            continue
        scores = measure_depth(recording, Tripled(recording), config)
        errors = scores.methods["tripled"]
        assert max(one["abs_rel"] for one in errors.median_scaled) < 1e-6 < min(e["abs_rel"] for e in errors.unscaled)
        counts[name] = len(errors.frames)
    assert list(counts.values()) == [4, 4, 2]
