"""All figures of a trajectory against the truth, with the alignment that each of them is told under."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from defeat_ros.evaluation.odometry import (
    align,
    angle_deg,
    ate_rmse,
    direction_errors,
    position_errors,
    relative_pose_errors,
    rescaled,
)
from defeat_ros.evaluation.odometry_kitti import (
    SEGMENT_LENGTHS_M,
    SegmentErrors,
    segment_errors,
    snippet_errors,
    travelled,
)
from defeat_ros.evaluation.options import OdometryEvaluation
from defeat_ros.evaluation.trajectory import Matched
from defeat_ros.settings import values

ALIGNMENTS = {
    "se3": "rotation and translation, least squares over all positions (Umeyama); the estimate's own scale",
    "sim3": "rotation, translation and one scale, least squares over all positions (Umeyama)",
    "rpe": "no alignment but the estimate times the scale of sim3; from each frame to the next",
    "segments_as_is": "none",
    "segments_scaled": "no alignment but the estimate times the scale of sim3",
    "snippets": "at each snippet's first frame, one scale for each snippet",
    "steps": "none; the direction of a step has no scale",
}


def odometry_report(matched: Matched, config: OdometryEvaluation) -> dict[str, Any]:
    """The figures of one trajectory.

    Returns:
        Nested names and numbers; None where the path is too short for a figure, and `notes` that say so.
    """
    estimate, truth = matched.estimate, matched.truth
    scale = align(estimate[:, :3, 3], truth[:, :3, 3], with_scale=True).scale
    scaled = rescaled(estimate, scale)
    length = float(travelled(truth)[-1])
    trans, rot = relative_pose_errors(scaled, truth)
    angles, undirected = direction_errors(estimate, truth, config.moving)
    snippets = snippet_errors(estimate, truth)
    notes = list(matched.warnings)
    if length <= SEGMENT_LENGTHS_M[0]:
        notes.append(f"the true path is {length:.1f} m long, too short for KITTI's segments of 100 to 800 m")
    if not len(angles):
        notes.append(f"no true step is {config.moving} m long or longer: no direction can be told")
    return {
        "poses": len(truth),
        "unmatched": {"estimate": matched.unmatched[0], "truth": matched.unmatched[1]},
        "path_length": length,
        "seconds": float(np.ptp(matched.stamps_ns)) / 1e9 if matched.stamps_ns is not None else None,
        "scale_sim3": scale,
        "ate_rmse": {name: _ate(estimate, truth, name == "sim3") for name in ("se3", "sim3")},
        "rpe_trans": {"rmse": _rms(trans), "mean": float(trans.mean()), "median": float(np.median(trans))},
        "rpe_rot": {"rmse": _rms(rot), "mean": float(rot.mean()), "median": float(np.median(rot))},
        "segments_as_is": _segments(segment_errors(estimate, truth)),
        "segments_scaled": _segments(segment_errors(scaled, truth)),
        "snippets": {"mean": float(snippets.mean()), "std": float(snippets.std()), "count": len(snippets)},
        "steps": {
            "direction_mean": float(angles.mean()) if len(angles) else None,
            "direction_median": float(np.median(angles)) if len(angles) else None,
            "moving": len(angles),
            "without_direction": undirected,
            "count": len(rot),
        },
        "notes": notes,
    }


def odometry_summary(reports: Mapping[str, dict[str, Any]], config: OdometryEvaluation) -> dict[str, Any]:
    """What `summary.json` holds: the protocol, each trajectory, and means over those that have the figure."""
    return {
        "protocol": {
            **values(config),
            "alignment": ALIGNMENTS,
            "units": "m, s, deg; t_rel %, r_rel deg per 100 m",
            "mean": "over trajectories, each counted once",
        },
        "mean": {label: _average(reports.values(), path) for label, path in FIGURES},
        "trajectories": dict(reports),
    }


FIGURES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("ATE rmse, SE(3), m", ("ate_rmse", "se3")),
    ("ATE rmse, Sim(3), m", ("ate_rmse", "sim3")),
    ("RPE trans rmse, Sim(3) scale, m/frame", ("rpe_trans", "rmse")),
    ("RPE rot rmse, deg/frame", ("rpe_rot", "rmse")),
    ("t_rel as is, %", ("segments_as_is", "t_rel")),
    ("t_rel, Sim(3) scale, %", ("segments_scaled", "t_rel")),
    ("r_rel, deg/100 m", ("segments_scaled", "r_rel")),
    ("5-frame ATE mean, own scale, m", ("snippets", "mean")),
    ("5-frame ATE std, m", ("snippets", "std")),
    ("RPE rot mean, deg/frame", ("rpe_rot", "mean")),
    ("step direction mean, moving, deg", ("steps", "direction_mean")),
    ("step direction median, moving, deg", ("steps", "direction_median")),
    ("path length, m", ("path_length",)),
    ("scale of Sim(3), m/unit", ("scale_sim3",)),
)
"""The figures of a table: label, with its alignment and unit, and where the report has it."""


def figure(report: Mapping[str, Any], path: Sequence[str]) -> float | None:
    """One figure of a report, None where there is none."""
    value: Any = report
    for name in path:
        value = value[name]
    return None if value is None else float(value)


def curves(matched: Matched) -> dict[str, np.ndarray]:
    """What the charts show over the path: `distance` (N,) m, position errors (N,) m, rotation error (N,) deg.

    The rotation error is that of the motion since the first frame: it needs no alignment.
    """
    guess, gt = matched.estimate, matched.truth
    positions = guess[:, :3, 3], gt[:, :3, 3]
    turned = zip(guess[:, :3, :3], gt[:, :3, :3], strict=True)
    drift = [angle_deg((guess[0, :3, :3].T @ a).T @ (gt[0, :3, :3].T @ b)) for a, b in turned]
    return {
        "distance": travelled(gt),
        "se3": position_errors(*positions, with_scale=False),
        "sim3": position_errors(*positions, with_scale=True),
        "rotation": np.array(drift),
    }


def _ate(estimate: np.ndarray, truth: np.ndarray, with_scale: bool) -> float:
    return ate_rmse(estimate[:, :3, 3], truth[:, :3, 3], with_scale)


def _rms(numbers: np.ndarray) -> float:
    return float(np.sqrt(np.mean(numbers**2)))


def _segments(errors: SegmentErrors) -> dict[str, Any]:
    """None for what the path is too short for."""
    by_length = {
        str(length): {"t_rel": t_rel, "r_rel": r_rel, "count": count} if count else None
        for length, (t_rel, r_rel, count) in errors.by_length.items()
    }
    known = errors.count > 0
    return {
        "t_rel": errors.t_rel if known else None,
        "r_rel": errors.r_rel if known else None,
        "count": errors.count,
        "by_length": by_length,
    }


def _average(reports: Any, path: Sequence[str]) -> float | None:
    known = [value for report in reports if (value := figure(report, path)) is not None]
    return float(np.mean(known)) if known else None
