"""How far each pixel's depth can be trusted: the probability that it lies within 25 % of the truth.

A small network on what a frame and the one before it show; `Cues` says what it looks at. Its weights, confidence.json,
were fitted by `defeat-ros evaluate planner --fit` to rendered drives that the depth net did not learn from.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from defeat_ros.files import write_json
from defeat_ros.frame import CameraIntrinsics, ImageHealth
from defeat_ros.geometry import pixel_rays
from defeat_ros.inference.look import Look

WEIGHTS_FILE = Path(__file__).with_name("confidence.json")
RIGHT_RATIO = 1.25
"""Depth within this factor of the truth counts as right (the a1 of the literature)."""
FAR_M, SKY_M = 80.0, 60.0
"""Truth beyond the first is far, as sky is; a prediction beyond the second then is right."""
UNSEEN_DEPTH_DIFFERENCE, UNSEEN_COLOUR_DIFFERENCE = 0.1, 0.3
"""Stand in where the frame before does not show the point: the middle of what is measured elsewhere."""
NO_FRAME_BEFORE = {
    "depth_difference": UNSEEN_DEPTH_DIFFERENCE,
    "colour_difference": UNSEEN_COLOUR_DIFFERENCE,
    "seen_before": 0.0,
    "unsteadiness": UNSEEN_DEPTH_DIFFERENCE,
}
NO_CAMERA = {**NO_FRAME_BEFORE, "on_ground": 0.0, "below_horizon": 0.0, "road_share": 0.0}
"""The cues where there is nothing to compare with, or no camera_info; the weights are fitted to such pixels too."""
NOISE_LEVEL, NOISE_BY_ROOT = 8.0, 2.0
"""Colour differences that mean nothing, grey levels: at black, and with the root of the brightness (photon noise)."""


PIXELS_AT_ONCE = 640
"""What is in between stays in the processor's cache, and OpenBLAS on one thread: its others would go on waiting busily
beside the networks of the next frame, which then took nearly twice as long."""


@dataclass(frozen=True)
class Cues:
    """What the confidence of a pixel looks at; each (H, W) float32, about 0 to 1.

    Attributes:
        depth_difference: of the log depth now and of the frame before, brought here by the camera's step.
        colour_difference: the same of colour, in multiples of the noise to be expected.
        seen_before: 1 where the frame before shows the point: inside its image, and not behind something.
        edge, wide_edge: range of the log depth within 5 and within 21 px.
        log_distance: of the depth in metres (or units where none are known), by 3.
        on_ground: 1 on the road's plane.
        below_horizon: 1 where the plane's ray meets it within 40 heights.
        darkness: 1 at black, 0.37 at grey level 20.
        saturation: share of saturated pixels around.
        texture: log of the local detail.
        unsteadiness: median of `depth_difference` over the frame; the same for all its pixels.
        road_share: of what lies below the horizon, how much is on the road's plane; the same for all pixels.
    """

    depth_difference: np.ndarray
    colour_difference: np.ndarray
    seen_before: np.ndarray
    edge: np.ndarray
    wide_edge: np.ndarray
    log_distance: np.ndarray
    on_ground: np.ndarray
    below_horizon: np.ndarray
    darkness: np.ndarray
    saturation: np.ndarray
    texture: np.ndarray
    unsteadiness: np.ndarray
    road_share: np.ndarray

    def stacked(self) -> np.ndarray:
        """(H, W, cues) float32, in the order of the fields; in memory one cue after the other."""
        return np.moveaxis(np.stack([getattr(self, field.name) for field in fields(self)]), 0, -1)


CUES = tuple(field.name for field in fields(Cues))

PENALTIES = {"blurred": 1.0, "dark": 0.5, "glare": 0.5}
"""Taken off the log odds of a whole image for its problems; guesses, as rendered drives hold too few of them."""


@dataclass(frozen=True)
class Weights:
    """A network of one hidden layer: probability = sigmoid(output . max(hidden . cues + bias, 0) + bias).

    Attributes:
        hidden: (cues, units) float32; hidden_bias, output: (units,) float32.
        output_bias: of the log odds.
    """

    hidden: np.ndarray
    hidden_bias: np.ndarray
    output: np.ndarray
    output_bias: float

    @classmethod
    def read(cls, file: Path) -> Weights:
        """Read what `write` wrote."""
        told = json.loads(file.read_text(encoding="utf-8"))
        hidden = np.array([told["hidden"][name] for name in CUES], np.float32)
        bias, output = (np.array(told[name], np.float32) for name in ("hidden_bias", "output"))
        return cls(hidden, bias, output, float(told["output_bias"]))

    def write(self, file: Path, **facts: Any) -> None:
        """Write them as JSON, with facts about how they came to be."""
        write_json(
            file,
            {
                **facts,
                "hidden": {name: _plain(row) for name, row in zip(CUES, self.hidden, strict=True)},
                "hidden_bias": _plain(self.hidden_bias),
                "output": _plain(self.output),
                "output_bias": self.output_bias,
            },
        )

    def __call__(self, cues: np.ndarray, bias: float = 0.0) -> np.ndarray:
        """Cues (..., cues) to probabilities (...); `bias` is added to the log odds."""
        columns = np.moveaxis(cues, -1, 0).reshape(len(self.hidden), -1)
        odds = np.empty(columns.shape[1], np.float32)
        for first in range(0, len(odds), PIXELS_AT_ONCE):
            part = slice(first, first + PIXELS_AT_ONCE)
            units = self.hidden.T @ columns[:, part]
            units += self.hidden_bias[:, None]
            odds[part] = self.output @ np.maximum(units, 0.0, out=units)
        odds += np.float32(self.output_bias + bias)
        return (1.0 / (1.0 + np.exp(-odds))).reshape(cues.shape[:-1])


def _plain(values: np.ndarray) -> list[float]:
    return [round(float(value), 6) for value in values]


@dataclass(frozen=True)
class Seen:
    """A frame as the confidence looks at it, at the networks' size.

    Attributes:
        image: (h, w, 3) uint8 RGB.
        depth: (h, w) float32, levelled units.
    """

    image: np.ndarray
    depth: np.ndarray

    @functools.cached_property
    def blurred(self) -> np.ndarray:
        """The image, float32, without its noise; it serves the frame after this one too."""
        return np.asarray(cv2.GaussianBlur(self.image.astype(np.float32), (0, 0), 1.0))


class ConfidenceEstimator:
    """Confidence of the depth maps of one camera.

    Args:
        camera: at the networks' size; None where it is not known: nothing is compared with the frame before then.
        size_hw: the networks' size.
    """

    def __init__(self, camera: CameraIntrinsics | None, size_hw: tuple[int, int]) -> None:
        self.camera = camera
        self._weights = shipped_weights()
        self._size_hw = size_hw
        self._rays = pixel_rays(camera).astype(np.float32) if camera is not None else None

    def __call__(self, cues: Cues, health: ImageHealth) -> np.ndarray:
        """(h, w) float32, 0 to 1; 0 all over an image that tells nothing."""
        if health.useless:
            return np.zeros(self._size_hw, np.float32)
        return self._weights(cues.stacked(), -sum(PENALTIES.get(problem, 0.0) for problem in health.problems))

    def cues(
        self,
        now: Seen,
        before: Seen | None,
        previous_from_camera: np.ndarray | None,
        look: Look,
        metres_per_unit: float | None,
    ) -> Cues:
        """Look at a frame.

        Args:
            now, before: the frame and the one before it, None where there is none.
            previous_from_camera: (4, 4) the step between them, levelled units, None where it is not known.
            look: the road in `now.depth`.
            metres_per_unit: of the levelled depth.
        """
        grey = _mean(now.blurred)
        log_depth = np.log(now.depth)
        far = (log_depth + np.float32(np.log(metres_per_unit or 1.0))) / 3.0
        difference, colour, seen = self._compare(now, before, previous_from_camera, grey)
        known = difference[seen > 0]
        unsteady = float(np.median(known)) if known.size else UNSEEN_DEPTH_DIFFERENCE
        detail = cv2.blur(np.abs(cv2.Laplacian(grey, cv2.CV_32F)), (5, 5))
        return Cues(
            depth_difference=difference,
            colour_difference=colour,
            seen_before=seen,
            edge=_spread(log_depth, 5),
            wide_edge=_spread(log_depth, 21),
            log_distance=far,
            on_ground=look.on_road.astype(np.float32),
            below_horizon=look.below_horizon.astype(np.float32),
            darkness=np.exp(-cv2.blur(grey, (5, 5)) / 20.0),
            saturation=cv2.blur((_maximum(now.image) > 245).astype(np.float32), (9, 9)),
            texture=np.log1p(detail) / 3.0,
            unsteadiness=np.full(self._size_hw, unsteady, np.float32),
            road_share=np.full(self._size_hw, look.ground.share if look.ground is not None else 0.0, np.float32),
        )

    def _compare(
        self, now: Seen, before: Seen | None, step: np.ndarray | None, grey: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Differences of depth and colour to the frame before, and where it shows the point."""
        if before is None or step is None or self._rays is None or self.camera is None:
            unseen = (UNSEEN_DEPTH_DIFFERENCE, UNSEEN_COLOUR_DIFFERENCE, 0.0)
            depth, colour, seen = (np.full(self._size_hw, value, np.float32) for value in unseen)
            return depth, colour, seen
        camera, (height, width) = self.camera, self._size_hw
        points = cv2.transform(self._rays * now.depth[..., None], step[:3].astype(np.float32))
        x, y, z = cv2.split(points)
        distance = np.maximum(z, np.float32(0.05))
        u = x / distance * np.float32(camera.fx) + np.float32(camera.cx)
        v = y / distance * np.float32(camera.fy) + np.float32(camera.cy)
        inside = (z > 0.1) & (u > 0) & (u < width - 1) & (v > 0) & (v < height - 1)
        difference = -np.log(_sample(1.0 / before.depth, u, v) * distance)
        seen = inside & (difference > -0.25)  # something nearer stood in front of it
        coloured = _mean(cv2.absdiff(_sample(before.blurred, u, v), now.blurred))
        noise = NOISE_LEVEL + NOISE_BY_ROOT * np.sqrt(grey)
        colour = np.clip(cv2.blur(coloured / noise, (3, 3)), 0.0, 2.0)
        return (
            np.where(inside, np.clip(np.abs(difference), 0.0, 1.0), UNSEEN_DEPTH_DIFFERENCE).astype(np.float32),
            np.where(inside, colour, UNSEEN_COLOUR_DIFFERENCE).astype(np.float32),
            seen.astype(np.float32),
        )


