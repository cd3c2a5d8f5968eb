"""Pixel-wise contrastive loss on features of corresponding pixels, hierarchically over groups of channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from defeat_ros.errors import ConfigError, FrameError
from defeat_ros.warp import at_least_float32

# Keeps the gradient of a distance finite at zero; far below what float32 features of length 1 resolve.
SMALLEST_SQUARE = 1e-12


@dataclass(frozen=True)
class Contrast:
    """One level of the hierarchy.

    Attributes:
        margin: distance of features that negatives are pushed apart to.
        alpha: a negative lies at least this far from the true match, px, along x and along y.
        beta: and at most this far; 0 for no limit.
        negatives: how many are drawn for each correspondence.
    """

    margin: float = 0.5
    alpha: float = 0.0
    beta: float = 0.0
    negatives: int = 10


@at_least_float32
def find_correspondences(
    coords: Tensor, mask: Tensor, limit: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Pairs of pixels that show the same point, at random where there are more than asked for.

    Images with few pairs give few: they do not shorten the others' lists.

    Args:
        coords: (B, 2, H, W) where each pixel lands in the other image, px, x then y, rounded to the nearest pixel.
        mask: (B, H, W) bool: pixels that may be used (not masked, in front of the other camera).
        limit: most pairs of one image.
        generator: of random numbers, on the tensors' device.

    Returns:
        image (M,) int64, the pair's image in the batch, and points (M, 4) int32: x and y here, x and y there, all
        of them inside the image. M may be 0.
    """
    height, width = coords.shape[2:]
    there = coords.detach().round().flatten(2)
    x, y = there[:, 0], there[:, 1]
    usable = mask.flatten(1) & (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    if usable.shape[1] > limit:
        # The largest of one random number per usable pixel: without replacement, for all images at once.
        order = torch.rand(usable.shape, generator=generator, device=coords.device).masked_fill_(~usable, -1.0)
        chosen = order.topk(limit, sorted=False).indices
        usable = torch.zeros_like(usable).scatter_(1, chosen, True) & usable
    image, pixel = usable.nonzero(as_tuple=True)
    points = (pixel % width, pixel // width, x[image, pixel], y[image, pixel])
    return image, torch.stack([part.to(torch.int32) for part in points], 1)


def draw_negatives(
    points: Tensor, size_hw: tuple[int, int], contrast: Contrast, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Pixels that do not match, uniform over those whose distance from the match is allowed.

    Args:
        points: (M, 4) int32, see `find_correspondences`.
        size_hw: of the other image, px.
        contrast: the distances and how many.
        generator: of random numbers, on the points' device.

    Returns:
        negatives (M, N, 2) int64, x then y in the other image; and valid (M, N) bool, False where the image has no
        pixel at such a distance, or where without a minimum distance the match itself was drawn.
    """
    nearest = int(-(-contrast.alpha // 1))
    numbers = torch.rand((2, len(points), contrast.negatives), generator=generator, device=points.device)
    drawn, valid = [], torch.ones(numbers.shape[1:], dtype=torch.bool, device=points.device)
    for number, match, size in zip(numbers, points[:, 2:].long().unbind(1), reversed(size_hw), strict=True):
        furthest = int(contrast.beta // 1) or size
        # The allowed pixels are two stretches, before and after the match; with no minimum they touch.
        before = (match - furthest).clamp(min=0)
        after = match + nearest
        count_before = (match - max(nearest, 1) - before + 1).clamp(min=0)
        count = count_before + ((match + furthest).clamp(max=size - 1) - after + 1).clamp(min=0)
        pick = torch.minimum((number * count[:, None]).long(), (count - 1)[:, None])
        place = torch.where(pick < count_before[:, None], before[:, None], (after - count_before)[:, None]) + pick
        valid &= (count > 0)[:, None]
        drawn.append(place)
    negatives = torch.stack(drawn, 2)
    valid &= (negatives != points[:, None, 2:]).any(2)
    return torch.where(valid[:, :, None], negatives, points[:, None, 2:].long()), valid


def descriptors(features: Tensor, image: Tensor, points: Tensor) -> Tensor:
    """Features at pixels.

    Args:
        features: (B, C, H, W).
        image: (M,) int64, index into the batch.
        points: (M, ..., 2) integers, x then y.

    Returns:
        (C, M, ...).
    """
    channels, height, width = features.shape[1:]
    offset = (image * height * width).view(-1, *[1] * (points.ndim - 2))
    index = offset + points[..., 1].long() * width + points[..., 0].long()
    # One index for all channels: on a CPU several times as fast as picking rows, backward above all.
    rows = features.transpose(0, 1).reshape(channels, -1)
    return rows.gather(1, index.view(1, -1).expand(channels, -1)).view(channels, *index.shape)


def positive_loss(here: Tensor, there: Tensor) -> Tensor:
    """Half the squared distance of matching descriptors (C, ...), over the channels; mean, 0 where there are none."""
    squared = (here - there).square().sum(0)
    return squared.sum() / (2 * max(squared.numel(), 1))


def negative_loss(here: Tensor, there: Tensor, margin: float, valid: Tensor | None = None) -> Tensor:
    """Half the squared amount by which descriptors (C, ...) that do not match are closer than the margin.

    The mean over the valid ones (Hadsell et al. 2006, eq. 4), 0 where there are none.
    """
    distance = ((here - there).square().sum(0) + SMALLEST_SQUARE).sqrt()
    squared = (margin - distance).clamp(min=0).square()
    if valid is None:
        return squared.sum() / (2 * max(squared.numel(), 1))
    return (squared * valid).sum() / (2 * valid.sum().clamp(min=1))


@at_least_float32
def contrastive_loss(
    features: Tensor,
    other: Tensor,
    correspondences: tuple[Tensor, Tensor],
    contrasts: Sequence[Contrast] = (Contrast(),),
    generator: torch.Generator | None = None,
) -> Tensor:
    """Features of the same point alike, of other points apart (Spencer et al. 2020, eq. 4; HCA: Spencer et al. 2019).

    Args:
        features: (B, C, H, W).
        other: the same for the other images.
        correspondences: image and points, see `find_correspondences`; without any the loss is 0.
        contrasts: levels of the hierarchy; the channels are split among them as evenly as they go.
        generator: of random numbers, on the tensors' device.

    Returns:
        scalar, at least 0: sum over the levels of the mean over pairs.

    Raises:
        FrameError: the shapes differ.
        ConfigError: there are fewer channels than levels.
    """
    if features.ndim != 4 or features.shape != other.shape:
        shapes = f"{tuple(features.shape)} and {tuple(other.shape)}"
        raise FrameError(f"features are {shapes}, expected the same (B, C, H, W)")
    if features.shape[1] < len(contrasts):
        raise ConfigError(
            f"features have {features.shape[1]} channels, expected at least {len(contrasts)}, one a level"
        )
    image, points = correspondences
    here = descriptors(features, image, points[:, :2]).tensor_split(len(contrasts))
    there = descriptors(other, image, points[:, 2:]).tensor_split(len(contrasts))
    parts = other.tensor_split(len(contrasts), 1)
    total = features.new_zeros(())
    for contrast, part, mine, match in zip(contrasts, parts, here, there, strict=True):
        negatives, valid = draw_negatives(points, (features.shape[2], features.shape[3]), contrast, generator)
        apart = descriptors(part, image, negatives)
        total = total + positive_loss(mine, match) + negative_loss(mine[:, :, None], apart, contrast.margin, valid)
    return total
