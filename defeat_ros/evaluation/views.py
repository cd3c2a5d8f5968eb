"""The frames of a recording as they are evaluated: chosen, cut, darkened, with their truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from defeat_ros.data.recording import Recorded, Recording
from defeat_ros.evaluation.dark import darken
from defeat_ros.evaluation.depth import comparable
from defeat_ros.evaluation.options import DepthEvaluation
from defeat_ros.frame import Frame
from defeat_ros.preprocess import resize_image


@dataclass(frozen=True)
class View:
    """A frame to evaluate.

    Attributes:
        name: unique within the recording.
        frame: as the predictor sees it, cut, and darkened at the predictor's input size.
        truth: (H, W), m; of the same field of view, at its own size.
        grey_level: mean of the image before it was darkened, 0 to 255.
    """

    name: str
    frame: Frame
    truth: np.ndarray
    grey_level: float


def views(
    recording: Recording,
    config: DepthEvaluation,
    input_size: tuple[int, int] | None,
    skip: Callable[[str], None] = lambda _: None,
) -> Iterator[View | None]:
    """The frames of a recording that can be evaluated; None for each that cannot, after `skip` got the reason.

    Args:
        recording: images with truth.
        config: the options.
        input_size: width and height that the predictor sees, px; None: it does not look at images.
        skip: gets the reason of each image that cannot be evaluated.
    """
    for index, item in enumerate(recording):
        reason = _unfit(item, index, config)
        if reason is not None:
            skip(reason)
            yield None
            continue
        assert item.frame is not None and item.depth is not None
        frame, truth = item.frame, item.depth
        grey = float(frame.image.mean())
        # Depth does not need the camera once the image is free of distortion, as it is here.
        if config.crop_aspect and input_size is not None:
            aspect = input_size[0] / input_size[1]
            frame = replace(frame, image=_cut(frame.image, aspect), intrinsics=None)
            truth = _cut(truth, aspect)
        if config.dark and input_size is not None:
            # RoboDepth corrupts what the networks see: resizing afterwards would average the noise away.
            frame = replace(frame, image=resize_image(frame.image, input_size[::-1]), intrinsics=None)
        yield View(item.name, replace(frame, image=corrupted(frame.image, index, config)), truth, grey)


def _unfit(item: Recorded, index: int, config: DepthEvaluation) -> str | None:
    if index % config.every:
        return "not_chosen"
    if item.frame is None:
        return item.reason or "bad_frame"
    if item.depth is None:
        return "no_truth"
    camera = item.frame.intrinsics
    if camera is not None and camera.needs_rectification:
        return "distorted"  # depth is predicted for the rectified image, the truth is told for the raw one
    if comparable(item.depth, max_m=config.max_depth, crop=config.crop).any():
        return None
    return "no_truth_in_crop" if comparable(item.depth, max_m=config.max_depth).any() else "no_truth_in_range"


def _cut(array: np.ndarray, aspect: float) -> np.ndarray:
    rows, columns = centre_crop((array.shape[0], array.shape[1]), aspect)
    return np.ascontiguousarray(array[rows, columns])


def corrupted(image: np.ndarray, index: int, config: DepthEvaluation) -> np.ndarray:
    """The image as it is shown to the predictor; the same noise for the same seed and frame number."""
    return darken(image, config.dark, np.random.default_rng([config.seed, index])) if config.dark else image


def centre_crop(size_hw: tuple[int, int], aspect: float) -> tuple[slice, slice]:
    """Rows and columns of the largest centred part with this aspect (width / height)."""
    height, width = size_hw
    kept_h, kept_w = min(height, round(width / aspect)), min(width, round(height * aspect))
    top, left = (height - kept_h) // 2, (width - kept_w) // 2
    return slice(top, top + kept_h), slice(left, left + kept_w)
