"""Metres from the camera's height, from measured motion and from training: right, steady, and honest about doubt."""

import math

import numpy as np
import pytest

from defeat_ros.errors import ConfigError
from defeat_ros.inference.config import DepthConfig, ScaleConfig
from defeat_ros.inference.ground import Ground
from defeat_ros.inference.scale import REQUIRED_STD, Level, ScaleEstimator
from defeat_ros.settings import build

DT_NS = 100_000_000


def ground(height):
    return Ground(height, np.array([0.0, 1.0, 0.0]), 0.8)


def run(config, frames=60, height=1.5, learned=None, wobble=0.1, seed=0):
    """Scales of a camera whose road is seen `height` units below, up and down by the wobble; and the levelled units."""
    rng, level, estimate = np.random.default_rng(seed), Level(), ScaleEstimator(config, learned)
    scales, units = [], []
    for index in range(frames):
        seen = height * math.exp(rng.normal(0.0, wobble))
        gain = level(ground(seen), index * DT_NS)
        scales.append(estimate(level, index * DT_NS))
        units.append(seen * gain)
    return scales, units


def test_levelling_takes_the_networks_wobble_out():
    _, units = run(ScaleConfig())
    assert np.std(np.log(units[20:])) < 0.015, "0.1 before"
    assert np.abs(np.diff(np.log(units[20:]))).max() < 0.01


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_the_cameras_height_gives_metres(true):
    scales, units = run(ScaleConfig("camera_height", camera_height_m=1.5 * true))
    assert scales[-1].metres_per_unit * units[-1] == pytest.approx(1.5 * true, rel=0.02)
    assert scales[-1].source == "camera_height" and scales[-1].age_s == 0.0
    assert abs(math.log(scales[-1].metres_per_unit / true)) < 3 * scales[-1].std


def test_the_scale_never_wobbles():
    for seed in range(5):
        scales, _ = run(ScaleConfig(camera_height_m=1.5), learned=1.3, wobble=0.15, seed=seed)
        steps = np.abs(np.diff(np.log([one.metres_per_unit for one in scales])))
        assert steps[20:].max() < 0.01
        # The deviation that is told has the distance still to go in it, of which each frame goes a share.
        assert all(step <= 0.15 * one.std for step, one in zip(steps, scales[1:], strict=True))


def test_two_measures_are_fused_by_their_certainty():
    level, estimate = Level(), ScaleEstimator(ScaleConfig(camera_height_m=1.5), 1.0)
    for index in range(40):
        level(ground(1.5), index * DT_NS)  # says 1
        estimate.measure_motion(1.3, 1.0, index * DT_NS)
        made = estimate(level, index * DT_NS)
    assert made.source == "odometry+camera_height" and 1.1 < made.metres_per_unit < 1.3 and made.std > 0.05


def test_doubt_grows_while_nothing_is_measured():
    level, estimate = Level(), ScaleEstimator(ScaleConfig("camera_height", camera_height_m=1.5), None)
    assert estimate(level, 0).metres_per_unit is None, "no ground yet"
    for index in range(20):
        level(ground(1.5), index * DT_NS)
        sure = estimate(level, index * DT_NS)
    level(None, 30_000_000_000)
    late = estimate(level, 30_000_000_000)
    assert 1.3 * sure.std < late.std < REQUIRED_STD and late.age_s == pytest.approx(28.1)
    assert late.metres_per_unit == pytest.approx(sure.metres_per_unit)


def test_a_ground_that_is_none_does_not_count_until_it_stays():
    level = Level()
    for index in range(20):
        level(ground(1.5), index * DT_NS)
    gains = [level(ground(4.0), (20 + index) * DT_NS) for index in range(18)]
    assert np.allclose(gains, 1.0, atol=0.01) and math.exp(level.height.value) == pytest.approx(1.5, rel=0.01)
    for index in range(40, 50):
        level(ground(4.0), index * DT_NS)
    assert math.exp(level.height.value) == pytest.approx(4.0, rel=0.01), "it was the first ones that were wrong"


