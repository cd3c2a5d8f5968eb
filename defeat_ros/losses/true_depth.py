"""Depth against truth, where there is some."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from defeat_ros.geometry import FARTHEST_UNIT, NEAREST_UNIT, disp_to_depth
from defeat_ros.losses.config import LossConfig

DISTANCES = (1, 4, 16)
"""Between the pixels whose depths are compared, px of each scale."""


def true_depth_loss(disps: Mapping[tuple[str, int], Tensor], depth: Tensor, config: LossConfig) -> Tensor:
    """Absolute error of log depth, mean over pixels, samples and scales; learns metres and, first of all, shape.

    One image hardly tells how far away the whole of it is, and an error that all its pixels share pulls every one of
    them the same way, whatever the errors among them. Therefore most of the median error is taken off first (the
    scale-invariant error of Eigen et al., NeurIPS 2014, eq. 3, with a median for the mean), and differences between
    pixels count by themselves (Li and Snavely, CVPR 2018, eq. 4).

    Args:
        disps: see `DepthNet`.
        depth: (B, 1, H, W), m, NaN unknown, +Inf sky. Sky and what lies beyond the networks' range count as its far
            end, whatever the scale. A sample of which nothing is known counts as without error.
        config: how much of the common error is forgiven, and what differences weigh.

    Returns:
        a scalar, 0 where nothing is known.
    """
    losses = []
    for (_, scale), disp in disps.items():
        step = 2**scale
        truth = depth[..., step // 2 :: step, step // 2 :: step]
        known, near = ~truth.isnan(), truth < FARTHEST_UNIT
        wanted = truth.nan_to_num(1.0, posinf=FARTHEST_UNIT).clamp(NEAREST_UNIT, FARTHEST_UNIT).log()
        error = disp_to_depth(disp.float()).log() - wanted
        common = torch.where(near, error.detach(), torch.nan).flatten(1).nanmedian(1).values.nan_to_num()
        forgiven = torch.where(near, config.truth_scale_free * common[:, None, None, None], 0.0)
        loss = _mean_of((error - forgiven).abs(), known)
        if config.truth_differences:
            loss = loss + config.truth_differences * _difference_loss(error, near)
        losses.append(loss)
    return torch.stack(losses).mean()


def _difference_loss(error: Tensor, near: Tensor) -> Tensor:
    """Absolute differences of the errors (B, 1, h, w) of near pixels beside and above each other, over all distances.

    Between near pixels and the sky the difference would hold the error that they share.
    """
    losses = []
    for distance in DISTANCES:
        for axis in (2, 3):
            left = error.shape[axis] - distance
            if left <= 0:
                continue
            (one, other), (here, there) = (
                (maps.narrow(axis, distance, left), maps.narrow(axis, 0, left)) for maps in (error, near)
            )
            losses.append(_mean_of((one - other).abs(), here & there))
    return torch.stack(losses).sum() if losses else error.new_zeros(())


def _mean_of(values: Tensor, known: Tensor) -> Tensor:
    """Mean over the known pixels of each sample, and over all samples: each counts the same in any batch."""
    axes = (1, 2, 3)
    return (torch.where(known, values, 0.0).sum(axes) / known.sum(axes).clamp(min=1)).mean()