@functools.cache
def shipped_weights() -> Weights:
    """Those of `WEIGHTS_FILE`."""
    return Weights.read(WEIGHTS_FILE)


def right(depth: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Whether depth is right, as the confidence means it: bool, of the arrays' shape; m, +Inf for sky."""
    with np.errstate(divide="ignore", invalid="ignore"):
        close = np.maximum(depth / truth, truth / depth) < RIGHT_RATIO
    return np.where(truth >= FAR_M, depth >= SKY_M, close)


def _mean(image: np.ndarray) -> np.ndarray:
    """Of the channels (H, W, 3) float32, as (H, W); ten times as fast as numpy's."""
    return np.asarray(cv2.transform(image, np.full((1, 3), 1 / 3, np.float32)))


def _maximum(image: np.ndarray) -> np.ndarray:
    """Of the channels (H, W, 3), as (H, W)."""
    red, green, blue = cv2.split(image)
    return np.asarray(cv2.max(cv2.max(red, green), blue))


def _spread(log_depth: np.ndarray, side_px: int) -> np.ndarray:
    window = np.ones((side_px, side_px), np.uint8)
    return np.asarray(np.clip(cv2.dilate(log_depth, window) - cv2.erode(log_depth, window), 0.0, 2.0))


def _sample(values: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.remap(values, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
