"""The engine with a backend whose answers are known."""

import cv2
import numpy as np
import pytest
from fake_backend import FakeBackend

from defeat_ros import CameraIntrinsics, Frame
from defeat_ros.errors import BackendError, CheckpointError, ConfigError, FrameError
from defeat_ros.geometry import disp_to_depth, inverse_depth
from defeat_ros.inference.backends.protocol import resolve_device
from defeat_ros.inference.config import DepthConfig
from defeat_ros.inference.engine import DepthEngine
from defeat_ros.inference.weights import input_size_hw
from defeat_ros.settings import build

STEP_NS = 100_000_000


def engine(backend=None, **options):
    return DepthEngine(
        build(DepthConfig, {"input_size": [128, 96], "confidence_min": 0.0, **options}), backend or FakeBackend()
    )


def frame(index, size=(48, 64), stamp_ns=None, **fields):
    rng = np.random.default_rng(index)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    return Frame(image, 10**18 + index * STEP_NS if stamp_ns is None else stamp_ns, **fields)


def test_one_frame_one_stamp_and_the_frames_own_size():
    made = engine()(frame(0, frame_id="cam"))
    assert (made.stamp_ns, made.frame_id, made.restart) == (10**18, "cam", "start")
    assert made.depth.shape == (48, 64) and made.depth.dtype == np.float32
    assert made.features.shape == (48, 64, 2)
    np.testing.assert_allclose(made.depth, disp_to_depth(0.5), rtol=1e-6)
    np.testing.assert_allclose(made.features[0, 0], [0.6, 0.8], rtol=1e-6)
    assert made.metres_per_unit is None and made.intrinsics is None


def test_nothing_is_computed_that_was_not_asked_for():
    backend = FakeBackend()
    made = engine(backend)(frame(0), {"features"})
    assert backend.calls[0][2] == {"features"}
    assert made.depth is None and made.odometry is None and made.health is None
    run = engine(backend)
    run(frame(0), {"depth"}), run(frame(1), {"depth"})
    assert [call[2] for call in backend.calls[1:]] == [{"disp"}] * 2, "depth that is not judged needs no motion"
    run(frame(2), {"odometry"})
    assert [call[2] for call in backend.calls[3:]] == [{"disp"}, {"pose"}]
    assert "confidence" not in run.costs.seconds and {"networks", "pose net", "road"} <= set(run.costs.seconds)
    with pytest.raises(ValueError, match="dept"):
        engine()(frame(0), {"dept"})


def test_pose_net_sees_later_then_earlier_at_its_own_size():
    backend = FakeBackend()
    run = engine(backend)
    run(frame(0)), run(frame(1))
    first, second, pose = backend.calls
    assert first[1] is None and second[1] is None
    np.testing.assert_array_equal(pose[0], second[0])
    np.testing.assert_array_equal(pose[1], first[0])
    assert pose[0].shape == (96, 128, 3)


def test_odometry_scales_with_the_mean_inverse_depth():
    run = engine(FakeBackend(translation=(0.0, 0.0, -0.1)))
    states = [run(frame(i)).odometry for i in range(4)]
    step = 0.1 * inverse_depth(0.5)
    np.testing.assert_allclose([s.odom_from_camera[2, 3] for s in states], step * np.arange(4), rtol=1e-6)
    assert [s.segment for s in states] == [0] * 4
    assert states[0].dt_s == 0 and states[1].dt_s == pytest.approx(0.1)
    assert all((np.linalg.eigvalsh(s.pose_covariance) > 0).all() for s in states)
    assert all((np.diag(s.step_covariance) > 0).all() for s in states)


def test_turning_moves_along_an_arc():
    run = engine(FakeBackend(axisangle=(0.0, -np.pi / 2, 0.0), translation=(0.0, 0.0, 0.0)))
    for i in range(5):
        state = run(frame(i)).odometry
    np.testing.assert_allclose(state.odom_from_camera, np.eye(4), atol=1e-6)


