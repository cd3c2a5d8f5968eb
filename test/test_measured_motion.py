"""Another odometry as the measure of motion: interpolated, late, wrong, jumping."""

import numpy as np
import pytest

from defeat_ros.geometry import BODY_FROM_OPTICAL, rotation_from_vector, transform
from defeat_ros.inference.measured_motion import MeasuredMotion

S = 10**9


def pose(x, yaw=0.0, y=0.0):
    return transform(rotation_from_vector(np.array([0.0, 0.0, yaw])), np.array([x, y, 0.0]))


def units(length):
    """A step of so many units ahead, as the camera tells it."""
    return transform(np.eye(3), np.array([0.0, 0.0, length]))


def filled(speed=10.0, rate=50, seconds=1.0, yaw_rate=0.0):
    measured = MeasuredMotion("base_link")
    for index in range(int(rate * seconds) + 1):
        t = index / rate
        assert measured.add(int(t * S), pose(speed * t, yaw_rate * t), "odom", "base_link") is None
    return measured


def test_motion_is_interpolated_between_poses():
    measured = filled()
    measured.expect(int(0.113 * S), int(0.217 * S), units(0.7))
    ((metres, told),) = measured.resolved(BODY_FROM_OPTICAL, S)
    assert metres == pytest.approx(1.04, rel=1e-6) and told == pytest.approx(0.7)
    assert measured.resolved(BODY_FROM_OPTICAL, S) == [], "each once"


def test_odometry_that_comes_late_is_waited_for_but_not_for_ever():
    measured = filled(seconds=0.2)
    measured.expect(int(0.15 * S), int(0.25 * S), units(1.0))
    assert measured.resolved(BODY_FROM_OPTICAL, int(0.25 * S)) == []
    measured.add(int(0.26 * S), pose(2.6), "odom", "base_link")
    assert len(measured.resolved(BODY_FROM_OPTICAL, int(0.3 * S))) == 1
    measured.expect(int(0.3 * S), int(0.4 * S), units(1.0))
    assert measured.resolved(BODY_FROM_OPTICAL, 10 * S) == []
    measured.add(int(0.5 * S), pose(5.0), "odom", "base_link")
    assert measured.resolved(BODY_FROM_OPTICAL, 10 * S) == [], "given up as stale"


def test_the_lever_arm_counts():
    """The base turns about its own origin; a camera ahead of it swings along."""
    measured = filled(speed=0.0, yaw_rate=1.0)
    mount = BODY_FROM_OPTICAL.copy()
    mount[0, 3] = 2.0
    measured.expect(int(0.5 * S), int(0.6 * S), units(1.0))
    ((metres, _),) = measured.resolved(mount, S)
    assert metres == pytest.approx(2 * 2.0 * np.sin(0.05), rel=1e-3)


@pytest.mark.parametrize(("speed", "yaw_rate"), [(0.0, 0.0), (0.05, 0.0), (10.0, 5.0)])
def test_standing_crawling_and_spinning_tell_nothing(speed, yaw_rate):
    measured = filled(speed=speed, yaw_rate=yaw_rate)
    measured.expect(int(0.5 * S), int(0.6 * S), units(1.0))
    assert measured.resolved(BODY_FROM_OPTICAL, S) == []


def test_a_gap_is_not_bridged():
    measured = filled(seconds=0.2)
    measured.add(int(1.5 * S), pose(15.0), "odom", "base_link")
    measured.expect(int(0.5 * S), int(0.6 * S), units(1.0))
    assert measured.resolved(BODY_FROM_OPTICAL, int(1.5 * S)) == []


def test_what_is_wrong_is_said_and_not_used():
    measured = filled(seconds=0.2)
    wrong = measured.add(S, pose(1.0), "odom", "wheel_left")
    assert wrong == "odom_in has child frame 'wheel_left', expected the base_frame 'base_link'"
    assert "not finite" in measured.add(S, pose(np.nan), "odom", "base_link")
    assert "goes back a little" in measured.add(int(0.19 * S), pose(1.9), "odom", "base_link")
    assert measured.add(int(0.22 * S), pose(2.2), "odom", "/base_link") is None, "ROS 1 writes frames with a slash"


@pytest.mark.parametrize(
    ("stamp_ns", "x", "frame", "expected"),
    [
        (int(0.22 * S), 99.0, "odom", "jumped"),
        (int(0.22 * S), 2.2, "map", "changed its frame from 'odom' to 'map'"),
        (-5 * S, 0.0, "odom", "went back in time"),
    ],
)
def test_a_break_forgets_the_past(stamp_ns, x, frame, expected):
    measured = filled(seconds=0.2)
    measured.expect(int(0.1 * S), int(0.2 * S), units(1.0))
    assert expected in measured.add(stamp_ns, pose(x), frame, "base_link")
    assert measured.resolved(BODY_FROM_OPTICAL, S) == []
    assert measured.alive(stamp_ns) and not measured.alive(100 * S)


def test_short_steps_are_taken_together():
    """A slow robot with a fast camera: 3 cm a frame."""
    measured = filled(speed=0.9, seconds=2.0)
    for index in range(30):
        measured.expect(round(index * S / 30), round((index + 1) * S / 30), units(0.02))
    ((metres, told),) = measured.resolved(BODY_FROM_OPTICAL, 2 * S)
    assert told == pytest.approx(0.5, abs=0.021) and metres == pytest.approx(1.5 * told, rel=0.01)
    measured.forget_expected()
    measured.expect(S, round(1.1 * S), units(0.4))
    measured.expect(round(1.1 * S), round(1.2 * S), None)  # not known: what was gathered is no use
    measured.expect(round(1.2 * S), round(1.3 * S), units(0.4))
    assert measured.resolved(BODY_FROM_OPTICAL, 2 * S) == []


@pytest.mark.parametrize(("offset_s", "way"), [(50.0, "before"), (-50.0, "after")])
def test_another_clock_is_complained_about(offset_s, way):
    measured = filled()
    frame_ns = int((1.0 + offset_s) * S)
    assert f"50.00 s {way} this one" in measured.complaint(frame_ns) and not measured.alive(frame_ns)
    assert measured.complaint(S) is None and MeasuredMotion("base_link").complaint(S) is None


def test_odometry_that_always_comes_too_late_is_complained_about():
    measured = filled()
    for index in range(12):
        start = S + index * S // 10
        measured.expect(start, start + S // 10, units(1.0))
        measured.resolved(BODY_FROM_OPTICAL, start + 4 * S)
    assert "does not cover the times" in measured.complaint(S)
    measured.forget_expected()
    assert measured.complaint(S) is None
