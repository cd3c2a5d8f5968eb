"""Clouds for planners: only what is reliable and in range, where it belongs."""

import numpy as np
import pytest

from defeat_ros import CameraIntrinsics
from defeat_ros.data.bag import bag_messages
from defeat_ros.frame import Prediction
from defeat_ros.geometry import transform_from_xyz_rpy
from defeat_ros.inference.cloud import CloudMaker
from defeat_ros.inference.config import PointsConfig
from defeat_ros.inference.outputs import base_from_camera
from defeat_ros.settings import build

CAMERA = CameraIntrinsics(fx=50.0, fy=40.0, cx=15.5, cy=11.5, width=32, height=24)


def prediction(depth, camera=CAMERA):
    image = np.arange(24 * 32 * 3, dtype=np.uint32).reshape(24, 32, 3).astype(np.uint8)
    return Prediction(5, "cam", image, camera, np.asarray(depth, np.float32))


def test_every_point_projects_back_to_its_pixel():
    depth = np.random.default_rng(0).uniform(2.0, 20.0, (24, 32))
    cloud = CloudMaker(PointsConfig(stride=1, color=True))(prediction(depth))
    x, y, z = cloud.points.T
    u, v = x / z * CAMERA.fx + CAMERA.cx, y / z * CAMERA.fy + CAMERA.cy
    rows, columns = np.mgrid[:24, :32]
    np.testing.assert_allclose(u, columns.ravel(), atol=1e-4)
    np.testing.assert_allclose(v, rows.ravel(), atol=1e-4)
    np.testing.assert_allclose(z, depth.ravel(), rtol=1e-6)
    np.testing.assert_array_equal(cloud.colors, prediction(depth).image.reshape(-1, 3))


def test_sky_doubt_and_range_make_no_points():
    depth = np.full((24, 32), 10.0)
    depth[0], depth[1], depth[2], depth[3], depth[4] = np.inf, np.nan, -np.inf, 0.5, 30.0
    cloud = CloudMaker(PointsConfig(stride=1))(prediction(depth))
    assert len(cloud.points) == 19 * 32 and np.isfinite(cloud.points).all() and cloud.colors is None


def test_thinning_and_nothing_left():
    assert len(CloudMaker(PointsConfig(stride=4))(prediction(np.full((24, 32), 5.0))).points) == 6 * 8
    assert CloudMaker(PointsConfig())(prediction(np.full((24, 32), np.nan))).points.shape == (0, 3)
    assert CloudMaker(PointsConfig())(prediction(np.full((24, 32), 5.0), camera=None)) is None


def test_in_the_base_frame_x_is_ahead_and_z_up():
    from defeat_ros.inference.config import DepthConfig

    mount = base_from_camera(build(DepthConfig, {"base_from_camera": [1.0, 0.0, 1.5, 0.0, 0.0, 0.0]}))
    points = CloudMaker(PointsConfig(stride=1))(prediction(np.full((24, 32), 10.0)), mount).points
    assert np.allclose(points[:, 0], 11.0) and points[:, 2].max() > 1.5 > points[:, 2].min()
    # The first pixel is up left: y to the left is positive.
    assert points[0, 1] > 0 and points[0, 2] > 1.5
    turned = transform_from_xyz_rpy((0, 0, 0, 0, 0, np.pi / 2)) @ mount
    assert np.allclose(CloudMaker(PointsConfig(stride=1))(prediction(np.full((24, 32), 10.0)), turned).points[:, 1], 11)


def test_a_new_camera_has_new_rays():
    make = CloudMaker(PointsConfig(stride=1))
    near = make(prediction(np.full((24, 32), 10.0))).points
    wide = CameraIntrinsics(fx=25.0, fy=20.0, cx=15.5, cy=11.5, width=32, height=24)
    np.testing.assert_allclose(
        make(prediction(np.full((24, 32), 10.0), wide)).points[:, :2], 2 * near[:, :2], rtol=1e-5
    )


@pytest.mark.parametrize("colored", [False, True])
def test_the_message_reads_back_as_other_tools_read_it(colored):
    points = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    colors = np.arange(21, dtype=np.uint8).reshape(7, 3) if colored else None
    message = bag_messages().point_cloud(points, colors, stamp_ns=3_000_000_001, frame_id="base_link")
    assert (message.height, message.width, message.point_step) == (1, 7, 16 if colored else 12)
    assert message.row_step == len(message.data) == 7 * message.point_step and message.is_dense
    fields = [(field.name, "<f4", field.offset) for field in message.fields]
    names, formats, offsets = (list(column) for column in zip(*fields, strict=True))
    size = message.point_step
    kind = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})
    table = np.frombuffer(bytes(message.data), kind)
    np.testing.assert_array_equal(np.stack([table["x"], table["y"], table["z"]], axis=1), points)
    if colored:
        packed = table["rgb"].view(np.uint32)
        np.testing.assert_array_equal(np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1), colors)
    assert (message.header.stamp.sec, message.header.frame_id) == (3, "base_link")
