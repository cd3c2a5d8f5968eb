"""Motions, projection and sampling on tensors: inverses, identities, gradients, the published numbers."""

import math

import cv2
import numpy as np
import pytest
import torch

from defeat_ros import geometry
from defeat_ros.errors import ConfigError, FrameError
from defeat_ros.frame import CameraIntrinsics
from defeat_ros.warp import half_camera, invert_motion, motion, reproject, sample, support_from_target

EYE = torch.eye(4, dtype=torch.float64)


def rand(*shape, seed=0, dtype=torch.float64, low=0.0, high=1.0):
    return low + (high - low) * torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def camera(batch=2, fx=90.0, fy=80.0, cx=19.3, cy=14.8, dtype=torch.float64):
    return torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=dtype).repeat(batch, 1, 1)


def grid(batch, height, width, dtype=torch.float64):
    y, x = torch.meshgrid(torch.arange(height, dtype=dtype), torch.arange(width, dtype=dtype), indexing="ij")
    return torch.stack((x, y)).expand(batch, 2, height, width)


# Motions


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 0.0999, 0.1001, 1.0, math.pi - 1e-6, math.pi, 5.0])
def test_motion_is_rodrigues(angle):
    axes = torch.nn.functional.normalize(rand(6, 3, low=-1), dim=1)
    made = motion(angle * axes, rand(6, 3, seed=1))
    for matrix, axis, shift in zip(made, axes, rand(6, 3, seed=1), strict=True):
        want = geometry.transform(geometry.rotation_from_vector((angle * axis).numpy()), shift.numpy())
        np.testing.assert_allclose(matrix.numpy(), want, atol=1e-13)


def test_inverse_is_exact():
    vector, shift = rand(50, 3, low=-3, high=3), rand(50, 3, seed=1, low=-9, high=9)
    forth, back = motion(vector, shift), motion(vector, shift, invert=True)
    torch.testing.assert_close(forth @ back, EYE.expand(50, 4, 4), atol=1e-13, rtol=0)
    assert torch.equal(back, invert_motion(forth))
    # The rotation's inverse is its transpose, to the last bit; the translation returns up to its rounding.
    assert torch.equal(invert_motion(back)[:, :3, :3], forth[:, :3, :3])
    torch.testing.assert_close(invert_motion(back), forth, atol=1e-13, rtol=0)


def test_float32_motion_stays_rigid():
    made = motion(rand(100, 3, dtype=torch.float32, low=-0.05, high=0.05), torch.zeros(100, 3))[:, :3, :3]
    torch.testing.assert_close(made @ made.transpose(1, 2), torch.eye(3).expand(100, 3, 3), atol=3e-7, rtol=0)


def test_gradient_at_zero_is_the_generators():
    def rotation(vector):
        return motion(vector[None], torch.zeros(1, 3, dtype=vector.dtype))[0, :3, :3]

    slope = torch.autograd.functional.jacobian(rotation, torch.zeros(3, dtype=torch.float64))
    want = torch.zeros(3, 3, 3, dtype=torch.float64)
    for axis, (row, column) in enumerate(((2, 1), (0, 2), (1, 0))):
        want[row, column, axis], want[column, row, axis] = 1.0, -1.0
    torch.testing.assert_close(slope, want)


@pytest.mark.parametrize("size", [0.0, 1e-5, 0.0577, 0.6])  # the third on both sides of where the series ends
def test_motion_gradient(size):
    vector, shift = (size * rand(3, 3, seed=s, low=0.9, high=1.1) for s in (0, 1))
    inputs = (vector.requires_grad_(), shift.requires_grad_())
    assert torch.autograd.gradcheck(lambda v, t: motion(v, t, invert=True), inputs)


def test_support_frames_before_and_after():
    axisangle, translation = rand(2, 2, 1, 3), rand(2, 2, 1, 3, seed=1)
    after, before = (support_from_target((axisangle, translation), offset) for offset in (2, -1))
    for i in range(2):
        vector, shift = axisangle[i, 0, 0].numpy(), translation[i, 0, 0].numpy()
        # Seen from the target, a later frame is later_from_earlier, an earlier one its inverse.
        np.testing.assert_allclose(before[i].numpy(), geometry.earlier_from_later(vector, shift, 1.0), atol=1e-14)
        np.testing.assert_allclose(after[i].numpy() @ before[i].numpy(), np.eye(4), atol=1e-14)
    mean = torch.tensor([0.5, 3.0], dtype=torch.float64)
    scaled = support_from_target((axisangle, translation), 1, mean)
    torch.testing.assert_close(scaled[:, :3, 3], after[:, :3, 3] * mean[:, None])
    assert torch.equal(scaled[:, :3, :3], after[:, :3, :3])


# Projection


def test_no_motion_moves_no_pixel():
    depth = rand(2, 1, 30, 40, dtype=torch.float32, low=0.1, high=100)
    coords, z = reproject(depth, camera(dtype=torch.float32), torch.eye(4).repeat(2, 1, 1))
    assert torch.equal(coords, grid(2, 30, 40, torch.float32)) and torch.equal(z, depth)


