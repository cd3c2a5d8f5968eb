"""The loss of tracked corners, and the corners themselves, against drives whose depth and motion are known."""

from __future__ import annotations

import pytest
import torch
from drawn_drive import write_drive

from defeat_ros.errors import FrameError
from defeat_ros.geometry import FARTHEST_UNIT, NEAREST_UNIT
from defeat_ros.losses import track_loss
from defeat_ros.losses.tracks import OUTLIER_PX
from defeat_ros.training.augment import Batch, augment
from defeat_ros.training.config import AugmentConfig
from defeat_ros.training.prepare import SourceSpec, prepare_source
from defeat_ros.training.triplets import TRACKS, TripletDataset, choose_triplets
from defeat_ros.warp import motion, project, reproject

SIZE_HW = (96, 128)
DRIVE = [(0.03 * index, 0.2 * index) for index in range(6)]


def disparity(depth: torch.Tensor) -> torch.Tensor:
    """What the networks would have to say for a depth."""
    far, near = 1 / FARTHEST_UNIT, 1 / NEAREST_UNIT
    return (1 / depth.clamp(NEAREST_UNIT, FARTHEST_UNIT) - far) / (near - far)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """A batch of a drawn drive with truth and tracks, as the trainer gets it."""
    folder = tmp_path_factory.mktemp("tracks")
    source = prepare_source(SourceSpec(write_drive(folder / "bag", DRIVE)), SIZE_HW, folder / "cache")
    dataset = TripletDataset([(source, choose_triplets(source))], with_depth=True, with_motion=True, with_tracks=True)
    return dataset.__getitems__([0, 1, 2])


def truth(sample):
    depth = sample["depth"][:, None]
    motions, tracks = (sample[name].transpose(0, 1) for name in ("support_from_target", "tracks"))
    return disparity(depth), sample["K"], motions, tracks


def test_the_truth_lands_the_corners_within_what_tracking_can_do(sample):
    disp, K, motions, tracks = truth(sample)
    assert tracks.shape == (2, 3, TRACKS, 4) and (~tracks.isnan().any(-1)).sum() > 300
    right = float(track_loss(disp, SIZE_HW, K, motions, tracks))
    still = motion(torch.zeros(6, 3), torch.zeros(6, 3)).view(2, 3, 4, 4)
    backwards = motions.clone()
    backwards[..., :3, 3] *= -1
    assert right < 0.5
    assert float(track_loss(disp, SIZE_HW, K, still, tracks)) > 2 * right
    assert float(track_loss(disp, SIZE_HW, K, backwards, tracks)) > 3 * right
    assert float(track_loss(disp * 2, SIZE_HW, K, motions, tracks)) > 2 * right
    assert float(track_loss(disp / 2, SIZE_HW, K, motions, tracks)) > 1.15 * right


def test_mirrored_samples_have_the_same_error(sample):
    disp, K, motions, tracks = truth(sample)
    frames = torch.rand(3, 3, 3, *SIZE_HW)
    flip = AugmentConfig(flip=1.0, color=0.0, night=0.0)
    other = augment(Batch(frames, frames, K, None, motions, tracks), flip, torch.Generator().manual_seed(0))
    mirrored = track_loss(disp.flip(-1), SIZE_HW, other.K, other.support_from_target, other.tracks)
    torch.testing.assert_close(mirrored, track_loss(disp, SIZE_HW, K, motions, tracks), rtol=1e-4, atol=1e-5)


def test_coarser_disparities_mean_the_same_corners():
    disp = torch.full((1, 1, 32, 64), 0.02)
    K = torch.tensor([[[60.0, 0, 31], [0, 60, 15], [0, 0, 1]]])
    moved = motion(torch.zeros(1, 3), torch.tensor([[0.0, 0, -0.5]]))[None]
    points = torch.tensor([[[[10.0, 8.0], [50.0, 20.0]]]])
    seen = project(points[0], torch.full((1, 2), 0.02 * 9.99 + 0.01), K, moved[0])[None]
    tracks = torch.cat((points, seen), -1)
    for coarse in (disp, disp[..., ::2, ::2], disp[..., ::4, ::4]):
        assert float(track_loss(coarse, (32, 64), K, moved, tracks)) < 1e-4


def test_points_land_where_the_dense_projection_puts_their_pixels():
    torch.manual_seed(0)
    depth = torch.rand(2, 1, 12, 16) * 5 + 1
    K = torch.tensor([[20.0, 0, 7], [0, 21, 6], [0, 0, 1]]).repeat(2, 1, 1)
    moved = motion(torch.rand(2, 3) * 0.2, torch.rand(2, 3))
    coords, _ = reproject(depth, K, moved)
    x, y = torch.tensor([3, 9, 15]), torch.tensor([0, 5, 11])
    points = torch.stack((x, y), -1).float().repeat(2, 1, 1)
    landed = project(points, 1 / depth[:, 0, y, x], K, moved)
    torch.testing.assert_close(landed, coords[:, :, y, x].transpose(1, 2), rtol=1e-4, atol=1e-4)


def test_outliers_pull_little_and_missing_corners_not_at_all():
    disp = torch.full((1, 1, 32, 64), 0.05)
    K = torch.tensor([[[60.0, 0, 31], [0, 60, 15], [0, 0, 1]]])
    still = motion(torch.zeros(1, 3), torch.zeros(1, 3))[None]
    near = torch.tensor([[[[10.0, 8.0, 10.0, 8.0], [20.0, 8.0, 620.0, 8.0]]]])
    assert float(track_loss(disp, (32, 64), K, still, near)) < OUTLIER_PX / 2 + 0.01
    missing = torch.full((1, 1, 5, 4), torch.nan)
    padded = torch.cat((near, missing), 2)
    assert float(track_loss(disp, (32, 64), K, still, padded)) == float(track_loss(disp, (32, 64), K, still, near))
    none = disp.clone().requires_grad_()
    loss = track_loss(none, (32, 64), K, still, missing)
    loss.backward()
    assert float(loss.detach()) == 0.0 and torch.equal(none.grad, torch.zeros_like(none))


def test_gradients_of_depth_and_motion():
    torch.manual_seed(1)
    disp = (torch.rand(1, 1, 8, 12, dtype=torch.float64) * 0.2 + 0.02).requires_grad_()
    K = torch.tensor([[[10.0, 0, 5.5], [0, 11, 3.5], [0, 0, 1]]], dtype=torch.float64)
    turn = torch.tensor([[0.02, -0.01, 0.03]], dtype=torch.float64, requires_grad=True)
    shift = torch.tensor([[0.1, 0.0, -0.3]], dtype=torch.float64, requires_grad=True)
    tracks = torch.rand(1, 1, 6, 4, dtype=torch.float64) * 6 + 0.7
    assert torch.autograd.gradcheck(
        lambda d, r, t: track_loss(d, (8, 12), K, motion(r, t)[None], tracks), (disp, turn, shift), atol=1e-5
    )


@pytest.mark.parametrize("shape", [(2, 1, 5, 3), (1, 1, 5, 4), (5, 4)])
def test_shapes_that_do_not_fit(shape):
    disp, K = torch.rand(1, 1, 8, 12), torch.eye(3)[None]
    motions = motion(torch.zeros(2, 3), torch.zeros(2, 3)).view(2, 1, 4, 4)
    with pytest.raises(FrameError, match="tracks"):
        track_loss(disp, (8, 12), K, motions, torch.zeros(shape))
