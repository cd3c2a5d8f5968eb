"""Trajectories: reading, pairing, and figures against values worked out by hand and by their invariances."""

import numpy as np
import pytest
from bag_tools import write_ours

from defeat_ros.errors import SourceError
from defeat_ros.evaluation.odometry import direction_errors, relative_pose_errors
from defeat_ros.evaluation.odometry_kitti import segment_errors, snippet_errors
from defeat_ros.evaluation.odometry_report import OdometryEvaluation, curves, odometry_report
from defeat_ros.evaluation.trajectory import Trajectory, match, read_trajectory
from defeat_ros.geometry import BODY_FROM_OPTICAL, quaternion_from_rotation, rotation_from_vector, transform


def walk(count: int, seed: int = 0) -> np.ndarray:
    """A wandering path, (N, 4, 4)."""
    rng, pose, poses = np.random.default_rng(seed), np.eye(4), []
    for _ in range(count):
        poses.append(pose)
        step = transform(rotation_from_vector(rng.normal(scale=0.03, size=3)), np.array([0.0, 0.0, 1.0]))
        pose = pose @ step
    return np.array(poses)


def straight(count: int, step: float, turn_deg: float = 0.0) -> np.ndarray:
    """Positions along z, with a heading that turns about y without bending the path."""
    headings = np.radians(turn_deg) * np.arange(count)
    return np.array([
        transform(rotation_from_vector(np.array([0.0, angle, 0.0])), np.array([0.0, 0.0, step * i]))
        for i, angle in enumerate(headings)
    ])  # fmt: skip


def matched(estimate: np.ndarray, truth: np.ndarray):
    return match(Trajectory("estimate", None, estimate), Trajectory("truth", None, truth))


def kitti_text(poses: np.ndarray) -> str:
    return "".join(" ".join(f"{v:.9e}" for v in pose[:3].ravel()) + "\n" for pose in poses)


def tum_text(stamps_ns, poses: np.ndarray) -> str:
    lines = ["# timestamp tx ty tz qx qy qz qw"]
    for stamp, pose in zip(stamps_ns, poses, strict=True):
        numbers = [*pose[:3, 3], *quaternion_from_rotation(pose[:3, :3])]
        lines.append(f"{stamp // 10**9}.{stamp % 10**9:09d} " + " ".join(f"{v:.12g}" for v in numbers))
    return "\n".join(lines) + "\n"


def test_no_error_under_another_world_and_scale():
    truth = walk(130)
    elsewhere = transform(rotation_from_vector(np.array([0.5, -0.2, 1.0])), np.array([5.0, 6.0, 7.0]))
    estimate = elsewhere @ truth
    estimate[:, :3, 3] *= 0.25
    report = odometry_report(matched(estimate, truth), OdometryEvaluation())
    assert report["scale_sim3"] == pytest.approx(4.0) and report["path_length"] == pytest.approx(129.0)
    assert report["ate_rmse"]["sim3"] < 1e-6 < report["ate_rmse"]["se3"]
    assert report["rpe_trans"]["rmse"] < 1e-6 and report["rpe_rot"]["rmse"] < 1e-5
    assert report["segments_scaled"]["t_rel"] < 1e-5 and report["segments_as_is"]["t_rel"] > 10
    assert report["snippets"]["mean"] < 1e-6 and report["snippets"]["count"] == 129
    assert report["steps"]["direction_mean"] < 1e-5 and report["steps"]["moving"] == 129
    shown = curves(matched(estimate, truth))
    assert shown["sim3"].max() < 1e-6 and shown["rotation"].max() < 1e-9 and shown["distance"][-1] == pytest.approx(129)


def test_segments_by_hand():
    # A segment of 100 m ends at the first frame beyond: 101 m. 10 % too long: 10.1 m off; 0.01 deg/m: 1.01 deg.
    truth, estimate = straight(121, 1.0), straight(121, 1.1, turn_deg=0.01)
    errors = segment_errors(estimate, truth)
    assert errors.count == 2 and errors.by_length[100][2] == 2, "from frames 0 and 10"
    assert errors.r_rel == pytest.approx(1.01)
    assert segment_errors(straight(121, 1.1), truth).t_rel == pytest.approx(10.1)
    long = segment_errors(straight(1001, 0.9), straight(1001, 1.0))
    assert [long.by_length[n][2] for n in (100, 800)] == [90, 20]
    assert long.by_length[800][0] == pytest.approx(100 * 0.1 * 801 / 800)


def test_a_short_path_has_no_segments():
    report = odometry_report(matched(walk(50), walk(50)), OdometryEvaluation())
    assert report["segments_scaled"]["t_rel"] is None and report["segments_as_is"]["by_length"]["100"] is None
    assert any("49.0 m long, too short" in line for line in report["notes"])


def test_snippets_by_hand():
    truth, estimate = np.array([np.eye(4)] * 2), np.array([np.eye(4)] * 2)
    truth[1, :3, 3], estimate[1, :3, 3] = (0.0, 1.0, 1.0), (0.0, 0.0, 2.0)
    # The best scale is 0.5, what is left has length 1, divided by two points.
    assert snippet_errors(estimate, truth) == pytest.approx([0.5])
    estimate[1, :3, 3] = 0.0
    assert snippet_errors(estimate, truth) == pytest.approx([np.sqrt(2) / 2]), "no motion: no scale, no crash"


