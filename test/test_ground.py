"""The road's plane in depth maps that are known."""

import numpy as np
import pytest

from defeat_ros import CameraIntrinsics
from defeat_ros.geometry import pixel_rays, rotation_from_vector
from defeat_ros.inference.ground import Ground, GroundFinder

CAMERA = CameraIntrinsics(fx=140.0, fy=150.0, cx=127.5, cy=95.5, width=256, height=192)
LEVEL = np.array([0.0, 1.0, 0.0])


def plane(height=1.5, pitch=0.0, roll=0.0, far=60.0):
    """Depth of an endless road, and `far` above the horizon."""
    normal = rotation_from_vector(np.array([pitch, 0.0, roll])) @ LEVEL
    inverse = Ground(height, normal, 1.0).inverse_depth(pixel_rays(CAMERA))
    return 1.0 / np.maximum(inverse, 1.0 / far), normal


@pytest.mark.parametrize("height", [0.3, 1.5, 6.0])
@pytest.mark.parametrize(("pitch", "roll"), [(0.0, 0.0), (0.05, -0.02), (-0.08, 0.04)])
def test_the_plane_is_found_through_noise_and_obstacles(height, pitch, roll):
    depth, normal = plane(height, pitch, roll, far=60.0 * height)
    rng = np.random.default_rng(0)
    depth = depth * np.exp(rng.normal(0.0, 0.03, depth.shape))
    depth[100:150, 60:120] = 4.0 * height  # a car
    depth[60:192, 226:256] = 5.0 * height  # a house
    found = GroundFinder(CAMERA, LEVEL)(depth.astype(np.float32))
    assert found.height == pytest.approx(height, rel=0.015)
    assert np.degrees(np.arccos(found.normal @ normal)) < 0.6
    assert 0.45 < found.share <= 1.0


def test_height_scales_with_depth():
    depth, _ = plane()
    find = GroundFinder(CAMERA, LEVEL)
    assert find(depth * 2.5).height == pytest.approx(2.5 * find(depth).height, rel=1e-3)


@pytest.mark.parametrize("make", [
    lambda: np.full((192, 256), 5.0),  # a wall
    lambda: np.exp(np.random.default_rng(1).normal(1.0, 1.0, (192, 256))),  # nonsense
    lambda: plane(pitch=0.4)[0],  # a slope that no mount explains
])  # fmt: skip
def test_no_ground_is_no_answer(make):
    assert GroundFinder(CAMERA, LEVEL)(make().astype(np.float32)) is None


def test_a_mask_leaves_out_what_is_not_to_be_relied_on():
    depth, _ = plane()
    depth[130:, :] *= 0.5  # the bonnet, which looks like a plane of its own
    usable = np.ones(depth.shape, bool)
    usable[130:, :] = False
    assert GroundFinder(CAMERA, LEVEL)(depth, usable).height == pytest.approx(1.5, rel=0.01)
    assert GroundFinder(CAMERA, LEVEL)(depth, np.zeros(depth.shape, bool)) is None


def test_the_mount_says_where_down_is():
    down = rotation_from_vector(np.array([0.35, 0.0, 0.0])) @ LEVEL
    depth, _ = plane(pitch=0.35)
    assert GroundFinder(CAMERA, down)(depth).height == pytest.approx(1.5, rel=0.01)


def test_the_plane_lies_along_the_heading():
    """Depth that bends the road up, as learned depth does: the plane stays parallel to the motion."""
    truth, _ = plane()
    height = (np.arange(192)[:, None] - CAMERA.cy) / CAMERA.fy
    bent = (1.0 / (1.0 / truth + np.where(height > 0, 0.008, 0.0))).astype(np.float32)  # as if it were pitched
    find, ahead = GroundFinder(CAMERA, LEVEL), np.array([0.0, 0.0, 1.0])
    free, along = find(bent), find(bent, heading=ahead)
    assert abs(along.normal @ ahead) < 1e-9 and abs(free.normal @ ahead) > 0.01
    assert find(truth, heading=ahead).height == pytest.approx(1.5, rel=0.01)
    climbing = np.array([0.0, -np.sin(0.2), np.cos(0.2)])  # a drone: not along the road
    assert find(truth, heading=climbing).height == pytest.approx(find(truth).height)
