"""Metrics against values worked out by hand, and by their invariances."""

import numpy as np
import pytest

from defeat_ros.errors import ConfigError, FrameError
from defeat_ros.evaluation.baselines import Baselines
from defeat_ros.evaluation.dark import CEILINGS, darken
from defeat_ros.evaluation.depth import at_size, dee, depth_errors, garg_crop
from defeat_ros.evaluation.depth_scores import MethodScores, condition_of
from defeat_ros.evaluation.odometry import align, ate_rmse
from defeat_ros.evaluation.options import NIGHT_BELOW, DepthEvaluation, is_night
from defeat_ros.evaluation.views import centre_crop
from defeat_ros.geometry import rotation_from_vector


def test_perfect_depth_has_no_error():
    truth = np.linspace(1, 70, 200).reshape(10, 20)
    errors = depth_errors(truth, truth, median_scaling=False)
    assert errors["abs_rel"] == errors["rmse"] == errors["rmse_log"] == 0 and errors["a1"] == 1


def test_values_by_hand():
    errors = depth_errors(np.array([[2.0, 10.0]]), np.array([[1.0, 10.0]]), median_scaling=False)
    assert errors["abs_rel"] == pytest.approx(0.5)
    assert errors["sq_rel"] == pytest.approx(0.5)
    assert errors["rmse"] == pytest.approx(np.sqrt(0.5))
    assert errors["rmse_log"] == pytest.approx(np.log(2) / np.sqrt(2))
    assert (errors["a1"], errors["a2"], errors["a3"]) == (0.5, 0.5, 0.5)


def test_median_scaling_takes_any_scale_out():
    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 60, (20, 30))
    guess = truth * rng.uniform(0.9, 1.1, truth.shape)
    first = depth_errors(guess, truth, median_scaling=True)
    scaled = depth_errors(7.5 * guess, truth, median_scaling=True)
    assert scaled["abs_rel"] == pytest.approx(first["abs_rel"]) and scaled["scale"] == pytest.approx(
        first["scale"] / 7.5
    )


def test_only_valid_truth_counts_and_missing_depth_is_an_error():
    truth = np.array([[np.inf, np.nan, 0.0, 200.0, 10.0]])
    assert depth_errors(np.full((1, 5), 10.0), truth, median_scaling=False)["abs_rel"] == 0
    assert depth_errors(np.full((1, 5), np.nan), truth, median_scaling=False)["abs_rel"] == pytest.approx(7.0)
    assert depth_errors(np.ones((1, 2)), np.full((1, 2), np.inf), median_scaling=True) is None


def test_alignment_recovers_a_similarity():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(30, 3))
    rotation = rotation_from_vector(np.array([0.3, -1.0, 0.5]))
    truth = 2.5 * points @ rotation.T + [1.0, 2.0, 3.0]
    found = align(points, truth, with_scale=True)
    assert found.scale == pytest.approx(2.5)
    np.testing.assert_allclose(found.rotation, rotation, atol=1e-9)
    assert ate_rmse(points, truth, with_scale=True) < 1e-9
    assert ate_rmse(points, truth, with_scale=False) > 0.5


def test_alignment_never_mirrors():
    points = np.random.default_rng(2).normal(size=(20, 3))
    found = align(points, points * [1, 1, -1], with_scale=True)
    assert np.linalg.det(found.rotation) == pytest.approx(1.0)


def test_standing_still_is_no_crash():
    still = np.zeros((5, 3))
    moving = np.arange(15.0).reshape(5, 3)
    assert np.isfinite(ate_rmse(still, moving, with_scale=True))


def test_sky_does_not_enter_the_scale():
    truth = np.array([[10.0, 20.0, 30.0, 40.0, 50.0]])
    guess = np.array([[100.0, 200.0, 300.0, np.inf, np.inf]])
    errors = depth_errors(guess, truth, median_scaling=True)
    assert errors["scale"] == pytest.approx(0.1)
    assert errors["abs_rel"] == pytest.approx((80 / 40 - 1 + 80 / 50 - 1) / 5)


def test_garg_crop_is_kittis():
    rows, columns = np.nonzero(garg_crop((375, 1242)))
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (153, 371, 44, 1197)


def test_only_the_crop_counts():
    truth, guess = np.full((100, 100), 10.0), np.full((100, 100), 10.0)
    guess[:40] = 20.0  # above the crop
    assert depth_errors(guess, truth, False, crop="garg")["abs_rel"] == 0
    assert depth_errors(guess, truth, False)["abs_rel"] == pytest.approx(0.4)
    with pytest.raises(ConfigError, match="'grag'"):
        depth_errors(guess, truth, False, crop="grag")


def test_without_any_depth_there_is_no_scale():
    truth = np.full((2, 2), 10.0)
    assert np.isnan(depth_errors(truth * np.nan, truth, median_scaling=True)["scale"])
    assert depth_errors(truth * np.nan, truth, median_scaling=False)["scale"] == 1
    scores = MethodScores(DepthEvaluation())
    assert scores.add("none", truth * np.inf, truth) and np.isnan(scores.summary()["scale"]["mean"])
    assert scores.add("some", truth / 2, truth)
    scale = scores.summary()["scale"]
    assert (scale["mean"], scale["median"], scale["std_over_mean"], scale["unknown"]) == (2.0, 2.0, 0.0, 1)


def test_scaling_comes_before_the_cut():
    truth = np.array([[10.0, 20.0, 70.0]])
    errors = depth_errors(np.array([[100.0, 200.0, 900.0]]), truth, median_scaling=True)
    assert errors["scale"] == pytest.approx(0.1) and errors["abs_rel"] == pytest.approx((80 / 70 - 1) / 3)


