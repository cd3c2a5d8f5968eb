"""Steps refined from corners: exact on clean matches, robust on dirty ones, honest about doubt."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from defeat_ros import CameraIntrinsics
from defeat_ros.geometry import invert, rotation_from_vector, transform, vector_from_rotation
from defeat_ros.inference.motion import DEPTH_STD, ROAD_STD, Matches, _Linearised, find_matches, refine_step

CAMERA = CameraIntrinsics(fx=400.0, fy=410.0, cx=239.5, cy=175.5, width=480, height=352)
STEP = transform(rotation_from_vector(np.array([0.004, -0.012, 0.002])), np.array([0.05, -0.02, 0.9]))
GUESS = transform(np.eye(3), np.array([0.0, 0.0, 0.6]))


def matches(step=STEP, count=300, noise_px=0.0, depth_noise=0.0, outliers=0.0, seed=0):
    """Points of the frame now, in the frame before, and their inverse depth as a network might tell it."""
    rng = np.random.default_rng(seed)
    points = rng.uniform([5, 5], [475, 347], (count, 2))
    depth = np.exp(rng.uniform(np.log(4.0), np.log(50.0), count))
    focal, centre = np.array([CAMERA.fx, CAMERA.fy]), np.array([CAMERA.cx, CAMERA.cy])
    space = np.concatenate([(points - centre) / focal, np.ones((count, 1))], axis=1) * depth[:, None]
    moved = space @ step[:3, :3].T + step[:3, 3]
    found = moved[:, :2] / moved[:, 2:] * focal + centre + rng.normal(0, noise_px, (count, 2))
    wrong = rng.random(count) < outliers
    found[wrong] = points[wrong] + rng.normal(0, 0.1, (wrong.sum(), 2))  # they ride along, as a lead vehicle does
    inverse = np.exp(rng.normal(0, depth_noise, count)) / depth
    return Matches(points, found, inverse, np.full(count, DEPTH_STD))


def errors(refined, step=STEP):
    made = refined.previous_from_camera
    turn = np.degrees(np.linalg.norm(vector_from_rotation(made[:3, :3].T @ step[:3, :3])))
    a, b = made[:3, 3], step[:3, 3]
    direction = np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
    return turn, direction, np.linalg.norm(a) / np.linalg.norm(b)


def test_clean_matches_give_the_step():
    made = refine_step(matches(), CAMERA, GUESS, stood=False)
    turn, direction, length = errors(made)
    assert turn < 0.01 and direction < 0.2 and length == pytest.approx(1.0, abs=0.02)
    assert made.inliers > 0.99 and not made.still and made.matches == 300


@pytest.mark.parametrize("seed", range(4))
def test_noise_wrong_depth_and_traffic_that_rides_along(seed):
    made = refine_step(matches(noise_px=0.2, depth_noise=0.15, outliers=0.25, seed=seed), CAMERA, GUESS, stood=False)
    turn, direction, length = errors(made)
    assert turn < 0.1 and direction < 1.5 and length == pytest.approx(1.0, abs=0.08)
    assert 0.6 < made.inliers < 0.9


def test_the_covariance_covers_the_error():
    squared = []
    for seed in range(30):
        made = refine_step(matches(noise_px=0.3, depth_noise=0.2, seed=seed), CAMERA, GUESS, stood=False)
        turned = made.previous_from_camera[:3, :3].T
        error = np.concatenate(
            [
                turned @ (STEP[:3, 3] - made.previous_from_camera[:3, 3]),
                vector_from_rotation(turned @ STEP[:3, :3]),
            ]
        )
        assert (np.linalg.eigvalsh(made.covariance) > 0).all()
        squared.append(error @ np.linalg.solve(made.covariance, error) / 6)
    assert np.mean(squared) < 1.5, "1 where it is exact; less is cautious"


def test_jacobian_is_the_derivative():
    few = matches(count=12)
    focal, centre = np.array([CAMERA.fx, CAMERA.fy]), np.array([CAMERA.cx, CAMERA.cy])
    rays = np.concatenate([(few.points - centre) / focal, np.ones((12, 1))], axis=1)
    seen = (few.found - centre) / focal
    here = _Linearised(GUESS, rays, few, seen, focal)
    for axis in range(6):
        change = np.zeros(6)
        change[axis] = 1e-6
        there = transform(rotation_from_vector(change[3:]) @ GUESS[:3, :3], GUESS[:3, 3] + change[:3])
        slope = (here._residual - _Linearised(there, rays, few, seen, focal)._residual) / 1e-6
        np.testing.assert_allclose(slope, here._jacobian[:, :, axis], atol=1e-4)


def test_standing_is_the_identity():
    standing = matches(np.eye(4), noise_px=0.08)
    made = refine_step(standing, CAMERA, GUESS, stood=False)
    assert made.still and np.array_equal(made.previous_from_camera, np.eye(4))
    half = matches(STEP, outliers=0.5)  # half of what is seen rides along: not still by itself, but once it stood
    assert not getattr(refine_step(half, CAMERA, GUESS, stood=False), "still", False)
    assert refine_step(half, CAMERA, GUESS, stood=True).still


def test_too_little_or_nonsense_is_no_answer():
    assert refine_step(matches(count=20), CAMERA, GUESS, stood=False) is None
    shuffled = replace(matches(), found=np.random.default_rng(1).permutation(matches().found))
    assert refine_step(shuffled, CAMERA, GUESS, stood=False) is None


def test_the_road_decides_how_long_a_step_is():
    """Everything else is told a fifth too far away; the road's depth is right."""
    whole = matches(noise_px=0.1)
    road = np.arange(300) < 80
    inverse = np.where(road, whole.inverse, whole.inverse / 1.2)
    alike = refine_step(replace(whole, inverse=inverse), CAMERA, GUESS, stood=False)
    known = replace(whole, inverse=inverse, depth_std=np.where(road, ROAD_STD, DEPTH_STD))
    better = refine_step(known, CAMERA, GUESS, stood=False)
    assert errors(alike)[2] > 1.09 and errors(better)[2] == pytest.approx(1.0, abs=0.05)


