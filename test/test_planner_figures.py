"""Figures that planners depend on, on cases worked out by hand."""

import numpy as np
import pytest

from defeat_ros.evaluation.confidence import ConfidenceScores
from defeat_ros.evaluation.planner import THRESHOLDS, GridScores, found_and_false, obstacle_grid
from defeat_ros.evaluation.scale import ScaleScores


def test_a_confidence_that_knows_gains_and_one_that_does_not_gains_nothing():
    rng = np.random.default_rng(0)
    truth = rng.uniform(2.0, 60.0, (100, 100))
    error = np.where(rng.random((100, 100)) < 0.2, 0.5, 0.05)
    depth = truth * (1 + error)
    knowing, guessing = ConfidenceScores(), ConfidenceScores()
    knowing.add(np.where(error > 0.1, 0.2, 0.95), depth, truth, error < 0.25)
    guessing.add(np.full(truth.shape, 0.8), depth, truth, error < 0.25)
    share = float(np.mean(error > 0.1))
    assert knowing.abs_rel() == pytest.approx(0.05 + 0.45 * share, rel=0.05)  # far predictions are cut at 80 m
    assert knowing.abs_rel() == pytest.approx(guessing.abs_rel())
    assert knowing.abs_rel(1 - share) == pytest.approx(0.05)
    assert guessing.report()["gain_of_dropping_20_percent"] == pytest.approx(0.0, abs=1e-9)
    assert guessing.report()["calibration_error"] == pytest.approx(abs(0.8 - (1 - share)), abs=1e-6)
    rows = knowing.calibration()
    assert [(round(s, 2), m) for s, m, _ in rows] == [(0.2, 0.0), (0.95, 1.0)]


def test_sky_counts_for_rightness_but_has_no_relative_error():
    scores = ConfidenceScores()
    truth = np.array([[np.inf, np.nan, 10.0, 0.0]])
    scores.add(np.full((1, 4), 0.5), np.array([[np.inf, 3.0, 11.0, 1.0]]), truth, np.ones((1, 4), bool))
    assert scores.count.sum() == 2 and scores.compared.sum() == 1 and scores.abs_rel() == pytest.approx(0.1)


def test_the_grid_takes_what_stands_in_the_way():
    points = np.array([
        [5.0, 1.0, 1.0],  # an obstacle
        [5.0, 1.0, 0.1],  # the road
        [5.0, 1.0, 3.0],  # a bridge
        [25.0, 0.0, 1.0],  # too far
        [-3.0, 0.0, 1.0],  # behind
    ])  # fmt: skip
    grid = obstacle_grid(points)
    assert grid.sum() == 1 and grid[25, 105]


def test_found_within_a_tenth_of_the_range():
    truth = obstacle_grid(np.array([[10.0, 0.1, 1.0]]))
    assert found_and_false(truth, truth) == (1, 1, 0)
    near = obstacle_grid(np.array([[11.0, 0.1, 1.0]]))
    assert found_and_false(near, truth) == (1, 1, 0), "a metre at 10 m is within tolerance"
    far = obstacle_grid(np.array([[13.0, 0.1, 1.0]]))
    assert found_and_false(far, truth) == (0, 1, 1)
    nothing = np.zeros_like(truth)
    assert found_and_false(nothing, truth) == (0, 1, 0) and found_and_false(truth, nothing) == (0, 0, 1)


def test_thresholds_trade_recall_for_false_obstacles():
    scores = GridScores()
    world = np.array([[10.0, 0.1, 1.0]])
    guess = np.array([[10.0, 0.1, 1.0], [5.0, 3.0, 1.0], [18.0, -5.0, 1.0]])
    scores.add(guess, np.array([0.85, 0.3, 0.1]), np.array([False, False, True]), world)
    rows = {row["confidence_min"]: row for row in scores.report()}
    assert [rows[t]["false_cells_per_frame"] for t in (0.0, 0.2, 0.5)] == [2.0, 1.0, 0.0]
    assert rows[0.8]["recall"] == 1.0 and rows[0.9]["recall"] == 0.0
    assert rows[0.0]["sky_cells_per_frame"] == 1.0 and rows[0.2]["sky_cells_per_frame"] == 0.0
    assert tuple(rows) == THRESHOLDS


def test_scale_figures_begin_once_it_should_have_settled():
    scores, truth = ScaleScores(), np.random.default_rng(0).uniform(2.0, 40.0, (20, 20))
    for index in range(40):
        off = 2.0 if index < 20 else 1.1
        scores.add(index * 0.1, truth * off, truth, off, 0.07, "camera_height")
    settled = scores.report()["settled"]
    assert settled["frames"] == 20 and settled["median_error"] == pytest.approx(0.1)
    assert settled["abs_rel_metric"] == pytest.approx(0.1) and settled["abs_rel_median_scaled"] < 1e-6
    assert settled["largest_step"] == 0.0 and settled["stated_std"] == 0.07
    short = ScaleScores()
    short.add(0.0, truth, truth, None, np.inf, "none")
    assert short.report()["settled"] is None
