"""What the statuses say, and how bad it is."""

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from defeat_ros.inference.config import ScaleConfig
from defeat_ros.inference.engine import EngineInfo
from defeat_ros.inference.ledger import LedgerCounts
from defeat_ros.ros.diagnostics import ERROR, OK, WARN, Meter, engine_status, frames_status
from defeat_ros.ros.statistics import percentile

INFO = EngineInfo("a.safetensors", "ab" * 32, True, "torch", "cpu", "float32", (480, 352))


def test_every_frame_is_in_the_frames_status():
    counts = LedgerCounts(10, 6, {"superseded": 3})
    meter = Meter()
    meter.publish(meter.arrive())
    status = frames_status("n", "active", counts, meter, None)
    assert status.level == OK
    dropped = sum(int(value) for key, value in status.values.items() if key.startswith("dropped"))
    shown = {key: int(status.values[key]) for key in ("received", "published", "pending")}
    assert shown == {"received": 10, "published": 6, "pending": 1} and dropped == 3


def test_silence_warns_only_while_active(monkeypatch):
    meter = Meter()
    monkeypatch.setattr(meter, "silence_s", lambda: 2.5)
    assert frames_status("n", "active", LedgerCounts(0, 0), meter, None).level == WARN
    assert frames_status("n", "inactive", LedgerCounts(0, 0), meter, None).level == OK


def test_a_failing_engine_is_an_error():
    status = frames_status("n", "active", LedgerCounts(1, 0, {"failed": 1}), Meter(), "RuntimeError: broken")
    assert (status.level, status.message) == (ERROR, "RuntimeError: broken")


def test_engine_status_tells_the_scale_and_warns_of_untrained_weights():
    none, fixed = ScaleConfig(), ScaleConfig("fixed", 2.5)
    assert engine_status("n", INFO, none, None).values["scale"] == "none: depth in scene units"
    assert engine_status("n", INFO, fixed, None).values["scale"] == "fixed: 2.5"
    untrained = EngineInfo("a", "b", False, "torch", "cpu", "float32", (480, 352))
    assert engine_status("n", untrained, none, None).level == WARN
    assert engine_status("n", None, None, "no such file").level == ERROR
    assert engine_status("n", None, None, None).level == OK


def test_percentiles_are_values_that_occurred():
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 3.0
    assert percentile([1.0], 0.99) == 1.0
