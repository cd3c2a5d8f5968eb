"""The demonstration's picture and film: image, depth, features and trajectory side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from defeat_ros.data.messages import image_from_message
from defeat_ros.demo.drive_result import DriveResult, images_by_stamp, odometry_alignment
from defeat_ros.inference.pictures import write_picture
from defeat_ros.visualize import ACCENT, BACKGROUND, TRUTH, captioned, trajectory


def preview_frames(result: DriveResult, trained: bool) -> Iterator[tuple[int, np.ndarray]]:
    """Stamp and panel (H, W, 3) for every input frame; a frame that was not published shows the last result."""
    images = images_by_stamp(result.in_bag, "/camera/image_raw", image_from_message)
    depth = images_by_stamp(result.out_bag, "/depth/color", image_from_message)
    features = images_by_stamp(result.out_bag, "/features/color", image_from_message)
    mark = "" if trained else "   UNTRAINED"
    blank = np.full_like(next(iter(images.values())), BACKGROUND)
    shown_depth, shown_features = blank, blank
    tracks = _tracks(result)
    for stamp in sorted(images):
        shown_depth, shown_features = depth.get(stamp, shown_depth), features.get(stamp, shown_features)
        seconds = (stamp - result.stamps[0]) / 1e9
        state = "" if stamp in depth else "   (last result)"
        top = [captioned(images[stamp], f"camera   {seconds:5.1f} s"), captioned(shown_depth, f"depth{mark}{state}")]
        so_far = [(name, path[times <= stamp], color) for name, times, path, color in tracks]
        track = trajectory(so_far, blank.shape[:2], "seen from above")
        bottom = [captioned(shown_features, f"features{mark}"), captioned(track, f"trajectory{mark}")]
        panel = np.vstack([np.hstack(top), np.hstack(bottom)])
        # H.264 wants even sides.
        yield stamp, panel[: panel.shape[0] // 2 * 2, : panel.shape[1] // 2 * 2]


def _tracks(result: DriveResult) -> list[tuple[str, np.ndarray, np.ndarray, tuple[int, int, int]]]:
    """Name, stamps (N,), x and y (N, 2) and colour of each path, the odometry aligned to the truth."""
    times, path = _sorted(result.truth_path)
    tracks = [("truth", times, path[:, :2], TRUTH)]
    aligned = odometry_alignment(result)
    if aligned is not None:
        times, path = _sorted(result.odom_path)
        tracks.append(("odometry in metres, aligned in pose", times, aligned[0].apply(path)[:, :2], ACCENT))
    return tracks


def _sorted(path: dict[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    stamps = sorted(path)
    return np.array(stamps, np.int64), np.array([path[stamp] for stamp in stamps]).reshape(-1, 3)


def write_preview(result: DriveResult, out: Path, fps: float, trained: bool, on_frame: Callable[[], None]) -> None:
    """Write `preview.mp4` (H.264) and `preview.png`, the last fully predicted frame of the film's middle."""
    middle = result.published[len(result.published) // 2] if result.published else result.stamps[0]
    rate = Fraction(fps).limit_denominator(1000)
    with av.open(str(out / "preview.mp4"), "w") as film:
        stream = film.add_stream("libx264", rate=rate, options={"crf": "23", "preset": "veryfast"})
        stream.pix_fmt = "yuv420p"
        for stamp, panel in preview_frames(result, trained):
            if not stream.codec_context.is_open:
                stream.height, stream.width = panel.shape[:2]
            film.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(panel), format="rgb24")))
            if stamp == middle:
                write_picture(out / "preview.png", panel)
            on_frame()
        film.mux(stream.encode())
