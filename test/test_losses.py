"""The losses: published numbers, gradients, invariances, and what the published code got wrong."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from defeat_ros.errors import ConfigError, FrameError
from defeat_ros.losses import DeFeatLoss, LossConfig, contrastive, defeat_loss, photometric
from defeat_ros.losses.contrastive import (
    Contrast,
    contrastive_loss,
    descriptors,
    draw_negatives,
    find_correspondences,
    negative_loss,
    positive_loss,
)
from defeat_ros.losses.photometric import Target, box, minimum_error, photometric_error
from defeat_ros.losses.smoothness import smoothness_loss
from defeat_ros.settings import build

PUBLISHED = LossConfig(align_corners=False, native_scales=False, translation="inverse_depth")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def rand(*shape, seed=0, dtype=torch.float32):
    return torch.rand(*shape, generator=seeded(seed), dtype=dtype)


def double(*shape, seed=0):
    return rand(*shape, seed=seed, dtype=torch.float64).requires_grad_()


def scene(batch=2, height=32, width=64, features=0, scales=range(4), seed=0):
    """Arguments of DeFeatLoss: smooth random images, the support frames a few pixels to either side."""
    wide = F.avg_pool2d(rand(batch, 3, height + 8, width + 24, seed=seed), 5, 1, 2) * 2
    target, *supports = (wide[..., 4 : 4 + height, x : x + width].contiguous() for x in (12, 8, 16))
    disps = {("disp", s): (0.02 + 0.05 * rand(batch, 1, height >> s, width >> s, seed=s)) for s in scales}
    poses = [(0.02 * (rand(batch, 2, 1, 3, seed=i) - 0.5), 0.3 * (rand(batch, 2, 1, 3, seed=i) - 0.5)) for i in (5, 6)]
    K = torch.tensor([[40.0, 0, 30.0], [0, 42.0, 17.0], [0, 0, 1]]).repeat(batch, 1, 1)
    given = {"disps": disps, "target": target, "supports": supports, "poses": poses, "offsets": [-1, 1], "K": K}
    if features:
        maps = [F.normalize(rand(batch, features, height, width, seed=s) - 0.5, dim=1) for s in (7, 8, 9)]
        given.update(features=maps[0], support_features=maps[1:])
    return given


def in_float64(value):
    if isinstance(value, torch.Tensor):
        return value.double()
    if isinstance(value, dict):
        return {key: in_float64(item) for key, item in value.items()}
    return type(value)(map(in_float64, value)) if isinstance(value, (list, tuple)) else value


def tracked(given):
    """Every tensor that networks predict, asking for gradients."""
    pairs = [tensor for pose in given["poses"] for tensor in pose]
    maps = [given["features"], *given["support_features"]] if "features" in given else []
    found = [*given["disps"].values(), *pairs, *maps]
    return [tensor.requires_grad_() for tensor in found]


# Against the published implementation


@pytest.fixture(scope="module")
def golden(shared_dir, golden_network):
    folder, network = shared_dir / "golden", golden_network[1]
    values = {name: torch.from_numpy(value) for name, value in np.load(folder / "losses.npz").items()}
    with torch.no_grad():
        disps = network.depth_net(values["target"])
        features = [network.feat_net(values[name]) for name in ("target", "prev", "next")]
    given = {
        "target": values["target"],
        "supports": [values["prev"], values["next"]],
        "poses": [(values[f"axisangle_{o}"], values[f"translation_{o}"]) for o in (-1, 1)],
        "offsets": [-1, 1],
        "K": values["K"][:3, :3].expand(2, 3, 3),
    }
    return values, disps, features, given


@pytest.mark.parametrize("suffix", ["", "__align_corners"])
def test_published_losses(golden, suffix):
    values, disps, features, given = golden
    config = replace(PUBLISHED, align_corners=bool(suffix), smoothness=1.0)
    photometric_losses = []
    for scale in range(4):
        extra = {"features": features[0], "support_features": features[1:]} if scale == 0 else {}
        only = {("disp", scale): disps["disp", scale]}
        _, terms = DeFeatLoss(config, tie_noise=0)(only, **given, **extra, generator=seeded())
        photometric_losses.append(values[f"photometric_loss_{scale}{suffix}"])
        torch.testing.assert_close(terms["photometric"], photometric_losses[-1], rtol=1e-5, atol=0)
        torch.testing.assert_close(terms["smoothness"], values[f"smoothness_loss_{scale}"], rtol=1e-5, atol=0)
        if scale == 0:
            torch.testing.assert_close(terms["feature"], values[f"feature_loss_0{suffix}"], rtol=1e-4, atol=0)
            still = (values[f"automask_0{suffix}"] < 2).float().mean()
            torch.testing.assert_close(terms["automasked"], still, rtol=0, atol=1e-4)
    _, terms = DeFeatLoss(config, tie_noise=0)(disps, **given)
    torch.testing.assert_close(terms["photometric"], torch.stack(photometric_losses).mean(), rtol=1e-5, atol=0)


def test_published_warp(golden, monkeypatch):
    values, disps, _, given = golden
    seen = {}
    for name in ("sample", "photometric_error", "minimum_error"):
        call = getattr(defeat_loss, name)
        monkeypatch.setattr(
            defeat_loss, name, lambda *a, n=name, c=call: seen.setdefault(n, []).append((a, c(*a))) or seen[n][-1][1]
        )
    DeFeatLoss(PUBLISHED, tie_noise=0)({("disp", 0): disps["disp", 0]}, **given)
    (_, coords, _), warped = seen["sample"][0]
    want = values["pixel_coords_prev_0"].permute(0, 3, 1, 2)
    torch.testing.assert_close(coords[:2], want, rtol=1e-4, atol=2e-3)
    torch.testing.assert_close(warped[:2], values["warped_prev_0"].float(), rtol=0, atol=1e-3)
    error = seen["photometric_error"][1][1]
    torch.testing.assert_close(error[0], values["ssim_map_prev_0"].float()[:, 0], rtol=0, atol=2e-3)
    index = seen["minimum_error"][0][1][1]
    assert (index == values["automask_0"][:, 0]).float().mean() > 0.9999


def test_published_contrast(golden):
    values, _, features, _ = golden
    image = torch.arange(2).repeat_interleave(500)
    points = values["kpts"].flatten(0, 1)
    here = descriptors(features[0], image, points[:, :2])
    there = descriptors(features[1], image, points[:, 2:])
    for made, name in (
        (positive_loss(here, there), "positive"),
        (negative_loss(here, there, 0.5), "negative_given"),
        (negative_loss(here, there, 2.0), "negative_given_margin2"),
        ((here - there).norm(dim=0).mean(), "distance_mean"),
    ):
        torch.testing.assert_close(made, values[f"contrastive_{name}"], rtol=1e-4, atol=0)


# Photometric error


@pytest.mark.parametrize("size", [(2, 2), (2, 5), (7, 9)])
def test_box_is_the_mean_of_the_reflected_image(size):
    x, y = rand(2, 3, *size, dtype=torch.float64), rand(2, 3, *size, seed=1, dtype=torch.float64)
    want = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), 3, 1)
    torch.testing.assert_close(box(x), want)
    torch.testing.assert_close((box(x) * y).sum(), (x * box(y, adjoint=True)).sum())


def plain_error(image, target, weight=0.85):
    def mean(x):
        return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), 3, 1)

    m, n = mean(image), mean(target)
    variances = mean(image**2) - m**2 + mean(target**2) - n**2
    ssim = (2 * m * n + 1e-4) * (2 * (mean(image * target) - m * n) + 9e-4) / (m**2 + n**2 + 1e-4) / (variances + 9e-4)
    return (weight * ((1 - ssim) / 2).clamp(0, 1) + (1 - weight) * (image - target).abs()).mean(1)


def test_error_and_its_gradients_are_those_of_the_formula(monkeypatch):
    images, target = double(6, 3, 12, 10), double(2, 3, 12, 10, seed=1)
    weights = rand(3, 2, 12, 10, seed=2, dtype=torch.float64)
    plain = torch.stack([plain_error(part, target) for part in images.split(2)])
    want = torch.autograd.grad((plain * weights).sum(), (images, target))
    for cached in (1, photometric.CACHED):  # a channel at a time, all at once
        monkeypatch.setattr(photometric, "CACHED", cached)
        made = photometric_error(images, Target(target))
        torch.testing.assert_close(made, plain)
        torch.testing.assert_close(torch.autograd.grad((made * weights).sum(), (images, target)), want)
    assert torch.autograd.gradcheck(
        lambda i, t: photometric_error(i, Target(t), 0.6), (images[:4, :2, :4, :5], target[:, :2, :4, :5])
    )


def test_gradient_of_the_target_alone():
    images, target = rand(4, 3, 6, 7, dtype=torch.float64), double(2, 3, 6, 7, seed=1)
    assert torch.autograd.gradcheck(lambda t: photometric_error(images, Target(t)), (target,))


def test_error_range_and_layouts():
    target = rand(2, 3, 16, 24)
    same = photometric_error(target.repeat(2, 1, 1, 1), Target(target))
    assert same.shape == (2, 2, 16, 24) and same.abs().max() < 1e-6
    inverted = photometric_error(1 - target, Target(target))
    assert inverted.min() > 0.2 and inverted.max() <= 1
    for flat in (0.0, 1.0):  # nothing to divide by
        assert (
            photometric_error(torch.full_like(target, flat), Target(torch.full_like(target, flat))).abs().max() < 1e-6
        )
    other = rand(2, 3, 16, 24, seed=1)
    rows = photometric_error(*(other, Target(target)))
    channels_last = target.to(memory_format=torch.channels_last)
    assert torch.equal(photometric_error(other.to(memory_format=torch.channels_last), Target(channels_last)), rows)


def test_minimum():
    warped = torch.tensor([0.3, 0.1, 0.5, 0.3]).view(2, 1, 1, 2)
    still = torch.tensor([0.4, 0.2, 0.2, 0.1]).view(2, 1, 1, 2)
    error, index = minimum_error(warped, still)
    assert error.flatten().tolist() == pytest.approx([0.2, 0.1]) and index.flatten().tolist() == [1, 1]
    error, index = minimum_error(warped, None)
    assert error.flatten().tolist() == pytest.approx([0.3, 0.1]) and index.flatten().tolist() == [0, 0]
    error, index = minimum_error(warped, still + 1)
    assert index.flatten().tolist() == [2, 2]


# Smoothness


def test_smoothness():
    images, disp = rand(2, 3, 8, 10), rand(2, 1, 8, 10, seed=1)
    assert smoothness_loss(torch.full_like(disp, 0.3), images) == 0
    torch.testing.assert_close(smoothness_loss(0.1 * disp, images), smoothness_loss(disp, images))
    assert smoothness_loss(disp, images) < smoothness_loss(disp, torch.zeros_like(images))
    step = torch.tensor([1.0, 1, 3, 3]).expand(1, 1, 4, 4)
    # Four steps of (3 - 1) / 2 in 16 pixels, under an edge of 0.5 in the image.
    torch.testing.assert_close(
        smoothness_loss(step, step.repeat(1, 3, 1, 1) / 4), torch.tensor(4 / 16 * np.exp(-0.5)).float()
    )
    small = double(1, 1, 4, 5), double(1, 3, 4, 5, seed=1)
    assert torch.autograd.gradcheck(smoothness_loss, small)


# Correspondences and negatives


def coordinates(*size, dx=0.0, dy=0.0):
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    return torch.stack((x + dx, y + dy)).float()[None]


def test_correspondences_are_masked_and_inside():
    coords, mask = coordinates(5, 7, dx=-0.4, dy=1.3), torch.ones(1, 5, 7, dtype=torch.bool)
    mask[0, :, 3] = False
    coords[0, :, 0, 1], coords[0, :, 0, 2] = float("nan"), float("inf")
    image, points = find_correspondences(coords, mask, 100)
    assert points.dtype == torch.int32 and set(image.tolist()) == {0}
    found = {tuple(row) for row in points.tolist()}
    # Pixel 0 of row and column takes part, the masked column does not, and row 4 would leave the image.
    want = {(x, y, x, y + 1) for x in (0, 1, 2, 4, 5, 6) for y in range(4)} - {(1, 0, 1, 1), (2, 0, 2, 1)}
    assert found == want
    assert (0, 0, 0, 0) in {tuple(row) for row in find_correspondences(coordinates(5, 7), mask, 100)[1].tolist()}


def test_few_correspondences_of_one_image_do_not_shorten_the_others():
    coords = coordinates(20, 30).repeat(3, 1, 1, 1)
    mask = torch.ones(3, 20, 30, dtype=torch.bool)
    mask[1], mask[2, :, 3:] = False, False
    image, points = find_correspondences(coords, mask, 250, seeded())
    assert image.bincount(minlength=3).tolist() == [250, 0, 60]
    assert len({tuple(row) for row in points[image == 0].tolist()}) == 250  # without replacement
    again, same = (find_correspondences(coords, mask, 250, seeded(seed))[1] for seed in (1, 0))
    assert torch.equal(same, points) and not torch.equal(again, points)


def test_coordinates_beyond_16_bits():
    coords = coordinates(1, 40000)
    _, points = find_correspondences(coords, torch.ones(1, 1, 40000, dtype=torch.bool), 40000)
    assert points[-1].tolist() == [39999, 0, 39999, 0]
    features = torch.arange(40000.0).view(1, 1, 1, -1)
    assert torch.equal(
        descriptors(features, torch.zeros(40000, dtype=torch.long), points[:, 2:])[0], features.flatten()
    )


@pytest.mark.parametrize(("alpha", "beta"), [(0, 0), (1, 0), (5, 0), (0, 3), (5, 9), (4.2, 4.2 + 1), (15, 0)])
def test_negatives_keep_their_distance(alpha, beta):
    height, width = 32, 48
    _, points = find_correspondences(coordinates(height, width), torch.ones(1, height, width, dtype=torch.bool), 9999)
    negatives, valid = draw_negatives(points, (height, width), Contrast(0.5, alpha, beta, 20), seeded())
    assert valid.float().mean() > 0.97
    inside = (negatives >= 0).all(2) & (negatives[..., 0] < width) & (negatives[..., 1] < height)
    distance = (negatives - points[:, None, 2:]).abs()
    assert inside.all() and negatives.amin((0, 1)).tolist() == [0, 0]
    assert negatives.amax((0, 1)).tolist() == [width - 1, height - 1]  # up to the border
    assert (distance[valid] >= alpha).all() and (distance[valid].amax(1) > 0).all()
    assert not beta or (distance[valid] <= beta).all()


def test_negatives_are_uniform_over_what_is_allowed():
    points = torch.tensor([[0, 0, 3, 1]], dtype=torch.int32)
    negatives, valid = draw_negatives(points, (8, 10), Contrast(0.5, 2, 4, 60000), seeded())
    allowed = [(x, y) for x in (0, 1, 5, 6, 7) for y in (3, 4, 5)]
    counts = dict.fromkeys(allowed, 0)
    for x, y in negatives[0].tolist():
        counts[x, y] += 1
    assert valid.all() and max(abs(count / 60000 - 1 / 15) for count in counts.values()) < 0.005


def test_distances_that_the_image_has_not():
    points = torch.tensor([[0, 0, 5, 4], [0, 0, 0, 0]], dtype=torch.int32)
    negatives, valid = draw_negatives(points, (9, 11), Contrast(alpha=6), seeded())
    assert not valid[0].any() and valid[1].all() and (negatives[1] >= 6).all()
    features = rand(1, 4, 9, 11).requires_grad_()
    found = (torch.zeros(1, dtype=torch.long), points[:1])
    loss = contrastive_loss(features, features.detach(), found, (Contrast(alpha=6),), seeded())
    assert torch.isfinite(loss)


# Contrastive loss


def test_distance_is_over_the_channels():
    """The published code reduces the points in today's torch: more points, larger loss."""
    for count in (1, 50, 5000):
        here, there = torch.zeros(4, count), torch.full((4, count), 0.5)
        torch.testing.assert_close(positive_loss(here, there), torch.tensor(0.5))
        torch.testing.assert_close(negative_loss(here, there, 1.4), torch.tensor(0.08))
        assert negative_loss(here, there, 1.0) < 1e-12


