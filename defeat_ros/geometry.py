"""Disparity, rigid motions and cameras: the only place that knows signs and orders.

Transforms are (4, 4) float64 named `<to>_from_<from>`: `p_to = to_from_from @ p_from`.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from defeat_ros.frame import CameraIntrinsics

A = TypeVar("A")

NEAREST_UNIT, FARTHEST_UNIT = 0.1, 100.0
"""Range of depth that the networks can express, scene units."""

BODY_FROM_OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""Optical axes (x right, y down, z forward) in body axes (x forward, y left, z up), REP 103."""


def inverse_depth(disp: A, nearest: float = NEAREST_UNIT, farthest: float = FARTHEST_UNIT) -> A:
    """Sigmoid disparity in [0, 1] to inverse depth in [1 / farthest, 1 / nearest] (Monodepth2, sec. 3)."""
    return 1.0 / farthest + (1.0 / nearest - 1.0 / farthest) * disp  # type: ignore[operator, return-value]


def disp_to_depth(disp: A, nearest: float = NEAREST_UNIT, farthest: float = FARTHEST_UNIT) -> A:
    """Sigmoid disparity in [0, 1], array or tensor of any shape, to depth in [nearest, farthest]."""
    return 1.0 / inverse_depth(disp, nearest, farthest)  # type: ignore[operator, return-value]


def rotation_from_vector(vector: np.ndarray) -> np.ndarray:
    """Rodrigues' formula: axis times angle (3,), rad, to a rotation (3, 3)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = np.asarray(vector, np.float64) / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    rotation: np.ndarray = np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross)
    return rotation


def vector_from_rotation(rotation: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) to axis times angle (3,), angle in [0, pi] rad; the inverse of `rotation_from_vector`."""
    twice_sine = np.array(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    sine, cosine = np.linalg.norm(twice_sine) / 2.0, (np.trace(rotation) - 1.0) / 2.0
    angle = np.arctan2(sine, cosine)
    vector: np.ndarray
    if sine > 1e-6:
        vector = twice_sine * (angle / (2.0 * sine))
    elif cosine > 0:
        vector = twice_sine / 2.0
    else:  # half a turn: the axis is the eigenvector of R + 1, read from its largest column
        outer = (rotation + np.eye(3)) / 2.0
        column = int(np.argmax(np.diag(outer)))
        vector = outer[:, column] / np.linalg.norm(outer[:, column]) * angle
    return vector


def quaternion_from_rotation(rotation: np.ndarray) -> tuple[float, float, float, float]:
    """Rotation (3, 3), orthonormal up to rounding, to a unit quaternion x, y, z, w with w >= 0.

    Divides by the largest of the four components, so it is accurate for every angle (Shepperd 1978).
    """
    m = np.asarray(rotation, np.float64)
    x, y, z = np.diag(m)
    wx, wy, wz = m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]
    xy, xz, yz = m[0, 1] + m[1, 0], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1]
    # Each row is the quaternion times four times one of its components.
    rows = np.array(
        [
            [1 + x - y - z, xy, xz, wx],
            [xy, 1 - x + y - z, yz, wy],
            [xz, yz, 1 - x - y + z, wz],
            [wx, wy, wz, 1 + x + y + z],
        ]
    )
    row = rows[int(np.argmax(np.diag(rows)))]
    qx, qy, qz, qw = (float(value) for value in row * np.copysign(1.0 / np.linalg.norm(row), row[3]))
    return qx, qy, qz, qw


def rotation_from_quaternion(x: float, y: float, z: float, w: float) -> np.ndarray:
    """Quaternion to a rotation (3, 3), the inverse of `quaternion_from_rotation`; it need not have unit length.

    Raises:
        ValueError: its length is zero or not finite. A message that was never filled has zeros: no rotation, and in
            particular not the identity.
    """
    length = float(np.linalg.norm((x, y, z, w)))
    if not 1e-9 < length < np.inf:
        raise ValueError(f"quaternion is ({x}, {y}, {z}, {w}), expected one of length 1")
    x, y, z, w = x / length, y / length, z / length, w / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def transform(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) and translation (3,) as one transform (4, 4) float64."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation
    return matrix


