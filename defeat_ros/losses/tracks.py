"""How far depth and motion land tracked corners from where they were seen."""

from __future__ import annotations

from torch import Tensor

from defeat_ros.errors import FrameError
from defeat_ros.geometry import inverse_depth
from defeat_ros.warp import at_least_float32, project, sample

REFERENCE_WIDTH = 192
"""Image width in whose pixels errors are counted, so that the loss means the same at every size."""

OUTLIER_PX = 5.0
"""Error at which a corner pulls with a quarter of its force: things that move by themselves, wrong matches."""

SMOOTH_PX = 0.05
"""Below this the error counts by its square; tracking is no better."""


@at_least_float32
def track_loss(
    disp: Tensor, size_hw: tuple[int, int], K: Tensor, support_from_target: Tensor, tracks: Tensor
) -> Tensor:
    """Mean reprojection error of tracked corners; large ones count less and less, as e / (1 + e / OUTLIER_PX).

    The photometric error has a minimum wherever a warped pixel meets a like one, within a pixel or two; this one has a
    single wide one. It leads depth and motion to where the photometric error can take over.

    Args:
        disp: (B, 1, h, w) of the target, in [0, 1], at any scale.
        size_hw: height and width of the images, px.
        K: (B, 3, 3) intrinsics of the images, px.
        support_from_target: (S, B, 4, 4) motions.
        tracks: (S, B, M, 4), x, y in the target and x, y in the support frame, px of the images; NaN for no corner.

    Returns:
        scalar, px at 192 px width; 0 where there is no corner.

    Raises:
        FrameError: the shapes do not fit each other.
    """
    if tracks.ndim != 4 or tracks.shape[3] != 4 or support_from_target.shape != (*tracks.shape[:2], 4, 4):
        shapes = f"{tuple(support_from_target.shape)} and {tuple(tracks.shape)}"
        raise FrameError(f"motions and tracks are {shapes}, expected (S, B, 4, 4) and (S, B, M, 4)")
    supports, batch = tracks.shape[:2]
    if len(disp) != batch or K.shape != (batch, 3, 3):
        raise FrameError(f"disparity and K are {tuple(disp.shape)} and {tuple(K.shape)}, expected {batch} of each")
    known = ~tracks.isnan().any(-1)
    points, seen = tracks.nan_to_num().split(2, dim=-1)
    # One row of all the corners of an image, so that each disparity is sampled once.
    row = points.transpose(0, 1).reshape(batch, 1, -1, 2).permute(0, 3, 1, 2)
    shrink = size_hw[1] / disp.shape[3]
    nearness = inverse_depth(sample(disp, (row + 0.5) / shrink - 0.5))
    nearness = nearness.view(batch, supports, -1).transpose(0, 1).flatten(0, 1)
    landed = project(points.flatten(0, 1), nearness, K.repeat(supports, 1, 1), support_from_target.flatten(0, 1))
    squared = (landed - seen.flatten(0, 1)).square().sum(-1) * (REFERENCE_WIDTH / size_hw[1]) ** 2
    error = (squared + SMOOTH_PX**2).sqrt() - SMOOTH_PX
    robust: Tensor = error / (1 + error / OUTLIER_PX)
    return (robust * known.flatten(0, 1)).sum() / known.sum().clamp(min=1)
