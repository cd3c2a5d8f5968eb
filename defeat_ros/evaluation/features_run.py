"""Features of the engine over two recordings of one world."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from defeat_ros.data.recording import Recording
from defeat_ros.errors import SourceError
from defeat_ros.evaluation.features import Matches, View, match
from defeat_ros.evaluation.options import FeatureEvaluation
from defeat_ros.frame import Frame

Featurizer = Callable[[Frame], Any]
"""Features (h, w, C) of a frame."""


def measure_features(
    first: Recording, second: Recording, features_of: Featurizer, config: FeatureEvaluation,
    on_pair: Callable[[], None] = lambda: None,
) -> Matches:  # fmt: skip
    """Match frames of one recording with those of another that lie `config.offset` frames later.

    Raises:
        SourceError: there is no pair of frames with depth, pose and camera, or they show nothing in common.
    """
    total = Matches()
    views = (
        _views(recording, features_of, config, start) for recording, start in ((first, 0), (second, config.offset))
    )
    for one, other in zip(*views, strict=False):
        if one is not None and other is not None:
            total.add(match(one, other, config.tolerance_px))
        on_pair()
    if not total.pairs:
        raise SourceError(
            f"{first.path} and {second.path} have no two frames {config.offset} apart with an undistorted camera, true "
            "pose and true depth of the image's size"
        )
    if not total.points:
        raise SourceError(f"no keypoint of {first.path} is seen in {second.path}, expected two views of one world")
    return total


def _views(
    recording: Recording, features_of: Featurizer, config: FeatureEvaluation, start: int
) -> Iterator[View | None]:
    """Every `config.every`th frame from a number on; None where the truth about it is not complete."""
    for item in islice(iter(recording), start, None, config.every):
        frame = item.frame
        usable = frame is not None and frame.intrinsics is not None and not frame.intrinsics.needs_rectification
        if not usable or item.depth is None or item.world_from_camera is None:
            yield None
            continue
        assert frame is not None and frame.intrinsics is not None
        if item.depth.shape != frame.size_hw:
            yield None
            continue
        yield View(frame.image, features_of(frame), item.depth, frame.intrinsics, item.world_from_camera)
