"""The command `evaluate planner` on rendered drives."""

import json

import cv2
import numpy as np
import pytest

from defeat_ros.cli import main
from defeat_ros.data.night_drive import DriveConfig, NightDrive
from defeat_ros.data.synth import record_drive


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    """A bag of 2.5 s of night."""
    bag = tmp_path_factory.mktemp("planner") / "night"
    record_drive(NightDrive(DriveConfig(seconds=2.5, seed=4301, size=(320, 240))), bag)
    return bag


def test_figures_charts_and_table(drive, tmp_path, capsys):
    out = tmp_path / "out"
    line = ["evaluate", "planner", str(drive), "--height-from-mount", "--every", "2", "--out", str(out)]
    assert main(line) == 0
    printed = capsys.readouterr().out
    report = json.loads((out / "summary.json").read_text())
    one = report["recordings"]["night"]
    assert one["frames"] == {"in": 25, "skipped": {}}
    settled = one["scale"]["settled"]
    assert settled["frames"] == 5 and abs(settled["median_error"]) < 0.2
    assert settled["metric_over_median_scaled"] < 1.5 and settled["largest_step"] < 0.01
    assert one["confidence"]["gain_of_dropping_20_percent"] > 0.1
    rows = one["grid"]
    assert rows[0]["confidence_min"] == 0 and rows[0]["recall"] > rows[-1]["recall"]
    assert rows[0]["false_cells_per_frame"] > rows[-1]["false_cells_per_frame"]
    assert {"networks", "road", "motion", "confidence", "depth"} <= set(report["seconds_per_part"])
    for text in ("metric scale", "camera_height", "confidence_min", "ms a frame"):
        assert text in printed
    chart = cv2.imread(str(out / "confidence.png"))
    assert chart.shape == (500, 1500, 3) and chart.std() > 10


def test_weights_can_be_fitted_anew(drive, tmp_path):
    file = tmp_path / "weights.json"
    assert main(["evaluate", "planner", str(drive), "--height-from-mount", "--every", "5", "--fit", str(file)]) == 0
    made = json.loads(file.read_text())
    assert made["fitted_to"] == ["night"] and len(made["hidden"]["edge"]) == len(made["output"])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (["--depth-topic", "/nowhere"], "no topic '/nowhere'"),
        (["--every", "0"], "'every' is 0"),
        (["--set", "scale.mode=none"], None),
    ],
)
def test_mistakes_are_one_line(drive, change, expected, capsys):
    status = main(["evaluate", "planner", str(drive), "--every", "5", *change])
    assert status == (1 if expected else 0)
    if expected:
        assert expected in capsys.readouterr().err


def test_a_recording_without_truth_or_mount(tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    cv2.imwrite(str(folder / "000000.png"), np.zeros((64, 96, 3), np.uint8))
    assert main(["evaluate", "planner", str(folder)]) == 1
    assert "can be measured (no_truth 1)" in capsys.readouterr().err
    assert main(["evaluate", "planner", str(folder), "--height-from-mount"]) == 1
    assert "does not tell where its camera is mounted, expected /tf_static" in capsys.readouterr().err
