"""The benchmark: its figures, and a real run of it at a small size."""

import json

import numpy as np
import pytest

from defeat_ros.bench.live import LiveTimes
from defeat_ros.bench.networks import EAGER, NetworkTimes, Timing
from defeat_ros.bench.report import Report, as_json, live_rows, network_rows, picture
from defeat_ros.cli.main import main
from defeat_ros.evaluation.load_figures import LoadFigures


def figures(rate=10.0, answered=10, late=0.05):
    sent = [number / rate for number in range(10)]
    return LoadFigures.of(sent, [(at, at + late) for at in sent[:answered]], 0.5, 900.0)


def test_figures_of_an_even_stream():
    one = figures()
    assert one.input_rate_hz == pytest.approx(10.0) and one.mean_frame_rate_hz == pytest.approx(10.0)
    assert (one.frames_sent, one.frames_missed, one.cpu_percent, one.peak_memory_mb) == (10, 0, 50.0, 900.0)
    for name in ("first_latency_ms", "last_latency_ms", "latency_p50_ms", "latency_p99_ms"):
        assert getattr(one, name) == pytest.approx(50.0)
    assert one.jitter_max_ms == pytest.approx(0.0, abs=1e-6)


def test_figures_of_an_uneven_stream_and_of_none():
    one = LoadFigures.of([0.0, 0.1, 0.2], [(0.0, 0.1), (0.1, 0.3), (0.2, 0.4)], 1.0, 1.0)
    assert one.mean_frame_rate_hz == pytest.approx(1000.0 / 150.0)
    assert one.jitter_mean_ms == one.jitter_max_ms == pytest.approx(50.0)
    assert figures(answered=7).frames_missed == 3
    none = figures(answered=0)
    assert none.frames_missed == 10 and np.isnan(none.latency_p50_ms) and np.isnan(none.mean_frame_rate_hz)


def report(lives=True):
    eager, fast = Timing(EAGER), Timing("openvino bfloat16")
    eager.seconds = {"disp": [0.2, 0.1, 0.3], "pose": [0.1] * 3}
    fast.seconds = {"disp": [0.05] * 3, "pose": [0.025] * 3}
    times = NetworkTimes([eager, fast], {"disp": 1e9, "pose": 5e8}, {"disp": 1, "pose": 2}, ())
    live = LiveTimes((352, 480), ("odom",), (figures(2.0), figures(40.0, late=0.08)), (40.0, 50.0), {"networks": 30.0})
    return Report("a machine", "w", (256, 192), times, (live,) * lives, 500.0)


def test_ratios_are_those_of_the_medians():
    header, rows = network_rows(report().networks)
    assert header[1:] == ["depth", "pose", "all"]
    assert rows[0] == [EAGER, "200.0 (1.00x)", "100.0 (1.00x)", "300.0 (1.00x)"]
    assert rows[1] == ["openvino bfloat16", "50.0 (4.00x)", "25.0 (4.00x)", "75.0 (4.00x)"]
    assert "1.0 GFLOP" in rows[2][1] and rows[3][1] == "20 GFLOP/s"


def test_what_the_node_adds_and_loses():
    (live,) = report().lives
    assert live.added_ms == pytest.approx(10.0) and live.rate_ratio == pytest.approx(2.0)
    header, rows = live_rows(live)
    assert all(len(row) == len(header) for row in rows) and rows[0][0] == "2.0 Hz"


@pytest.mark.parametrize("lives", [True, False])
def test_the_report_is_json_and_a_picture(lives):
    told = json.loads(json.dumps(as_json(report(lives))))
    assert told["networks"]["timings"][1]["times_eager"] == pytest.approx(4.0)
    assert len(told["lives"]) == lives
    assert picture(report(lives)).shape == (500, 1400, 3)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--rounds", "1"], "--rounds is 1, expected at least 3"),
        (["--backends", "tpu"], "--backends has 'tpu', expected some of torch, openvino"),
        (["--topics", "depth"], "--topics has 'depth', expected some of"),
        (["--rates", "0"], "expected more than 0"),
    ],
)
def test_wrong_arguments_are_told_before_anything_runs(arguments, told, capsys):
    assert main(["bench", *arguments]) == 1
    assert told in capsys.readouterr().err


def test_a_real_run(tmp_path, capsys):
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    line = ["bench", "--rounds", "3", "--set", "input_size=[96,64]", "--rates", "5", "--seconds", "2"]
    line += ["--image-size", "96x64", "--topics", "depth/image_rect", "odom", "--out", str(tmp_path / "out")]
    assert main(line) == 0
    assert "of the engine's rate" in capsys.readouterr().out
    told = json.loads((tmp_path / "out" / "summary.json").read_text())
    eager, *others = told["networks"]["timings"]
    assert eager["name"] == EAGER and {"disp", "pose"} == set(eager["median_ms"])
    assert others and all(len(seconds) == 3 for one in others for seconds in one["seconds"].values())
    (live,) = told["lives"]
    slow, full = live["loads"]
    assert slow["frames_sent"] == 10 and slow["frames_missed"] == 0 and slow["latency_p50_ms"] > 0
    assert full["frames_sent"] > 10 and full["mean_frame_rate_hz"] > 5 and live["rate_ratio"] > 0
    assert (tmp_path / "out" / "bench.png").is_file()
