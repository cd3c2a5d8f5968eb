"""The value types refuse what cannot be."""

import numpy as np
import pytest

from defeat_ros import CameraIntrinsics, Frame
from defeat_ros.errors import FrameError

GOOD = {"fx": 100.0, "fy": 100.0, "cx": 32.0, "cy": 24.0, "width": 64, "height": 48}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"fx": 0.0}, "fx=0.0"),
        ({"fy": -1.0}, "fy=-1.0"),
        ({"cx": float("nan")}, "finite"),
        ({"width": 0}, "0x48"),
        ({"rectification": (1.0,)}, "9 values, got 1"),
        ({"projection": (0.0, 1.0, 0.0, 0.0)}, "projection"),
    ],
)
def test_bad_intrinsics(change, expected):
    with pytest.raises(FrameError, match=expected):
        CameraIntrinsics(**{**GOOD, **change})


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_bad_images(image):
    with pytest.raises(FrameError, match="image must"):
        Frame(image, 0)


def test_camera_of_another_size():
    with pytest.raises(FrameError, match="64x48, expected the image's 32x24"):
        Frame(np.zeros((24, 32, 3), np.uint8), 0, intrinsics=CameraIntrinsics(**GOOD))


def test_when_rectification_is_needed():
    assert not CameraIntrinsics(**GOOD).needs_rectification
    assert not CameraIntrinsics(**GOOD, distortion_model="plumb_bob", distortion=(0.0,) * 5).needs_rectification
    assert CameraIntrinsics(**GOOD, distortion_model="plumb_bob", distortion=(0.1, 0, 0, 0, 0)).needs_rectification
    assert CameraIntrinsics(**GOOD, projection=(90.0, 90.0, 32.0, 24.0)).needs_rectification
    assert CameraIntrinsics(**GOOD, projection=(90.0, 91.0, 32.0, 24.0)).rectified().fy == 91.0
