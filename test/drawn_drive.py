"""A drive past textured boards, drawn with OpenCV, with exact depth and pose: quicker than the rendered one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from defeat_ros.data.bag import BagWriter, bag_messages
from defeat_ros.frame import EPOCH_NS, CameraIntrinsics
from defeat_ros.geometry import BODY_FROM_OPTICAL, invert, transform

WIDTH, HEIGHT = 128, 96
CAMERA = CameraIntrinsics(fx=100.0, fy=102.0, cx=62.0, cy=50.0, width=WIDTH, height=HEIGHT)
PERIOD_NS = 10**8
BASE_FROM_CAMERA = transform(BODY_FROM_OPTICAL[:3, :3], np.array([1.5, 0.0, 1.2]))

# Depth, left, right, top, bottom of each board, m; the last is behind all others.
_BOARDS = (
    (8.0, -6.0, -1.5, -3.0, 3.0),
    (6.0, 1.2, 5.0, -2.0, 3.0),
    (12.0, -1.2, 1.0, 0.5, 4.0),
    (40.0, -60.0, 60.0, -50.0, 50.0),
)
_TEXELS = 1024


def _textures() -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    made = []
    for _ in _BOARDS:
        coarse = rng.integers(30, 226, (128, 128, 3), dtype=np.uint8)
        made.append(cv2.resize(coarse, (_TEXELS, _TEXELS), interpolation=cv2.INTER_CUBIC))
    return made


_TEXTURES = _textures()


def draw(x: float, z: float) -> tuple[np.ndarray, np.ndarray]:
    """What a camera at (x, 0, z) that looks along z sees: (H, W, 3) uint8 RGB and depth (H, W) float32, m."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    depth = np.full((HEIGHT, WIDTH), np.inf, np.float32)
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    for (far, left, right, top, bottom), texture in zip(_BOARDS, _TEXTURES, strict=True):
        distance = far - z
        across, down = (u - CAMERA.cx) / CAMERA.fx * distance + x, (v - CAMERA.cy) / CAMERA.fy * distance
        here = (across >= left) & (across < right) & (down >= top) & (down < bottom) & (distance < depth)
        span = (_TEXELS - 1) / (right - left)
        colours = cv2.remap(
            texture, (across - left) * span, (down - top) * span, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
        )
        image[here], depth[here] = colours[here], distance
    return image, depth


def world_from_camera(x: float, z: float) -> np.ndarray:
    """Pose (4, 4) of the optical frame in a world with z up."""
    return BODY_FROM_OPTICAL @ transform(np.eye(3), np.array([x, 0.0, z]))


def write_drive(
    path: Path,
    positions: Sequence[tuple[float, float]],
    stamps: Sequence[int] | None = None,
    damaged: Sequence[int] = (),
    truth: bool = True,
    camera_info: bool = True,
    mount: bool = True,
    camera: CameraIntrinsics = CAMERA,
    light: float = 1.0,
) -> Path:
    """A bag of the drive with the topics of a rendered one; the images numbered in `damaged` do not decode.

    `light` is a factor on the images, below 1 for the same drive by night.
    """
    make = bag_messages()
    stamps = stamps or [EPOCH_NS + index * PERIOD_NS for index in range(len(positions))]
    with BagWriter(path) as bag:
        if mount:
            tree = make.transforms([("base_link", "camera", BASE_FROM_CAMERA)], stamp_ns=stamps[0])
            bag.write("/tf_static", tree, stamps[0])
        for index, (position, stamp) in enumerate(zip(positions, stamps, strict=True)):
            image, depth = draw(*position)
            message = make.image((light * image).astype(np.uint8), stamp_ns=stamp, frame_id="camera")
            if index in damaged:
                message.data = message.data[:100]
            written = EPOCH_NS + index * PERIOD_NS
            if camera_info:
                info = make.camera_info(camera, stamp_ns=stamp, frame_id="camera")
                bag.write("/camera/camera_info", info, written)
            bag.write("/camera/image_raw", message, written)
            if truth:
                bag.write("/truth/depth", make.image(depth, stamp_ns=stamp, frame_id="camera"), written)
                odometry = make.odometry(
                    stamp_ns=stamp, frame_id="world", child_frame_id="base_link",
                    odom_from_base=world_from_camera(*position) @ invert(BASE_FROM_CAMERA), twist=np.zeros(6),
                    pose_covariance=np.eye(6), twist_covariance=np.eye(6),
                )  # fmt: skip
                bag.write("/truth/odom", odometry, written)
    return path


def write_folder(path: Path, positions: Sequence[tuple[float, float]], camera: bool = True) -> Path:
    """The drive as a folder of PNG images, with camera.json."""
    path.mkdir(parents=True)
    for index, position in enumerate(positions):
        assert cv2.imwrite(str(path / f"{index:06d}.png"), draw(*position)[0][..., ::-1])
    if camera:
        (path / "camera.json").write_text(json.dumps(camera_json(CAMERA)))
    return path


def camera_json(camera: CameraIntrinsics) -> dict[str, float]:
    """The short form of an intrinsics file."""
    return {name: getattr(camera, name) for name in ("width", "height", "fx", "fy", "cx", "cy")}
