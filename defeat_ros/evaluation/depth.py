"""How far a depth map is from the truth."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from defeat_ros.errors import ConfigError, FrameError
from defeat_ros.evaluation.options import CROPS
from defeat_ros.preprocess import resize_map

METRICS = ("abs_rel", "sq_rel", "rmse", "rmse_log", "a1", "a2", "a3")

MIN_TRUTH_M, MAX_TRUTH_M = 1e-3, 80.0

_GARG_ROWS, _GARG_COLUMNS = (0.40810811, 0.99189189), (0.03594771, 0.96405229)


def garg_crop(size_hw: tuple[int, int]) -> np.ndarray:
    """The part of a KITTI image that counts (Garg et al., ECCV 2016): (H, W) bool."""
    height, width = size_hw
    top, bottom = (int(share * height) for share in _GARG_ROWS)
    left, right = (int(share * width) for share in _GARG_COLUMNS)
    mask = np.zeros(size_hw, bool)
    mask[top:bottom, left:right] = True
    return mask


def comparable(
    truth: np.ndarray, min_m: float = MIN_TRUTH_M, max_m: float = MAX_TRUTH_M, crop: str = "none"
) -> np.ndarray:
    """The pixels that count: truth within (min_m, max_m), inside the crop; (H, W) bool.

    Raises:
        ConfigError: the crop is not one of `CROPS`.
    """
    if crop not in CROPS:
        raise ConfigError(f"crop is {crop!r}, expected one of {', '.join(CROPS)}")
    with np.errstate(invalid="ignore"):
        valid: np.ndarray = np.isfinite(truth) & (truth > min_m) & (truth < max_m)
    return valid & garg_crop((truth.shape[0], truth.shape[1])) if crop == "garg" else valid


def at_size(depth: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Depth (h, w) at another size: its inverse is resized bilinearly, as the protocol of Eigen et al. does.

    Returns:
        (H, W) float32; +Inf stays where all four neighbours are +Inf, NaN wherever one is NaN, else -Inf (too close)
        wherever one is -Inf.
    """
    if depth.shape == size_hw:
        return depth
    close = np.isneginf(depth)
    with np.errstate(divide="ignore"):
        made = 1.0 / resize_map((1.0 / depth).astype(np.float32), size_hw)
    if close.any():  # their inverse is 0, as that of the sky
        made[(resize_map(close.astype(np.float32), size_hw) > 0) & ~np.isnan(made)] = -np.inf
    return made


def depth_errors(
    depth: np.ndarray,
    truth: np.ndarray,
    median_scaling: bool,
    min_m: float = MIN_TRUTH_M,
    max_m: float = MAX_TRUTH_M,
    crop: str = "none",
) -> dict[str, float] | None:
    """The errors of Eigen et al. (NIPS 2014) over the pixels whose truth lies in the range.

    Args:
        depth: (H, W), positive, metres or scene units; after scaling, pixels that are not finite or not positive
            count as `max_m`, but -Inf (too close) as `min_m`.
        truth: (H, W), metres; not finite or outside (min_m, max_m): ignored.
        median_scaling: multiply the depth by median(truth) / median(depth) first.
        crop: 'garg' counts only the part of the image that KITTI's protocol counts.

    Returns:
        abs_rel, sq_rel, rmse (m), rmse_log, a1, a2, a3 and `scale`, the factor that was applied (NaN: median
        scaling of a depth without any finite pixel); None where no pixel has truth.

    Raises:
        FrameError: the sizes differ.
        ConfigError: the crop is unknown.
    """
    if depth.shape != truth.shape:
        raise FrameError(f"depth is {depth.shape}, expected the size of the truth, {truth.shape}")
    valid = comparable(truth, min_m, max_m, crop)
    if not valid.any():
        return None
    gt = truth[valid].astype(np.float64)
    predicted, scale = scaled_depth(depth[valid], gt, median_scaling, min_m, max_m)
    ratio = np.maximum(gt / predicted, predicted / gt)
    difference = predicted - gt
    return {
        "abs_rel": float(np.mean(np.abs(difference) / gt)),
        "sq_rel": float(np.mean(difference**2 / gt)),
        "rmse": float(np.sqrt(np.mean(difference**2))),
        "rmse_log": float(np.sqrt(np.mean((np.log(predicted) - np.log(gt)) ** 2))),
        **{f"a{n}": float(np.mean(ratio < 1.25**n)) for n in (1, 2, 3)},
        "scale": scale,
    }


def scaled_depth(
    predicted: np.ndarray, gt: np.ndarray, median_scaling: bool, min_m: float = MIN_TRUTH_M, max_m: float = MAX_TRUTH_M
) -> tuple[np.ndarray, float]:
    """Predictions (N,) brought to the scale of the truth (N,) and into its range, and the factor that did it.

    The factor is 1 without median scaling, NaN where it cannot be told: no prediction is finite and positive.
    """
    predicted = predicted.astype(np.float64)
    with np.errstate(invalid="ignore"):
        known = np.isfinite(predicted) & (predicted > 0)
    scale = 1.0
    if median_scaling:
        scale = float(np.median(gt[known]) / np.median(predicted[known])) if known.any() else float("nan")
    filled = np.where(known, predicted * scale, np.where(np.isneginf(predicted), min_m, max_m))
    return np.clip(filled, min_m, max_m), scale


def dee(errors: Mapping[str, float]) -> float:
    """RoboDepth's depth estimation error, (abs_rel - a1 + 1) / 2 (Kong et al., NeurIPS 2023): less is better."""
    return (errors["abs_rel"] - errors["a1"] + 1.0) / 2.0
