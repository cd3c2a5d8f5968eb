"""How far a trajectory is from the truth."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from defeat_ros.geometry import invert, vector_from_rotation


@dataclass(frozen=True)
class Alignment:
    """`truth ~ scale * rotation @ estimate + translation`.

    Attributes:
        rotation: (3, 3).
        translation: (3,), m.
        scale: metres per unit of the estimate.
    """

    rotation: np.ndarray
    translation: np.ndarray
    scale: float

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Bring points (N, 3) of the estimate into the frame of the truth."""
        moved: np.ndarray = self.scale * points @ self.rotation.T + self.translation
        return moved


def align(estimate: np.ndarray, truth: np.ndarray, with_scale: bool) -> Alignment:
    """The least-squares alignment of two paths (Umeyama, PAMI 1991), SE(3) or with scale Sim(3).

    Args:
        estimate, truth: (N, 3) corresponding points, N at least 1.
        with_scale: estimate the scale too; it stays 1 where the estimate does not move.
    """
    mean_e, mean_t = estimate.mean(0), truth.mean(0)
    centred_e, centred_t = estimate - mean_e, truth - mean_t
    u, singular, vt = np.linalg.svd(centred_t.T @ centred_e / len(estimate))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt)) or 1.0])
    rotation = u @ np.diag(signs) @ vt
    variance = float(np.mean(np.sum(centred_e**2, axis=1)))
    scale = float(singular @ signs) / variance if with_scale and variance > 1e-18 else 1.0
    return Alignment(rotation, mean_t - scale * rotation @ mean_e, scale)


def ate_rmse(estimate: np.ndarray, truth: np.ndarray, with_scale: bool) -> float:
    """Absolute trajectory error after alignment: root mean square distance, m (Sturm et al., IROS 2012).

    Args:
        estimate, truth: (N, 3) corresponding positions.
        with_scale: align with Sim(3) instead of SE(3).
    """
    residual = align(estimate, truth, with_scale).apply(estimate) - truth
    return float(np.sqrt(np.mean(np.sum(residual**2, axis=1))))


def position_errors(estimate: np.ndarray, truth: np.ndarray, with_scale: bool) -> np.ndarray:
    """Distance of each position from the truth after alignment; (N, 3) both to (N,), m."""
    distances: np.ndarray = np.linalg.norm(align(estimate, truth, with_scale).apply(estimate) - truth, axis=1)
    return distances


def steps(poses: np.ndarray) -> np.ndarray:
    """Motions from each pose to the next, in the body's axes before: (N, 4, 4) to (N - 1, 4, 4)."""
    return np.array([invert(before) @ after for before, after in itertools.pairwise(poses)])


def rescaled(poses: np.ndarray, scale: float) -> np.ndarray:
    """Transforms (N, 4, 4) with their translations multiplied."""
    made = poses.copy()
    made[:, :3, 3] *= scale
    return made


def angle_deg(rotation: np.ndarray) -> float:
    """Angle of a rotation (3, 3), 0 to 180 deg."""
    return float(np.degrees(np.linalg.norm(vector_from_rotation(rotation))))


def relative_pose_errors(estimate: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Relative pose error from frame to frame (Sturm et al., IROS 2012).

    Args:
        estimate, truth: (N, 4, 4) corresponding poses; the estimate at the truth's scale.

    Returns:
        Length, m, and angle, deg, of inverse(true step) @ estimated step, (N - 1,) each.
    """
    errors = [invert(b) @ a for a, b in zip(steps(estimate), steps(truth), strict=True)]
    return np.array([np.linalg.norm(e[:3, 3]) for e in errors]), np.array([angle_deg(e[:3, :3]) for e in errors])


def direction_errors(estimate: np.ndarray, truth: np.ndarray, moving_m: float) -> tuple[np.ndarray, int]:
    """Angle between estimated and true direction of each step, of those on which the body moves; free of scale.

    Args:
        estimate, truth: (N, 4, 4) corresponding poses.
        moving_m: least length of a true step that counts, m.

    Returns:
        (M,) deg, 0 to 180, and how many estimated steps had no length, hence no direction: they count as 90 deg.
    """
    guess, gt = steps(estimate)[:, :3, 3], steps(truth)[:, :3, 3]
    moving = np.linalg.norm(gt, axis=1) >= moving_m
    guess, gt = guess[moving], gt[moving]
    directed = np.linalg.norm(guess, axis=1) > 1e-12
    # The arc tangent stays exact for small angles, where the arc cosine does not.
    sines = np.linalg.norm(np.cross(guess, gt), axis=1)
    angles = np.degrees(np.arctan2(sines, np.sum(guess * gt, axis=1)))
    return np.where(directed, angles, 90.0), int(np.sum(~directed))
