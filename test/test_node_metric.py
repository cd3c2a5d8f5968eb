"""What the node takes and gives for planners: odom_in, confidence, cloud, scale; over real DDS."""

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from dataclasses import replace

import numpy as np
from rclpy.parameter import Parameter
from ros_tools import Camera, FakeEngine, ros
from test_ros_transforms import MOUNT, Tf

from defeat_ros.frame import ImageHealth, Scale
from defeat_ros.geometry import BODY_FROM_OPTICAL
from defeat_ros.ros import outputs, transforms
from defeat_ros.ros.messages import FACTORY, message_class
from defeat_ros.ros.node import DepthNode

S = 10**9
ODOMETRY = "nav_msgs/msg/Odometry"


def brought_up(r, engine_class=FakeEngine, **parameters):
    """A node with its engine and a camera."""
    engines = []

    def factory(config):
        engines.append(engine_class(config))
        return engines[0]

    given = [Parameter(name, value=value) for name, value in parameters.items()]
    node = r.add(DepthNode(factory, context=r.context, use_global_arguments=False, parameter_overrides=given))
    assert node.bring_up()
    return node, engines[0], Camera(r)


def odometry(x, stamp_ns, child="base_link", frame="wheel_odom"):
    pose = np.eye(4)
    pose[0, 3] = x
    zero = np.zeros(36)
    return FACTORY.odometry(
        stamp_ns=stamp_ns, frame_id=frame, child_frame_id=child, odom_from_base=pose, twist=np.zeros(6),
        pose_covariance=zero, twist_covariance=zero,
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["auto", "odometry"])
def test_odom_in_reaches_the_engine(mode):
    with ros() as r:
        _, engine, _ = brought_up(r, **{"scale.mode": mode})
        wheels = r.node.create_publisher(message_class(ODOMETRY), "odom_in", 10)
        r.until(lambda: wheels.get_subscription_count() == 1, "the subscription")
        for index in range(3):
            wheels.publish(odometry(index * 0.5, S + index * S // 10))
        r.until(lambda: len(engine.measured._stamps) == 3, "the poses")
        step = np.eye(4)
        step[2, 3] = 1.0
        engine.measured.expect(S + S // 20, S + S // 5, step)
        ((metres, _),) = engine.measured.resolved(BODY_FROM_OPTICAL, 2 * S)
        assert metres == pytest.approx(0.75)


@pytest.mark.parametrize("mode", ["fixed", "none", "camera_height"])
def test_odometry_that_cannot_be_used_is_not_subscribed_to(mode):
    with ros() as r:
        brought_up(r, **{"scale.mode": mode, "scale.camera_height_m": 1.5})
        assert r.node.count_subscribers("/odom_in") == 0


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (odometry(0.0, S, child="left_wheel"), "child frame 'left_wheel', expected the base_frame 'base_link'"),
        (odometry(float("nan"), S), "odom_in cannot be used: position"),
    ],
)
def test_wrong_odometry_is_told_and_not_used(message, expected, capfd):
    with ros() as r:
        _, engine, _ = brought_up(r)
        wheels = r.node.create_publisher(message_class(ODOMETRY), "odom_in", 10)
        r.until(lambda: wheels.get_subscription_count() == 1, "the subscription")
        wheels.publish(message)
        said = ""

        def told():
            nonlocal said
            said += capfd.readouterr().err
            return expected in said

        r.until(told, expected)
        assert not engine.measured.alive(S)


def test_tf_can_stand_in_for_odom_in(monkeypatch):
    tf, poses = Tf(), iter([0.0, 0.4, 0.8])
    monkeypatch.setattr(transforms, "tf2", lambda: tf.module)

    class Buffer(tf.module.Buffer):
        def lookup_transform(self, target, source, time):
            if target != "wheel_odom":
                raise LookupError(source)
            x = next(poses)
            pose = np.eye(4)
            pose[0, 3] = x
            return FACTORY.transform_stamped(target, source, pose, stamp_ns=S + round(x * S))

    monkeypatch.setattr(tf.module, "Buffer", Buffer)
    mount = [0.0] * 6
    with ros() as r:
        node, engine, camera = brought_up(r, **{"scale.odom_tf_frame": "wheel_odom", "base_from_camera": mount})
        r.listen("depth/image_rect", "sensor_msgs/msg/Image")
        r.until(lambda: "depth/image_rect" in node._outputs.topics(), "the subscriber")
        camera.connect()
        for index in range(3):
            camera.send(S + index)
            r.until(lambda n=index: node.counts.published == n + 1 and node.counts.pending == 0, "the frame")
        assert len(engine.measured._stamps) == 3 and r.node.count_subscribers("/odom_in") == 0


def test_confidence_and_points_go_out_where_they_are_wanted():
    with ros() as r:
        node, engine, camera = brought_up(
            r,
            **{"points.stride": 2, "points.color": True, "points.frame": "base", "base_from_camera": [0.0] * 6},
        )
        confidences = r.listen("depth/confidence", "sensor_msgs/msg/Image")
        clouds = r.listen("depth/points", "sensor_msgs/msg/PointCloud2")
        r.until(lambda: node._outputs.topics() == {"depth/confidence", "depth/points"}, "subscribers")
        camera.connect()
        camera.send(5 * S + 3)
        r.until(lambda: confidences and clouds, "the outputs")
        assert engine.calls == [(5 * S + 3, frozenset({"depth", "confidence"}))]
        assert confidences[0].encoding == "32FC1" and np.all(np.frombuffer(confidences[0].data, np.float32) == 0.5)
        cloud = clouds[0]
        assert (cloud.header.frame_id, cloud.header.stamp.nanosec, cloud.width) == ("base_link", 3, 32 * 24)
        assert [field.name for field in cloud.fields] == ["x", "y", "z", "rgb"]
        points = np.frombuffer(cloud.data, np.float32).reshape(-1, 4)
        assert np.allclose(points[:, 0], 2.0), "two metres ahead of a camera that is the base's origin"


class Withholding(FakeEngine):
    """Has no scale yet."""

    def __call__(self, frame, want):
        made = super().__call__(frame, want)
        health = ImageHealth(50.0, 0.0, 0.0, 40.0, 1.5, 8.0, ("dark",))
        return replace(made, depth=None, withheld="scale_unknown", scale=Scale(1.0, 0.25, "learned"), health=health)


def test_withheld_depth_is_accounted_for_and_diagnostics_say_why():
    with ros() as r:
        node, _, camera = brought_up(r, Withholding, **{"scale.required": True})
        depths = r.listen("depth/image_rect", "sensor_msgs/msg/Image")
        reports = r.listen("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray")
        r.until(lambda: "depth/image_rect" in node._outputs.topics(), "the subscriber")
        camera.connect()
        camera.send(S)
        r.until(lambda: node.counts.dropped == {"scale_unknown": 1}, "the drop")
        r.until(lambda: reports and len(reports[-1].status) == 4, "a report of the frame")
        scale, image = reports[-1].status[2:]
        assert scale.name == "depth_node: scale" and "depth is withheld (scale_unknown)" in scale.message
        assert {item.key: item.value for item in scale.values}["source"] == "learned"
        assert (image.name, image.message) == ("depth_node: image", "dark")
        assert depths == []


def test_the_mount_that_tf_gives_reaches_the_engine(monkeypatch):
    tf = Tf()
    monkeypatch.setattr(transforms, "tf2", lambda: tf.module)
    with ros() as r:
        node, engine, camera = brought_up(r, **{"points.frame": "base", "publish_tf": False})
        r.listen("depth/points", "sensor_msgs/msg/PointCloud2")
        r.until(lambda: node._outputs.topics() == {"depth/points"}, "the subscriber")
        camera.connect()
        camera.send(S)
        r.until(lambda: node.counts.published == 1, "the frame")
        np.testing.assert_allclose(engine.base_from_camera, MOUNT, atol=1e-9)


def test_a_mount_that_comes_late_holds_for_points_at_once(monkeypatch):
    tf = Tf(known=False)
    monkeypatch.setattr(transforms, "tf2", lambda: tf.module)
    monkeypatch.setattr(outputs, "MOUNT_PATIENCE_S", 0.05)
    with ros() as r:
        node, engine, camera = brought_up(r, **{"points.frame": "base"})
        clouds = r.listen("depth/points", "sensor_msgs/msg/PointCloud2")
        r.until(lambda: node._outputs.topics() == {"depth/points"}, "the subscriber")
        camera.connect()
        camera.send(S)
        r.until(lambda: node.counts.received == 1 and node.counts.pending == 0, "the frame")
        assert node.counts.dropped == {"nothing_to_publish": 1}, "no cloud rather than one in the wrong place"
        tf.known = True
        camera.send(2 * S)
        r.until(lambda: clouds, "the cloud")
        points = np.frombuffer(clouds[0].data, np.float32).reshape(-1, 3)
        np.testing.assert_allclose(points @ MOUNT[:3, 2], MOUNT[:3, 3] @ MOUNT[:3, 2] + 2.0, atol=1e-4)
        np.testing.assert_allclose(engine.base_from_camera, MOUNT, atol=1e-9)


def test_the_nodes_own_odometry_is_not_its_measure(capfd):
    with ros("--ros-args", "-r", "odom_in:=odom") as r:
        node = r.add(DepthNode(FakeEngine, context=r.context))
        assert not node.bring_up()
    assert "cannot activate: topic odom_in is '/odom', on which this node itself publishes" in capfd.readouterr().err


def test_tf_odometry_without_tf_is_refused():
    with ros() as r:
        given = [Parameter("scale.odom_tf_frame", value="wheel_odom")]
        node = r.add(DepthNode(FakeEngine, context=r.context, use_global_arguments=False, parameter_overrides=given))
        assert not node.bring_up()
        assert "'scale.odom_tf_frame' is 'wheel_odom', but tf2_ros is not installed" in str(node.configure_problem)
