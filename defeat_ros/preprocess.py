"""The one contract between images and tensors that training and inference share, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch

from defeat_ros.errors import FrameError
from defeat_ros.frame import CameraIntrinsics

PUBLISHED_SIZE_HW = (352, 480)
"""Height and width the published networks were trained at, px; the aspect is squashed to it."""

MAX_CHANNELS = 64
"""OpenCV resizes up to 128 channels at a time in its newest version, 512 in earlier ones."""

MAX_RECTIFIED_PX = 32766
"""OpenCV's fixed-point maps address pixels with 16 bits."""


def resize_image(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resize (H, W, 3) uint8 to (h, w, 3); area averaging where it shrinks, so that nothing aliases."""
    height, width = size_hw
    if image.shape[:2] == size_hw:
        return image
    # OpenCV averages areas only where both sides shrink, so a side that grows waits for its turn.
    smaller = (min(width, image.shape[1]), min(height, image.shape[0]))
    if smaller != image.shape[1::-1]:
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR) if smaller != (width, height) else image


def resize_map(values: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resize a float map (H, W) or (H, W, C) bilinearly to (h, w[, C]); the networks' output back at output size."""
    height, width = size_hw
    if values.shape[:2] == size_hw:
        return values
    flat = values.reshape(*values.shape[:2], -1)
    slices = range(0, flat.shape[2], MAX_CHANNELS)
    parts = [cv2.resize(flat[..., i : i + MAX_CHANNELS], (width, height)).reshape(height, width, -1) for i in slices]
    return (parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)).reshape(height, width, *values.shape[2:])


def resize_nearest(values: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """The values (H, W) at the centres of the pixels of (h, w); neither mixes near with far nor with NaN."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp) for new, old in zip(size_hw, values.shape, strict=True)
    )
    return np.asarray(values[rows[:, None], columns])


def to_tensor(images: np.ndarray | torch.Tensor, device: torch.device | str = "cpu") -> torch.Tensor:
    """uint8 RGB (H, W, 3) or (..., H, W, 3) to float (B, 3, H, W) or (..., 3, H, W) in [0, 1].

    Divided by 255 always: dividing by each image's own maximum brightens dark frames and makes brightness jump.
    """
    batch = images[None] if images.ndim == 3 else images
    tensor = batch if isinstance(batch, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(batch))
    return tensor.to(device, non_blocking=True).movedim(-1, -3).to(torch.float32).div_(255.0)


def unit_features(features: np.ndarray) -> np.ndarray:
    """Scale (H, W, C) to unit length over C; zero vectors stay zero."""
    length = np.sqrt(np.einsum("hwc,hwc->hw", features, features))[..., None]
    unit: np.ndarray = features / np.maximum(length, 1e-12)
    return unit


class Rectifier:
    """Undistorts the images of one camera and knows which rectified pixels the raw image never saw.

    Raises:
        FrameError: the distortion model is not known or its coefficients have the wrong count.
    """

    def __init__(self, camera: CameraIntrinsics) -> None:
        if max(camera.width, camera.height) > MAX_RECTIFIED_PX:
            raise FrameError(f"image is {camera.width}x{camera.height}, expected sides up to {MAX_RECTIFIED_PX} px")
        rotation = np.eye(3) if camera.rectification is None else np.reshape(camera.rectification, (3, 3))
        size, distortion = (camera.width, camera.height), np.array(camera.distortion, np.float64)
        new_k = camera.rectified().K
        model = camera.distortion_model
        if model == "equidistant":
            if len(distortion) != 4:
                raise FrameError(f"equidistant distortion has {len(distortion)} coefficients, expected 4")
            make: Callable[..., Any] = cv2.fisheye.initUndistortRectifyMap
        elif model in ("", "plumb_bob", "rational_polynomial"):
            if len(distortion) not in (0, 4, 5, 8, 12, 14):
                raise FrameError(
                    f"{model or 'plumb_bob'} distortion has {len(distortion)} coefficients, expected 5 or 8"
                )
            make = cv2.initUndistortRectifyMap
        else:
            raise FrameError(
                f"distortion model {model!r} is unknown, expected plumb_bob, rational_polynomial or equidistant"
            )
        self.camera = camera
        self._map1, self._map2 = make(camera.K, distortion, rotation, new_k, size, cv2.CV_16SC2)
        seen = cv2.remap(np.full(size[::-1], 255, np.uint8), self._map1, self._map2, cv2.INTER_LINEAR)
        self.seen: np.ndarray = seen == 255
        """(H, W) bool: pixels whose colour comes wholly from within the raw image."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Rectify (H, W, 3) uint8; what the camera never saw is black."""
        return np.asarray(cv2.remap(image, self._map1, self._map2, cv2.INTER_LINEAR))
