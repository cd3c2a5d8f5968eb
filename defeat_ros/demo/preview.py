"""The demonstration's picture and film: image, depth, confidence, features, cloud and trajectory side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from defeat_ros.data.messages import image_from_message
from defeat_ros.demo.drive_result import (
    DriveResult,
    confidence_levels,
    images_by_stamp,
    odometry_alignment,
    points_from_message,
)
from defeat_ros.inference.config import PointsConfig
from defeat_ros.inference.pictures import write_picture
from defeat_ros.visualize import ACCENT, BACKGROUND, TRUTH, captioned, points_above, trajectory


class _Latest:
    """Pictures of one topic by stamp; where a frame was not published, the one before."""

    def __init__(self, pictures: Mapping[int, np.ndarray], first: np.ndarray) -> None:
        self._pictures, self._shown = pictures, first

    def __call__(self, stamp: int) -> np.ndarray:
        self._shown = self._pictures.get(stamp, self._shown)
        return self._shown


def preview_frames(result: DriveResult, trained: bool, camera_height_m: float) -> Iterator[tuple[int, np.ndarray]]:
    """Stamp and panel (H, W, 3) for every input frame; a frame that was not published shows the last result."""
    images = images_by_stamp(result.in_bag, "/camera/image_raw", image_from_message)
    depth = images_by_stamp(result.out_bag, "/depth/color", image_from_message)
    size_hw = next(iter(images.values())).shape[:2]
    blank = np.full((*size_hw, 3), BACKGROUND, np.uint8)
    clouds = images_by_stamp(result.out_bag, "/depth/points", _cloud_picture(size_hw, camera_height_m))
    shown = {
        "depth": _Latest(depth, blank),
        "confidence": _Latest(images_by_stamp(result.out_bag, "/depth/confidence", _confidence_colors), blank),
        "features": _Latest(images_by_stamp(result.out_bag, "/features/color", image_from_message), blank),
        "cloud": _Latest(clouds, blank),
    }
    tracks, mark = _tracks(result), "" if trained else "   UNTRAINED"
    for stamp in sorted(images):
        seconds, state = (stamp - result.stamps[0]) / 1e9, "" if stamp in depth else "   (last result)"
        so_far = [(name, path[times <= stamp], color) for name, times, path, color in tracks]
        captions = {
            "depth": f"depth{mark}{state}",
            "confidence": "confidence: dark 0, bright 1",
            "features": f"features{mark}",
            "cloud": "reliable points from above: road grey, obstacles in colour",
        }
        told = {name: captioned(latest(stamp), captions[name]) for name, latest in shown.items()}
        camera = captioned(images[stamp], f"camera   {seconds:5.1f} s")
        track = captioned(trajectory(so_far, size_hw, "seen from above"), f"trajectory{mark}")
        top, bottom = [camera, told["depth"], told["confidence"]], [told["features"], told["cloud"], track]
        panel = np.vstack([np.hstack(top), np.hstack(bottom)])
        # H.264 wants even sides.
        yield stamp, panel[: panel.shape[0] // 2 * 2, : panel.shape[1] // 2 * 2]


def _confidence_colors(message: Any) -> np.ndarray:
    colors = cv2.applyColorMap(confidence_levels(message), cv2.COLORMAP_BONE)
    return np.asarray(cv2.cvtColor(colors, cv2.COLOR_BGR2RGB))


def _cloud_picture(size_hw: tuple[int, int], camera_height_m: float) -> Callable[[Any], np.ndarray]:
    def picture(message: Any) -> np.ndarray:
        return points_above(points_from_message(message), size_hw, PointsConfig().max_range_m, camera_height_m)

    return picture


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


def write_preview(
    result: DriveResult, out: Path, fps: float, trained: bool, camera_height_m: float, on_frame: Callable[[], None]
) -> None:
    """Write `preview.mp4` (H.264) and `preview.png`, the last fully predicted frame of the film's middle."""
    middle = result.published[len(result.published) // 2] if result.published else result.stamps[0]
    rate = Fraction(fps).limit_denominator(1000)
    with av.open(str(out / "preview.mp4"), "w") as film:
        stream = film.add_stream("libx264", rate=rate, options={"crf": "23", "preset": "veryfast"})
        stream.pix_fmt = "yuv420p"
        for stamp, panel in preview_frames(result, trained, camera_height_m):
            if not stream.codec_context.is_open:
                stream.height, stream.width = panel.shape[:2]
            film.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(panel), format="rgb24")))
            if stamp == middle:
                write_picture(out / "preview.png", panel)
            on_frame()
        film.mux(stream.encode())
