"""The demonstration's picture and film: image, depth, features and trajectory side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from defeat_ros.demo.drive_result import DriveResult, images_by_stamp, odometry_alignment
from defeat_ros.inference.pictures import write_picture
from defeat_ros.visualize import ACCENT, BACKGROUND, TRUTH, captioned, trajectory


def preview_frames(result: DriveResult, trained: bool) -> Iterator[tuple[int, np.ndarray]]:
    """Stamp and panel (H, W, 3) for every input frame; a frame that was not published shows the last result."""
    images = images_by_stamp(result.in_bag, "/camera/image_raw", "color")
    depth = images_by_stamp(result.out_bag, "/depth/color", "color")
    features = images_by_stamp(result.out_bag, "/features/color", "color")
    mark = "" if trained else "   UNTRAINED"
    blank = np.full_like(next(iter(images.values())), BACKGROUND)
    shown_depth, shown_features = blank, blank
    for stamp in sorted(images):
        shown_depth, shown_features = depth.get(stamp, shown_depth), features.get(stamp, shown_features)
        seconds = (stamp - result.stamps[0]) / 1e9
        state = "" if stamp in depth else "   (last result)"
        top = [captioned(images[stamp], f"camera   {seconds:5.1f} s"), captioned(shown_depth, f"depth{mark}{state}")]
        track = _track(result, stamp, blank.shape[:2])
        bottom = [captioned(shown_features, f"features{mark}"), captioned(track, f"trajectory{mark}")]
        panel = np.vstack([np.hstack(top), np.hstack(bottom)])
        # H.264 wants even sides.
        yield stamp, panel[: panel.shape[0] // 2 * 2, : panel.shape[1] // 2 * 2]


def _track(result: DriveResult, stamp: int, size_hw: tuple[int, int]) -> np.ndarray:
    truth = np.array([p[:2] for s, p in sorted(result.truth_path.items()) if s <= stamp]).reshape(-1, 2)
    tracks = [("truth", truth, TRUTH)]
    aligned = odometry_alignment(result)
    if aligned is not None:
        points = np.array([p for s, p in sorted(result.odom_path.items()) if s <= stamp]).reshape(-1, 3)
        tracks.append(("odometry, aligned in scale and pose", aligned[0].apply(points)[:, :2], ACCENT))
    return trajectory(tracks, size_hw, "seen from above")


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
