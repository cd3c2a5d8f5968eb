"""Predictions as messages."""

import numpy as np
import pytest
from fake_backend import FakeBackend

from defeat_ros import CameraIntrinsics, Frame
from defeat_ros.data.bag import bag_messages
from defeat_ros.data.messages import array_from_message, depth_from_message
from defeat_ros.geometry import BODY_FROM_OPTICAL
from defeat_ros.inference.config import DepthConfig
from defeat_ros.inference.engine import RESULTS, DepthEngine
from defeat_ros.inference.outputs import TOPICS, OutputComposer, base_from_camera, wanted_results
from defeat_ros.settings import build

CAMERA = CameraIntrinsics(fx=60.0, fy=60.0, cx=31.5, cy=23.5, width=64, height=48)


def run(config, count=3, camera=CAMERA, mount=None, **backend):
    engine = DepthEngine(config, FakeBackend(**backend))
    engine.base_from_camera = BODY_FROM_OPTICAL if mount is None else mount
    # Noise that no corner survives: the pose net alone tells the motion.
    images = np.random.default_rng(0).integers(0, 256, (count, 48, 64, 3), dtype=np.uint8)
    frames = [Frame(image, 10**18 + i * 10**8, "cam", camera) for i, image in enumerate(images)]
    return [engine(frame, RESULTS) for frame in frames][-1]


def compose(config=None, topics=tuple(TOPICS), mount=None, **options):
    config = config or build(DepthConfig, {"input_size": [128, 96], "confidence_min": 0.0})
    return OutputComposer(bag_messages(), config, mount).messages(run(config, mount=mount, **options), topics)


def test_all_messages_share_the_stamp():
    config = build(DepthConfig, {"input_size": [128, 96], "confidence_min": 0.0, "scale": {"mode": "none"}})
    made = compose(config)
    assert list(made) == list(TOPICS)
    assert "depth/points" not in compose(), "a cloud in units where metres were asked for"
    stamps = {(m.header.stamp.sec, m.header.stamp.nanosec) for m in made.values() if hasattr(m, "header")}
    assert stamps == {(10**9, 200_000_000)}
    assert made["depth/image_rect"].encoding == "32FC1" and made["features/image"].encoding == "32FC2"
    assert made["depth/color"].encoding == made["features/color"].encoding == "rgb8"
    info, depth = made["depth/camera_info"], made["depth/image_rect"]
    assert (info.width, info.height) == (depth.width, depth.height)
    assert info.header.frame_id == depth.header.frame_id == "cam"
    assert np.isnan(made["depth/scale"].data), "no scale is known"


def test_feature_camera_has_the_features_size():
    config = build(DepthConfig, {"input_size": [128, 96], "features": {"stride": 2}})
    made = compose(config)
    assert array_from_message(made["features/image"]).shape == (24, 32, 2)
    assert (made["features/camera_info"].width, made["features/camera_info"].k[0]) == (32, 30.0)


def test_only_what_was_asked_for():
    assert list(compose(topics=("odom",))) == ["odom"]
    assert wanted_results({"odom", "depth/color"}) == {"odometry", "depth"}
    assert wanted_results(()) == set()


def test_without_a_camera_there_is_no_camera_info():
    made = compose(camera=None)
    assert "depth/camera_info" not in made and "features/camera_info" not in made
    assert depth_from_message(made["depth/image_rect"]).shape == (48, 64)


def test_odometry_is_told_in_body_axes():
    """The camera drives forward: x of the base grows, and the twist says so."""
    odom = compose(translation=(0.0, 0.0, -0.1))["odom"]
    position, linear = odom.pose.pose.position, odom.twist.twist.linear
    assert position.x > 0.05 and abs(position.y) < 1e-9 and abs(position.z) < 1e-9
    assert linear.x == pytest.approx(position.x / 2 / 0.1) and abs(linear.y) < 1e-9
    assert (odom.header.frame_id, odom.child_frame_id) == ("odom", "base_link")
    covariance = np.reshape(odom.pose.covariance, (6, 6))
    assert (np.linalg.eigvalsh(covariance) > 0).all() and (np.diag(np.reshape(odom.twist.covariance, (6, 6))) > 0).all()


def test_mount_turns_the_motion():
    """A camera that looks to the left sees its own sideways motion when the base drives ahead."""
    config = build(DepthConfig, {"input_size": [128, 96], "base_from_camera": [0.0, 0.0, 1.5, 0.0, 0.0, np.pi / 2]})
    # Driving ahead moves a left-looking camera to its right; points move to its left: x of later_from_earlier < 0.
    odom = compose(config, mount=base_from_camera(config), translation=(-0.1, 0.0, 0.0))["odom"]
    position = odom.pose.pose.position
    assert position.x > 0.05 and abs(position.y) < 1e-6 and abs(position.z) < 1e-6


def test_lever_arm_turns_on_the_spot():
    """A camera ahead of the axle swings sideways while the base turns on the spot: the base stays where it is."""
    config = build(DepthConfig, {"input_size": [128, 96], "base_from_camera": [2.0, 0.0, 0.0, 0.0, 0.0, 0.0]})
    from defeat_ros.geometry import inverse_depth, invert, rotation_from_vector, transform

    mount = base_from_camera(config)
    turn = transform(rotation_from_vector(np.array([0.0, 0.0, 0.1])), np.zeros(3))
    later_from_earlier = invert(mount) @ invert(turn) @ mount
    axis = BODY_FROM_OPTICAL[:3, :3].T @ np.array([0.0, 0.0, -0.1])
    shift = later_from_earlier[:3, 3] / inverse_depth(0.5)
    odom = compose(config, mount=mount, count=2, axisangle=axis, translation=shift)["odom"]
    position, angular = odom.pose.pose.position, odom.twist.twist.angular
    assert np.allclose([position.x, position.y, position.z], 0, atol=1e-6)
    assert angular.z == pytest.approx(1.0, rel=1e-4)