def test_contrastive_gradient_and_equal_features():
    features, other = double(2, 4, 5, 6), double(2, 4, 5, 6, seed=1)
    found = find_correspondences(
        coordinates(5, 6, dx=1).repeat(2, 1, 1, 1), torch.ones(2, 5, 6, dtype=torch.bool), 10, seeded()
    )
    levels = (Contrast(0.5, 0, 2, 3), Contrast(1.5, 1, 0, 4))
    assert torch.autograd.gradcheck(lambda a, b: contrastive_loss(a, b, found, levels, seeded()), (features, other))
    flat = torch.ones(2, 4, 5, 6, requires_grad=True)
    loss = contrastive_loss(flat, flat, found, (Contrast(0.5),), seeded())
    loss.backward()
    torch.testing.assert_close(loss.detach(), torch.tensor(0.125))  # negatives at distance 0
    assert torch.isfinite(flat.grad).all()


def test_no_correspondence_is_no_loss():
    features = rand(2, 3, 5, 6).requires_grad_()
    found = find_correspondences(coordinates(5, 6).repeat(2, 1, 1, 1), torch.zeros(2, 5, 6, dtype=torch.bool), 10)
    loss = contrastive_loss(features, rand(2, 3, 5, 6, seed=1), found)
    loss.backward()
    assert loss == 0 and features.grad is not None and not features.grad.any()


