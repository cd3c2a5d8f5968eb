"""Pictures: sizes, colours, steadiness."""

import numpy as np

from defeat_ros.visualize import FeatureColors, captioned, depth_colors, trajectory


def test_near_is_bright_and_far_is_dark():
    depth = np.geomspace(1, 100, 64 * 48).reshape(48, 64).astype(np.float32)
    colors = depth_colors(depth).astype(int).sum(2)
    assert colors[0, 0] > 500 and colors[-1, -1] < 60
    assert colors.shape == (48, 64)


def test_sky_is_black_and_unknown_is_grey():
    depth = np.full((16, 16), 5.0, np.float32)
    depth[0, 0], depth[1, 1] = np.inf, np.nan
    colors = depth_colors(depth)
    assert colors[0, 0].max() < 10 and colors[1, 1].tolist() == [70, 70, 70]
    assert depth_colors(np.full((16, 16), np.nan, np.float32)).tolist()[0][0] == [70, 70, 70]


def test_too_close_is_the_nearest():
    depth = np.geomspace(2, 50, 32 * 32).reshape(32, 32).astype(np.float32)
    close = depth.copy()
    close[20:] = -np.inf
    colors, plain = depth_colors(close), depth_colors(depth)
    assert (colors[20:] == plain.reshape(-1, 3)[0]).all() and (colors[20:].astype(int).sum(2) > 500).all()
    assert (colors[:20] == depth_colors(depth[:20])).all(), "what is too close does not enter the percentile"


def test_colours_do_not_depend_on_the_scale():
    depth = np.random.default_rng(0).uniform(1, 50, (40, 60)).astype(np.float32)
    np.testing.assert_allclose(depth_colors(depth), depth_colors(8 * depth), atol=1)


def test_feature_colours_stay_put():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 60, 8)).astype(np.float32) * np.arange(8, 0, -1)
    paint = FeatureColors()
    first = paint(features).astype(int)
    for _ in range(10):
        shown = paint(features + rng.normal(scale=0.05, size=features.shape)).astype(int)
    assert np.abs(shown - first).mean() < 8


def test_few_channels_are_enough():
    for channels in (1, 2, 3):
        shown = FeatureColors()(np.random.default_rng(1).normal(size=(16, 20, channels)))
        assert shown.shape == (16, 20, 3) and shown.dtype == np.uint8


def test_trajectory_shows_each_track_in_its_colour():
    path = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 5.0]])
    picture = trajectory([("a", path, (255, 0, 0)), ("b", path * 0.5, (0, 255, 0))], (200, 300), "from above")
    assert picture.shape == (200, 300, 3)
    assert ((picture == [255, 0, 0]).all(2)).sum() > 50 and ((picture == [0, 255, 0]).all(2)).sum() > 50
    # x is up and y to the left.
    rows, columns = np.nonzero((picture == [255, 0, 0]).all(2)[40:170])
    assert rows.min() < 60 and columns.min() < 150
    assert trajectory([("none", np.zeros((0, 2)), (1, 2, 3))], (100, 100)).shape == (100, 100, 3)


def test_caption_goes_above():
    image = np.full((10, 200, 3), 9, np.uint8)
    made = captioned(image, "depth")
    np.testing.assert_array_equal(made[-10:], image)
    assert made[:-10].max() > 100
