"""Scans of a lidar as true depth of an image: points read from a file, moved into the camera, projected."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from defeat_ros.errors import SourceError
from defeat_ros.frame import CameraIntrinsics

_MAX_BYTES = 2**28
_FARTHEST_M = 1e6  # what lies beyond was not measured by a lidar


def read_points(path: Path, columns: int) -> np.ndarray:
    """The points of a scan that is stored as rows of float32, as KITTI (.bin) and nuScenes (.pcd.bin) do.

    Args:
        path: the file.
        columns: values a point, x, y and z first: 4 in KITTI (then reflectance), 5 in nuScenes (intensity, ring).

    Returns:
        (N, 3) float64, m, in the lidar's axes; points that are not finite are left out.

    Raises:
        SourceError: it cannot be read, or has no whole number of points.
    """
    try:
        if not path.is_file():
            raise SourceError(f"scan {path} does not exist, expected float32 points of {columns} values")
        size = path.stat().st_size
        if size > _MAX_BYTES or size % (4 * columns):
            raise SourceError(
                f"scan {path} has {size} bytes, expected a multiple of {4 * columns} ({columns} float32 a point), "
                f"at most {_MAX_BYTES}"
            )
        values = np.fromfile(path, "<f4").reshape(-1, columns)[:, :3].astype(np.float64)
    except OSError as error:
        raise SourceError(f"scan {path} cannot be read: {error.strerror}") from None
    return values[np.isfinite(values).all(axis=1)]


def depth_of_points(
    points: np.ndarray, camera_from_lidar: np.ndarray, camera: CameraIntrinsics, nearest_m: float
) -> np.ndarray:
    """Depth of the pixels that points fall on; of several on one pixel the nearest counts.

    Args:
        points: (N, 3), m, in the lidar's axes.
        camera_from_lidar: (4, 4), into the optical axes.
        camera: of an image without distortion.
        nearest_m: points that are not farther along the optical axis are left out, m; at least 0.

    Returns:
        (H, W) float32, m along the optical axis; NaN where no point falls.
    """
    seen = points @ camera_from_lidar[:3, :3].T + camera_from_lidar[:3, 3]
    seen = seen[(seen[:, 2] > nearest_m) & (seen[:, 2] < _FARTHEST_M)]
    with np.errstate(over="ignore", invalid="ignore"):  # points far beside the image
        u = np.rint(camera.fx * seen[:, 0] / seen[:, 2] + camera.cx)
        v = np.rint(camera.fy * seen[:, 1] / seen[:, 2] + camera.cy)
        inside = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    depth = np.full((camera.height, camera.width), np.inf, np.float32)
    pixels = v[inside].astype(np.int64), u[inside].astype(np.int64)
    np.minimum.at(depth, pixels, seen[inside, 2].astype(np.float32))
    depth[np.isinf(depth)] = np.nan
    return depth