def test_hierarchy_splits_the_channels():
    features, other = rand(1, 5, 8, 9), rand(1, 5, 8, 9, seed=1)
    found = find_correspondences(coordinates(8, 9), torch.ones(1, 8, 9, dtype=torch.bool), 99)
    levels = (Contrast(0.5, 2, 0, 5), Contrast(0.7, 0, 3, 5))
    both, generator = contrastive_loss(features, other, found, levels, seeded()), seeded()
    parts = [(slice(0, 3), levels[0]), (slice(3, 5), levels[1])]
    alone = [contrastive_loss(features[:, c], other[:, c], found, (level,), generator) for c, level in parts]
    torch.testing.assert_close(both, sum(alone))
    with pytest.raises(ConfigError, match="1 channels, expected at least 2"):
        contrastive_loss(features[:, :1], other[:, :1], found, levels)


# Configuration


def test_numbers_are_read_and_lists_filled():
    config = build(LossConfig, {"alphas": ["25", 0], "betas": [0, 50], "smoothness": "1e-2"})
    assert config.contrasts == (Contrast(0.5, 25.0, 0.0, 10), Contrast(0.5, 0.0, 50.0, 10))
    assert config.smoothness == 0.01 and LossConfig(alphas=("3",)).alphas == (3.0,)
    assert LossConfig().contrasts == (Contrast(),)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alphas": ("near",)}, "'near'"),
        ({"alphas": ()}, "'alphas' is ()"),
        ({"alphas": (1.0, 2.0), "betas": (5.0, 6.0, 7.0)}, "expected 1 or 3 values"),
        ({"alphas": (9.0,), "betas": (5.0,)}, "'betas' has 5.0, expected 0 or at least alpha 9.0"),
        ({"ssim_weight": 1.5}, "'ssim_weight' is 1.5, expected 0 to 1"),
        ({"translation": "metres"}, "scene_units"),
        ({"correspondences": 0}, "'correspondences' is 0"),
        ({"negatives": (2.5,)}, "2.5"),
    ],
)
def test_configurations_that_make_no_sense(options, message):
    for make in (lambda: LossConfig(**options), lambda: build(LossConfig, options)):
        with pytest.raises(ConfigError) as caught:
            make()
        assert message in str(caught.value)


