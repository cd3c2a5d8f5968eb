"""What an image is good for."""

import cv2
import numpy as np
import pytest

from defeat_ros.inference.health import image_health


def scene(brightness=1.0):
    """Blocks with fine grain, as facades have."""
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(20, 236, (12, 16)), np.ones((16, 16))).astype(np.float32)
    image = cv2.GaussianBlur(blocks + rng.normal(0.0, 20.0, (192, 256)).astype(np.float32), (0, 0), 0.7)
    return np.clip(image * brightness, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("image", "problems", "useless"),
    [
        (scene(), (), False),
        (np.zeros((192, 256), np.uint8), {"black", "flat", "dark"}, True),
        (np.full((192, 256), 255, np.uint8), {"white", "flat", "glare"}, True),
        (np.full((192, 256), 90, np.uint8), {"flat"}, True),
        (scene(0.07), {"dark"}, False),
        (np.where(np.arange(256) < 80, 255, scene()).astype(np.uint8), {"glare"}, False),
        (cv2.GaussianBlur(scene(), (0, 0), 4.0), {"blurred"}, False),
    ],
)
def test_problems(image, problems, useless):
    made = image_health(image, None)
    assert set(problems) <= set(made.problems) and made.useless == useless
    if not problems:
        assert made.problems == () and np.isnan(made.change)


def test_a_stream_that_repeats_an_image_is_static():
    assert image_health(scene(), scene()).problems == ("static",)
    noise = np.random.default_rng(1).normal(0, 1.0, (192, 256))
    live = np.clip(scene() + noise, 0, 255).astype(np.uint8)
    assert image_health(live, scene()).problems == ()
