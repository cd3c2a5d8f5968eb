"""The shipped weights on rendered drives, as a planner meets them: metres, confidence, odometry, bad input."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from defeat_ros import Frame
from defeat_ros.data.night_drive import DriveConfig, NightDrive
from defeat_ros.data.night_drive.motion import EgoMotion
from defeat_ros.errors import ConfigError, FrameError
from defeat_ros.geometry import BODY_FROM_OPTICAL, invert, xyz_rpy_from_transform
from defeat_ros.inference.engine import RESULTS, DepthEngine


class Drive:
    """A rendered drive: its frames with truth, and an engine that knows how the camera is mounted."""

    def __init__(self, weights, **config):
        drive = NightDrive(DriveConfig(size=(320, 240), **config))
        self.weights, self.camera, self.mount = weights, drive.intrinsics, drive.base_from_camera
        self.truth = list(drive.frames())

    def frames(self):
        return [Frame(one.image, one.stamp_ns, "cam", self.camera) for one in self.truth]

    def engine(self, **options):
        mount = list(xyz_rpy_from_transform(self.mount @ invert(BODY_FROM_OPTICAL)))
        scale = {"camera_height_m": float(self.mount[2, 3]), **options.pop("scale", {})}
        return DepthEngine.from_ckpt(self.weights, scale=scale, base_from_camera=mount, **options)


@pytest.fixture(scope="module")
def night(weights):
    """Three seconds by night."""
    return Drive(weights, seconds=3.0, seed=4101)


@pytest.fixture(scope="module")
def predictions(night):
    """Everything that the engine says of them, every pixel kept."""
    engine = night.engine(confidence_min=0.0)
    return [engine(frame, RESULTS) for frame in night.frames()]


def compared(predictions, drive):
    """Depth, truth and confidence of the later frames, (N,) each, where both are finite."""
    parts = []
    for made, true in list(zip(predictions, drive.truth, strict=True))[10:]:
        known = np.isfinite(true.depth) & (true.depth < 80) & np.isfinite(made.depth)
        parts.append(np.stack([made.depth[known], true.depth[known], made.confidence[known]]))
    return np.concatenate(parts, axis=1)


def test_depth_is_metric_and_its_scale_stands_still(predictions, night):
    depth, truth, _ = compared(predictions, night)
    assert abs(np.log(np.median(depth) / np.median(truth))) < 0.15
    metric = np.mean(np.abs(depth - truth) / truth)
    scaled = depth * np.median(truth) / np.median(depth)
    assert metric < 1.2 * np.mean(np.abs(scaled - truth) / truth) and metric < 0.2
    scales = [made.scale for made in predictions]
    assert scales[-1].source == "camera_height" and scales[-1].std < 0.12
    assert np.abs(np.diff(np.log([one.metres_per_unit for one in scales[20:]]))).max() < 0.01


def test_confidence_tells_the_reliable_from_guesses(predictions, night):
    depth, truth, sure = compared(predictions, night)
    error = np.abs(depth - truth) / truth
    kept = sure >= np.quantile(sure, 0.2)
    assert error[kept].mean() < 0.8 * error.mean()
    right = np.maximum(depth / truth, truth / depth) < 1.25
    assert abs(sure.mean() - right.mean()) < 0.1


def test_refined_odometry_follows_the_truth_in_metres(predictions, night):
    assert {made.odometry.source for made in predictions[1:]} == {"refined"}
    true = invert(night.truth[0].world_from_camera) @ night.truth[-1].world_from_camera
    error = invert(true) @ predictions[-1].odometry.odom_from_camera
    length = np.linalg.norm(true[:3, 3])
    assert length > 15 and np.linalg.norm(error[:3, 3]) < 0.15 * length
    assert np.degrees(np.arccos((np.trace(error[:3, :3]) - 1) / 2)) < 1.5
    assert predictions[-1].odometry.matches > 50


def test_the_pose_net_alone_is_still_there_and_worse(predictions, night):
    engine = night.engine(odometry={"refine": False})
    made = [engine(frame, {"odometry"}).odometry for frame in night.frames()]
    assert {one.source for one in made[1:]} == {"network"}
    steps = [
        invert(a.world_from_camera) @ b.world_from_camera
        for a, b in zip(night.truth[:-1], night.truth[1:], strict=True)
    ]

    def turned(odometry):
        off = [o.previous_from_camera[:3, :3].T @ s[:3, :3] for o, s in zip(odometry[1:], steps, strict=True)]
        return np.mean([np.arccos(np.clip((np.trace(one) - 1) / 2, -1, 1)) for one in off])

    assert turned([one.odometry for one in predictions]) < 0.5 * turned(made)
    assert np.trace(made[-1].step_covariance) > np.trace(predictions[-1].odometry.step_covariance)


def test_standing_still_moves_nothing(weights, monkeypatch):
    """Sensor noise and traffic go on while the car stands."""
    drives = EgoMotion.world_from_base
    monkeypatch.setattr(EgoMotion, "world_from_base", lambda self, road, t: drives(self, road, 3.0))
    drive = Drive(weights, seconds=1.5, seed=2101)
    assert np.abs(drive.truth[0].image.astype(int) - drive.truth[-1].image).mean() > 1
    engine = drive.engine()
    last = [engine(frame, {"odometry"}).odometry for frame in drive.frames()][-1]
    assert last.source == "still" and np.array_equal(last.odom_from_camera, np.eye(4))
    assert (np.linalg.eigvalsh(last.pose_covariance) > 0).all()


@pytest.mark.parametrize("level", [0, 255])
def test_black_and_white_frames_tell_nothing(night, level):
    engine, frames = night.engine(), night.frames()
    for frame in frames[:3]:
        before = engine(frame, RESULTS)
    blind = engine(replace(frames[3], image=np.full_like(frames[3].image, level)), RESULTS)
    assert blind.health.useless and not blind.confidence.any() and np.isnan(blind.depth).all()
    assert blind.odometry.source == "lost" and blind.odometry.step_covariance[0, 0] >= 1e6
    np.testing.assert_array_equal(blind.odometry.odom_from_camera, before.odometry.odom_from_camera)
    assert blind.scale.metres_per_unit == pytest.approx(before.scale.metres_per_unit, rel=0.01)
    again = [engine(frame, RESULTS) for frame in frames[4:6]]
    assert again[0].odometry.source == "lost", "nothing to compare it with"
    assert again[1].odometry.source == "refined" and again[0].odometry.segment == before.odometry.segment
    assert np.isfinite(again[1].depth).any()
    unjudged = night.engine(confidence_min=0.0)
    assert np.isnan(unjudged(replace(frames[0], image=np.full_like(frames[0].image, level)), {"depth"}).depth).all()


def test_a_single_frame_has_depth_confidence_and_no_motion(night):
    made = night.engine()(night.frames()[0], RESULTS)
    assert np.isfinite(made.depth).mean() > 0.2 and 0 < made.confidence.mean() < 1
    assert made.odometry.source == "start" and made.scale.source == "camera_height"
    assert np.isnan(made.health.change)


def test_unreliable_depth_is_nan_and_sky_stays_infinite(night):
    strict, open_ = night.engine(confidence_min=0.8), night.engine(confidence_min=0.0)
    for frame in night.frames()[:3]:
        a, b = strict(frame, RESULTS), open_(frame, RESULTS)
    unsure = a.confidence < 0.8
    assert np.isnan(a.depth[unsure]).all() and 0.05 < unsure.mean() < 0.95
    np.testing.assert_array_equal(a.depth[~unsure], b.depth[~unsure])
    assert not np.isnan(b.depth).any()


def test_a_planner_that_insists_gets_no_depth_without_metres(night):
    engine = night.engine(scale={"required": True, "camera_height_m": 0.0})
    made = engine(night.frames()[0], RESULTS)
    assert made.depth is None and made.withheld == "scale_unknown" and made.scale.source == "learned"
    known = night.engine(scale={"required": True})
    assert known(night.frames()[0], RESULTS).withheld is None


def test_measured_motion_gives_metres(night):
    engine = night.engine(scale={"mode": "odometry", "camera_height_m": 0.0})
    to_base = invert(night.mount)
    for frame, true in zip(night.frames(), night.truth, strict=True):
        pose = true.world_from_camera @ to_base
        assert engine.measured.add(frame.stamp_ns, pose, "world", "base_link") is None
        made = engine(frame, {"depth"})
    assert made.scale.source == "odometry" and made.scale.age_s < 0.2
    known = np.isfinite(night.truth[-1].depth) & np.isfinite(made.depth)
    ratio = np.median(made.depth[known]) / np.median(night.truth[-1].depth[known])
    assert abs(np.log(ratio)) < 0.2


def test_the_hood_is_masked_everywhere(night, tmp_path):
    mask = np.zeros((240, 320), np.uint8)
    mask[200:] = 255
    cv2.imwrite(str(tmp_path / "hood.png"), mask)
    engine = night.engine(hood_mask=str(tmp_path / "hood.png"), confidence_min=0.0)
    for frame in night.frames()[:3]:
        made = engine(frame, RESULTS)
    assert np.isnan(made.depth[200:]).all() and np.isfinite(made.depth[:190]).any()
    assert not made.confidence[200:].any() and made.confidence[:190].any()
    cv2.imwrite(str(tmp_path / "small.png"), mask[:100, :100])
    with pytest.raises(FrameError, match=r"small.png' of 100x100, expected the image's 320x240") as caught:
        night.engine(hood_mask=str(tmp_path / "small.png"))(night.frames()[0], RESULTS)
    assert caught.value.reason == "hood_mask_size"


@pytest.mark.parametrize(("content", "expected"), [(None, "can be read"), (255, "covers the whole image")])
def test_a_hood_mask_that_cannot_be_used(night, tmp_path, content, expected):
    path = tmp_path / "hood.png"
    if content is None:
        path.write_text("no image")
    else:
        cv2.imwrite(str(path), np.full((240, 320), content, np.uint8))
    with pytest.raises(ConfigError, match=expected):
        night.engine(hood_mask=str(path))


def test_odometry_that_was_not_asked_for_does_not_hold_the_old_speed(night):
    engine, frames = night.engine(confidence_min=0.0, scale={"mode": "none", "camera_height_m": 0.0}), night.frames()
    engine(frames[0], {"odometry"})
    engine(replace(frames[0], stamp_ns=frames[0].stamp_ns + 1_000_000), {"odometry"})  # as if it stood
    for frame in frames[2:5]:
        engine(frame, {"features"})
    engine(frames[5], {"odometry"})
    moved = engine(frames[6], {"odometry"}).odometry
    assert moved.source == "refined" and np.linalg.norm(moved.previous_from_camera[:3, 3]) > 0.3
