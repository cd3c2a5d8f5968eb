"""Video files as a source of frames."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np

from defeat_ros.data.folder import FrameSource, Thinner
from defeat_ros.errors import SourceError
from defeat_ros.frame import EPOCH_NS, CameraIntrinsics, Frame


class VideoSource(FrameSource):
    """The frames of a video with its own times, from EPOCH_NS on.

    Args:
        path: anything FFmpeg reads.
        fps: about how many frames per second to keep; None for all.
        camera: its camera.

    Raises:
        SourceError: it is no video, or the camera has another size.
    """

    def __init__(self, path: Path, fps: float | None, camera: CameraIntrinsics | None) -> None:
        super().__init__()
        self._path, self._fps = path, fps
        with self._open() as container:
            stream = container.streams.video[0]
            size_hw = stream.codec_context.height, stream.codec_context.width
            rate = float(stream.average_rate or stream.guessed_rate or 0)
            frames = stream.frames
            if not frames and stream.duration and rate:
                frames = round(float(stream.duration * stream.time_base) * rate)
        if 0 in size_hw:
            raise SourceError(f"video {path} does not tell the size of its pictures")
        self._set_camera(path, size_hw, camera)
        self._gap_ns = 1e9 / rate if rate else 0.0
        kept = min(1.0, fps / rate) if fps and rate else 1.0
        self.expected = math.ceil(frames * kept) if frames else None

    def __iter__(self) -> Iterator[Frame]:
        self.skipped.clear()
        thinner = Thinner(self._fps, self._gap_ns)
        first = last = None
        with self._open() as container:
            for index, frame in enumerate(self._decoded(container)):
                if frame.pts is None:
                    self.skipped.append((f"frame {index}", "no_time"))
                    continue
                first = frame.pts if first is None else first
                stamp = EPOCH_NS + round((frame.pts - first) * frame.time_base * 10**9)
                if last is not None and stamp <= last:
                    self.skipped.append((f"frame {index}", "time_backwards"))
                    continue
                last = stamp
                if not thinner.keep(stamp):
                    continue
                if (frame.height, frame.width) != self.size_hw:
                    self.skipped.append((f"frame {index}", "size_changed"))
                    continue
                image = np.ascontiguousarray(frame.to_ndarray(format="rgb24"))
                yield Frame(image, stamp, intrinsics=self.intrinsics)

    def _decoded(self, container: Any) -> Iterator[Any]:
        """Every frame that decodes; a damaged packet costs its own frames only."""
        packets = container.demux(container.streams.video[0])
        number = 0
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                frames = packet.decode()
            except av.error.EOFError:
                return
            except av.FFmpegError:
                self.skipped.append((f"packet {number}", "decode_failed"))
                frames = []
            number += 1
            yield from frames

    def _open(self) -> Any:
        try:
            container = av.open(str(self._path))
        except (av.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SourceError(f"video {self._path} cannot be read: {reason}") from None
        if not container.streams.video:
            container.close()
            raise SourceError(f"{self._path} has no video stream")
        return container
