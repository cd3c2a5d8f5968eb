"""Depth as a cloud of points, fit for obstacle layers: reliable, in range, thinned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from defeat_ros.frame import CameraIntrinsics, Prediction
from defeat_ros.geometry import pixel_rays
from defeat_ros.inference.config import PointsConfig


@dataclass(frozen=True)
class Cloud:
    """Points of one frame.

    Attributes:
        points: (N, 3) float32, in the depth's unit and the frame that was asked for.
        colors: (N, 3) uint8 RGB, None where they were not asked for.
    """

    points: np.ndarray
    colors: np.ndarray | None


class CloudMaker:
    """Turns predictions into clouds; remembers the rays of the latest camera."""

    def __init__(self, config: PointsConfig) -> None:
        self._config = config
        self._camera: CameraIntrinsics | None = None
        self._rays = np.zeros((0, 0, 3), np.float32)

    def __call__(self, prediction: Prediction, base_from_camera: np.ndarray | None = None) -> Cloud | None:
        """The cloud of a prediction; None where it has no depth or its camera is not known.

        Args:
            prediction: with depth; its confidence has already made unreliable pixels NaN.
            base_from_camera: (4, 4) to have the points in the base frame, None to leave them in the optical one.
        """
        camera, stride, config = prediction.intrinsics, self._config.stride, self._config
        if prediction.depth is None or camera is None:
            return None
        if camera != self._camera:
            self._camera, self._rays = camera, pixel_rays(camera)[::stride, ::stride].astype(np.float32)
        depth = prediction.depth[::stride, ::stride]
        with np.errstate(invalid="ignore"):
            keep = (depth >= config.min_range_m) & (depth <= config.max_range_m)  # NaN and Inf fall out here
        points = self._rays[keep] * depth[keep, None]
        if base_from_camera is not None:
            points = points @ base_from_camera[:3, :3].T.astype(np.float32) + base_from_camera[:3, 3].astype(np.float32)
        colors = prediction.image[::stride, ::stride][keep] if config.color else None
        return Cloud(points, colors)