# The whole loss


@pytest.mark.parametrize("config", [LossConfig(), PUBLISHED, LossConfig(automask=False, native_scales=False)])
def test_terms_add_up_and_everything_gets_a_gradient(config):
    given = scene(features=4)
    inputs = tracked(given)
    loss, terms = DeFeatLoss(config)(**given, generator=seeded())
    assert list(terms) == ["photometric", "smoothness", "feature", "contrastive", "automasked"]
    share = terms.pop("automasked")
    assert (0 < share < 1) if config.automask else share == 0
    assert all(term.ndim == 0 and not term.requires_grad and term > 0 for term in terms.values())
    torch.testing.assert_close(sum(terms.values()), loss.detach())
    loss.backward()
    for tensor in inputs:
        assert torch.isfinite(tensor.grad).all() and tensor.grad.any()


@pytest.mark.parametrize("scales", [(0,), (2,), (1, 3), (0, 1, 2, 3)])
@pytest.mark.parametrize("native", [True, False])
def test_any_scales(scales, native):
    given = scene(features=3, scales=scales)
    config = LossConfig(native_scales=native)
    _, terms = DeFeatLoss(config, tie_noise=0)(**given, generator=seeded())
    alone = [
        DeFeatLoss(config, tie_noise=0)(
            **{**given, "disps": {("disp", s): given["disps"]["disp", s]}}, generator=seeded()
        )
        for s in scales
    ]
    for name in ("photometric", "smoothness"):
        torch.testing.assert_close(terms[name], sum(parts[name] for _, parts in alone) / len(scales))
    for name in ("feature", "contrastive"):  # at the finest scale, weighed by the mean
        torch.testing.assert_close(terms[name], alone[0][1][name] / len(scales))


