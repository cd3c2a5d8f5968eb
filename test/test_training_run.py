"""Whole training runs through the command line, as processes of their own: ends, stops, kills, faults, exports."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_drive import write_drive, write_folder

from defeat_ros.checkpoint.reading import read_checkpoint
from defeat_ros.cli import main
from defeat_ros.inference.engine import DepthEngine
from defeat_ros.networks import DeFeatNet, make_untrained
from defeat_ros.training.state import STATE_FILE, load_state, save_state

STEPS = 4
DRIVE = [(0.02 * index, 0.15 * index) for index in range(10)]
LIMIT_S = 240
FEATURES = ("objective.photometric=0", "objective.truth_features=1")


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    return write_drive(tmp_path_factory.mktemp("drive") / "bag", DRIVE)


def line(drive: Path, out: Path, *more: str, steps: int = STEPS, features: bool = False) -> list[str]:
    size = "128x128" if features else "96x64"
    given = ["train", "--data", str(drive), "--out", str(out), "--size", size, "--max-steps", str(steps)]
    settings = [
        "batch_size=2", "picture_every=0", "validate_every=2", f"objective.features={features}",
    ]  # fmt: skip
    return [*given, *(word for item in (*settings, *more) for word in ("--set", item))]


def start(arguments: list[str]) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "defeat_ros.cli", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=LIMIT_S)
    return process.returncode, out, err


def run(arguments: list[str]) -> tuple[int, str, str]:
    return finish(start(arguments))


def wait_for_step(folder: Path, step: int, process: subprocess.Popen) -> None:
    """Until the run has saved that step; its file is replaced at every one."""
    deadline = time.monotonic() + LIMIT_S
    seen = 0.0
    while time.monotonic() < deadline and process.poll() is None:
        file = folder / STATE_FILE
        changed = file.stat().st_mtime_ns if file.exists() else 0.0
        if changed != seen:
            seen = changed
            if load_state(folder)["progress"]["step"] >= step:
                return
        time.sleep(0.01)
    raise AssertionError(f"no step {step}: {finish(process)}")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(folder / "model.safetensors").state


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different, different[:5]


@pytest.fixture(scope="module")
def undisturbed(drive, tmp_path_factory):
    """A run from start to end in one go, with its output."""
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    code, out, err = run([*line(drive, folder), "--validation", str(drive)])
    assert code == 0, err
    return folder, out, err


class TestWholeRun:
    def test_leaves_weights_that_know_where_they_came_from(self, undisturbed):
        folder, out, err = undisturbed
        checkpoint = read_checkpoint(folder / "model.safetensors")
        told = checkpoint.provenance
        assert told["trained"] and told["steps"] == STEPS and told["input_size"] == [96, 64]
        assert told["translation"] == "scene_units" and told["metres_per_unit"] is None
        assert told["data"][0]["samples"]["used"] == 8 and "train" in told["command"] and told["commit"]
        assert told["metrics"]["day"]["abs_rel"] > 0 and told["config"]["batch_size"] == 2
        assert "waiting for data" in out and "abs_rel" in out and "8 samples of 10 frames (2 gap)" in err

    def test_curve_and_tensorboard(self, undisturbed):
        folder = undisturbed[0]
        curve = json.loads((folder / "metrics.json").read_text())["curve"]
        assert [point["step"] for point in curve] == [2, 4]
        assert curve[-1]["scores"]["day"]["frames"] == 10
        assert list((folder / "tensorboard").glob("events*"))

    def test_the_engine_takes_the_weights_with_their_size_and_convention(self, undisturbed, drive):
        engine = DepthEngine.from_ckpt(undisturbed[0] / "model.safetensors", device="cpu")
        assert engine.info.input_size == (96, 64) and engine.info.trained
        assert engine.info.translation == "scene_units"

    def test_same_command_again_changes_nothing(self, undisturbed, drive):
        folder = undisturbed[0]
        before = weights(folder)
        code, out, _ = run([*line(drive, folder), "--validation", str(drive)])
        assert code == 0 and f"went on from {STEPS}" in out
        assert_equal(before, weights(folder))

    def test_another_configuration_is_refused_by_name(self, undisturbed, drive, capsys):
        code = main([*line(drive, undisturbed[0], "learning_rate=0.1"), "--validation", str(drive)])
        assert code == 1 and "learning_rate: 0.0 then, 0.1 now" in capsys.readouterr().err

    def test_other_data_is_refused(self, undisturbed, drive, tmp_path, capsys):
        other = write_drive(tmp_path / "bag", DRIVE[:8])
        assert main([*line(other, undisturbed[0]), "--validation", str(other)]) == 1
        said = capsys.readouterr().err
        assert f"data {other}" in said and f"data {drive}" in said

    def test_export_to_the_authors_layout_and_back(self, undisturbed, tmp_path, capsys):
        folder = undisturbed[0]
        assert main(["export", str(folder), str(tmp_path / "w.pt")]) == 0
        assert "--translation scene_units" in capsys.readouterr().err
        back = ["export", str(tmp_path / "w.pt"), str(tmp_path / "w.safetensors"), "--translation", "scene_units"]
        assert main(back) == 0
        assert main(["export", str(folder), str(tmp_path / "half.safetensors"), "--half"]) == 0
        assert_equal(weights(folder), read_checkpoint(tmp_path / "w.safetensors").state)
        published = DeFeatNet.from_ckpt(tmp_path / "w.pt", key=lambda x: x["model"])
        assert published.options == DeFeatNet().options
        assert read_checkpoint(tmp_path / "w.safetensors").provenance["translation"] == "scene_units"
        half = (tmp_path / "half.safetensors").stat().st_size
        assert half < 0.6 * (folder / "model.safetensors").stat().st_size
        capsys.readouterr()
        assert main(["export", str(folder), str(tmp_path / "half.pt"), "--half"]) == 1
        assert "float32" in capsys.readouterr().err
        assert main([*back[:2], str(tmp_path / "x.safetensors"), "--translation", "inverse_depth"]) == 0
        again = ["export", str(folder), str(tmp_path / "y.safetensors"), "--translation", "inverse_depth"]
        assert main(again) == 1 and "says 'scene_units'" in capsys.readouterr().err
        assert main(["export", str(folder), str(tmp_path / "w.onnx")]) == 1
        assert ".onnx" in capsys.readouterr().err
        assert main(["export", str(folder), str(tmp_path / "w.pt")]) == 1
        assert "exists" in capsys.readouterr().err


def test_killed_and_resumed_ends_where_the_undisturbed_run_ends(undisturbed, drive, tmp_path):
    # How often it is saved is no part of what a run is, so the other one did not.
    arguments = [*line(drive, tmp_path / "run", "save_minutes=0"), "--validation", str(drive)]
    process = start(arguments)
    wait_for_step(tmp_path / "run", 2, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    code, out, err = run(arguments)
    assert code == 0 and "going on from step" in err and "went on from" in out
    assert_equal(weights(undisturbed[0]), weights(tmp_path / "run"))
    assert [p["step"] for p in json.loads((tmp_path / "run" / "metrics.json").read_text())["curve"]] == [2, 4]


def test_runs_of_versions_that_knew_fewer_facts_go_on_and_export(undisturbed, drive, tmp_path, capsys):
    folder = tmp_path / "old"
    shutil.copytree(undisturbed[0], folder)
    state = load_state(folder)
    later = ("start.untrained", "start.metres_per_unit", "augment.zoom", "data.twins", "objective.truth_features")
    assert set(later) <= set(state["facts"])
    facts = {name: value for name, value in state["facts"].items() if name not in later}
    save_state(folder, {**state, "facts": facts})
    assert main(["export", str(folder), str(tmp_path / "w.safetensors")]) == 0
    assert read_checkpoint(tmp_path / "w.safetensors").provenance["untrained"] == ["feat_net"]
    assert main([*line(drive, folder), "--validation", str(drive)]) == 0
    assert "going on" in capsys.readouterr().err


def test_interrupted_saves_and_says_how_to_go_on(drive, tmp_path, capsys):
    arguments = line(drive, tmp_path / "run", "save_minutes=0", steps=1000)
    process = start(arguments)
    wait_for_step(tmp_path / "run", 2, process)
    assert main(arguments) == 1 and "another training run" in capsys.readouterr().err
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130 and "the same command goes on" in err and "Traceback" not in err
    assert load_state(tmp_path / "run")["progress"]["step"] >= 2
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "early.safetensors")]) == 0


def test_two_processes_train_together(drive, tmp_path):
    """Each on its own samples, towards one model: a run ends with an error where their weights are not the same."""
    arguments = line(drive, tmp_path / "run", steps=3, features=True)
    code, out, err = run([*arguments, "--devices", "2"])
    assert code == 0, err
    assert out.count("minutes of training") == 1
    told = read_checkpoint(tmp_path / "run" / "model.safetensors").provenance
    assert told["steps"] == 3 and told["config"]["devices"] == 2
    code, out, err = run(arguments)
    assert code == 1 and "world_size: 2 then, 1 now" in err


def test_metric_objectives_learn_metres(drive, tmp_path):
    """Supervised learning finds the metre within a few steps: depth starts below one unit, off by nine tenths."""
    arguments = line(
        drive, tmp_path / "run", "objective.photometric=0", "objective.truth=1", "objective.truth_motion=0.1",
        "batch_size=4", "validate_every=0", "warmup_steps=0", "learning_rate=0.001", steps=20,
    )  # fmt: skip
    code, _, err = run([*arguments, "--validation", str(drive)])
    assert code == 0, err
    (point,) = json.loads((tmp_path / "run" / "metrics.json").read_text())["curve"]
    assert point["scores"]["day"]["abs_rel_unscaled"] < 0.7
    assert read_checkpoint(tmp_path / "run" / "model.safetensors").provenance["metres_per_unit"] == 1.0


def test_networks_can_be_trained_one_after_another(drive, tmp_path):
    """Depth first, then features from truth, across light; what was learned before stays, and so do the metres."""
    code, _, err = run(line(drive, tmp_path / "depth", "objective.photometric=0", "objective.truth=1", steps=1))
    assert code == 0, err
    night = write_drive(tmp_path / "night", DRIVE, light=0.25)
    arguments = line(
        drive, tmp_path / "features", "objective.photometric=0", "objective.truth_features=1", "data.twins=true",
        steps=1, features=True,
    )  # fmt: skip
    start_from = str(tmp_path / "depth" / "model.safetensors")
    code, _, err = run([*arguments, "--data", str(drive), str(night), "--checkpoint", start_from])
    assert code == 0, err
    about = read_checkpoint(tmp_path / "features" / "model.safetensors").provenance
    assert about["untrained"] == ["pose_net"] and about["metres_per_unit"] == 1.0
    before, after = weights(tmp_path / "depth"), weights(tmp_path / "features")
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"feat_net"}


def test_networks_trained_side_by_side_are_put_together(undisturbed, tmp_path, capsys):
    make_untrained(tmp_path / "other.safetensors", seed=5)
    run_folder, joined = undisturbed[0], tmp_path / "joined.safetensors"
    base = ["export", str(run_folder), str(joined), "--take"]
    assert main([*base, f"feat_net={tmp_path / 'other.safetensors'}"]) == 0
    before, other, after = (
        weights(run_folder),
        DeFeatNet.from_ckpt(tmp_path / "other.safetensors"),
        read_checkpoint(joined),
    )
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after.state[name])}
    assert changed == {"feat_net"} and "feat_net" in after.provenance["taken"]
    assert "feat_net" in after.provenance["untrained"], "they are as random as they were"
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in after.state.items() if "feat" in name)
    joined.unlink()
    make_untrained(tmp_path / "wide.safetensors", seed=5, n_dims=5)
    for taken, told in (
        (f"depth_net={tmp_path / 'other.safetensors'}", "translation"), ("feat_net", "NETWORK="),
        (f"feat_net={tmp_path / 'wide.safetensors'}", "n_dims"), (f"net={tmp_path / 'other.safetensors'}", "'net'"),
    ):  # fmt: skip
        assert main([*base, taken]) == 1 and told in capsys.readouterr().err
        assert not joined.exists()


def test_recordings_with_and_without_truth_train_together(drive, tmp_path):
    bare = write_drive(tmp_path / "bare", DRIVE, truth=False)
    parked = write_drive(tmp_path / "parked", [(0.0, 0.0)] * 8)
    arguments = line(drive, tmp_path / "run", "objective.truth=1", "batch_size=8", steps=2)
    code, _, err = run([*arguments, "--data", str(parked), str(drive), str(bare)])
    assert code == 0 and "left out: parked has nothing to learn motion from" in err, err
    sources = json.loads((tmp_path / "run" / "run.json").read_text())["sources"]
    assert [source["samples"]["with_depth"] for source in sources[1:]] == [8, 0]
    assert "nothing to learn" in sources[0]["left_out"] and "samples" not in sources[0]
    code, _, err = run([*arguments[:-2], "--data", str(parked), str(parked)])
    assert code == 1 and "none of the 2 recordings can be learned from" in err


class TestFaults:
    def test_weights_that_are_not_finite_stop_the_run_and_leave_the_batch(self, drive, tmp_path, capsys):
        model = DeFeatNet()
        with torch.no_grad():
            model.depth_net.encoder.conv1.weight.fill_(torch.nan)
        model.save(tmp_path / "nan.safetensors", {"trained": True})
        code = main([*line(drive, tmp_path / "run"), "--checkpoint", str(tmp_path / "nan.safetensors")])
        said = capsys.readouterr().err
        assert code == 1 and "loss of step 0 is nan" in said
        saved = np.load(next((tmp_path / "run").glob("bad_batch_step0*.npz")))
        assert saved["frames"].shape == (3, 2, 3, 64, 96) and np.isfinite(saved["frames"]).all()
        assert not (tmp_path / "run" / STATE_FILE).exists()

    @pytest.mark.parametrize(
        ("make", "more", "expected"),
        [
            (lambda p: write_folder(p, DRIVE, camera=False), [], "INTRINSICS"),
            (lambda p: write_drive(p, DRIVE[:2]), [], "3 usable"),
            (lambda p: write_drive(p, [(0.0, 0.0)] * 8), [], "static"),
            (lambda p: write_drive(p, DRIVE, truth=False), ["objective.velocity=1"], "no odometry"),
            (lambda p: write_drive(p, DRIVE, truth=False), ["objective.truth=1"], "no true depth"),
            (lambda p: write_drive(p, DRIVE), [*FEATURES, "data.twins=true"], "twin"),
            (lambda p: write_drive(p, DRIVE), ["data.twins=true"], "truth_features"),
        ],
        ids=["no intrinsics", "too short", "static", "no odometry", "no depth", "no twin", "twins for nothing"],
    )
    def test_data_that_cannot_teach(self, make, more, expected, tmp_path, capsys):
        features = "data.twins=true" in more
        assert main(line(make(tmp_path / "source"), tmp_path / "run", *more, features=features)) == 1
        said = capsys.readouterr().err
        assert expected in said and "Traceback" not in said

    def test_a_folder_with_something_else(self, drive, tmp_path, capsys):
        (tmp_path / "holiday.jpg").write_bytes(b"x")
        assert main(line(drive, tmp_path)) == 1
        assert "holiday.jpg" in capsys.readouterr().err and len(list(tmp_path.iterdir())) == 1

    def test_no_such_gpu(self, drive, tmp_path, capsys):
        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU")
        assert main(line(drive, tmp_path / "run", "device=cuda")) == 1
        assert "this machine has 0" in capsys.readouterr().err


def test_outputs_that_were_never_trained_are_said(drive, tmp_path):
    """Depth alone was learned: the pose and feature nets are as random as they were."""
    code, _, err = run(line(drive, tmp_path / "run", "objective.photometric=0", "objective.truth=1", steps=1))
    assert code == 0, err
    engine = DepthEngine.from_ckpt(tmp_path / "run" / "model.safetensors", device="cpu")
    assert engine.info.untrained == ("odometry", "features") and engine.info.trained
    assert "trained without odometry and features" in engine.info.caution
