"""Reads back what went into the node and what came out, frame by frame, with the truth beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from defeat_ros.data.bag import BagReader
from defeat_ros.data.messages import depth_from_message, stamp_from_message
from defeat_ros.evaluation.depth import depth_errors
from defeat_ros.evaluation.odometry import Alignment, align, ate_rmse
from defeat_ros.inference.odometry import UNKNOWN_VARIANCE


@dataclass
class DriveResult:
    """One demonstration's bags, indexed by stamp.

    Attributes:
        stamps: of the frames that went in, ns.
        published: stamps of the depth images that came out.
        truth_path, odom_path: base positions (x, y, z), m, by stamp.
        measured_steps: odometry messages whose motion since the one before was measured, not unknown.
        diagnostics: the last values of each status by name.
    """

    in_bag: Path
    out_bag: Path
    stamps: list[int] = field(default_factory=list)
    published: list[int] = field(default_factory=list)
    truth_path: dict[int, np.ndarray] = field(default_factory=dict)
    odom_path: dict[int, np.ndarray] = field(default_factory=dict)
    measured_steps: int = 0
    diagnostics: dict[str, dict[str, str]] = field(default_factory=dict)


def read_result(in_bag: Path, out_bag: Path) -> DriveResult:
    """Index both bags; the images stay in them."""
    result = DriveResult(in_bag, out_bag)
    with BagReader(in_bag) as bag:
        for message in bag.messages({"/camera/image_raw", "/truth/odom"}):
            stamp = stamp_from_message(message.message)
            if message.topic == "/truth/odom":
                result.truth_path[stamp] = _position(message.message)
            else:
                result.stamps.append(stamp)
    with BagReader(out_bag) as bag:
        for message in bag.messages({"/depth/image_rect", "/odom", "/diagnostics"}):
            decoded = message.message
            if message.topic == "/odom":
                result.odom_path[stamp_from_message(decoded)] = _position(decoded)
                result.measured_steps += int(decoded.twist.covariance[0] < UNKNOWN_VARIANCE[0])
            elif message.topic == "/depth/image_rect":
                result.published.append(stamp_from_message(decoded))
            else:
                for status in decoded.status:
                    result.diagnostics[status.name] = {item.key: item.value for item in status.values}
    return result


def images_by_stamp(path: Path, topic: str, read: Callable[[Any], np.ndarray]) -> dict[int, np.ndarray]:
    """All images of one topic by stamp, as `read` makes them from the messages; {} where the bag has no such topic."""
    with BagReader(path) as bag:
        if topic not in bag.topics:
            return {}
        decoded = (message.message for message in bag.messages({topic}))
        return {stamp_from_message(message): read(message) for message in decoded}


def confidence_levels(message: Any) -> np.ndarray:
    """A confidence image as grey levels (H, W) uint8, 255 for 1."""
    levels: np.ndarray = 255.0 * np.clip(depth_from_message(message), 0.0, 1.0)
    return levels.astype(np.uint8)


def points_from_message(cloud: Any) -> np.ndarray:
    """The points (N, 3) float32 of a cloud of ours, m: x, y and z are its first fields."""
    return np.frombuffer(bytes(cloud.data), np.float32).reshape(-1, cloud.point_step // 4)[:, :3]


def depth_summary(result: DriveResult) -> dict[str, float]:
    """Mean metric errors, over frames, of the depth that was published as reliable; {} without any.

    Besides those of `depth_errors`: `reliable`, the share of the pixels that had depth at all, and
    `abs_rel_median_scaled`, of the same pixels after scaling each frame to the truth by its median.
    """
    truth = images_by_stamp(result.in_bag, "/truth/depth", depth_from_message)
    rows = []
    for stamp, depth in images_by_stamp(result.out_bag, "/depth/image_rect", depth_from_message).items():
        if stamp not in truth:
            continue
        unsure = np.isnan(depth)
        told = np.where(unsure, np.float32(np.nan), truth[stamp])
        errors, scaled = (depth_errors(depth, told, median_scaling=scaling) for scaling in (False, True))
        if errors is not None and scaled is not None:
            reliable = 1.0 - float(np.mean(unsure))
            rows.append({**errors, "reliable": reliable, "abs_rel_median_scaled": scaled["abs_rel"]})
    return {name: round(float(np.mean([row[name] for row in rows])), 5) for name in rows[0]} if rows else {}


def odometry_alignment(result: DriveResult) -> tuple[Alignment, np.ndarray, np.ndarray] | None:
    """SE(3) alignment of the odometry to the truth with both paths (N, 3); None where fewer than three poses match."""
    common = sorted(set(result.odom_path) & set(result.truth_path))
    if len(common) < 3:
        return None
    estimate = np.array([result.odom_path[stamp] for stamp in common])
    truth = np.array([result.truth_path[stamp] for stamp in common])
    return align(estimate, truth, with_scale=False), estimate, truth


def odometry_summary(result: DriveResult) -> dict[str, float]:
    """ATE after SE(3) and Sim(3) alignment, m, true length, m, and how much was measured; {} with too few poses."""
    aligned = odometry_alignment(result)
    if aligned is None:
        return {}
    _, estimate, truth = aligned
    length = float(np.sum(np.linalg.norm(np.diff(truth, axis=0), axis=1)))
    error = ate_rmse(estimate, truth, with_scale=True)
    return {
        "ate_rmse": round(ate_rmse(estimate, truth, with_scale=False), 4),
        "ate_rmse_sim3": round(error, 4),
        "path_length_m": round(length, 2),
        "poses": len(truth),
        "measured_steps": result.measured_steps,
    }


def _position(odometry: Any) -> np.ndarray:
    point = odometry.pose.pose.position
    return np.array([point.x, point.y, point.z])