@pytest.mark.parametrize(
    ("stamp_ns", "reason", "keeps_pose"),
    [(STEP_NS * 2 + 600_000_000, "gap", True), (STEP_NS, "backwards", False), (-(10**18), "backwards", False)],
)
def test_a_break_empties_the_buffer(stamp_ns, reason, keeps_pose):
    backend = FakeBackend()
    run = engine(backend)
    before = [run(frame(i)) for i in range(3)][-1].odometry
    broken = run(frame(9, stamp_ns=10**18 + stamp_ns))
    assert broken.restart == reason
    assert backend.calls[-1][1] is None
    assert broken.odometry.segment == before.segment + 1
    same = np.allclose(broken.odometry.odom_from_camera, before.odom_from_camera)
    assert same == keeps_pose
    if keeps_pose:
        assert np.diag(broken.odometry.pose_covariance).min() >= np.pi**2
    after = run(frame(10, stamp_ns=10**18 + stamp_ns + STEP_NS))
    assert after.restart is None and backend.calls[-1][1] is not None
    assert after.odometry.segment == broken.odometry.segment


def test_repeated_stamp_is_refused_and_changes_nothing():
    run = engine()
    run(frame(0))
    with pytest.raises(FrameError, match="repeats") as caught:
        run(frame(1, stamp_ns=10**18))
    assert caught.value.reason == "duplicate_stamp"
    assert run(frame(1)).restart is None


def test_gap_is_a_parameter():
    run = engine(max_gap_s=0.05)
    run(frame(0))
    assert run(frame(1)).restart == "gap"


@pytest.mark.parametrize("reason", ["reset", "time_jump", "operator"])
def test_reset_starts_at_the_identity(reason):
    run = engine()
    for i in range(3):
        run(frame(i))
    run.reset(reason)
    again = run(frame(3))
    assert again.restart == reason
    np.testing.assert_array_equal(again.odometry.odom_from_camera, np.eye(4))


def test_size_change_starts_a_segment():
    run = engine()
    run(frame(0))
    changed = run(frame(1, size=(30, 50)))
    assert changed.restart == "size" and changed.depth.shape == (30, 50)


def test_odometry_asked_for_later_starts_then():
    run = engine()
    run(frame(0), {"depth"})
    first = run(frame(1), {"odometry"}).odometry
    np.testing.assert_array_equal(first.odom_from_camera, np.eye(4))
    run(frame(2), {"depth"})
    resumed = run(frame(3), {"odometry"}).odometry
    assert resumed.segment == first.segment + 1, "the motion in between was not seen"


def test_a_frame_on_which_the_backend_fails_is_like_one_that_was_dropped():
    backend = FakeBackend()
    run = engine(backend)
    run(frame(0))
    good, backend.run = backend.run, None
    with pytest.raises(TypeError):
        run(frame(1))
    backend.run = good
    assert run(frame(2)).restart is None


def test_a_frame_that_fails_half_way_breaks_the_sequence_not_the_engine():
    backend = FakeBackend()
    run = engine(backend)
    run(frame(0))
    backend.disp = np.nan
    with pytest.raises(FrameError, match="not finite"):
        run(frame(1))
    backend.disp = 0.5
    assert run(frame(2)).restart == "gap"


def test_perceiving_the_next_frame_before_concluding_this_one_changes_nothing():
    want = ("depth", "confidence", "features", "odometry")
    one_by_one, ahead = engine(FakeBackend()), engine(FakeBackend())
    frames = [frame(index) for index in range(4)]
    expected = [one_by_one(item, want) for item in frames]
    perceived = [ahead.perceive(item, want) for item in frames]
    for made, right in zip(map(ahead.conclude, perceived), expected, strict=True):
        np.testing.assert_array_equal(made.depth, right.depth)
        np.testing.assert_array_equal(made.confidence, right.confidence)
        np.testing.assert_array_equal(made.features, right.features)
        np.testing.assert_array_equal(made.odometry.odom_from_camera, right.odometry.odom_from_camera)