def test_depth_and_motion_alone():
    given = scene()
    _, terms = DeFeatLoss()(**given)
    assert list(terms) == ["photometric", "smoothness", "automasked"]
    _, terms = DeFeatLoss(LossConfig(contrastive_weight=0))(**scene(features=3))
    assert "contrastive" not in terms and "feature" in terms
    one = {**given, "supports": given["supports"][:1], "poses": given["poses"][:1], "offsets": [-1]}
    assert torch.isfinite(DeFeatLoss()(**one)[0])


def test_generator_decides_every_random_choice():
    given, loss = scene(features=4), DeFeatLoss(LossConfig(correspondences=200))
    first, same, other = (loss(**given, generator=seeded(seed))[0] for seed in (0, 0, 1))
    assert torch.equal(first, same) and not torch.equal(first, other)


@pytest.mark.parametrize("config", [LossConfig(), PUBLISHED])
@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize("exact", [False, True])
def test_mirrored_world_has_the_same_loss(config, axis, exact):
    given = scene(features=3)
    if exact:
        given = in_float64(given)
    mirrored = dict(given, K=given["K"].clone())
    row = 0 if axis == 3 else 1
    mirrored["K"][:, row, 2] = given["target"].shape[axis] - 1 - given["K"][:, row, 2]
    for name in ("supports", "support_features"):
        mirrored[name] = [image.flip(axis) for image in given[name]]
    mirrored.update(target=given["target"].flip(axis), features=given["features"].flip(axis))
    mirrored["disps"] = {key: disp.flip(axis) for key, disp in given["disps"].items()}
    # Translation changes sign along the mirrored axis, rotation about the two others.
    sign = torch.tensor([-1.0, 1, 1]) if axis == 3 else torch.tensor([1.0, -1, 1])
    mirrored["poses"] = [(-sign * vector, sign * shift) for vector, shift in given["poses"]]
    loss = DeFeatLoss(replace(config, contrastive_weight=0), tie_noise=0)
    (_, terms), (_, same) = loss(**given), loss(**mirrored)
    # In float32 two frames' errors may be equal up to rounding, and the features follow the choice.
    for name in ("photometric", "smoothness", "feature"):
        rtol = 1e-10 if exact else 1e-3 if name == "feature" else 1e-5
        torch.testing.assert_close(same[name], terms[name], rtol=rtol, atol=0)


