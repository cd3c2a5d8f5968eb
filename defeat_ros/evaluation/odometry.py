"""How far a trajectory is from the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
        return self.scale * points @ self.rotation.T + self.translation


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
