"""Two habits of measuring odometry on KITTI: errors of long segments, and of five-frame snippets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from defeat_ros.evaluation.odometry import angle_deg, steps
from defeat_ros.geometry import invert

SEGMENT_LENGTHS_M = (100, 200, 300, 400, 500, 600, 700, 800)
SEGMENT_STEP = 10
"""A segment begins at each tenth frame, a second apart in KITTI."""

SNIPPET_FRAMES = 5


@dataclass(frozen=True)
class SegmentErrors:
    """Mean errors over segments; NaN where there is none.

    Attributes:
        t_rel: translation error, % of the length.
        r_rel: rotation error, deg per 100 m.
        count: number of segments.
        by_length: the same (t_rel, r_rel, count) by length, m.
    """

    t_rel: float
    r_rel: float
    count: int
    by_length: dict[int, tuple[float, float, int]]


def travelled(truth: np.ndarray) -> np.ndarray:
    """Path length from the first pose to each; (N, 4, 4) to (N,), m."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(truth[:, :3, 3], axis=0), axis=1))])


def segment_errors(estimate: np.ndarray, truth: np.ndarray) -> SegmentErrors:
    """KITTI's errors over segments of 100 to 800 m (Geiger et al., CVPR 2012, and its development kit).

    From each tenth frame on, a segment ends at the first frame that lies farther along the true path than its length;
    where the path ends before, there is no such segment. Its error is inverse(estimated motion) @ true motion.

    Args:
        estimate, truth: (N, 4, 4) corresponding poses; no alignment is applied.
    """
    distance = travelled(truth)
    found: list[tuple[int, float, float]] = []
    for first in range(0, len(truth), SEGMENT_STEP):
        for length in SEGMENT_LENGTHS_M:
            last = int(np.searchsorted(distance, distance[first] + length, side="right"))
            if last == len(distance):
                break
            motion = invert(invert(estimate[first]) @ estimate[last])
            error = motion @ (invert(truth[first]) @ truth[last])
            found.append((length, float(np.linalg.norm(error[:3, 3])) / length, angle_deg(error[:3, :3]) / length))
    by_length = {length: [item for item in found if item[0] == length] for length in SEGMENT_LENGTHS_M}
    means = {length: (*_means(items), len(items)) for length, items in by_length.items()}
    return SegmentErrors(*_means(found), len(found), means)


def _means(items: list[tuple[int, float, float]]) -> tuple[float, float]:
    """t_rel in % and r_rel in deg per 100 m."""
    if not items:
        return float("nan"), float("nan")
    return 100.0 * float(np.mean([item[1] for item in items])), 100.0 * float(np.mean([item[2] for item in items]))


def snippet_errors(estimate: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Absolute trajectory error of five-frame snippets as Monodepth2 reports it (Godard et al., ICCV 2019; SfMLearner).

    From each frame but the last, the next four steps (fewer at the end) are chained from the origin, each as the
    later camera tells it (later_from_earlier). The snippet's one free scale is the least-squares one; its error is
    the root of the summed squared distances divided by the number of points (not the root of the mean).

    Args:
        estimate, truth: (N, 4, 4) corresponding poses, N at least 2.

    Returns:
        (N - 1,), m.
    """
    guess, gt = ([invert(step) for step in steps(poses)] for poses in (estimate, truth))
    errors = []
    for first in range(len(gt)):
        points = [_chained(part[first : first + SNIPPET_FRAMES - 1]) for part in (guess, gt)]
        square = float(np.sum(points[0] ** 2))
        scale = float(np.sum(points[0] * points[1])) / square if square > 1e-18 else 1.0
        errors.append(np.sqrt(np.sum((scale * points[0] - points[1]) ** 2)) / len(points[0]))
    return np.array(errors)


def _chained(motions: list[np.ndarray]) -> np.ndarray:
    """Positions (n + 1, 3) of a chain of n motions from the origin."""
    pose = np.eye(4)
    positions = [pose[:3, 3]]
    for motion in motions:
        pose = pose @ motion
        positions.append(pose[:3, 3])
    return np.array(positions)