def test_corners_are_tracked_and_carry_their_depth():
    """A textured wall: what moves in the picture is what the step says."""
    rng = np.random.default_rng(0)
    wall = cv2.GaussianBlur(rng.integers(0, 256, (352, 480)).astype(np.float32), (0, 0), 1.5)
    wall = ((wall - wall.min()) / np.ptp(wall) * 255).astype(np.uint8)
    depth = 8.0
    step = transform(np.eye(3), np.array([0.2, 0.0, 0.0]))  # the camera moved to the right
    shift = CAMERA.fx * 0.2 / depth
    before = cv2.warpAffine(wall, np.float32([[1, 0, shift], [0, 1, 0]]), (480, 352), flags=cv2.INTER_CUBIC)
    usable = np.ones((96, 128), bool)
    usable[:, :40] = False
    road = np.zeros((96, 128), bool)
    road[60:] = True
    found = find_matches(wall, before, np.full((96, 128), 1 / depth, np.float32), usable, road, CAMERA, GUESS)
    assert len(found.points) > 100 and found.points[:, 0].min() > 145
    np.testing.assert_allclose(np.median(found.found - found.points, axis=0), [shift, 0.0], atol=0.05)
    np.testing.assert_allclose(found.inverse, 1 / depth, rtol=1e-5)
    row = found.points[:, 1]  # the road begins at 220
    assert (found.depth_std[row > 225] == ROAD_STD).all() and (found.depth_std[row < 215] == DEPTH_STD).all()
    assert (row > 225).sum() > 20
    made = refine_step(found, CAMERA, transform(np.eye(3), np.array([0.1, 0.0, 0.05])), stood=False)
    assert np.linalg.norm(made.previous_from_camera[:3, 3] - step[:3, 3]) < 0.03
    blank = find_matches(np.zeros_like(wall), before, np.full((96, 128), 0.1, np.float32), usable, road, CAMERA, GUESS)
    assert len(blank.points) == len(blank.depth_std) == 0


def test_steps_on_real_images(shared_dir, weights):
    """Against true poses whose own noise is about 0.1 deg in these first frames; 0.05 deg over all of them."""
    from defeat_ros.data.recording import open_recording
    from defeat_ros.inference.engine import DepthEngine

    folder = shared_dir / "data" / "kitti_stereo"
    engine = DepthEngine.from_ckpt(weights, scale={"camera_height_m": 1.65})
    turns, directions, last = [], [], None
    for item, _ in zip(open_recording(folder / "left", intrinsics=folder / "camera.json"), range(8), strict=False):
        made = engine(item.frame, {"odometry"}).odometry
        if last is not None:
            truth = invert(last) @ item.world_from_camera
            step = made.previous_from_camera
            assert made.source == "refined"
            turns.append(np.degrees(np.linalg.norm(vector_from_rotation(step[:3, :3].T @ truth[:3, :3]))))
            a, b = step[:3, 3], truth[:3, 3]
            directions.append(np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))))
        last = item.world_from_camera
    assert np.mean(turns) < 0.15 and np.mean(directions) < 1.0
