"""What to prepare, and how to tell that it has changed since."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

from defeat_ros.data.datasets import files_around
from defeat_ros.data.recording import Recording, open_recording, parse_source
from defeat_ros.frame import CameraIntrinsics


@dataclass(frozen=True)
class SourceSpec:
    """A recording to learn from and how to read it; see `open_recording`."""

    path: Path
    intrinsics: Path | CameraIntrinsics | None = None
    fps: float | None = None
    image_topic: str | None = None
    depth_topic: str | None = None
    odom_topic: str | None = None

    @classmethod
    def parse(cls, text: str, fps: float | None = None) -> SourceSpec:
        """From `PATH` or `PATH=INTRINSICS`.

        Raises:
            SourceError: it is neither.
        """
        path, intrinsics = parse_source(text)
        return cls(path, intrinsics, fps)

    def open(self) -> Recording:
        """Open the recording.

        Raises:
            SourceError: it cannot be read.
        """
        options = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "path"}
        return open_recording(self.path, **options)


def cache_name(spec: SourceSpec, size_hw: tuple[int, int]) -> str:
    """Of a preparation of this size; the content of the files plays no part."""
    path = spec.path.resolve()
    options = [repr(getattr(spec, item.name)) for item in fields(spec) if item.name != "path"]
    return f"{path.name}-{_hash(str(path), options, tuple(size_hw))[:12]}"


def fingerprint_of(spec: SourceSpec) -> str:
    """Changes with every file that may play a part."""
    facts = []
    for file in sorted(set(_files(spec))):
        with suppress(OSError):
            state = file.stat()
            facts.append((str(file), state.st_size, state.st_mtime_ns))
    return _hash(facts)


def _files(spec: SourceSpec) -> Iterator[Path]:
    path = spec.path.resolve()
    if isinstance(spec.intrinsics, Path):
        intrinsics = spec.intrinsics.resolve()
        yield from intrinsics.iterdir() if intrinsics.is_dir() else [intrinsics]
    if path.is_dir():
        yield from (file for file in path.rglob("*") if file.is_file())
    else:
        yield from path.parent.glob(f"{escaped(path.stem)}*")
    for parent in list(path.parents)[:2]:
        yield from (parent / name for name in ("camera.json", "poses.txt", "calib_cam_to_cam.txt"))
    yield from files_around(path)
    yield from path.parent.glob(f"proj_depth/groundtruth/{escaped(path.name)}/*.png")


def escaped(name: str) -> str:
    """A name as a pattern that matches nothing else."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _hash(*facts: object) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()