def test_projection_of_single_points():
    depth, K = rand(2, 1, 30, 40, low=2, high=9), camera()
    matrix = motion(rand(2, 3, low=-0.2, high=0.2), rand(2, 3, seed=1, low=-0.5, high=0.5))
    coords, z = reproject(depth, K, matrix)
    for b, x, y in ((0, 0, 0), (0, 39, 29), (1, 7, 21)):
        point = depth[b, 0, y, x] * K[b].inverse() @ torch.tensor([x, y, 1.0], dtype=torch.float64)
        moved = matrix[b, :3, :3] @ point + matrix[b, :3, 3]
        torch.testing.assert_close(z[b, 0, y, x], moved[2])
        torch.testing.assert_close(coords[b, :, y, x], (K[b] @ moved)[:2] / moved[2])


def test_there_and_back():
    """A plane seen from two places: back through the other view's depth, each pixel is where it started."""
    K, depth = camera(1), torch.full((1, 1, 30, 40), 4.0, dtype=torch.float64)
    matrix = motion(torch.zeros(1, 3, dtype=torch.float64), torch.tensor([[0.3, -0.2, 0.7]], dtype=torch.float64))
    there, z = reproject(depth, K, matrix)
    back, _ = reproject(z, K, invert_motion(matrix))
    # Each map is affine, so reading the way back where the way there leads loses nothing.
    returned, inside = sample(back, there), ((there >= 0) & (there <= torch.tensor([39, 29])[:, None, None])).all(1)
    assert inside.double().mean() > 0.5
    torch.testing.assert_close(returned.transpose(0, 1)[:, inside], grid(1, 30, 40).transpose(0, 1)[:, inside])


def test_points_behind_the_camera():
    depth = rand(1, 1, 30, 40, dtype=torch.float32, low=1, high=3).requires_grad_()
    shift = torch.tensor([[0.1, 0.0, -2.0]], requires_grad=True)
    coords, z = reproject(depth, camera(1, dtype=torch.float32), motion(torch.zeros(1, 3), shift))
    assert torch.equal(z < 0, depth < 2) and (z < 0).any() and (z > 0).any()
    sample(rand(1, 3, 30, 40, dtype=torch.float32), coords).sum().backward()
    assert all(torch.isfinite(v).all() for v in (coords, depth.grad, shift.grad))


def test_half_camera_is_that_of_the_averaged_image():
    K = camera(1)
    small = geometry.resize_intrinsics(CameraIntrinsics(90.0, 80.0, 19.3, 14.8, 40, 30), 20, 15)
    np.testing.assert_allclose(half_camera(K)[0].numpy(), small.K, atol=1e-13)
    # A block's centre has the same ray in both images.
    pixel, block = torch.tensor([6.5, 4.5, 1.0], dtype=torch.float64), torch.tensor([3.0, 2, 1], dtype=torch.float64)
    torch.testing.assert_close(K[0].inverse() @ pixel, half_camera(K)[0].inverse() @ block)


# Sampling


@pytest.mark.parametrize("size", [(30, 40), (128, 192), (37, 251)])
def test_identity_warp_is_exact(size):
    images = rand(2, 3, *size, dtype=torch.float32)
    there, _ = reproject(torch.ones(2, 1, *size), camera(dtype=torch.float32), torch.eye(4).repeat(2, 1, 1))
    torch.testing.assert_close(sample(images, there), images, atol=2e-5, rtol=0)
    exact = sample(images.double(), there.double())
    torch.testing.assert_close(exact, images.double(), atol=1e-12, rtol=0)


def test_samples_between_pixels_and_beyond_the_border():
    images = rand(1, 2, 6, 8)
    here = grid(1, 6, 8)
    shifted = sample(images, here + torch.tensor([0.25, 0.0], dtype=torch.float64)[:, None, None])
    torch.testing.assert_close(shifted[..., :-1], 0.75 * images[..., :-1] + 0.25 * images[..., 1:])
    torch.testing.assert_close(shifted[..., -1], images[..., -1])
    far = sample(images, here - torch.tensor([0.0, 1e7], dtype=torch.float64)[:, None, None])
    torch.testing.assert_close(far, images[:, :, :1].expand_as(far))


def test_published_sampling_is_off_by_up_to_half_a_pixel():
    ramp = grid(1, 30, 40)  # an image that says where it was read
    read = sample(ramp, grid(1, 30, 40), align_corners=False)
    want = (grid(1, 30, 40)[:, :1] * 40 / 39 - 0.5).clamp(0, 39)
    torch.testing.assert_close(read[:, :1], want)
    assert 0.4 < (read - ramp).abs().max() <= 0.5


def test_warp_gradient():
    depth = rand(2, 1, 4, 5, low=1, high=2).requires_grad_()
    vector, shift = (rand(2, 3, seed=s, low=-0.03, high=0.03).requires_grad_() for s in (1, 2))
    images, K = rand(2, 2, 4, 5, seed=3).requires_grad_(), camera(fx=5.0, fy=5.0, cx=2.1, cy=1.6)

    def warp(depth, vector, shift, images):
        coords, z = reproject(depth, K, motion(vector, shift))
        return sample(images, coords), z

    assert torch.autograd.gradcheck(warp, (depth, vector, shift, images))