def test_fixed_scale_gives_metres_and_a_range():
    run = engine(scale={"mode": "fixed", "value": 10.0}, max_depth_m=5.0)
    made = run(frame(0))
    depth_units = disp_to_depth(0.5)
    assert made.metres_per_unit == 10.0 and depth_units < 0.5
    np.testing.assert_allclose(made.depth, 10 * depth_units, rtol=1e-6)
    moved = run(frame(1)).odometry
    assert moved.odom_from_camera[2, 3] == pytest.approx(10 * 0.1 * inverse_depth(0.5))
    far = engine(FakeBackend(disp=0.0), scale={"mode": "fixed", "value": 10.0}, max_depth_m=5.0)(frame(0))
    assert np.isposinf(far.depth).all()
    near = engine(FakeBackend(disp=1.0), scale={"mode": "fixed", "value": 1.0}, min_depth_m=0.5)(frame(0))
    assert np.isneginf(near.depth).all()


def test_output_size_carries_the_camera_along():
    camera = CameraIntrinsics(fx=50.0, fy=50.0, cx=31.5, cy=23.5, width=64, height=48)
    made = engine(output_size=[32, 24], features={"stride": 2})(frame(0, intrinsics=camera))
    assert made.depth.shape == made.image.shape[:2] == (24, 32)
    assert made.features.shape == (12, 16, 2)
    assert (made.intrinsics.width, made.intrinsics.fx, made.intrinsics.cx) == (32, 25.0, 15.5)


def test_rectification_straightens_and_marks_what_was_not_seen():
    camera = CameraIntrinsics(
        fx=60.0, fy=60.0, cx=63.5, cy=47.5, width=128, height=96,
        distortion_model="plumb_bob", distortion=(0.35, 0.05, 0.0, 0.0, 0.0),
    )  # fmt: skip
    straight = np.zeros((96, 128, 3), np.uint8)
    straight[:, 95:98] = 255
    # Bend the picture as this lens would: each raw pixel looks up its undistorted place.
    grid = np.stack(np.meshgrid(np.arange(128.0), np.arange(96.0)), -1).reshape(-1, 1, 2)
    ideal = cv2.undistortPoints(grid, camera.K, np.array(camera.distortion), P=camera.K).reshape(96, 128, 2)
    raw = cv2.remap(straight, ideal.astype(np.float32), None, cv2.INTER_LINEAR)
    made = engine()(Frame(raw, 0, intrinsics=camera))
    bright = made.image[20:76, :, 0].argmax(1)
    assert bright.min() >= 94 and bright.max() <= 98
    assert raw[20:76, :, 0].argmax(1).max() - raw[20:76, :, 0].argmax(1).min() > np.ptp(bright)
    assert not made.intrinsics.distortion and made.intrinsics.fx == 60.0
    seen = np.isfinite(made.depth)
    assert 0.5 < seen.mean() < 1.0 or seen.all()


def test_barrel_distortion_leaves_nan_where_the_camera_did_not_see():
    camera = CameraIntrinsics(
        fx=60.0, fy=60.0, cx=63.5, cy=47.5, width=128, height=96,
        distortion_model="plumb_bob", distortion=(0.35, 0.05, 0.0, 0.0, 0.0),
    )  # fmt: skip
    depth = engine()(frame(0, size=(96, 128), intrinsics=camera)).depth
    assert np.isnan(depth[0, 0]) and np.isfinite(depth[48, 64])


@pytest.mark.parametrize(
    ("model", "coefficients", "expected"),
    [
        ("magic", (0.1,), "'magic'"),
        ("plumb_bob", (0.1, 0.1, 0.1), "3 coefficients"),
        ("equidistant", (0.1,), "1 coeff"),
    ],
)
def test_unknown_distortion(model, coefficients, expected):
    camera = CameraIntrinsics(50.0, 50.0, 32.0, 24.0, 64, 48, model, coefficients)
    with pytest.raises(FrameError, match=expected):
        engine()(frame(0, intrinsics=camera))


def test_equidistant_centre_stays():
    camera = CameraIntrinsics(50.0, 50.0, 32.0, 24.0, 64, 48, "equidistant", (0.01, 0.0, 0.0, 0.0))
    made = engine()(frame(0, intrinsics=camera))
    assert np.isfinite(made.depth[24, 32])


