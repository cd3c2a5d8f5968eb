"""The command line as a user types it: exit codes, one-line errors, files."""

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from defeat_ros.cli import main
from defeat_ros.cli.common import provenance_rows
from defeat_ros.data.bag import BagReader
from defeat_ros.data.recording import open_recording
from defeat_ros.networks import make_untrained


@pytest.fixture
def images(tmp_path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(4):
        picture = np.random.default_rng(i).integers(0, 255, (64, 96, 3), np.uint8)
        cv2.imwrite(str(folder / f"{i:03d}.png"), picture)
    camera = {"width": 96, "height": 64, "fx": 60, "fy": 60, "cx": 47.5, "cy": 31.5}
    (tmp_path / "camera.json").write_text(json.dumps(camera))
    return folder


def failing(capsys, *arguments) -> str:
    """Run a command that must fail with one line, which is returned."""
    assert main([str(a) for a in arguments]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("defeat-ros: "), error
    return error


def test_convert_process_and_look(tmp_path, images, weights, capsys):
    bag, out = tmp_path / "bag", tmp_path / "out"
    assert main(["convert", str(images), str(bag), "--intrinsics", str(tmp_path / "camera.json")]) == 0
    assert "4 frames" in capsys.readouterr().out
    line = ["process", str(bag), str(out), "--checkpoint", str(weights), "--set", "input_size=[96, 64]"]
    assert main([*line, "--topics", "depth/image_rect", "depth/camera_info"]) == 0
    printed = capsys.readouterr()
    assert "frames in" in printed.out and not printed.err
    with BagReader(out) as made:
        assert {topic.name: topic.count for topic in made.topics.values()} == {
            "/depth/image_rect": 4, "/depth/camera_info": 4,
        }  # fmt: skip


def test_infer_makes_pictures(tmp_path, images, weights, capsys):
    (images / "004.png").write_bytes((images / "000.png").read_bytes()[:200])
    files = [str(images / f"{i:03d}.png") for i in (0, 4, 1)]
    line = [
        "infer",
        *files,
        "--out",
        str(tmp_path / "look"),
        "--checkpoint",
        str(weights),
        "--set",
        "input_size=[160, 128]",
    ]
    assert main(line) == 0
    printed = capsys.readouterr()
    assert "2 frames pictured" in printed.out and "1 skipped" in printed.out and "004" in printed.err
    names = {path.name for path in (tmp_path / "look").iterdir()}
    assert names == {f"{i:03d}_{kind}" for i in (0, 1) for kind in ("depth.png", "features.png", "panel.jpg")}
    assert cv2.imread(str(tmp_path / "look" / "000_depth.png")).shape == (64, 96, 3)
    assert main(line) == 1, "pictures of an earlier run are not overwritten"
    assert "exists and is not empty" in capsys.readouterr().err


def test_pictures_of_equal_names_do_not_overwrite_each_other(tmp_path, images, weights):
    other = tmp_path / "other"
    other.mkdir()
    (other / "000.png").write_bytes((images / "001.png").read_bytes())
    line = ["infer", str(images / "000.png"), str(other / "000.png"), "--out", str(tmp_path / "look")]
    assert main([*line, "--checkpoint", str(weights), "--set", "input_size=[96, 64]"]) == 0
    assert {path.name for path in (tmp_path / "look").glob("*_depth.png")} == {"000_depth.png", "000_2_depth.png"}


def test_outputs_that_exist_or_cannot_be_made(tmp_path, images, weights, capsys):
    bag = tmp_path / "bag"
    assert main(["convert", str(images), str(bag)]) == 0
    assert "no camera_info" in capsys.readouterr().err
    for line in (["convert", images, bag], ["process", bag, images], ["synth", bag]):
        assert "exists" in failing(capsys, *line)
    blocked = tmp_path / "file"
    blocked.write_text("x")
    assert "file" in failing(capsys, "convert", images, blocked / "bag")
    assert "file" in failing(capsys, "demo", "--out", blocked / "demo", "--checkpoint", weights)


def test_demo_tries_the_checkpoint_before_the_long_work(tmp_path, capsys):
    assert "nowhere.pt" in failing(capsys, "demo", "--out", tmp_path / "demo", "--checkpoint", tmp_path / "nowhere.pt")
    assert not (tmp_path / "demo").exists()


def test_info(weights, capsys):
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["file"] == str(weights), "the one that ships, where none is named"
    assert facts["format"] == "safetensors" and facts["provenance"]["trained"] is True
    assert facts["options"]["num_layers"] == 18 and len(facts["sha256"]) == 64
    assert main(["info", str(weights)]) == 0
    assert facts["sha256"] in re.sub(r"[│\s]", "", capsys.readouterr().out), "folded, not cut"


def test_what_a_weight_file_says_is_told_briefly():
    recordings = [{"name": str(i), "frames": 10, "samples": {}} for i in range(600)]
    told = {
        "data": [*recordings, {"name": "parked", "frames": 9, "left_out": "static"}, {"frames": "many"}, 7],
        "metrics": {"night": {"abs_rel": 0.123456, "frames": 48}, "day": None},
        "config": {"size": [256, 192], "batch_size": 8, "seed": 3},
        "command": "train " + "x" * 5000,
        "trained": True,
    }
    rows = dict(provenance_rows(told))
    assert rows["data"] == "601 recordings, 6000 frames, 1 left out"
    assert rows["measured: night"] == "abs_rel 0.1235, frames 48" and rows["measured: day"] == "None"
    assert rows["config, where not the default"] == "size=(256, 192), seed=3"
    assert len(rows["command"]) < 500 and rows["trained"] == "True"
    assert dict(provenance_rows({"config": {}})) == {"config, where not the default": "nothing"}


def test_weights_that_were_never_trained_are_said_to_be(images, tmp_path, capsys):
    make_untrained(tmp_path / "random.safetensors", seed=0)
    line = ["infer", str(images / "000.png"), "--out", str(tmp_path / "look"), "--set", "input_size=[96, 64]"]
    assert main([*line, "--checkpoint", str(tmp_path / "random.safetensors")]) == 0
    assert "UNTRAINED" in capsys.readouterr().err


def test_known_errors_are_one_line(tmp_path, images, weights, capsys):
    assert "nowhere" in failing(capsys, "info", tmp_path / "nowhere.pt")
    assert "does not exist" in failing(capsys, "convert", tmp_path / "nowhere", tmp_path / "bag")
    base = ["infer", images / "000.png", "--out", tmp_path / "look", "--checkpoint", weights]
    assert "unknown parameter 'devise'" in failing(capsys, *base, "--set", "devise=cpu")
    assert "no '='" in failing(capsys, *base, "--set", "device")
    assert "'cuda:99'" in failing(capsys, *base, "--set", "device=cuda:99")
    assert "100x100" in failing(capsys, *base, "--set", "input_size=[100,100]")
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({"/**": {"ros__parameters": {"zzz": 1}}}))
    assert "unknown parameter 'zzz'" in failing(capsys, *base, "--params-file", tmp_path / "p.yaml")
    assert not (tmp_path / "look").exists()
    assert "-1" in failing(capsys, "synth", tmp_path / "drive", "--seconds", "-1")
    assert not (tmp_path / "drive").exists()


def test_play_is_handed_to_the_player(tmp_path, capfd):
    assert main(["play", "--help"]) == 0
    assert "--clock" in capfd.readouterr().out
    assert main(["play", "--rate", "2", str(tmp_path / "nowhere")]) == 1
    assert "nowhere does not exist" in capfd.readouterr().err
    assert main(["play", "--rate", "-2", str(tmp_path)]) == 2


def test_many_drives_and_going_on_with_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = ["synth", str(tmp_path / "drives"), "--varied", "--seconds", "0.2", "--size", "64x64", "--seed", "7"]
    assert main([*line, "--count", "2"]) == 0 and main([*line, "--count", "3", "--day"]) == 0
    assert main([*line, "--count", "4"]) == 0
    assert "2 drives rendered, 2 there before, night" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "drives").iterdir()}
    assert names == {f"night_{seed}" for seed in range(7, 11)} | {f"day_{seed}" for seed in range(7, 10)}
    images = [next(iter(open_recording(tmp_path / "drives" / name))) for name in ("night_7", "day_7", "night_8")]
    assert np.array_equal(images[0].depth, images[1].depth) and not np.array_equal(images[0].depth, images[2].depth)
    assert "is a bag" in failing(capsys, *line[:1], tmp_path / "drives" / "day_7", *line[2:], "--count", "1")
    assert "expected 3 of (64, 64)" in failing(capsys, *line, "--seconds", "0.3", "--count", "1")
    (tmp_path / "drives" / "night_6").mkdir()
    assert "no rendered drive" in failing(capsys, *line, "--seed", "6", "--count", "1")
    assert "seed" in failing(capsys, *line, "--seed", str(2**31 - 1), "--count", "2")
    assert "count is 0" in failing(capsys, *line, "--count", "0")
    (tmp_path / "file").write_text("")
    assert "file" in failing(capsys, "synth", tmp_path / "file", "--count", "1")


@pytest.mark.parametrize("line", [[], ["dance"], ["synth"], ["synth", "x", "--size", "480"], ["convert", "a"]])
def test_wrong_usage_is_two(line, capsys):
    with pytest.raises(SystemExit) as caught:
        main(line)
    assert caught.value.code == 2


def test_an_empty_checkpoint_parameter_says_where_to_get_one(tmp_path, images, capsys, monkeypatch):
    monkeypatch.setattr("defeat_ros.inference.weights.share_directory", lambda: tmp_path)
    assert "ckpt/README.md" in failing(capsys, "infer", images / "000.png", "--out", tmp_path / "look")


def test_command_as_a_process(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "defeat_ros.cli", "info", str(tmp_path / "none.pt")], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
