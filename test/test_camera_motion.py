"""Steps of a camera before a wall: creeping adds up, starts are seen, what is told by the pose net is doubted."""

import cv2
import numpy as np
import pytest

from defeat_ros import CameraIntrinsics
from defeat_ros.frame import ImageHealth
from defeat_ros.inference.backends.protocol import NetworkOutput
from defeat_ros.inference.camera_motion import CameraMotion
from defeat_ros.inference.frame_buffer import Support
from defeat_ros.inference.look import Look
from defeat_ros.inference.view import View

CAMERA = CameraIntrinsics(fx=400.0, fy=400.0, cx=159.5, cy=119.5, width=320, height=240)
DEPTH = 8.0
GOOD = ImageHealth(80.0, 0.0, 0.0, 40.0, 1.5, 8.0, ())


def wall(x):
    """A textured wall, seen from a camera that moved x units to the right."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (240, 480)).astype(np.float32), (0, 0), 1.5)
    texture = (texture - texture.min()) / np.ptp(texture) * 255
    shift = np.float32([[1, 0, -40 - CAMERA.fx * x / DEPTH], [0, 1, 0]])
    return cv2.warpAffine(texture, shift, (320, 240), flags=cv2.INTER_CUBIC).astype(np.uint8)


def frame(x, stamp_ns):
    grey = wall(x)
    view = View(np.dstack([grey] * 3), np.dstack([grey] * 3), grey, CAMERA, CAMERA, CAMERA, None, None)
    depth = np.full((240, 320), DEPTH, np.float32)
    none = np.zeros((240, 320), bool)
    return Support(view, depth, False, stamp_ns), Look(1 / depth, 1.0, depth, None, none, none, GOOD)


def run(places, dt_s, told=0.5):
    """Steps along places (x of each frame); the pose net always says `told` units ahead."""
    asked = []

    def pose_net(now, before):
        asked.append(1)
        return NetworkOutput(axisangle=np.zeros(3, np.float32), translation=np.array([0.0, 0.0, -told], np.float32))

    motion, steps, before = CameraMotion(True, pose_net, lambda mean: 1.0), [], None
    for index, x in enumerate(places):
        support, look = frame(x, round(index * dt_s * 1e9))
        if before is not None:
            steps.append(motion(support.view, look, before, support.stamp_ns))
        before = support
    return steps, len(asked)


def travelled(steps):
    pose = np.eye(4)
    for step in steps:
        pose = pose @ step.previous_from_camera
    return pose[:3, 3]


def test_standing_is_rest_and_asks_the_pose_net_once():
    steps, asked = run([0.0] * 8, 0.1)
    assert {step.source for step in steps} == {"still"} and asked == 1
    np.testing.assert_array_equal(travelled(steps), 0.0)
    assert all((np.linalg.eigvalsh(step.covariance) > 0).all() for step in steps)


@pytest.mark.parametrize(("speed", "fps"), [(0.1, 30), (0.3, 60), (0.1, 10)])
def test_creeping_slower_than_a_quarter_pixel_a_frame_adds_up(speed, fps):
    steps, _ = run([0.0] * 3 + [index * speed / fps for index in range(2 * fps)], 1 / fps)
    true = speed * (2 * fps - 1) / fps
    assert travelled(steps)[0] == pytest.approx(true, abs=0.02 * DEPTH / 8 + 0.1 * true)


def test_a_start_from_rest_is_seen():
    steps, _ = run([0.0] * 4 + [0.02, 0.06, 0.14, 0.25], 0.1)
    assert travelled(steps)[0] == pytest.approx(0.25, abs=0.04)


def test_the_pose_net_alone_keeps_the_speed_and_doubts_it():
    motion_frames = [0.0, 0.1, 0.2, 0.3]
    steps, _ = run(motion_frames, 0.1)
    assert steps[-1].source == "refined"
    support, look = frame(0.3, 0)
    blind = Support(support.view, support.depth, False, 0)

    def pose_net(now, before):
        return NetworkOutput(axisangle=np.zeros(3, np.float32), translation=np.array([0.0, 0.0, -0.5], np.float32))

    motion = CameraMotion(True, pose_net, lambda mean: 1.0)
    other = np.random.default_rng(3).integers(0, 256, (240, 320), np.uint8)  # nothing in it agrees
    first = motion(support.view, look, blind, 100_000_000)
    assert first.source == "still"
    hidden = View(np.dstack([other] * 3), np.dstack([other] * 3), other, CAMERA, CAMERA, CAMERA, None, None)
    told = motion(hidden, look, Support(support.view, support.depth, False, 100_000_000), 200_000_000)
    assert told.source == "network" and np.linalg.norm(told.previous_from_camera[:3, 3]) < 1e-6
    assert np.sqrt(told.covariance[2, 2]) > 0.25, "it may have started since"