def test_too_close_counts_as_near_and_zero_as_missing():
    truth = np.array([[10.0]])
    assert depth_errors(np.array([[-np.inf]]), truth, False)["abs_rel"] == pytest.approx(0.9999)
    assert depth_errors(np.array([[0.0]]), truth, False)["abs_rel"] == pytest.approx(7.0)


def test_sizes_must_agree():
    with pytest.raises(FrameError, match=r"\(2, 2\)"):
        depth_errors(np.ones((2, 2)), np.ones((3, 2)), False)


def test_the_inverse_is_resized():
    made = at_size(np.array([[1.0, 2.0]], np.float32), (1, 4))
    np.testing.assert_allclose(made, 1 / np.array([[1.0, 0.875, 0.625, 0.5]]), rtol=1e-6)
    assert np.isinf(at_size(np.full((2, 2), np.inf, np.float32), (4, 4))).all()
    close = at_size(np.array([[-np.inf, 2.0, 2.0, np.nan]], np.float32), (1, 8))[0]
    assert np.isneginf(close[:3]).all() and (close[3:5] == 2).all() and np.isnan(close[5:]).all()


def test_dee_by_hand():
    assert dee({"abs_rel": 0.1, "a1": 0.9}) == pytest.approx(0.1)


@pytest.mark.parametrize("severity", range(1, 6))
def test_dark_follows_its_curve(severity):
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (400, 256, 3))
    made = darken(ramp, severity, np.random.default_rng(0))
    ceiling = CEILINGS[severity - 1]
    means = made.astype(float).mean(axis=(0, 2))
    # Where the curve is far from black, the noise is not cut and has no mean; truncation takes half a level.
    expected = 255 * ceiling * (np.arange(256) / 255) ** 2 - 0.5
    bright = slice(200, 256)
    np.testing.assert_allclose(means[bright], expected[bright], atol=2.5)
    spread = made[:, 255].astype(float).std() / 255
    photons = (600, 250, 120, 50, 30)[severity - 1]
    read = (0.008, 0.012, 0.018, 0.026, 0.038)[severity - 1]
    assert spread == pytest.approx(np.sqrt(ceiling / photons + read**2), rel=0.1)


def test_dark_is_seeded_and_refuses_other_severities():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    first, again, other = (darken(image, 3, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()
    assert darken(np.full((4, 4, 3), 200, np.uint8), 1, np.random.default_rng(0)).max() < 20, "no contrast: black"
    for severity in (0, 6):
        with pytest.raises(ValueError, match=str(severity)):
            darken(image, severity, np.random.default_rng(0))


def test_baselines_are_the_medians_of_the_truth():
    baselines = Baselines(DepthEvaluation())
    truth = np.repeat(np.linspace(60, 3, 64)[:, None], 40, axis=1)
    truth[:10] = np.inf
    baselines.fit(truth)
    made = baselines.predict((64, 40))
    np.testing.assert_allclose(made["rows"][10:], truth[10:], rtol=0.01)
    np.testing.assert_allclose(made["rows"][:10], truth[10, 0], rtol=0.01, err_msg="sky takes the nearest row")
    assert made["constant"][0, 0] == pytest.approx(np.median(truth[10:]), rel=0.03)
    assert made["rows"].shape == (64, 40) and Baselines(DepthEvaluation()).predict((4, 4)) == {}
    larger = baselines.predict((128, 10))["rows"][:, 0]
    np.testing.assert_allclose(larger[::2], made["rows"][:, 0])


def test_distance_bins_and_consistency_of_the_scale():
    scores = MethodScores(DepthEvaluation())
    truth = np.array([[2.0, 12.0, 12.0, np.inf]])
    assert scores.add("a", truth * 2, truth) and scores.add("b", truth * 4, truth)
    assert not scores.add("c", truth, np.full_like(truth, np.nan))
    made = scores.summary()
    assert made["frames"] == 2 and made["median_scaled"]["abs_rel"] == pytest.approx(0.0)
    assert made["unscaled"]["abs_rel"] == pytest.approx((1.0 + 3.0) / 2)
    assert made["scale"]["mean"] == pytest.approx(0.375)
    assert made["scale"]["std_over_mean"] == pytest.approx(0.125 / 0.375)
    assert made["pixels_by_distance"][:3] == [2, 0, 4] and sum(made["pixels_by_distance"]) == 6
    assert made["abs_rel_by_distance"][0] == 0 and np.isnan(made["abs_rel_by_distance"][1])
    twice = scores.merged(scores)
    assert twice.summary()["scale"] == made["scale"] and twice.bin_counts.sum() == 12


@pytest.mark.parametrize(("told", "grey", "expected"), [
    ("auto", NIGHT_BELOW - 1, "night"), ("auto", NIGHT_BELOW, "day"), ("day", 5.0, "day"), ("night", 200.0, "night"),
])  # fmt: skip
def test_condition(told, grey, expected):
    assert condition_of(DepthEvaluation(condition=told), [grey, 0.0, 255.0]) == expected


def test_night_is_told_by_the_median():
    assert is_night([NIGHT_BELOW - 1, 0.0, 255.0]) and not is_night(np.array([NIGHT_BELOW, 0.0, 255.0]))
    assert is_night([NIGHT_BELOW - 2, NIGHT_BELOW + 1]) and not is_night([])


def test_centre_crop_has_the_aspect():
    rows, columns = centre_crop((375, 1242), 480 / 352)
    assert (rows.start, rows.stop) == (0, 375) and columns.stop - columns.start == 511
    assert columns.start == (1242 - 511) // 2
    rows, columns = centre_crop((400, 200), 2.0)
    assert rows.stop - rows.start == 100 and columns == slice(0, 200)