def test_autocast_changes_nothing():
    given = scene(features=4)
    plain, _ = DeFeatLoss()(**given, generator=seeded())
    with torch.autocast("cpu", torch.bfloat16):
        cast, terms = DeFeatLoss()(**given, generator=seeded())
        low = {**given, "features": given["features"].bfloat16()}
        low["support_features"] = [part.bfloat16() for part in given["support_features"]]
        low["disps"] = {key: disp.bfloat16() for key, disp in given["disps"].items()}
        near, _ = DeFeatLoss()(**low, generator=seeded())
    assert torch.equal(cast, plain) and cast.dtype == near.dtype == torch.float32
    assert all(term.dtype == torch.float32 for term in terms.values())
    torch.testing.assert_close(near, plain, rtol=0.05, atol=0)


def test_true_motion_beats_standing_still():
    """A wall that the camera passes: the true depth and motion explain the support frames, others do not."""
    texture = F.avg_pool2d(rand(1, 3, 32, 96), 3, 1, 1)
    target, *supports = (texture[..., x : x + 64] for x in (16, 13, 19))
    K = torch.tensor([[[40.0, 0, 31.5], [0, 40, 15.5], [0, 0, 1]]])

    def error(depth, shift):
        disps = {("disp", 0): torch.full((1, 1, 32, 64), (1 / depth - 0.01) / 9.99)}
        # The camera moves to the right, so that the later frame sees the wall further to the left.
        pose = (torch.zeros(1, 2, 1, 3), torch.tensor([shift, 0, 0]).expand(1, 2, 1, 3))
        loss = DeFeatLoss(tie_noise=0)
        return loss(disps, target, supports, [pose, pose], [-1, 1], K)[1]

    true = error(4.0, -0.3)  # 40 px * 0.3 / 4 = 3 px
    wrong, opposite, still = error(8.0, -0.3), error(4.0, 0.3), error(4.0, 0.0)
    assert true["photometric"] < 0.1 * min(t["photometric"] for t in (wrong, opposite, still))
    assert true["automasked"] < 0.05 and opposite["automasked"] > 0.2


