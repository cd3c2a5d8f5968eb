"""How far a depth map is from the truth."""

from __future__ import annotations

import numpy as np


def depth_errors(
    depth: np.ndarray, truth: np.ndarray, median_scaling: bool, min_m: float = 1e-3, max_m: float = 80.0
) -> dict[str, float] | None:
    """The errors of Eigen et al. (NIPS 2014) over the pixels whose truth lies in the range.

    Args:
        depth: (H, W), positive, metres or scene units; pixels that are not finite count as `max_m` after scaling.
        truth: (H, W), metres; not finite or outside (min_m, max_m): ignored.
        median_scaling: multiply the depth by median(truth) / median(depth) first.

    Returns:
        abs_rel, sq_rel, rmse (m), rmse_log, a1, a2, a3 and `scale`, the factor that was applied; None where no
        pixel has truth.
    """
    with np.errstate(invalid="ignore"):
        valid = np.isfinite(truth) & (truth > min_m) & (truth < max_m)
    if not valid.any():
        return None
    gt = truth[valid].astype(np.float64)
    predicted = depth[valid].astype(np.float64)
    known = np.isfinite(predicted)
    scale = float(np.median(gt[known]) / np.median(predicted[known])) if median_scaling and known.any() else 1.0
    predicted = np.clip(np.where(known, predicted * scale, max_m), min_m, max_m)
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
