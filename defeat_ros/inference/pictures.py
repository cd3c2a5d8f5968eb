"""Pictures of what the engine sees in images and videos."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from defeat_ros.data.sources import open_frames
from defeat_ros.errors import DefeatError, FrameError, OutputError, SourceError
from defeat_ros.frame import Frame
from defeat_ros.inference.engine import DepthEngine
from defeat_ros.visualize import FeatureColors, captioned, depth_colors


def write_picture(path: Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB as PNG or JPEG, by the name's ending.

    Raises:
        OutputError: it cannot be written.
    """
    ok, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not ok:
        raise OutputError(f"cannot write '{path}' as {path.suffix!r}, expected .png or .jpg")
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {error.strerror}") from error


def make_folder(path: Path) -> None:
    """Make an empty folder, or take one that is there.

    Raises:
        OutputError: it is not empty, or cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise OutputError(f"output '{path}' exists and is not empty, expected a new folder")
    except OSError as error:
        raise OutputError(f"cannot make '{path}': {error.strerror}") from error


def named_frames(paths: Iterable[Path]) -> Iterator[tuple[str, Frame | DefeatError]]:
    """Every frame of images, folders and videos with a name for its pictures, or why a file cannot be read."""
    for path in paths:
        try:
            source = open_frames(path)
            for index, frame in enumerate(source):
                yield (path.stem if source.expected == 1 else f"{path.stem}_{index:06d}"), frame
        except DefeatError as error:
            yield path.stem, error
            continue
        for name, reason in source.skipped:
            yield path.stem, SourceError(f"{name}: {reason}")


def picture_frames(
    engine: DepthEngine,
    frames: Iterable[tuple[str, Frame | DefeatError]],
    out: Path,
    on_frame: Callable[[], None] = lambda: None,
) -> tuple[int, list[str]]:
    """Write `<name>_depth.png`, `<name>_features.png` and `<name>_panel.jpg` for each frame.

    Args:
        engine: an engine; features are left out where its input size is too small for them.
        frames: see `named_frames`.
        out: an empty folder.
        on_frame: called after each frame.

    Returns:
        The number of frames pictured, and a line for each that was not.

    Raises:
        OutputError: a picture cannot be written.
    """
    want = ["depth"] if engine.features_problem else ["depth", "features"]
    feature_colors, done, skipped = FeatureColors(), 0, []
    mark = "" if engine.info.trained else "  UNTRAINED"
    taken: dict[str, int] = {}
    for given, frame in frames:
        taken[given] = taken.get(given, 0) + 1
        name = given if taken[given] == 1 else f"{given}_{taken[given]}"  # a/1.png and b/1.png
        if isinstance(frame, DefeatError):
            skipped.append(f"{name}: {frame}")
            continue
        engine.reset()  # pictures need not belong to one sequence
        try:
            prediction = engine(frame, want)
        except FrameError as error:
            skipped.append(f"{name}: {error}")
            continue
        panel = [captioned(prediction.image, name)]
        for kind, image in (
            ("depth", None if prediction.depth is None else depth_colors(prediction.depth)),
            ("features", None if prediction.features is None else feature_colors(prediction.features)),
        ):
            if image is not None:
                write_picture(out / f"{name}_{kind}.png", image)
                panel.append(captioned(image, kind + mark))
        write_picture(out / f"{name}_panel.jpg", np.hstack(panel))
        done += 1
        on_frame()
    return done, skipped
