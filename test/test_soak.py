"""Long runs of the live node: their figures, and a short real one."""

import json

import pytest
from bag_tools import write_ours

from defeat_ros.cli.main import main
from defeat_ros.evaluation.soak_figures import SoakFigures, SoakSample

LEDGER = {"received": 1000, "published": 900, "pending": 0, "dropped": {"superseded": 100}}


def sample(at, memory, latency=50.0, handles=20):
    counts = {"received": 10 * at, "published": 9 * at, "dropped": {"superseded": at}, "pending": 0}
    rates = {"input_hz": 10.0, "output_hz": 9.0, "cpu_percent": 90.0, "answers": 9 * at}
    return SoakSample(
        at_s=float(at), memory_mb=memory, threads=12, handles=handles,
        latency_p50_ms=latency, latency_p99_ms=2 * latency, **counts, **rates,
    )  # fmt: skip


def test_growth_is_told_per_thousand_frames_and_the_warm_up_does_not_count():
    leaking = [sample(at, 1000.0 + 0.018 * at + (0 if at >= 10 else -300)) for at in range(0, 101, 5)]
    told = SoakFigures.of(leaking, LEDGER, 1003)
    assert told.slope_mb_per_1000 == pytest.approx(2.0)  # 0.018 MB a second at 9 frames a second
    assert (told.undelivered, told.unaccounted, told.seconds) == (3, 0, 100.0)
    flat = SoakFigures.of([sample(at, 1000.0) for at in range(0, 101, 5)], LEDGER)
    assert flat.slope_mb_per_1000 == 0.0 and flat.undelivered is None


def test_drift_and_handles_are_seen():
    told = SoakFigures.of([sample(at, 1.0, latency=50.0 + at, handles=20 + at) for at in range(0, 101, 5)], LEDGER)
    early, late = told.latency_ms
    assert late - early > 50 and told.handles == (120, 120)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--minutes", "0"], "--minutes is 0.0"),
        (["--rate", "-1"], "--rate -1.0"),
        (["--topics", "depth"], "--topics has 'depth'"),
    ],
)
def test_wrong_arguments_are_told_before_anything_runs(tmp_path, arguments, told, capsys):
    assert main(["soak", str(tmp_path / "none"), *arguments]) == 1
    assert told in capsys.readouterr().err


def test_a_short_soak_loses_nothing(tmp_path, capsys):
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    bag = write_ours(tmp_path / "drive")
    line = ["soak", str(bag), "--minutes", "0.35", "--rate", "2", "--set", "input_size=[96,64]"]
    assert main([*line, "--set", "backend=torch", "--out", str(tmp_path / "out")]) == 0
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())  # narrow terminals wrap
    assert "MB per 1,000 published frames" in printed and "+ 0 unaccounted" in printed
    told = json.loads((tmp_path / "out" / "summary.json").read_text())
    figures, samples = told["figures"], told["samples"]
    assert told["loops"] > 1 and len(samples) > 20
    assert figures["received"] == figures["published"] + sum(figures["dropped"].values())
    assert figures["unaccounted"] == 0 and figures["undelivered"] == 0 and figures["published"] > 50
    assert figures["threads"][0] == figures["threads"][1] and figures["handles"][0] <= figures["handles"][1] + 2
    assert (tmp_path / "out" / "soak.png").is_file()
