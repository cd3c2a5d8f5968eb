"""tf by a stand-in for tf2_ros, which the package index lacks: broadcast, mount lookup, and the words without it."""

import sys
import types
from dataclasses import replace

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

import numpy as np
from rclpy.parameter import Parameter
from ros_tools import Camera, FakeEngine, ros

from defeat_ros.frame import Odometry
from defeat_ros.geometry import BODY_FROM_OPTICAL, transform_from_xyz_rpy
from defeat_ros.ros import outputs, transforms
from defeat_ros.ros.messages import FACTORY, message_class
from defeat_ros.ros.node import DepthNode

MOUNT = transform_from_xyz_rpy((1.0, 0.0, 0.5, 0.0, 0.1, 0.2)) @ BODY_FROM_OPTICAL


class Tf:
    """The part of tf2_ros that the node uses."""

    def __init__(self, known=True):
        self.sent, self.known, self.unregistered, self.cleared = [], known, 0, 0
        tf = self

        class TransformBroadcaster:
            def __init__(self, node):
                pass

            def sendTransform(self, message):
                tf.sent.append(message)

        class Buffer:
            def lookup_transform(self, target, source, time):
                if not tf.known:
                    raise LookupError(source)
                assert (target, source) == ("base_link", "cam")
                return FACTORY.transform_stamped(target, source, MOUNT, stamp_ns=0)

            def clear(self):
                tf.cleared += 1

        class TransformListener:
            def __init__(self, buffer, node):
                pass

            def unregister(self):
                tf.unregistered += 1

        names = {k: v for k, v in locals().items() if k in ("TransformBroadcaster", "Buffer", "TransformListener")}
        self.module = types.SimpleNamespace(**names)


class MovingEngine(FakeEngine):
    """Stands one unit along the optical axis, or where it began."""

    at_start = False

    def __call__(self, frame, want):
        made = super().__call__(frame, want)
        step = np.eye(4)
        step[2, 3] = 0.0 if self.at_start else 1.0
        odometry = Odometry(step, step, 0.1, np.full(6, 0.01), np.full(6, 0.01), 0)
        return replace(made, odometry=odometry if "odometry" in want else None)


def run_one(r, **parameters):
    """A node that gets one image; its engine."""
    engines = []
    given = [Parameter(name, value=value) for name, value in parameters.items()]

    def factory(config):
        engines.append(MovingEngine(config))
        return engines[0]

    node = r.add(DepthNode(factory, context=r.context, use_global_arguments=False, parameter_overrides=given))
    assert node.bring_up()
    camera = Camera(r)
    camera.connect()
    camera.send(10**9)
    r.until(lambda: node.counts.received == 1 and node.counts.pending == 0, "the frame")
    return node, engines[0], camera


def position(message):
    t = message.transform.translation
    return np.array([t.x, t.y, t.z])


def test_odometry_is_computed_and_broadcast_for_tf_alone(monkeypatch):
    tf = Tf()
    monkeypatch.setattr(transforms, "tf2", lambda: tf.module)
    with ros() as r:
        node, engine, _ = run_one(r)
        assert engine.calls == [(10**9, frozenset({"odometry"}))] and node.counts.published == 1
        (sent,) = tf.sent
        assert (sent.header.frame_id, sent.child_frame_id, sent.header.stamp.sec) == ("odom", "base_link", 1)
        assert np.allclose(position(sent), MOUNT[:3, 2])  # along the camera's axis, as tf says it is mounted
        node.trigger_deactivate()
        node.trigger_cleanup()
        assert tf.unregistered == 1


def test_the_parameter_goes_before_tf(monkeypatch):
    tf = Tf()
    monkeypatch.setattr(transforms, "tf2", lambda: tf.module)
    with ros() as r:
        run_one(r, base_from_camera=[0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
        assert np.allclose(position(tf.sent[0]), [1.0, 0.0, 0.0])


def test_time_that_jumps_back_ends_what_tf_was_told(monkeypatch):
    tf = Tf()
    monkeypatch.setattr(transforms, "tf2", lambda: tf.module)
    with ros() as r:
        node, _, _ = run_one(r, use_sim_time=True)
        clock = r.node.create_publisher(message_class("rosgraph_msgs/msg/Clock"), "/clock", 10)
        r.until(lambda: clock.get_subscription_count() > 0, "the clock's subscriber")
        for stamp in (100 * 10**9, 50 * 10**9):
            before = tf.cleared
            clock.publish(FACTORY.clock(stamp))
            r.until(lambda t=stamp: node.get_clock().now().nanoseconds == t, "time")
        assert tf.cleared == before + 1


def test_an_unknown_mount_is_the_origin(monkeypatch):
    tf = Tf(known=False)
    monkeypatch.setattr(transforms, "tf2", lambda: tf.module)
    with ros() as r:
        run_one(r)
        assert np.allclose(position(tf.sent[0]), [1.0, 0.0, 0.0])


def test_the_first_odometry_waits_for_a_mount_that_is_about_to_come(monkeypatch):
    tf = Tf(known=False)
    monkeypatch.setattr(transforms, "tf2", lambda: tf.module)
    look_up = tf.module.Buffer.lookup_transform
    asked = []

    def slow(*args):
        asked.append(args)
        tf.known = len(asked) > 5
        return look_up(*args)

    monkeypatch.setattr(tf.module.Buffer, "lookup_transform", slow)
    with ros() as r:
        run_one(r)
        assert len(asked) == 6 and np.allclose(position(tf.sent[0]), MOUNT[:3, 2])


def test_a_mount_that_comes_late_counts_from_the_next_start_lest_odometry_jump(monkeypatch):
    tf = Tf(known=False)
    monkeypatch.setattr(transforms, "tf2", lambda: tf.module)
    monkeypatch.setattr(outputs, "MOUNT_PATIENCE_S", 0.05)
    with ros() as r:
        node, engine, camera = run_one(r)
        colors = node._outputs._composer._feature_colors
        tf.known = True
        for number, at_start in enumerate((False, True, False), 2):
            engine.at_start = at_start
            camera.send(number * 10**9)
            r.until(lambda n=number: len(tf.sent) == n and node.counts.pending == 0, "the transform")
        assert np.allclose(position(tf.sent[1]), [1.0, 0.0, 0.0])
        assert np.allclose(position(tf.sent[2]), 0.0)
        assert np.allclose(position(tf.sent[3]), MOUNT[:3, 2])
        assert node._outputs._composer._feature_colors is colors


@pytest.mark.parametrize("installed", [True, False])
def test_nothing_is_computed_for_tf_where_it_is_off_or_missing(monkeypatch, installed):
    tf = Tf()
    monkeypatch.setattr(transforms, "tf2", lambda: tf.module if installed else None)
    with ros() as r:
        node, engine, _ = run_one(r, publish_tf=not installed)
        assert engine.calls == [] and tf.sent == []
        assert node.counts.dropped == {"nobody_subscribed": 1}


def test_a_missing_tf2_is_noticed(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2_ros", None)
    assert transforms.tf2() is None
