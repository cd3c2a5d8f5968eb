"""A frame as the networks, the tracking and the output see it: rectified, at three sizes, the vehicle masked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from defeat_ros.data.compressed import decode_file, read_file
from defeat_ros.errors import ConfigError, FrameError, MessageError
from defeat_ros.frame import CameraIntrinsics, Frame
from defeat_ros.geometry import resize_intrinsics
from defeat_ros.preprocess import Rectifier, resize_image
from defeat_ros.untrusted import quoted

TRACKING_PX = 640
"""Longer side of the images in which corners are tracked; on KITTI 480 and 800 were no better."""


@dataclass(frozen=True)
class View:
    """A frame, ready to be worked on.

    Attributes:
        image: (H, W, 3) uint8 RGB, rectified, at the output size.
        network_image: (h, w, 3), rectified, at the networks' size.
        grey: rectified, for tracking; at most `TRACKING_PX` on its longer side.
        intrinsics, network_intrinsics, grey_intrinsics: the cameras of the three, None where it is not known.
        seen: (H, W) bool, False where rectification left black or the vehicle itself is; None: all True.
        network_seen: the same at the networks' size.
    """

    image: np.ndarray
    network_image: np.ndarray
    grey: np.ndarray
    intrinsics: CameraIntrinsics | None
    network_intrinsics: CameraIntrinsics | None
    grey_intrinsics: CameraIntrinsics | None
    seen: np.ndarray | None
    network_seen: np.ndarray | None

    def for_later(self) -> View:
        """What the next frames are compared with: without the image of the output's size, which may be large."""
        return replace(self, image=np.zeros((0, 0, 3), np.uint8), seen=None)


class ViewMaker:
    """Makes the views of one camera's frames.

    Args:
        network_hw: size of the networks' input.
        output_size: width and height of the output; 0 0: those of the frame.
        hood_mask: image file, not black where the vehicle itself is seen; '': it is not.

    Raises:
        ConfigError: the mask cannot be read.
    """

    def __init__(self, network_hw: tuple[int, int], output_size: tuple[int, int], hood_mask: str) -> None:
        self._network_hw, self._output_size = network_hw, output_size
        self._mask_name, self._mask = hood_mask, _read_mask(hood_mask) if hood_mask else None
        self._rectifier: Rectifier | None = None

    def __call__(self, frame: Frame) -> View:
        """The view of a frame.

        Raises:
            FrameError: unknown distortion, or the hood mask has another size than the image.
        """
        image, camera = frame.image, frame.intrinsics
        seen = self._outside_hood(frame)
        if camera is not None and camera.needs_rectification:
            if self._rectifier is None or self._rectifier.camera != camera:
                self._rectifier = Rectifier(camera)
            image = self._rectifier(image)
            outside = None if seen is None else self._rectifier(seen.astype(np.uint8) * 255) == 255
            seen = self._rectifier.seen if outside is None else self._rectifier.seen & outside
        else:
            image = image.copy()  # the caller may fill the same array with the next frame
        network_image = resize_image(image, self._network_hw)
        if network_image is image:
            network_image = image.copy()  # one goes out, the other one stays to be compared with the next frame
        width, height = self._output_size
        if not width:
            height, width = frame.size_hw
        share = min(1.0, TRACKING_PX / max(frame.size_hw))
        small = max(1, round(frame.size_hw[0] * share)), max(1, round(frame.size_hw[1] * share))
        plain = camera.rectified() if camera is not None else None

        def camera_at(size_hw: tuple[int, int]) -> CameraIntrinsics | None:
            return resize_intrinsics(plain, size_hw[1], size_hw[0]) if plain is not None else None

        return View(
            image=resize_image(image, (height, width)),
            network_image=network_image,
            grey=cv2.cvtColor(resize_image(image, small), cv2.COLOR_RGB2GRAY),
            intrinsics=camera_at((height, width)),
            network_intrinsics=camera_at(self._network_hw),
            grey_intrinsics=camera_at(small),
            seen=_resized(seen, (height, width)),
            network_seen=_resized(seen, self._network_hw),
        )

    def _outside_hood(self, frame: Frame) -> np.ndarray | None:
        if self._mask is None:
            return None
        if self._mask.shape != frame.size_hw:
            (height, width), (wanted_height, wanted_width) = self._mask.shape, frame.size_hw
            raise FrameError(
                f"parameter 'hood_mask' is '{self._mask_name}' of {width}x{height}, expected the image's "
                f"{wanted_width}x{wanted_height}",
                reason="hood_mask_size",
            )
        return self._mask


def _read_mask(name: str) -> np.ndarray:
    """(H, W) bool, True outside the vehicle."""
    try:
        mask = decode_file(read_file(Path(name)), cv2.IMREAD_GRAYSCALE)
    except MessageError as error:
        what = f"parameter 'hood_mask' is {quoted(name)}, expected an image file that can be read"
        raise ConfigError(f"{what}: {error}") from None
    if (mask > 0).all():
        raise ConfigError(f"parameter 'hood_mask' is '{name}', which covers the whole image: nothing would be left")
    return np.asarray(mask == 0)


def _resized(seen: np.ndarray | None, size_hw: tuple[int, int]) -> np.ndarray | None:
    if seen is None or seen.shape == size_hw:
        return seen
    # By area, so that a thin part of the mask reaches every pixel that it touches.
    return np.asarray(cv2.resize(seen.astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_AREA) > 0.999)
