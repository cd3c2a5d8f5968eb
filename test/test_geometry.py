"""Geometry by its group properties."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from defeat_ros import CameraIntrinsics
from defeat_ros.geometry import (
    BODY_FROM_OPTICAL,
    adjoint,
    disp_to_depth,
    earlier_from_later,
    inverse_depth,
    invert,
    quaternion_from_rotation,
    resize_intrinsics,
    rotation_from_quaternion,
    rotation_from_vector,
    transform,
    transform_from_xyz_rpy,
    vector_from_rotation,
    xyz_rpy_from_transform,
)

unit = st.floats(-1.0, 1.0, allow_nan=False)
vectors = st.tuples(unit, unit, unit).map(np.array)


@given(vectors, vectors)
def test_inverse_undoes_a_transform(rotation, translation):
    matrix = transform(rotation_from_vector(3 * rotation), 10 * translation)
    np.testing.assert_allclose(invert(matrix) @ matrix, np.eye(4), atol=1e-12)


@given(vectors)
def test_rotation_vector_round_trip(vector):
    vector = vector * (np.pi / np.sqrt(3.0))
    back = vector_from_rotation(rotation_from_vector(vector))
    np.testing.assert_allclose(rotation_from_vector(back), rotation_from_vector(vector), atol=1e-7)
    assert np.linalg.norm(back) <= np.pi + 1e-9


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, -1, 0), (0.6, 0, 0.8), (0.577, -0.577, 0.578)])
def test_half_turn_keeps_its_axis(axis):
    axis = np.array(axis) / np.linalg.norm(axis)
    back = vector_from_rotation(rotation_from_vector(np.pi * axis))
    assert np.linalg.norm(back) == pytest.approx(np.pi)
    assert abs(back @ axis) == pytest.approx(np.pi)


@given(vectors)
def test_quaternion_round_trip(vector):
    rotation = rotation_from_vector(vector * 4.0)
    quaternion = np.array(quaternion_from_rotation(rotation))
    assert quaternion[3] >= 0 and np.linalg.norm(quaternion) == pytest.approx(1, abs=1e-12)
    for same in (quaternion, -quaternion, 3 * quaternion):  # both signs, any length
        np.testing.assert_allclose(rotation_from_quaternion(*same), rotation, atol=1e-12)


@pytest.mark.parametrize("axis", [*np.eye(3), (0.6, 0, 0.8), (0.577, -0.577, 0.578), (1e-7, 1, 0)])
@pytest.mark.parametrize("short", [0.0, 1e-9, -1e-9, 1e-5])
def test_quaternions_of_half_turns(axis, short):
    """w is near 0 here, so a formula that divides by it loses all digits."""
    axis = np.array(axis) / np.linalg.norm(axis)
    rotation = rotation_from_vector((np.pi - short) * axis)
    quaternion = np.array(quaternion_from_rotation(rotation))
    assert abs(quaternion[:3] @ axis) == pytest.approx(1, abs=1e-9) and quaternion[3] == pytest.approx(0, abs=1e-5)
    np.testing.assert_allclose(rotation_from_quaternion(*quaternion), rotation, atol=1e-12)


def test_quaternion_axes():
    half = np.sqrt(0.5)
    for index, axis in enumerate(np.eye(3)):
        expected = [0.0, 0.0, 0.0, half]
        expected[index] = half
        np.testing.assert_allclose(quaternion_from_rotation(rotation_from_vector(np.pi / 2 * axis)), expected)
    assert quaternion_from_rotation(np.eye(3)) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("values", [(0, 0, 0, 0), (np.nan, 0, 0, 1), (np.inf, 0, 0, 1)])
def test_no_quaternions(values):
    with pytest.raises(ValueError, match="expected one of length 1"):
        rotation_from_quaternion(*values)


def test_disparity_ends_at_the_range():
    np.testing.assert_allclose(disp_to_depth(np.array([1.0, 0.0])), [0.1, 100.0])
    disp = torch.rand(2, 1, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(inverse_depth(disp) * disp_to_depth(disp), torch.ones_like(disp))


def test_forward_motion_of_the_camera():
    """A point ahead comes closer: later_from_earlier has negative z, so the later camera is ahead of the earlier."""
    step = earlier_from_later(np.zeros(3), np.array([0.0, 0.0, -0.5]), factor=2.0)
    np.testing.assert_allclose(step[:3, 3], [0, 0, 1.0])


def test_body_axes():
    forward_optical = np.array([0.0, 0, 1, 1])
    np.testing.assert_allclose(BODY_FROM_OPTICAL @ forward_optical, [1, 0, 0, 1])
    np.testing.assert_allclose(BODY_FROM_OPTICAL @ [1.0, 0, 0, 1], [0, -1, 0, 1])


def test_rpy_turns_left_with_positive_yaw():
    mount = transform_from_xyz_rpy((1.0, 2.0, 3.0, 0.0, 0.0, np.pi / 2))
    np.testing.assert_allclose(mount @ [1.0, 0, 0, 1], [1, 3, 3, 1], atol=1e-12)
    # Pitch about y: positive looks down.
    np.testing.assert_allclose(
        transform_from_xyz_rpy((0, 0, 0, 0, np.pi / 2, 0)) @ [1.0, 0, 0, 1], [0, 0, -1, 1], atol=1e-12
    )


@given(vectors, st.tuples(unit, unit, unit))
def test_xyz_rpy_round_trip(xyz, angles):
    values = (*xyz, *(1.5 * angle for angle in angles))
    np.testing.assert_allclose(xyz_rpy_from_transform(transform_from_xyz_rpy(values)), values, atol=1e-9)


@given(vectors, vectors)
def test_adjoint_is_a_homomorphism(rotation, translation):
    first = transform(rotation_from_vector(rotation), translation)
    second = transform(rotation_from_vector(translation), rotation)
    np.testing.assert_allclose(adjoint(first) @ adjoint(second), adjoint(first @ second), atol=1e-10)


def test_resized_camera_sees_the_same_rays():
    camera = CameraIntrinsics(fx=700.0, fy=650.0, cx=600.0, cy=180.0, width=1200, height=380)
    small = resize_intrinsics(camera, 480, 352)
    u, v = 333.0, 222.0
    # The centre of a pixel moves by (u + 0.5) * scale - 0.5.
    u_small, v_small = (u + 0.5) * 480 / 1200 - 0.5, (v + 0.5) * 352 / 380 - 0.5
    assert (u_small - small.cx) / small.fx == pytest.approx((u - camera.cx) / camera.fx)
    assert (v_small - small.cy) / small.fy == pytest.approx((v - camera.cy) / camera.fy)
    back = resize_intrinsics(small, 1200, 380)
    assert back.cx == pytest.approx(camera.cx) and back.fy == pytest.approx(camera.fy)
