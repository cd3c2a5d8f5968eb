"""What a data set knows about its images beside the images themselves, and images listed with their times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from defeat_ros.data.folder import FrameSource, SourceItem, Thinner, items_in_time, read_image
from defeat_ros.errors import FrameError, SourceError
from defeat_ros.frame import CameraIntrinsics, Frame
from defeat_ros.geometry import BODY_FROM_OPTICAL, invert

OPTICAL_FROM_ROS = invert(BODY_FROM_OPTICAL)
"""A world with z up (x east or ahead) turned so that y is down and z is where x was: that of a camera's poses."""


_MAX_TEXT_BYTES = 1_000_000


def read_small_text(path: Path, what: str) -> str:
    """The text of a calibration or the like.

    Args:
        path: the file.
        what: what it should be, for the message.

    Raises:
        SourceError: it is missing, no regular file, larger than 1 MB or not to be read.
    """
    try:
        if not path.is_file():  # opening a pipe waits for its other end
            raise SourceError(f"{path} does not exist, expected {what}")
        if (size := path.stat().st_size) > _MAX_TEXT_BYTES:
            raise SourceError(f"{path} has {size} bytes, expected {what} of at most {_MAX_TEXT_BYTES}")
        return path.read_text(errors="replace")
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None


def is_rotation(matrix: np.ndarray) -> bool:
    """Whether (3, 3) is one, up to the digits that calibrations are written with."""
    if not np.abs(matrix).max() < 2:  # nor may its square overflow
        return False
    return bool(np.abs(matrix @ matrix.T - np.eye(3)).max() <= 1e-3 and np.linalg.det(matrix) > 0)


class ImageTruth:
    """Depth and poses of the images of a data set; this one knows nothing.

    Attributes:
        told: what the user should know, one line each.
        base_from_camera: (4, 4), m, where the camera is mounted on a base that stands on the road; None if not known.
    """

    base_from_camera: np.ndarray | None = None

    def __init__(self) -> None:
        self.told: list[str] = []

    def depth(self, item: SourceItem) -> np.ndarray | None:
        """(h, w) float32, m, of a usable image; NaN where nothing was measured, None where there is no scan of it.

        Raises:
            SourceError: there is one, and it cannot be used.
        """
        return None

    def pose(self, item: SourceItem) -> np.ndarray | None:
        """world_from_camera (4, 4), m, in a world with y down; None where it is not known."""
        return None


class ListedImages(FrameSource):
    """Images that are known by file and time, all of one camera.

    Args:
        path: the source, for messages.
        listed: files with their times, ns, in the order of time.
        fps: rate to thin them to, Hz; None keeps all.
        read: file to (H, W, 3) uint8 RGB; raises MessageError.

    Attributes:
        name: what the data set calls it.
        told: what the user should know about the images, one line each.
    """

    name = ""

    def __init__(
        self,
        path: Path,
        listed: Sequence[tuple[Path, int]],
        fps: float | None,
        read: Callable[[Path], np.ndarray] = read_image,
    ) -> None:
        super().__init__()
        self.path, self._read = path, read
        self.told: list[str] = []
        gaps = np.diff(np.array([stamp for _, stamp in listed], np.int64))
        thinner = Thinner(fps, float(np.median(gaps)) if len(gaps) else 0.0)
        self._chosen = [(file, stamp) for file, stamp in listed if thinner.keep(stamp)]
        self.expected = len(self._chosen)

    def items(self) -> Iterator[SourceItem]:
        """Every image with its time, also those of no use."""
        return items_in_time(self._chosen, lambda file, stamp: self._frame(file, stamp, self.intrinsics))

    def _frame(self, file: Path, stamp_ns: int, camera: CameraIntrinsics | None) -> Frame:
        image = self._read(file)
        if image.shape[:2] != self.size_hw:
            raise FrameError(f"{file} is {image.shape[1]}x{image.shape[0]}", "size_changed")
        return Frame(image, stamp_ns, intrinsics=camera)
