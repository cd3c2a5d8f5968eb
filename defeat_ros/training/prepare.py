"""Recordings to what training reads: every frame decoded, rectified and resized once, with the motion between them."""

from __future__ import annotations

import shutil
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np

from defeat_ros.data.datasets import is_source
from defeat_ros.data.recording import Recorded, Recording
from defeat_ros.errors import OutputError, SourceError
from defeat_ros.files import write_json
from defeat_ros.frame import CameraIntrinsics
from defeat_ros.geometry import resize_intrinsics
from defeat_ros.preprocess import Rectifier, resize_image, resize_nearest
from defeat_ros.training.cache import (
    ABOUT,
    FORMAT_VERSION,
    ArrayFile,
    PreparedSource,
    drop_abandoned,
    open_cache,
    put_in_place,
    scratch_beside,
)
from defeat_ros.training.parallax import NOTHING_TRACKED, Parallax, View, parallax, view
from defeat_ros.training.source_spec import SourceSpec, cache_name, fingerprint_of

__all__ = ["ENOUGH_PX", "MAX_OFFSET", "PARALLAX_WIDTH", "PreparedSource", "SourceSpec", "prepare_source"]

PARALLAX_WIDTH = 192
"""Width of the image in whose pixels parallax is told, whatever the size of the training, px."""

MAX_OFFSET = 5
"""Frames apart up to which motion is measured."""

ENOUGH_PX = 1.5
"""Parallax at which no larger offset is measured any more, px of `PARALLAX_WIDTH`."""

Progress = Callable[[int, int | None], None]