def test_static_pixels_are_no_correspondences(monkeypatch):
    """In the published code every automasked pixel becomes one of the first support frame."""
    given, masks = scene(features=3), []
    given["supports"] = [given["target"].clone() for _ in given["supports"]]
    inputs = tracked(given)
    call = contrastive.find_correspondences
    monkeypatch.setattr(defeat_loss, "find_correspondences", lambda *a: masks.append(a[1]) or call(*a))
    loss, terms = DeFeatLoss()(**given, generator=seeded())
    assert terms["automasked"] == 1 and terms["contrastive"] == 0
    assert len(masks) == 2 and not any(mask.any() for mask in masks)
    loss.backward()
    assert all(tensor.grad is not None for tensor in inputs)


def test_points_behind_the_camera_are_no_correspondences(monkeypatch):
    given, masks = scene(batch=1, features=3, scales=[0]), []
    depth = 1 + rand(1, 1, 32, 64)
    given["disps"] = {("disp", 0): (1 / depth - 0.01) / 9.99}
    given["poses"] = [(torch.zeros(1, 2, 1, 3), torch.tensor([0, 0, z]).expand(1, 2, 1, 3)) for z in (1.5, -1.5)]
    monkeypatch.setattr(
        defeat_loss,
        "find_correspondences",
        lambda c, m, *a: masks.append(m) or contrastive.find_correspondences(c, m, *a),
    )
    DeFeatLoss(LossConfig(automask=False))(**given, generator=seeded())
    # The earlier frame's motion is inverted: both move 1.5 units forward, past the nearest points.
    assert len(masks) == 2 and any(mask.any() for mask in masks)
    assert not any((mask & (depth[:, 0] <= 1.5)).any() for mask in masks)


