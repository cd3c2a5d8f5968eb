"""Runs recordings with truth past a predictor of depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from defeat_ros.data.bag import BagReader
from defeat_ros.data.messages import depth_from_message, stamp_from_message
from defeat_ros.data.recorded_bag import find_topic
from defeat_ros.data.recording import Recording
from defeat_ros.errors import FrameError, MessageError, SourceError
from defeat_ros.evaluation.baselines import Baselines
from defeat_ros.evaluation.depth import at_size
from defeat_ros.evaluation.depth_scores import SourceScores
from defeat_ros.evaluation.options import DepthEvaluation
from defeat_ros.evaluation.views import View, views
from defeat_ros.frame import Frame


class Predictor(Protocol):
    """Something that tells the depth of a frame.

    Attributes:
        name: under which its errors are listed.
        input_size: width and height that it sees, px, None where it does not look at images.
    """

    name: str
    input_size: tuple[int, int] | None

    def restart(self) -> None:
        """Get ready for the first frame of the recording."""

    def __call__(self, frame: Frame) -> np.ndarray:
        """(h, w) float32, positive, m or scene units; of the frame's field of view at any size.

        Raises:
            FrameError, MessageError: there is none for this frame.
        """


def require_truth(recording: Recording, config: DepthEvaluation) -> None:
    """See, before any long work, that a recording has a frame to evaluate.

    Raises:
        SourceError: it has none; the message says why.
    """
    source = SourceScores(recording.name, config)
    if not any(view is not None for view in views(recording, replace(config, dark=0), None, source.skip)):
        raise _nothing(recording, source)


def _nothing(recording: Recording, source: SourceScores) -> SourceError:
    reasons = ", ".join(f"{reason} {number}" for reason, number in source.skipped.items()) or "it is empty"
    why = f"; {recording.warnings[0]}" if recording.warnings else ""
    return SourceError(
        f"no frame of {recording.path} can be evaluated ({reasons}), expected images with truth depth{why}"
    )


def fit_baselines(
    recordings: Sequence[Recording],
    config: DepthEvaluation,
    input_size: tuple[int, int] | None,
    on_frame: Callable[[], None] = lambda: None,
) -> Baselines:
    """Baselines fitted to the truth of every frame that is going to be evaluated."""
    baselines, plain = Baselines(config), replace(config, dark=0)
    for recording in recordings:
        for view in views(recording, plain, input_size):
            if view is not None:
                baselines.fit(view.truth)
            on_frame()
    return baselines


def measure_depth(
    recording: Recording,
    predictor: Predictor,
    config: DepthEvaluation,
    baselines: Baselines | None = None,
    on_frame: Callable[[], None] = lambda: None,
    name: str = "",
) -> SourceScores:
    """Score the predictor (and baselines) on every chosen frame of a recording with truth.

    Args:
        recording: images with truth.
        predictor: what is measured.
        config: the options.
        baselines: priors to measure beside it.
        on_frame: called after each image.
        name: for the tables; '': the recording's own.

    Raises:
        SourceError: no frame of it could be evaluated; the message says why.
    """
    source = SourceScores(name or recording.name, config)
    predictor.restart()
    for view in views(recording, config, predictor.input_size, source.skip):
        source.received += 1
        if view is not None:
            _score(source, view, predictor, baselines)
        on_frame()
    source.warnings += recording.warnings
    if "distorted" in source.skipped:
        source.warnings.append("truth of distorted images is not compared: rectify the recording first")
    if not source.grey_levels:
        raise _nothing(recording, source)
    return source


def _score(source: SourceScores, view: View, predictor: Predictor, baselines: Baselines | None) -> None:
    size = view.truth.shape[0], view.truth.shape[1]
    try:
        depth = at_size(predictor(view.frame), size)
    except (FrameError, MessageError) as error:
        source.skip(error.reason)
        return
    if not source.scores(predictor.name).add(view.name, depth, view.truth):
        source.skip("no_truth_in_crop")
        return
    source.grey_levels.append(view.grey_level)
    for name, guess in (baselines.predict(size) if baselines else {}).items():
        source.scores(name).add(view.name, guess, view.truth)


class BagPredictor:
    """Depth that a node or `process` has written to a bag, found by the frame's stamp.

    Args:
        path: the bag.
        topic: of the depth images.

    Raises:
        SourceError: the bag cannot be read, or has no such topic with images.
    """

    name = "predictions"
    input_size: tuple[int, int] | None = None

    def __init__(self, path: str | Path, topic: str) -> None:
        self._bag, self._topic = BagReader(path), topic
        try:
            find_topic(self._bag, topic, topic, "sensor_msgs/msg/Image")
        except SourceError:
            self._bag.close()
            raise
        self.restart()

    def restart(self) -> None:
        """Begin with the first message again."""
        self._messages = self._bag.messages({self._topic})
        self._next: tuple[int, np.ndarray | MessageError] | None = self._read()

    def __call__(self, frame: Frame) -> np.ndarray:
        """The depth with the frame's stamp; frames must come in the order of time."""
        while self._next is not None and self._next[0] < frame.stamp_ns:
            self._next = self._read()
        if self._next is None or self._next[0] != frame.stamp_ns:
            raise FrameError(f"no depth in {self._bag.path} has stamp {frame.stamp_ns} ns", "no_prediction")
        if isinstance(self._next[1], MessageError):
            raise self._next[1]
        return self._next[1]

    def close(self) -> None:
        """Close the bag."""
        self._bag.close()

    def _read(self) -> tuple[int, np.ndarray | MessageError] | None:
        for message in self._messages:
            try:
                decoded = message.message
                stamp = stamp_from_message(decoded)
            except (MessageError, AttributeError):
                continue  # without a stamp it belongs to no frame, which is then counted as having no prediction
            try:
                return stamp, depth_from_message(decoded)
            except MessageError as error:
                return stamp, error
        return None