def prepare_source(
    spec: SourceSpec, size_hw: tuple[int, int], cache_dir: Path, progress: Progress = lambda done, total: None
) -> PreparedSource:
    """Prepare a recording, or take it from the cache where neither its files nor the options have changed.

    Memory stays small however long the recording is. It appears in the cache only once it is complete.

    Args:
        spec: what to read.
        size_hw: height and width of the images that training sees, px; the aspect is squashed to it.
        cache_dir: folder of prepared recordings, made where it is missing.
        progress: called after each image with the number so far and the expected one.

    Raises:
        SourceError: the recording cannot be read, has no usable image, or its camera is not known.
        OutputError: the cache cannot be written, as where the disk is full.
    """
    if not is_source(spec.path):
        raise SourceError(f"{spec.path} does not exist")
    name = cache_name(spec, size_hw)
    folder, fingerprint = cache_dir / name, fingerprint_of(spec)
    known = open_cache(folder, fingerprint)
    if known is not None:
        return known
    recording = spec.open()
    scratch = scratch_beside(folder)
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        drop_abandoned(cache_dir)
        shutil.rmtree(scratch, ignore_errors=True)  # of a killed process that had the same number
        scratch.mkdir()
        with _Preparation(scratch, size_hw) as work:
            for done, item in enumerate(recording, 1):
                work.add(item)
                progress(done, recording.expected)
        work.finish(recording, fingerprint)
        put_in_place(scratch, folder, fingerprint)
    except OSError as error:
        raise OutputError(f"cache '{folder}' cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    made = open_cache(folder, fingerprint)
    if made is None:
        raise OutputError(f"cache '{folder}' was written but cannot be read back")
    return PreparedSource(**{**made.__dict__, "reused": False})


class _Preparation:
    """What becomes of one recording, frame by frame."""

    def __init__(self, folder: Path, size_hw: tuple[int, int]) -> None:
        self._folder, self._size_hw = folder, size_hw
        self._images = ArrayFile(folder / "images.npy", (*size_hw, 3), np.uint8)
        self._depth: ArrayFile | None = None
        self._depth_known: list[bool] = []
        self._stamps: list[int] = []
        self._follows: list[bool] = []
        self._cameras: list[np.ndarray] = []
        self._poses: list[np.ndarray | None] = []
        self._motions = _Motions(folder, size_hw)
        self._rectifier: Rectifier | None = None
        self._skipped: Counter[str] = Counter()
        self._grey_sum = 0.0
        self._whole, self._distorted = False, 0

    def add(self, item: Recorded) -> None:
        """Take one image of the recording."""
        camera = item.frame.intrinsics if item.frame else None
        if item.frame is None or camera is None:
            self._skipped["no_intrinsics" if item.frame else item.reason or "bad_message"] += 1
            self._whole = False
            return
        image, flat, depth = item.frame.image, camera.rectified(), item.depth
        if camera.needs_rectification:
            image = self._rectify(image, camera)
            # Truth is in the pixels of the image as recorded; a rotation would even change its z.
            self._distorted += depth is not None
            depth = None
        height, width = self._size_hw
        small = resize_image(image, self._size_hw)
        self._add_depth(depth)
        self._images.append(small)
        self._grey_sum += float(small.mean())
        self._stamps.append(item.stamp_ns)
        self._follows.append(self._whole)
        self._cameras.append(resize_intrinsics(flat, width, height).K)
        self._poses.append(item.world_from_camera)
        self._motions.add(view(image, flat), self._whole)
        self._whole = True

    def __enter__(self) -> _Preparation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        with ExitStack() as stack:  # every file is closed, whatever happens to the others
            if kind is not None:  # as on a full disk, where writing has failed already
                stack.enter_context(suppress(OSError))
            for file in (self._images, self._motions, self._depth):
                if file is not None:
                    stack.callback(file.close)

    def finish(self, recording: Recording, fingerprint: str) -> None:
        """Write the small arrays and what all of it is."""
        count = len(self._stamps)
        if not count:
            raise SourceError(_nothing_usable(recording, self._skipped))
        small: dict[str, np.ndarray] = {
            "stamps": np.array(self._stamps, np.int64),
            "follows": np.array(self._follows, bool),
            "cameras": np.array(self._cameras, np.float32),
            **self._motions.arrays(),
        }
        if self._depth is not None:
            small["depth_known"] = np.array(self._depth_known, bool)
        if any(pose is not None for pose in self._poses):
            unknown = np.full((4, 4), np.nan)
            small["poses"] = np.array([unknown if pose is None else pose for pose in self._poses], np.float64)
        for name, array in small.items():
            np.save(self._folder / f"{name}.npy", array)
        warnings = list(recording.warnings)
        if self._distorted:
            warnings.append(f"depth of {self._distorted} images with lens distortion is left out")
        about = {
            "version": FORMAT_VERSION,
            "fingerprint": fingerprint,
            "name": recording.name,
            "count": count,
            "size_hw": self._size_hw,
            "skipped": dict(self._skipped),
            "warnings": warnings,
            "mean_grey": self._grey_sum / count,
            "bytes": {file.stem: file.stat().st_size for file in self._folder.glob("*.npy")},
        }
        write_json(self._folder / ABOUT, about)

    def _rectify(self, image: np.ndarray, camera: CameraIntrinsics) -> np.ndarray:
        if self._rectifier is None or self._rectifier.camera != camera:
            self._rectifier = Rectifier(camera)
        return self._rectifier(image)

    def _add_depth(self, depth: np.ndarray | None) -> None:
        """The depth that belongs to the next image; frames before the first one with depth have none."""
        small = np.full(self._size_hw, np.nan, np.float16)
        if depth is not None:
            with np.errstate(over="ignore"):  # beyond 65 km is sky
                small = resize_nearest(depth, self._size_hw).astype(np.float16)
            if self._depth is None:
                self._depth = ArrayFile(self._folder / "depth.npy", self._size_hw, np.float16)
                for _ in self._stamps:
                    self._depth.append(np.full(self._size_hw, np.nan, np.float16))
        if self._depth is not None:
            self._depth.append(small)
        self._depth_known.append(not np.isnan(small).all())


class _Motions:
    """Parallax between each frame and those after it; keeps as few frames as it needs."""

    def __init__(self, folder: Path, size_hw: tuple[int, int]) -> None:
        self._size_hw = size_hw
        self._views: deque[View] = deque(maxlen=MAX_OFFSET)
        self._pixels: list[list[float]] = []
        self._starts: list[list[int]] = []
        self._counts: list[list[int]] = []
        self._matches = ArrayFile(folder / "matches.npy", (4,), np.float32)

    def add(self, new: View, follows: bool) -> None:
        """Take the next frame; where it does not follow, nothing is measured across."""
        if not follows:
            self._views.clear()
        for offset in range(1, len(self._views) + 1):
            row = self._pixels[-offset]
            # Larger offsets are for pairs that lie too near; those that do not are at least as far apart.
            if row and row[-1] >= ENOUGH_PX:
                found = Parallax(row[-1], NOTHING_TRACKED.matches)
            else:
                found = parallax(self._views[-offset], new, PARALLAX_WIDTH, self._size_hw)
            row.append(found.pixels)
            self._starts[-offset].append(len(self._matches))
            self._counts[-offset].append(found.tracks)
            self._matches.extend(found.matches)
        self._views.append(new)
        self._pixels.append([])
        self._starts.append([])
        self._counts.append([])

    def close(self) -> None:
        """Close the file."""
        self._matches.close()

    def arrays(self) -> dict[str, np.ndarray]:
        """Parallax, and where the matches of each pair lie, (MAX_OFFSET, N)."""
        return {
            "parallax": _by_offset(self._pixels, np.nan, np.float32),
            "match_start": _by_offset(self._starts, 0, np.int64),
            "tracks": _by_offset(self._counts, 0, np.int32),
        }


def _by_offset(rows: Sequence[Sequence[float]], missing: float, dtype: Any) -> np.ndarray:
    """Rows of up to MAX_OFFSET values to (MAX_OFFSET, N)."""
    full = [[*row, *[missing] * (MAX_OFFSET - len(row))] for row in rows]
    return np.ascontiguousarray(np.array(full, dtype).T)


def _nothing_usable(recording: Recording, skipped: Counter[str]) -> str:
    if skipped and set(skipped) == {"no_intrinsics"}:
        return (
            f"the camera of {recording.path} is not known: expected camera_info in a bag, camera.json in a folder, "
            f"clip.json beside clip.mp4, or PATH=INTRINSICS"
        )
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items())) or "it is empty"
    return f"{recording.path} has no usable image: {listed}"
