"""How far a pixel can be trusted: what lowers it, and whether its weights can be fitted."""

import dataclasses

import numpy as np
import pytest

from defeat_ros import CameraIntrinsics
from defeat_ros.frame import ImageHealth
from defeat_ros.geometry import pixel_rays, transform
from defeat_ros.inference.confidence import CUES, WEIGHTS_FILE, ConfidenceEstimator, Seen, Weights, right
from defeat_ros.inference.fit_confidence import fit_weights
from defeat_ros.inference.ground import Ground
from defeat_ros.inference.look import Look

CAMERA = CameraIntrinsics(fx=60.0, fy=60.0, cx=63.5, cy=47.5, width=128, height=96)
GOOD = ImageHealth(80.0, 0.0, 0.0, 40.0, 1.5, 8.0, ())
ROAD = Ground(1.5, np.array([0.0, 1.0, 0.0]), 0.9)
AHEAD = transform(np.eye(3), np.array([0.0, 0.0, 0.5]))  # previous_from_camera: half a unit ahead


def road_depth(height=1.5):
    inverse = Ground(height, ROAD.normal, 1.0).inverse_depth(pixel_rays(CAMERA))
    return (1.0 / np.maximum(inverse, 1.0 / 40.0)).astype(np.float32)


def image(seed=0):
    return np.random.default_rng(seed).integers(60, 200, (96, 128, 3), dtype=np.uint8)


def cues(depth=None, before=None, step=AHEAD, ground=ROAD, picture=None, earlier_picture=None):
    estimator = ConfidenceEstimator(CAMERA, (96, 128))
    now = Seen(image() if picture is None else picture, road_depth() if depth is None else depth)
    earlier = None if before is None else Seen(image() if earlier_picture is None else earlier_picture, before)
    return estimator.cues(now, earlier, step, look(now.depth, ground), 1.0)


def look(depth, ground):
    expected = ROAD.inverse_depth(pixel_rays(CAMERA))
    below = (expected > 1 / 60.0) if ground else np.zeros(depth.shape, bool)
    return Look(1 / depth, 1.0, depth, ground, below & (np.abs(1 / depth - expected) < 0.1 * expected), below, GOOD)


def test_agreement_with_the_frame_before_is_seen():
    """The road looks the same half a unit back: only depth that changed disagrees."""
    agrees = cues(before=road_depth())
    assert agrees.seen_before[70:90, 20:100].all() and np.median(agrees.depth_difference[60:, :]) < 0.01
    wobbles = cues(before=road_depth() * 1.2)
    assert np.median(wobbles.depth_difference[70:, :]) == pytest.approx(np.log(1.2), abs=0.02)
    assert wobbles.unsteadiness[0, 0] > agrees.unsteadiness[0, 0] + 0.1
    standing = cues(before=road_depth(), step=np.eye(4))
    assert np.median(standing.colour_difference) < 0.05
    other = cues(before=road_depth(), step=np.eye(4), earlier_picture=image(7))
    assert np.median(other.colour_difference) > 0.3


def test_what_stood_behind_something_was_not_seen():
    near = road_depth()
    near[60:80, 40:80] = 1.0  # something close hid the road half a unit ago
    hidden = cues(before=near)
    assert hidden.seen_before[70, 60] == 0.0 and hidden.seen_before[85, 10] == 1.0


def test_without_a_frame_before_nothing_was_seen():
    for alone in (cues(), cues(before=road_depth(), step=None)):
        assert not alone.seen_before.any() and np.ptp(alone.depth_difference) == 0


def test_without_a_camera_or_ground_there_still_is_an_answer():
    estimator = ConfidenceEstimator(None, (96, 128))
    made = estimator(estimator.cues(Seen(image(), road_depth()), None, None, look(road_depth(), None), None), GOOD)
    assert made.shape == (96, 128) and made.dtype == np.float32
    assert np.isfinite(made).all() and (made >= 0).all() and (made <= 1).all()


def test_road_ahead_is_trusted_more_than_edges_and_distance():
    depth = road_depth()
    depth[20:60, 50:70] = 4.0  # a pole
    estimator = ConfidenceEstimator(CAMERA, (96, 128))
    made = estimator(cues(depth=depth, before=depth), GOOD)
    assert made[85:, :].mean() > 0.9
    assert made[30:50, 48:52].mean() < made[85:, :].mean() - 0.2, "its outline"
    assert made[50:54, 100:].mean() < made[85:, :].mean() - 0.05, "the road far away"


@pytest.mark.parametrize("problem", ["blurred", "dark", "glare"])
def test_a_poor_image_lowers_it_and_a_useless_one_ends_it(problem):
    estimator, seen = ConfidenceEstimator(CAMERA, (96, 128)), cues()
    good = estimator(seen, GOOD)
    assert (estimator(seen, dataclasses.replace(GOOD, problems=(problem,))) < good).all()
    assert not estimator(seen, dataclasses.replace(GOOD, problems=("black", problem))).any()


def test_right_is_within_a_quarter_or_sky_for_sky():
    truth = np.array([10.0, 10.0, 10.0, np.inf, np.inf, 90.0, 10.0, 10.0])
    depth = np.array([12.0, 13.0, 8.1, np.inf, 30.0, 70.0, np.nan, np.inf])
    assert right(depth, truth).tolist() == [True, False, True, True, False, True, False, False]


def test_weights_are_kept_whole(tmp_path):
    shipped = Weights.read(WEIGHTS_FILE)
    shipped.write(tmp_path / "w.json", fitted_to=["a"])
    again = Weights.read(tmp_path / "w.json")
    for name in ("hidden", "hidden_bias", "output"):
        np.testing.assert_array_equal(getattr(again, name), getattr(shipped, name))
    assert shipped.hidden.shape == (len(CUES), len(shipped.output)) and again.output_bias == shipped.output_bias


def test_fitting_learns_what_is_right_and_says_the_same_each_time():
    rng = np.random.default_rng(0)
    inputs = [rng.random((4000, len(CUES))).astype(np.float32) for _ in range(3)]
    chance = [1 / (1 + np.exp(-(2.0 - 8.0 * (one[:, 0] - 0.5) ** 2 * 4 - 2.0 * one[:, 3]))) for one in inputs]
    wanted = [rng.random(len(one)) < one for one in chance]
    weights = fit_weights(inputs, wanted)
    stated = weights(inputs[0])
    assert np.mean(np.abs(stated - chance[0])) < 0.06
    assert stated.mean() == pytest.approx(wanted[0].mean(), abs=0.03)
    np.testing.assert_array_equal(fit_weights(inputs, wanted).hidden, weights.hidden)