def test_float32_under_autocast():
    depth, K = rand(1, 1, 30, 400, dtype=torch.float32, low=1, high=9), camera(1, cx=200.0, dtype=torch.float32)
    vector, shift = rand(1, 3, dtype=torch.float32, high=0.02), rand(1, 3, seed=1, dtype=torch.float32, high=0.3)
    images = rand(1, 3, 30, 400, dtype=torch.float32)

    def warp():
        coords, z = reproject(depth, half_camera(K), motion(vector, shift))
        return coords, z, sample(images, coords)

    plain = warp()
    with torch.autocast("cpu", torch.bfloat16):
        cast = warp()
        low = sample(images.bfloat16(), plain[0])
        pose = tuple(part.bfloat16().view(1, 1, 1, 3).expand(1, 2, 1, 3) for part in (vector, shift))
        assert support_from_target(pose, 1).dtype == low.dtype == torch.float32
    assert all(a.dtype == torch.float32 and torch.equal(a, b) for a, b in zip(plain, cast, strict=True))


# What does not fit


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: motion(torch.zeros(3), torch.zeros(3)), r"\(3,\)"),
        (lambda: motion(torch.zeros(2, 3), torch.zeros(1, 3)), r"\(2, 3\) and \(1, 3\)"),
        (lambda: support_from_target((torch.zeros(1, 3), torch.zeros(1, 3)), 1), r"\(B, 2, 1, 3\)"),
        (lambda: reproject(torch.ones(1, 4, 5), torch.eye(3)[None], torch.eye(4)[None]), r"\(1, 4, 5\)"),
        (lambda: reproject(torch.ones(2, 1, 4, 5), torch.eye(4).repeat(2, 1, 1), torch.eye(4)[None]), r"\(2, 4, 4\)"),
        (lambda: sample(torch.zeros(1, 3, 4, 5), torch.zeros(2, 2, 4, 5)), r"\(2, 2, 4, 5\)"),
        (lambda: sample(torch.zeros(1, 3, 4, 5), torch.zeros(1, 4, 5, 2)), r"\(1, 4, 5, 2\)"),
    ],
)
def test_wrong_shapes(call, message):
    with pytest.raises(FrameError, match=message):
        call()


def test_a_support_frame_is_another_frame():
    with pytest.raises(ConfigError, match="offset of a support frame is 0"):
        support_from_target((torch.zeros(1, 2, 1, 3), torch.zeros(1, 2, 1, 3)), 0)


# Against the published implementation and real images


def test_golden_motions_and_coordinates(shared_dir):
    values = {name: torch.from_numpy(v) for name, v in np.load(shared_dir / "golden" / "losses.npz").items()}
    for offset in (-1, 1):
        made = support_from_target((values[f"axisangle_{offset}"], values[f"translation_{offset}"]), offset)
        torch.testing.assert_close(made, values[f"tform_{offset}"], atol=1e-6, rtol=1e-4)


def test_true_depth_and_motion_explain_real_images(shared_dir):
    """Stereo gives depth, the recording's poses give motion: warped neighbours look like the target."""
    folder = shared_dir / "data" / "kitti_stereo"
    poses = [np.vstack((row.reshape(3, 4), [0, 0, 0, 1])) for row in np.loadtxt(folder / "poses.txt")]
    left = {i: cv2.imread(str(folder / "left" / f"{i:06d}.jpg"), cv2.IMREAD_GRAYSCALE) for i in (19, 20, 21)}
    right = cv2.imread(str(folder / "right" / "000020.jpg"), cv2.IMREAD_GRAYSCALE)
    matcher = cv2.StereoSGBM.create(numDisparities=96, blockSize=7, P1=400, P2=1600, uniquenessRatio=10)
    disparity = matcher.compute(left[20], right).astype(np.float32) / 16
    known = torch.from_numpy(disparity > 2)[None]
    depth = torch.from_numpy(707.0912 * 0.53715 / np.maximum(disparity, 2))[None, None]
    K = camera(1, 707.0912, 707.0912, 601.8873, 183.1104, torch.float32)
    target, before, after = (torch.from_numpy(left[i])[None, None].float() / 255 for i in (20, 19, 21))

    def error(image, matrix):
        coords, z = reproject(depth, K, torch.from_numpy(matrix).float()[None])
        inside = (coords >= 0).all(1) & (coords[:, 0] < 1225) & (coords[:, 1] < 369) & (z[:, 0] > 0)
        return (sample(image, coords) - target).abs()[:, 0][known & inside].mean()

    for image, i in ((before, 19), (after, 21)):
        true = np.linalg.inv(poses[i]) @ poses[20]
        still, right_way, wrong_way = (error(image, m) for m in (np.eye(4), true, np.linalg.inv(true)))
        assert right_way < 0.7 * still < still < wrong_way, (i, right_way, still, wrong_way)
