"""Video files as a source of frames."""

from __future__ import annotations

import errno
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np

from defeat_ros.data.folder import FrameSource, SourceItem, Thinner
from defeat_ros.errors import SourceError
from defeat_ros.frame import EPOCH_NS, CameraIntrinsics, Frame

# Formats of files that only tell where others are: in other folders, or on a network.
REFERRING = {
    *("concat", "dash", "hls", "imf", "image2", "lavfi", "rtp", "rtsp", "sap", "sdp", "vobsub", "webm_dash_manifest")
}


class VideoSource(FrameSource):
    """The frames of a video with its own times, from EPOCH_NS on.

    Nothing but the file itself is opened, whatever it or its name says.

    Args:
        path: anything FFmpeg reads, other than lists of other files.
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
            if stream.codec_context is None:
                raise SourceError(f"video {path} is packed by a codec that this FFmpeg does not know")
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

    def items(self) -> Iterator[SourceItem]:
        """Every frame that the rate keeps, and what does not decode or has no usable time."""
        thinner = Thinner(self._fps, self._gap_ns)
        first, last = None, EPOCH_NS - 1
        with self._open() as container:
            for name, frame in self._decoded(container):
                if frame is None or frame.pts is None:
                    yield SourceItem(name, max(last, EPOCH_NS), None, "no_time" if frame else "decode_failed")
                    continue
                first = frame.pts if first is None else first
                stamp = EPOCH_NS + round((frame.pts - first) * frame.time_base * 10**9)
                if stamp <= last:
                    yield SourceItem(name, stamp, None, "time_backwards")
                    continue
                last = stamp
                if not thinner.keep(stamp):
                    continue
                if (frame.height, frame.width) != self.size_hw:
                    yield SourceItem(name, stamp, None, "size_changed")
                    continue
                image = np.ascontiguousarray(frame.to_ndarray(format="rgb24"))
                yield SourceItem(name, stamp, Frame(image, stamp, intrinsics=self.intrinsics))

    def _decoded(self, container: Any) -> Iterator[tuple[str, Any]]:
        """Every frame with its name, None for a damaged packet, which costs its own frames only."""
        packets = container.demux(container.streams.video[0])
        packet_number = frame_number = 0
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                frames = packet.decode()
            except av.error.EOFError:
                return
            except av.FFmpegError:
                yield f"packet {packet_number}", None
                frames = []
            packet_number += 1
            for frame in frames:
                yield f"frame {frame_number}", frame
                frame_number += 1

    def _open(self) -> Any:
        if not self._path.is_file():  # opening a pipe waits for its other end
            raise SourceError(f"video {self._path} cannot be read: it is no regular file")
        only = {
            "protocol_whitelist": "file",
            "format_whitelist": ",".join(sorted(av.formats_available - REFERRING)),
        }
        try:
            # Without the prefix a name such as 'concat:a' or 'http:b' would be taken for an address.
            container = av.open(f"file:{self._path}", options=only)
        except (av.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            if getattr(error, "errno", None) == errno.EINVAL:
                reason = "it is no video itself, but tells of other files or of a network"
            raise SourceError(f"video {self._path} cannot be read: {reason}") from None
        if not container.streams.video:
            container.close()
            raise SourceError(f"{self._path} has no video stream")
        return container
