"""Pictures of evaluations, and the file of their numbers."""

import json

import numpy as np
import pytest

from defeat_ros.errors import OutputError
from defeat_ros.files import write_json
from defeat_ros.visualize import depth_colors, depth_panel, error_colors
from defeat_ros.visualize.charts import distance_chart, odometry_chart
from defeat_ros.visualize.errors import NOTHING


def test_small_errors_are_blue_and_large_ones_red():
    colors = error_colors(np.array([[0.1, 0.45, 9.0, np.nan]])).astype(int)
    assert colors[0, 0, 2] > colors[0, 0, 0] and colors[0, 1, 0] > colors[0, 1, 2]
    assert colors[0, 2].tolist() == error_colors(np.array([[0.5]]))[0, 0].tolist()
    assert tuple(colors[0, 3]) == NOTHING


def test_prediction_and_truth_share_their_colours():
    near = depth_colors(np.full((8, 8), 4.0), nearest=4.0)
    assert (near == depth_colors(np.full((8, 8), 2.0), nearest=4.0)).all()
    assert near.astype(int).sum() > depth_colors(np.full((8, 8), 8.0), nearest=4.0).astype(int).sum()


@pytest.mark.parametrize(("size", "width"), [((128, 192), 480), ((375, 1242), 960), ((400, 640), 640)])
@pytest.mark.parametrize("sparse", [False, True])
def test_panel_is_neither_too_small_nor_too_large(size, width, sparse):
    truth = np.full(size, 10.0, np.float32)
    if sparse:
        truth[:, 1:] = np.nan
    relative = np.where(np.isfinite(truth), 0.1, np.nan)
    panel = depth_panel(np.zeros((*size, 3), np.uint8), truth, truth, relative, ("a", "b", "c", "d"))
    assert panel.shape[1] == 2 * width and panel.dtype == np.uint8
    seen = depth_panel(np.zeros((64, 96, 3), np.uint8), truth, truth, relative, ("a", "b", "c", "d"))
    assert seen.shape == panel.shape, "the truth gives the size"
    assert depth_panel(np.zeros((*size, 3), np.uint8), truth, truth * np.nan, truth * np.nan, ("", "", "", "")).any()


def test_charts():
    edges = np.arange(0, 85, 5.0)
    errors = np.where(edges[1:] > 60, np.nan, 0.2)
    made = distance_chart(edges, {"network": errors, "rows": errors / 2}, np.arange(16), "title", dashed=("rows",))
    assert made.shape == (600, 900, 3) and made.dtype == np.uint8 and made.std() > 5
    assert distance_chart(edges, {"none": errors * np.nan}, np.zeros(16, int), "no pixels").shape == (600, 900, 3)
    path = np.cumsum(np.ones((20, 2)), axis=0)
    curves = {name: np.arange(20.0) for name in ("distance", "se3", "sim3", "rotation")}
    chart = odometry_chart([("truth", path), ("estimate", path * 1.1)], ("x, m", "y, m"), curves, "title")
    assert chart.shape == (700, 1400, 3)
    again = odometry_chart([("truth", path), ("estimate", path * 1.1)], ("x, m", "y, m"), curves, "title")
    np.testing.assert_array_equal(chart, again)


def test_json_is_whole_and_readable_by_all(tmp_path):
    facts = {"a": np.float64("nan"), "b": [np.inf, np.int64(3)], "c": {1: (True, None, "x")}, "d": np.arange(2)}
    write_json(tmp_path / "s.json", facts)
    assert json.loads((tmp_path / "s.json").read_text()) == {
        "a": None, "b": [None, 3], "c": {"1": [True, None, "x"]}, "d": [0, 1],
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["s.json"]
    with pytest.raises(OutputError, match="nowhere"):
        write_json(tmp_path / "nowhere" / "s.json", facts)
