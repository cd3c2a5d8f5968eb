"""Metrics against values worked out by hand, and by their invariances."""

import numpy as np
import pytest

from defeat_ros.evaluation.depth import depth_errors
from defeat_ros.evaluation.odometry import align, ate_rmse
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
