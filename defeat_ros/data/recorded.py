"""One image of a recording with the truth about it, and what every recording can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from defeat_ros.frame import Frame


@dataclass(frozen=True)
class Recorded:
    """One image of a recording, usable or not, with the truth about it.

    Attributes:
        name: unique within the recording, fit for a file name.
        stamp_ns: time of exposure, ns.
        frame: the image with its intrinsics (None where they are not known), None where it could not be used.
        reason: why not: the `reason` of a MessageError, 'size_changed', 'time_backwards' or 'bad_intrinsics'.
        depth: (h, w) float32, m along the optical z axis, in the pixels of the image as recorded (perhaps at another
            size); NaN where there is no truth, +Inf in the sky. None where there is none at all.
        world_from_camera: (4, 4) float64, m, pose of the optical frame; None where it is not known.
    """

    name: str
    stamp_ns: int
    frame: Frame | None
    reason: str | None = None
    depth: np.ndarray | None = None
    world_from_camera: np.ndarray | None = None


class Recording(ABC):
    """Images in the order of time, with truth; may be iterated more than once.

    Attributes:
        path: where it lies.
        expected: about how many images there will be, None where that is not known.
        base_from_camera: (4, 4) float64, m, where the camera is mounted; None where it is not known.
    """

    path: Path
    expected: int | None = None
    base_from_camera: np.ndarray | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self._at_opening: list[str] = []
        self._while_reading: dict[str, tuple[str, int]] = {}

    @property
    def name(self) -> str:
        """Name of the file or folder."""
        return self.path.resolve().name

    @property
    def warnings(self) -> list[str]:
        """What the user should know, one line a kind; complete once it was iterated."""
        lines = [f"{line} ({count} times)" if count > 1 else line for line, count in self._while_reading.values()]
        return self._at_opening + lines

    @abstractmethod
    def _items(self) -> Iterator[Recorded]: ...

    def __iter__(self) -> Iterator[Recorded]:
        self._while_reading.clear()
        return self._items()

    def _warn(self, kind: str, line: str) -> None:
        first, count = self._while_reading.get(kind, (line, 0))
        self._while_reading[kind] = (first, count + 1)