@pytest.mark.parametrize(
    ("requested", "count", "device"),
    [("auto", 0, "cpu"), ("auto", 2, "cuda:0"), ("cpu", 2, "cpu"), ("cuda", 1, "cuda:0"), ("cuda:1", 2, "cuda:1")],
)
def test_devices(requested, count, device):
    assert resolve_device(requested, count) == device


@pytest.mark.parametrize(
    ("requested", "count"), [("cuda", 0), ("cuda:2", 2), ("gpu", 1), ("cuda:x", 1), ("cuda:-1", 1)]
)
def test_devices_that_are_not_here(requested, count):
    with pytest.raises(BackendError, match=repr(requested)):
        resolve_device(requested, count)


def test_what_cannot_be_loaded(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere.pt"):
        DepthEngine.from_ckpt(tmp_path / "nowhere.pt")
    with pytest.raises(ConfigError, match="unknown parameter 'colour'"):
        DepthEngine.from_ckpt(tmp_path / "nowhere.pt", colour=1)
    with pytest.raises(FrameError, match="100x96"):
        DepthEngine.from_ckpt(tmp_path / "nowhere.pt", input_size=[100, 96])


@pytest.mark.parametrize(
    ("option", "told", "expected_wh"),
    [
        ([0, 0], None, (480, 352)),
        ([0, 0], [192, 128], (192, 128)),
        ([0, 0], ["a", "b"], (480, 352)),
        ([256, 160], [192, 128], (256, 160)),
    ],
)
def test_input_size_comes_from_the_parameter_or_the_checkpoint(option, told, expected_wh):
    config = build(DepthConfig, {"input_size": option})
    assert input_size_hw(config, {} if told is None else {"input_size": told})[::-1] == expected_wh


def test_the_callers_array_may_be_filled_again():
    backend = FakeBackend()
    run = engine(backend)
    image = np.random.default_rng(1).integers(0, 40, (96, 128, 3), np.uint8)
    made = run(Frame(image, 0))
    image[:] = 200
    assert made.image.max() < 40
    made.image[:] = 99
    image[:] = np.random.default_rng(0).integers(0, 256, image.shape)
    run(Frame(image, STEP_NS))
    assert backend.calls[-1][1].max() < 40, "the support frame is what was seen, whoever wrote to its arrays since"


def test_camera_info_that_comes_late_does_not_break_the_sequence():
    run = engine()
    run(frame(0))
    late = run(frame(1, intrinsics=CameraIntrinsics(50.0, 50.0, 32.0, 24.0, 64, 48)))
    assert late.restart is None and late.odometry.segment == 0


def test_one_bad_number_does_not_spoil_the_odometry():
    backend = FakeBackend()
    run = engine(backend)
    run(frame(0)), run(frame(1))
    backend.disp = float("nan")
    with pytest.raises(FrameError, match="not finite") as caught:
        run(frame(2))
    assert caught.value.reason == "not_finite"
    backend.disp = 0.5
    good = run(frame(3))
    assert good.restart == "gap" and good.odometry.segment == 1 and np.isfinite(good.odometry.pose_covariance).all()
    backend.translation[:] = np.inf
    lost = run(frame(4)).odometry
    assert lost.source == "lost" and np.isfinite(lost.odom_from_camera).all()
    assert lost.step_covariance[0, 0] >= 1e6


def test_the_far_end_of_the_networks_is_sky():
    assert np.isposinf(engine(FakeBackend(disp=0.0))(frame(0)).depth).all()
    assert np.isfinite(engine(FakeBackend(disp=0.01))(frame(0)).depth).all()


def test_uncertainty_turns_with_the_camera():
    """Doubt about the way ahead, gathered before a quarter turn, is doubt sideways after it."""
    from defeat_ros.frame import Scale
    from defeat_ros.geometry import rotation_from_vector, transform
    from defeat_ros.inference.odometry import OdometryTracker, Step

    tracker = OdometryTracker()
    tracker.restart(keep_pose=False)
    doubt = np.diag([1e-6, 1e-6, 1.0, 1e-8, 1e-8, 1e-8])
    for length in (1.0, 3.0, 1.0, 3.0):
        ahead = transform(np.eye(3), np.array([0.0, 0.0, length]))
        before = tracker.step(Step(ahead, doubt, "refined"), Scale(), 0.1).pose_covariance
    assert before[2, 2] > 100 * before[0, 0]
    turn = transform(rotation_from_vector(np.array([0.0, np.pi / 2, 0.0])), np.zeros(3))
    after = tracker.step(Step(turn, doubt * 1e-3, "refined"), Scale(), 0.1).pose_covariance
    assert after[0, 0] >= 0.99 * before[2, 2]


def test_many_feature_channels_are_resized():
    from defeat_ros.preprocess import resize_map

    values = np.random.default_rng(0).normal(size=(6, 8, 700)).astype(np.float32)
    made = resize_map(values, (12, 16))
    assert made.shape == (12, 16, 700)
    np.testing.assert_allclose(made[..., 650], cv2.resize(values[..., 650], (16, 12)), rtol=1e-5)


@pytest.mark.parametrize("size_hw", [(352, 480), (100, 480), (352, 1920), (352, 300), (100, 300)])
def test_resizing_keeps_the_mean_brightness(size_hw):
    """One column in four is white; bilinear alone, where only one side shrinks, makes all white or black."""
    from defeat_ros.preprocess import resize_image

    image = np.zeros((300, 1920, 3), np.uint8)
    image[:, ::4] = 255
    made = resize_image(image, size_hw)
    assert made.shape == (*size_hw, 3)
    assert abs(made.mean() - 64) < 3


def test_doubt_about_the_scale_grows_with_the_path():
    """It is wrong the same way in every step: after a hundred metres 7 % are 7 m."""
    from defeat_ros.frame import Scale
    from defeat_ros.geometry import transform
    from defeat_ros.inference.odometry import OdometryTracker, Step

    tracker, scale = OdometryTracker(), Scale(2.0, 0.07, "camera_height")
    tracker.restart(keep_pose=False)
    step = Step(transform(np.eye(3), np.array([0.0, 0.0, 0.5])), np.eye(6) * 1e-6, "refined")
    for _ in range(100):
        made = tracker.step(step, scale, 0.1)
    assert made.odom_from_camera[2, 3] == pytest.approx(100.0)
    assert np.sqrt(made.pose_covariance[2, 2]) == pytest.approx(7.0, rel=0.01) and made.pose_covariance[0, 0] < 1
    assert np.sqrt(made.step_covariance[2, 2]) == pytest.approx(0.07, rel=0.01)


def test_a_path_in_units_does_not_go_on_in_metres():
    run = engine(scale={"mode": "odometry"})
    units = [run(frame(i)).odometry for i in range(3)][-1]
    run._surroundings._scales.measure_motion(2.0, 1.0, 10**18)
    metres = run(frame(3)).odometry
    assert metres.segment == units.segment + 1 and np.diag(metres.pose_covariance).min() >= np.pi**2
    np.testing.assert_array_equal(metres.odom_from_camera, units.odom_from_camera)


def test_another_lens_starts_the_road_anew():
    run = engine()
    camera = CameraIntrinsics(50.0, 50.0, 32.0, 24.0, 64, 48)
    run(frame(0, intrinsics=camera))
    level = run._surroundings._look.level
    run(frame(1, intrinsics=CameraIntrinsics(50.01, 50.0, 32.0, 24.0, 64, 48)))
    assert run._surroundings._look.level is level, "a calibration that jitters is the same lens"
    run(frame(2, intrinsics=CameraIntrinsics(80.0, 80.0, 32.0, 24.0, 64, 48)))
    assert run._surroundings._look.level is not level


def test_only_the_scale_costs_no_confidence():
    run = engine()
    made = run(frame(0), {"scale"})
    assert made.depth is None and made.confidence is None and made.health is not None
    assert "confidence" not in run.costs.seconds and "depth" not in run.costs.seconds