def test_channels_last_and_float64_intrinsics():
    given = scene(features=3)
    want, _ = DeFeatLoss()(**given, generator=seeded())
    last = {**given, "K": given["K"].double()}
    for name in ("target", "features"):
        last[name] = given[name].to(memory_format=torch.channels_last)
    for name in ("supports", "support_features"):
        last[name] = [image.to(memory_format=torch.channels_last) for image in given[name]]
    torch.testing.assert_close(DeFeatLoss()(**last, generator=seeded())[0], want)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": torch.zeros(3, 32, 64)}, r"target is \(3, 32, 64\)"),
        ({"target": torch.zeros(2, 3, 32, 64, dtype=torch.uint8)}, "uint8"),
        ({"supports": [torch.zeros(2, 3, 32, 63)] * 2}, r"\(2, 3, 32, 63\), expected the target's"),
        ({"supports": []}, r"\(0, 2, 2\)"),
        ({"offsets": [-1]}, r"\(2, 2, 1\)"),
        ({"poses": []}, r"\(2, 0, 2\)"),
        ({"K": torch.eye(4).repeat(2, 1, 1)}, r"K is \(2, 4, 4\), expected \(2, 3, 3\)"),
        ({"disps": {}}, "at least one scale"),
        (
            {"disps": {("disp", 1): torch.zeros(2, 1, 32, 64)}},
            r"scale 1 is \(2, 1, 32, 64\), expected \(2, 1, 16, 32\)",
        ),
        ({"features": None}, r"\(0, 2\), expected \(1, 2\)"),
        ({"support_features": None}, r"\(1, 0\)"),
        ({"support_features": [torch.zeros(2, 4, 16, 32)] * 2}, r"\(2, 4, 16, 32\)"),
        ({"poses": [(torch.zeros(2, 6), torch.zeros(2, 6))] * 2}, r"\(B, 2, 1, 3\)"),
    ],
)
def test_what_does_not_fit(change, message):
    with pytest.raises(FrameError, match=message):
        DeFeatLoss()(**{**scene(features=4), **change})


def test_parts_that_do_not_fit():
    with pytest.raises(FrameError, match=r"\(1, 3, 1, 5\)"):
        Target(torch.zeros(1, 3, 1, 5))
    with pytest.raises(FrameError, match=r"\(3, 3, 8, 8\) and \(2, 3, 8, 8\)"):
        photometric_error(torch.zeros(3, 3, 8, 8), Target(torch.zeros(2, 3, 8, 8)))
    with pytest.raises(FrameError, match=r"\(1, 1, 4, 4\) and \(1, 3, 4, 5\)"):
        smoothness_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 3, 4, 5))
    with pytest.raises(FrameError, match=r"expected the same \(B, C, H, W\)"):
        contrastive_loss(torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4, 4), (torch.zeros(0), torch.zeros(0, 4)))
    with pytest.raises(ConfigError, match="4 channels, expected at least 5"):
        DeFeatLoss(LossConfig(alphas=(0.0, 1, 2, 3, 4)))(**scene(features=4))
    with pytest.raises(ConfigError, match="offset of a support frame is 0"):
        DeFeatLoss()(**{**scene(), "offsets": [-1, 0]})