def test_steps_by_hand():
    truth = straight(4, 1.0)
    estimate = straight(4, 1.0, turn_deg=2.0)
    trans, rot = relative_pose_errors(estimate, truth)
    np.testing.assert_allclose(rot, 2.0)
    assert trans[0] == pytest.approx(0.0) and trans[1] == pytest.approx(2 * np.sin(np.radians(1.0)))
    angles, without = direction_errors(estimate, truth, 0.5)
    np.testing.assert_allclose(angles, [0.0, 2.0, 4.0], atol=1e-6)
    assert without == 0 and len(direction_errors(estimate, truth, 1.5)[0]) == 0
    still = np.array([np.eye(4)] * 4)
    angles, without = direction_errors(still, truth, 0.5)
    assert without == 3 and (angles == 90).all()
    report = odometry_report(matched(truth, still), OdometryEvaluation())
    assert report["steps"]["direction_mean"] is None and any("no direction" in line for line in report["notes"])


def test_files_round_trip(tmp_path):
    poses, stamps = walk(20), 1_700_000_000 * 10**9 + np.arange(20) * 100_000_001
    (tmp_path / "a.txt").write_text(kitti_text(poses))
    (tmp_path / "b.txt").write_text(tum_text(stamps, poses))
    kitti, tum = read_trajectory(tmp_path / "a.txt"), read_trajectory(tmp_path / "b.txt")
    assert kitti.stamps_ns is None and kitti.body == "camera"
    np.testing.assert_array_equal(tum.stamps_ns, stamps)
    np.testing.assert_allclose(kitti.poses, poses, atol=1e-8)
    np.testing.assert_allclose(tum.poses, poses, atol=1e-8)
    both = match(kitti, tum)
    assert len(both.truth) == 20 and any("paired by order" in line for line in both.warnings)


def test_a_bag_gives_its_odometry(tmp_path):
    bag = write_ours(tmp_path / "bag", count=5)
    made = read_trajectory(bag)
    assert (len(made.poses), made.body, made.axes) == (5, "base", "ros")
    with pytest.raises(SourceError, match=r"'/nowhere'.*/odom"):
        read_trajectory(bag, "/nowhere")


@pytest.mark.parametrize(("text", "said"), [
    ("1 2 3\n1 2 3\n", "12 .KITTI. or 8 .TUM."),
    ("", "begins with ''"),
    ("0 0 0 0 0 0 0 0\n" * 2, "line 1 .* quaternion"),
    ("0 0 0 0 0 0 0 1\n1 0 0 0 0 0 x 1\n", "line 2 "),
    ("0 0 0 0 0 0 0 1\n1 0 nan 0 0 0 0 1\n", "line 2 .*not finite"),
    ("1700000000000000000 0 0 0 0 0 0 1\n" * 2, "line 1 .*1700000000000000000, expected seconds"),
    ("1.7e18 0 0 0 0 0 0 1\n" * 2, "line 1 .*1.7e18, expected seconds"),
    ("0 0 0 0 0 0 0 1\n", "1 poses, expected at least 2"),
    ("1 0 0 0 0 1 0 0 0 0 1 0\n1 0 0 0 0 5 0 0 0 0 1 0\n", "line 2 .*rotation"),
])  # fmt: skip
def test_files_that_are_none(tmp_path, text, said):
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(SourceError, match=said):
        read_trajectory(tmp_path / "t.txt")


def test_other_faults(tmp_path):
    with pytest.raises(SourceError, match="does not exist"):
        read_trajectory(tmp_path / "none.txt")
    with pytest.raises(SourceError, match="folder without a bag"):
        read_trajectory(tmp_path)
    (tmp_path / "a.txt").write_text(kitti_text(walk(3)))
    with pytest.raises(SourceError, match="'/odom'"):
        read_trajectory(tmp_path / "a.txt", "/odom")
    with pytest.raises(SourceError, match="3 poses, expected 4"):
        match(read_trajectory(tmp_path / "a.txt"), Trajectory("t", None, walk(4)))


def test_pairs_by_nearest_time_each_used_once():
    ms = 1_000_000
    truth = Trajectory("truth", np.arange(0, 1000, 100) * ms, walk(10))
    stamps = np.array([0, 95, 104, 310, 449, 2000]) * ms
    estimate = Trajectory("estimate", stamps, walk(6))
    made = match(estimate, truth, max_difference_s=0.02)
    np.testing.assert_array_equal(made.stamps_ns, np.array([0, 100, 300]) * ms)
    np.testing.assert_array_equal(made.estimate[1], estimate.poses[2]), "104 ms is nearer to 100 than 95 is"
    assert made.unmatched == (3, 7)
    with pytest.raises(SourceError, match=r"within 0\.0001 s"):
        match(Trajectory("estimate", stamps + 50 * ms, walk(6)), truth, max_difference_s=0.0001)


def test_a_base_is_turned_into_a_camera_with_a_warning():
    camera = Trajectory("camera", None, walk(5), body="camera", axes="optical")
    base = Trajectory("base", None, BODY_FROM_OPTICAL @ walk(5) @ BODY_FROM_OPTICAL.T, body="base_link", axes="ros")
    for pair in ((camera, base), (base, camera)):
        made = match(*pair)
        report = odometry_report(made, OdometryEvaluation())
        assert report["rpe_trans"]["rmse"] < 1e-9 and report["steps"]["direction_mean"] < 1e-6
        assert any("'base_link' is turned" in line for line in made.warnings)
    assert not match(camera, Trajectory("o", None, walk(5), body="cam_optical_frame")).warnings


def test_real_poses_against_themselves(shared_dir):
    made = read_trajectory(shared_dir / "data" / "kitti_stereo" / "poses.txt")
    report = odometry_report(match(made, made), OdometryEvaluation())
    assert report["poses"] == 51 and report["ate_rmse"]["se3"] < 1e-6 and report["segments_as_is"]["t_rel"] is None
