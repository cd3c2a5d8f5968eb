"""Prepared recordings on disk: plain .npy files that are mapped into memory, and a JSON file that tells about them."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from defeat_ros.errors import OutputError

FORMAT_VERSION = 2
ABOUT = "about.json"

_ALWAYS = {"images", "stamps", "cameras", "follows", "parallax", "tracks", "matches", "match_start"}
_HEADER_BYTES = 256


@dataclass(frozen=True)
class PreparedSource:
    """A recording, decoded, rectified and resized once; cheap to pickle, the arrays are mapped at first use.

    The arrays are read-only; N is the number of usable frames, h and w the size in px.

    Attributes:
        folder: where the arrays lie.
        name: of the recording.
        count: N.
        size_hw: h, w.
        skipped: how many images were left out, by reason.
        warnings: of the recording.
        mean_grey: mean of all images, 0 to 255.
        reused: whether it was there already.
    """

    folder: Path
    name: str
    count: int
    size_hw: tuple[int, int]
    skipped: Mapping[str, int]
    warnings: tuple[str, ...]
    mean_grey: float
    arrays: frozenset[str]
    reused: bool = False
    _open: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def __len__(self) -> int:
        return self.count

    @property
    def images(self) -> np.ndarray:
        """(N, h, w, 3) uint8 RGB, rectified."""
        return self._array("images")

    @property
    def stamps(self) -> np.ndarray:
        """(N,) int64, ns, ascending."""
        return self._array("stamps")

    @property
    def cameras(self) -> np.ndarray:
        """(N, 3, 3) float32 intrinsics of the images as prepared, px; the same for all but single images."""
        return self._array("cameras")

    @property
    def follows(self) -> np.ndarray:
        """(N,) bool: nothing was left out between the frame and the one before."""
        return self._array("follows")

    @property
    def parallax(self) -> np.ndarray:
        """(offsets, N) float32: `[k - 1, i]` between frames i and i + k, px at 192 px width; NaN unknown."""
        return self._array("parallax")

    @property
    def tracks(self) -> np.ndarray:
        """(offsets, N) int32: corners tracked between them; 0 beyond the offset that has enough parallax."""
        return self._array("tracks")

    def matches(self, frame: int, offset: int) -> np.ndarray:
        """Corners tracked from a frame to the one `offset` later: (M, 4) float32, x, y there and x, y here, px.

        None where no parallax was measured, which is so beyond the offset that has enough.
        """
        start, count = (self._array(name)[offset - 1, frame] for name in ("match_start", "tracks"))
        return self._array("matches")[start : start + count]

    @property
    def depth(self) -> np.ndarray | None:
        """(N, h, w) float16, m along the optical z axis, NaN none, +Inf sky; None without any truth."""
        return self._array("depth") if "depth" in self.arrays else None

    @property
    def depth_known(self) -> np.ndarray | None:
        """(N,) bool: the depth of the frame is known in at least one pixel; None without any truth."""
        return self._array("depth_known") if "depth_known" in self.arrays else None

    @property
    def poses(self) -> np.ndarray | None:
        """(N, 4, 4) float64, world from camera, m, NaN unknown; None without any."""
        return self._array("poses") if "poses" in self.arrays else None

    def _array(self, name: str) -> np.ndarray:
        if name not in self._open:
            # The base class: indexing a memmap costs several times as much.
            self._open[name] = np.load(self.folder / f"{name}.npy", mmap_mode="r").view(np.ndarray)
        return self._open[name]

    @property
    def period_ns(self) -> float:
        """Median time between two frames, ns; 0 for a single one."""
        gaps = np.diff(self.stamps)
        return float(np.median(gaps)) if len(gaps) else 0.0


class ArrayFile:
    """An .npy file that grows item by item.

    Raises:
        OSError: it cannot be written, as every method.
    """

    def __init__(self, path: Path, item_shape: tuple[int, ...], dtype: Any) -> None:
        self._item_shape, self._dtype, self._count = item_shape, np.dtype(dtype), 0
        self._file = path.open("wb")
        self._file.write(self._header())

    def append(self, item: np.ndarray) -> None:
        """Write one more item; it is brought to the file's type."""
        if item.shape != self._item_shape:
            raise ValueError(f"item is {item.shape}, expected {self._item_shape}")
        self.extend(item[None])

    def extend(self, items: np.ndarray) -> None:
        """Write several items."""
        self._file.write(np.ascontiguousarray(items, dtype=self._dtype).data)
        self._count += len(items)

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """Put the number of items into the header and close."""
        try:
            self._file.seek(0)
            self._file.write(self._header())
        finally:
            self._file.close()

    def _header(self) -> bytes:
        """Format 1.0, https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, of fixed length."""
        shape = (self._count, *self._item_shape)
        text = repr({"descr": self._dtype.str, "fortran_order": False, "shape": shape})
        body = text.encode().ljust(_HEADER_BYTES - 11) + b"\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(body)) + body


def open_cache(folder: Path, fingerprint: str) -> PreparedSource | None:
    """The prepared recording in a folder; None where there is none, an unfinished, damaged or outdated one."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if (about["version"], about["fingerprint"]) != (FORMAT_VERSION, fingerprint):
            return None
        if any((folder / f"{name}.npy").stat().st_size != size for name, size in about["bytes"].items()):
            return None
        height, width = about["size_hw"]
        source = PreparedSource(
            folder=folder,
            name=str(about["name"]),
            count=int(about["count"]),
            size_hw=(int(height), int(width)),
            skipped=dict(about["skipped"]),
            warnings=tuple(about["warnings"]),
            mean_grey=float(about["mean_grey"]),
            arrays=frozenset(about["bytes"]),
            reused=True,
        )
        by_offset = ("parallax", "tracks", "match_start")
        frames = (source._array(name).shape[name in by_offset] for name in source.arrays - {"matches"})
        whole = all(length == source.count for length in frames) and source.arrays >= _ALWAYS
        return source if whole else None
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def put_in_place(scratch: Path, folder: Path, fingerprint: str) -> None:
    """Rename a finished folder to its name; of two processes that finish the same one, the later one gives way.

    Its scratch folder then stays, for the caller to remove.

    Raises:
        OutputError: it cannot be done.
    """
    try:
        lock = os.open(folder.parent, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if open_cache(folder, fingerprint) is None:  # otherwise in use, perhaps
                if folder.exists():
                    shutil.rmtree(folder)
                scratch.rename(folder)
        finally:
            os.close(lock)
    except OSError as error:
        raise OutputError(f"cannot write '{folder}': {error.strerror}") from error


def scratch_beside(folder: Path) -> Path:
    """The hidden folder in which this process makes what is then renamed to `folder`."""
    return folder.with_name(f".{folder.name}.{socket.gethostname()}.{os.getpid()}.part")


def drop_abandoned(cache_dir: Path) -> None:
    """Remove what processes of this machine left that were killed while preparing."""
    for scratch in cache_dir.glob(".*.part"):
        host, _, process = scratch.name.removesuffix(".part").rpartition(".")
        if host.endswith(f".{socket.gethostname()}") and process.isdecimal() and not _runs(int(process)):
            shutil.rmtree(scratch, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