def transform_from_xyz_rpy(values: tuple[float, ...]) -> np.ndarray:
    """x y z (m) roll pitch yaw (rad, about fixed x, y, z in this order, as in URDF) to a transform (4, 4)."""
    roll, pitch, yaw = (rotation_from_vector(a * axis) for a, axis in zip(values[3:], np.eye(3), strict=True))
    return transform(yaw @ pitch @ roll, np.array(values[:3]))


def xyz_rpy_from_transform(matrix: np.ndarray) -> tuple[float, ...]:
    """The inverse of `transform_from_xyz_rpy`; pitch lies in [-pi/2, pi/2]."""
    rotation = matrix[:3, :3]
    pitch = np.arctan2(-rotation[2, 0], np.hypot(rotation[0, 0], rotation[1, 0]))
    roll = np.arctan2(rotation[2, 1], rotation[2, 2])
    yaw = np.arctan2(rotation[1, 0], rotation[0, 0])
    return tuple(float(value) for value in (*matrix[:3, 3], roll, pitch, yaw))


def invert(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a rigid transform (4, 4)."""
    rotation = matrix[:3, :3].T
    return transform(rotation, -rotation @ matrix[:3, 3])


def earlier_from_later(axisangle: np.ndarray, translation: np.ndarray, factor: float) -> np.ndarray:
    """The camera's step from the pose net's output on (later, earlier), which is later_from_earlier.

    Args:
        axisangle, translation: (3,) each, rad and scene units before scaling.
        factor: what the training multiplied the translation by, or depth and odometry would disagree in scale: the
            mean of 1 / depth over the target frame in published weights, 1 in ours.

    Returns:
        (4, 4): pose of the later camera in the earlier one.
    """
    scaled = np.asarray(translation, np.float64) * factor
    return invert(transform(rotation_from_vector(axisangle), scaled))


def adjoint(matrix: np.ndarray) -> np.ndarray:
    """(6, 6) map of small motions (translation, rotation) through a transform (Lynch & Park, Modern Robotics, 3.3)."""
    rotation, (x, y, z) = matrix[:3, :3], matrix[:3, 3]
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.block([[rotation, cross @ rotation], [np.zeros((3, 3)), rotation]])


def between_poses(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """The pose at a share (0 to 1) of the way between two (4, 4): along the line, turning about one axis."""
    turn = vector_from_rotation(first[:3, :3].T @ second[:3, :3])
    rotation = first[:3, :3] @ rotation_from_vector(share * turn)
    return transform(rotation, (1 - share) * first[:3, 3] + share * second[:3, 3])


def rays(points: np.ndarray, camera: CameraIntrinsics) -> np.ndarray:
    """Directions (N, 3) float64 of pixels (N, 2) of an undistorted camera, in optical axes, z = 1."""
    scaled = (points - np.array([camera.cx, camera.cy])) / np.array([camera.fx, camera.fy])
    return np.column_stack([scaled, np.ones(len(points))])


def pixel_rays(camera: CameraIntrinsics) -> np.ndarray:
    """The same of every pixel: (H, W, 3)."""
    u = (np.arange(camera.width) - camera.cx) / camera.fx
    v = (np.arange(camera.height) - camera.cy) / camera.fy
    x, y = np.meshgrid(u, v)
    return np.stack([x, y, np.ones_like(x)], axis=-1)


def resize_intrinsics(camera: CameraIntrinsics, width: int, height: int) -> CameraIntrinsics:
    """The undistorted camera of the image resized to (width, height); x and y scale separately.

    Pixel centres are whole numbers, so the principal point moves by the half pixel that resizing keeps in place.
    """
    sx, sy = width / camera.width, height / camera.height
    return CameraIntrinsics(
        fx=camera.fx * sx,
        fy=camera.fy * sy,
        cx=(camera.cx + 0.5) * sx - 0.5,
        cy=(camera.cy + 0.5) * sy - 0.5,
        width=width,
        height=height,
    )
