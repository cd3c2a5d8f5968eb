"""What the statuses say, and how bad it is."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from defeat_ros.frame import ImageHealth, Odometry, Prediction, Scale
from defeat_ros.inference.config import DepthConfig, DiagnosticsConfig, ScaleConfig
from defeat_ros.inference.engine import EngineInfo
from defeat_ros.inference.ledger import LedgerCounts
from defeat_ros.ros.diagnostics import ERROR, OK, WARN, engine_status, frames_status, memory_values, prediction_statuses
from defeat_ros.ros.meter import Meter
from defeat_ros.ros.statistics import percentile

LIMITS = DiagnosticsConfig()
INFO = EngineInfo("a.safetensors", "ab" * 32, True, "torch", "cpu", "float32", (480, 352))


def test_every_frame_is_in_the_frames_status():
    counts = LedgerCounts(10, 6, {"superseded": 3})
    meter = Meter()
    meter.publish(meter.arrive())
    status = frames_status("n", "active", counts, meter, None, LIMITS)
    assert status.level == OK
    dropped = sum(int(value) for key, value in status.values.items() if key.startswith("dropped"))
    shown = {key: int(status.values[key]) for key in ("received", "published", "pending")}
    assert shown == {"received": 10, "published": 6, "pending": 1} and dropped == 3


class At(Meter):
    """A meter on a clock that the test sets."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr("defeat_ros.ros.meter.time.monotonic", lambda: self.now)
        super().__init__()

    def run(self, hz, seconds, late=0.05, superseded=0):
        """A stream of which `superseded` of ten are replaced and the others are published."""
        for number in range(round(hz * seconds)):
            self.now += 1.0 / hz
            arrived = self.arrive()
            if number % 10 < superseded:
                self.supersede()
            else:
                self._published.append((self.now, late))
        assert arrived == self.now


def status_of(meter, state="active", **limits):
    return frames_status("n", state, LedgerCounts(0, 0), meter, None, DiagnosticsConfig(**limits))


def test_a_silent_camera_a_stalled_machine_a_flood_and_late_results_are_told_apart(monkeypatch):
    meter = At(monkeypatch)
    meter.run(30.0, 10.0, superseded=5)
    assert status_of(meter).level == OK
    meter.now += 2.5
    assert (status_of(meter).level, status_of(meter).message[:20]) == (WARN, "the camera is silent")
    assert status_of(meter, "inactive").level == OK and status_of(meter, silence_s=3.0).level == OK
    with meter.work("the networks"):
        meter.now += 2.5
        meter.arrive()
        told = status_of(meter)
        assert told.level == ERROR and told.message == "stalled: the networks of one image has been going on for 2.5 s"
        assert status_of(meter, stall_s=3.0).level == OK
    assert status_of(meter).level == OK and meter.longest_work() == ("", 0.0)
    meter.run(100.0, 10.0, superseded=10)
    assert status_of(meter).level == WARN and status_of(meter).message.startswith("a flood: 100.")
    meter.run(10.0, 11.0, late=1.5)
    assert status_of(meter).message == "late: results come 1.5 s after their image"
    assert status_of(meter, latency_s=2.0).level == OK


def test_a_few_superseded_images_are_no_flood(monkeypatch):
    meter = At(monkeypatch)
    meter.run(1.0, 10.0, superseded=10)
    assert status_of(meter).level == OK


def test_a_failing_engine_is_an_error():
    status = frames_status("n", "active", LedgerCounts(1, 0, {"failed": 1}), Meter(), "RuntimeError: broken", LIMITS)
    assert (status.level, status.message) == (ERROR, "RuntimeError: broken")


def test_engine_status_tells_costs_and_warns_of_untrained_weights():
    assert engine_status("n", INFO, {"road": 0.0123}, None).values["road (ms)"] == "12.3"
    untrained = EngineInfo("a", "b", False, "torch", "cpu", "float32", (480, 352))
    assert engine_status("n", untrained, {}, None).level == WARN
    assert engine_status("n", None, {}, "no such file").level == ERROR
    assert engine_status("n", None, {}, None).level == OK


def scaled(mode):
    return DepthConfig(scale=ScaleConfig(mode=mode, camera_height_m=1.5 if mode == "camera_height" else 0.0))


def prediction(**fields):
    health = ImageHealth(50.0, 0.0, 0.0, 40.0, 1.5, 8.0, fields.pop("problems", ()))
    return Prediction(0, "cam", np.zeros((1, 1, 3), np.uint8), health=health, **fields)


@pytest.mark.parametrize(
    ("fields", "levels"),
    [
        ({"scale": Scale(1.1, 0.05, "camera_height+learned", 0.1)}, (OK, OK)),
        ({"scale": Scale(1.1, 0.25, "learned", 0.0)}, (WARN, OK)),
        ({"scale": Scale(1.1, 0.07, "odometry", 40.0)}, (WARN, OK)),
        ({"scale": Scale(1.1, 0.25, "learned"), "withheld": "scale_unknown"}, (WARN, OK)),
        ({"scale": Scale()}, (WARN, OK)),
        ({"scale": Scale(5.0, 0.4, "camera_height+learned", 0.0, "they disagree")}, (WARN, OK)),
        ({"scale": Scale(1.1, 0.05, "odometry"), "problems": ("dark",)}, (OK, WARN)),
        ({"scale": Scale(1.1, 0.05, "odometry"), "problems": ("black", "dark")}, (OK, ERROR)),
    ],
)
def test_scale_and_image_say_how_bad_it_is(fields, levels):
    scale, image = prediction_statuses("n", prediction(**fields), DepthConfig())
    assert (scale.level, image.level) == levels
    told = fields.get("scale", Scale())
    assert scale.values["source"] == told.source and scale.values["variance"] == f"{told.std**2:.5f}"
    assert image.message == (", ".join(fields.get("problems", ())) or "good")


@pytest.mark.parametrize(("source", "level"), [("refined", OK), ("still", OK), ("network", WARN), ("lost", ERROR)])
def test_odometry_says_when_it_is_lost(source, level):
    odometry = Odometry(np.eye(4), np.eye(4), 0.1, np.eye(6), np.eye(6), 0, source, 120, 0.8)
    status = prediction_statuses("n", prediction(odometry=odometry), DepthConfig())[-1]
    assert (status.level, status.values["source"], status.values["corners"]) == (level, source, "120")
    assert prediction_statuses("n", None, DepthConfig()) == []


def test_scene_units_are_fine_where_they_were_asked_for():
    assert prediction_statuses("n", prediction(), scaled("none"))[0].level == OK
    for mode, word in (("camera_height", "road"), ("odometry", "odom_in")):
        status = prediction_statuses("n", prediction(), scaled(mode))[0]
        assert status.level == WARN and word in status.message


def test_percentiles_are_values_that_occurred():
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 3.0
    assert percentile([1.0], 0.99) == 1.0


def test_a_device_that_failed_costs_its_figure_and_not_the_node(monkeypatch):
    def broken(device):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("torch.cuda.mem_get_info", broken)
    told = memory_values("cuda:0")
    assert list(told) == ["memory (MB)"] and float(told["memory (MB)"]) > 10