def test_without_ground_the_gain_fades():
    level = Level()
    for index in range(20):
        level(ground(1.5), index * DT_NS)
    gain = level(ground(1.2), 20 * DT_NS)
    later = [level(None, (21 + index) * DT_NS) for index in range(30)]
    assert gain > 1.2 and np.all(np.diff([gain, *later]) < 0) and later[-1] == pytest.approx(1.0, abs=0.01)


def test_measured_motion_gives_metres():
    level, estimate, rng = Level(), ScaleEstimator(ScaleConfig("odometry"), None), np.random.default_rng(0)
    assert estimate(level, 0).source == "none"
    for index in range(40):
        estimate.measure_motion(1.8, 1.0 * math.exp(rng.normal(0.0, 0.1)), index * DT_NS)
        made = estimate(level, index * DT_NS)
    assert made.metres_per_unit == pytest.approx(1.8, rel=0.04) and made.source == "odometry"


def test_auto_fuses_by_certainty():
    learned, _ = run(ScaleConfig(), learned=1.2)
    assert learned[-1].metres_per_unit == pytest.approx(1.2) and learned[-1].source == "learned"
    assert learned[-1].std > REQUIRED_STD, "not metric enough for a planner that insists"
    both, _ = run(ScaleConfig(camera_height_m=1.5), learned=1.4)
    assert both[-1].source == "camera_height" and both[-1].metres_per_unit == pytest.approx(1.0, rel=0.03)
    assert both[-1].std < REQUIRED_STD and both[-1].warning == "", "what is measured goes before what was learned"
    far, _ = run(ScaleConfig(camera_height_m=1.5), height=0.6, learned=1.0)
    assert far[-1].metres_per_unit == pytest.approx(2.5, rel=0.03) and far[-1].std < REQUIRED_STD
    blind, _ = run(ScaleConfig("camera_height", camera_height_m=1.5), learned=1.4)
    assert blind[-1].source == "camera_height"


def test_fixed_and_none_say_so():
    assert run(ScaleConfig("fixed", 2.5), 1)[0][0].metres_per_unit == 2.5
    made = run(ScaleConfig("none"), 1, learned=1.0)[0][0]
    assert made.metres_per_unit is None and made.source == "none"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"scale.mode": "camera_height"}, "'scale.camera_height_m' is 0.0, expected the camera's height"),
        ({"scale.camera_height_m": -1.5}, "'scale.camera_height_m' is -1.5"),
        ({"scale.camera_height_m": 150.0}, "'scale.camera_height_m' is 150.0"),
        ({"scale.camera_height_m": 0.001}, "'scale.camera_height_m' is 0.001, expected m, at least 0.05"),
        ({"scale.mode": "none", "scale.required": True}, "'scale.required' is True"),
        ({"scale.odom_tf_frame": "odom"}, "'scale.odom_tf_frame' is 'odom', which this node itself broadcasts"),
        ({"points.min_range_m": 30.0}, "'points.min_range_m' is 30.0, expected less than points.max_range_m"),
    ],
)
def test_absurd_parameters(given, expected):
    with pytest.raises(ConfigError) as caught:
        build(DepthConfig, given)
    assert expected in str(caught.value)


def test_a_jump_of_the_odometry_does_not_move_the_scale():
    level, estimate = Level(), ScaleEstimator(ScaleConfig("odometry"), None)
    for index in range(20):
        estimate.measure_motion(1.0, 1.0, index * DT_NS)
        before = estimate(level, index * DT_NS)
    estimate.measure_motion(5.0, 1.0, 20 * DT_NS)
    after = estimate(level, 20 * DT_NS)
    assert after.metres_per_unit == pytest.approx(before.metres_per_unit)


def test_an_absurd_height_is_told_where_the_training_contradicts_it():
    absurd, _ = run(ScaleConfig(camera_height_m=15.0), learned=1.0)
    assert "camera_height says 9" in absurd[-1].warning or "camera_height says 10" in absurd[-1].warning
    assert "learned says 1.00 m a unit" in absurd[-1].warning
    fine, _ = run(ScaleConfig(camera_height_m=1.5), learned=1.2)
    assert fine[-1].warning == "" and fine[-1].std < REQUIRED_STD
