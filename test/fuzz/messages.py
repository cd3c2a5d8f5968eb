"""Messages as objects: Image, CompressedImage, CameraInfo, Odometry and transforms with fields that contradict."""

from __future__ import annotations

from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np

from defeat_ros.data.encodings import IMAGE_ENCODINGS
from defeat_ros.data.messages import (
    array_from_message,
    depth_from_message,
    image_from_message,
    intrinsics_from_message,
    stamp_from_message,
)
from defeat_ros.data.transforms import find_transform, transforms_from_message
from defeat_ros.data.truth import pose_from_odometry
from defeat_ros.frame import CameraIntrinsics, Frame
from defeat_ros.inference.measured_motion import MeasuredMotion
from defeat_ros.inference.view import ViewMaker
from fuzz import Target, mutate
from fuzz.pictures import broken_picture, pictures

MODELS = ["", "none", "plumb_bob", "rational_polynomial", "equidistant", "fisheye", "kannala", " PLUMB_BOB "]
ENCODINGS = [
    *IMAGE_ENCODINGS,
    "32FC1",
    "64FC3",
    "8UC",
    "8UC0",
    "8UC4097",
    "8UC99999999999",
    "bayer_rggb",
    "mono",
    "RGB8",
]
FRAME_HW = (48, 64)


def make_header(rng: Random, ros1: bool = False) -> SimpleNamespace:
    """A header with any stamp and name that its fields can hold."""
    seconds = rng.choice([0, 1, 1_700_000_000, 2**31 - 1, -1, -(2**31)])
    part = rng.choice([0, 1, 999_999_999, 10**9, 2**32 - 1])
    stamp = SimpleNamespace(secs=seconds, nsecs=part) if ros1 else SimpleNamespace(sec=seconds, nanosec=part)
    return SimpleNamespace(stamp=stamp, frame_id=rng.choice(["cam", "/cam", *mutate.WORDS]))


def _none(folder: Path) -> None:
    """Nothing is needed but warm libraries."""
    height, width = FRAME_HW
    see(CameraIntrinsics(50.0, 50.0, 32.0, 24.0, width, height, "plumb_bob", (0.1, -0.1, 0.0, 0.0)))


# Image


def _make_image(seeds: Any, rng: Random) -> SimpleNamespace:
    width, height, encoding = rng.randint(1, 40), rng.randint(1, 20), rng.choice(ENCODINGS)
    row = width * rng.choice([1, 2, 3, 4, 6, 8])
    step = row + rng.choice([0, 0, 5, -1])
    rows = height * rng.choice([1, 1, 1.5, 3])
    message = SimpleNamespace(
        header=make_header(rng),
        width=width,
        height=height,
        encoding=encoding,
        step=step,
        is_bigendian=rng.choice([0, 1, 7]),
    )
    length = max(0, int(step * rows) + rng.choice([0, 0, -1, 1, 99]))
    for _ in range(rng.choice([0, 0, 1, 2])):
        field = rng.choice(["width", "height", "step", "encoding", "length"])
        if field == "encoding":
            message.encoding = rng.choice(
                [*mutate.WORDS, f"{rng.choice(['8U', '32F', '16S'])}C{rng.choice(mutate.WHOLE)}"]
            )
        elif field == "length":
            length = rng.choice([0, 1, 100, 5000])
        else:
            setattr(message, field, rng.choice(mutate.WHOLE) % 2**32)
    kind = rng.choice([bytes, bytearray, list, lambda data: np.frombuffer(data, np.uint8)])
    message.data = kind(rng.randbytes(length))
    return message


def _use_image(message: SimpleNamespace, folder: Path) -> None:
    stamp_from_message(message)
    depth_or_error(message)
    array_from_message(message)
    image = image_from_message(message)
    assert image.shape == (message.height, message.width, 3) and image.dtype == np.uint8
    Frame(image, stamp_from_message(message), str(message.header.frame_id))


def depth_or_error(message: Any) -> None:
    """Read it as depth too; that it is none is no news."""
    from defeat_ros.errors import MessageError

    try:
        depth = depth_from_message(message)
    except MessageError:
        return
    assert depth.dtype == np.float32


# CompressedImage


def _make_compressed(whole: list[bytes], rng: Random) -> SimpleNamespace:
    kind = rng.choice(["jpeg", "png", "rgb8; jpeg compressed bgr8", "bayer_rggb8; png compressed bayer_rggb8"])
    data = broken_picture(whole, rng)
    if rng.random() < 0.2:
        kind = rng.choice(["compressedDepth", "bayer_; png", ";", "bayer_rggb8; jpeg compressed rgb8", *mutate.WORDS])
    return SimpleNamespace(header=make_header(rng), format=kind, data=data)


def _use_compressed(message: SimpleNamespace, folder: Path) -> None:
    image = image_from_message(message)
    assert image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8


# CameraInfo, with what rectification makes of it


def _make_camera(seeds: Any, rng: Random) -> SimpleNamespace:
    height, width = FRAME_HW
    fx = rng.choice([50.0, 55.0, 0.0, 1e-12, 1e12])
    k = [fx, 0.0, width / 2, 0.0, fx, height / 2, 0.0, 0.0, 1.0]
    r = list(np.eye(3).reshape(9))
    p = rng.choice([[fx, 0.0, 32.0, 0.0, 0.0, fx, 24.0, 0.0, 0.0, 0.0, 1.0, 0.0], [0.0] * 12, []])
    count = rng.choice([0, 4, 5, 8, 12, 14, 3, 100])
    d = [rng.choice([0.0, 0.1, -0.3, rng.uniform(-1, 1)]) for _ in range(count)]
    for values in (k, r, p, d):
        for _ in range(rng.choice([0, 0, 0, 1, 2])):
            if values:
                values[rng.randrange(len(values))] = float(mutate.number(rng))
        if rng.random() < 0.05:
            values[:] = values[: rng.randrange(len(values) + 1)]
    sizes = {"width": width, "height": height, "binning_x": 0, "binning_y": 0}
    region = {"x_offset": 0, "y_offset": 0, "width": 0, "height": 0}
    for group in (sizes, region):
        if rng.random() < 0.2:
            group[rng.choice(list(group))] = rng.choice(mutate.WHOLE) % 2**32
    model = rng.choice(MODELS if rng.random() < 0.9 else mutate.WORDS)
    names = dict(zip("DKRP" if rng.random() < 0.3 else "dkrp", (d, k, r, p), strict=True))
    roi = SimpleNamespace(**region, do_rectify=True)
    return SimpleNamespace(header=make_header(rng), **names, **sizes, roi=roi, distortion_model=model)


def _use_camera(message: SimpleNamespace, folder: Path) -> None:
    camera = intrinsics_from_message(message)
    if camera is not None and (camera.height, camera.width) == FRAME_HW:
        see(camera)


def see(camera: CameraIntrinsics) -> None:
    """What the engine does first with a frame of this camera."""
    image = np.zeros((camera.height, camera.width, 3), np.uint8)
    view = ViewMaker((64, 96), (0, 0), "")(Frame(image, 1, intrinsics=camera))
    assert view.image.shape == image.shape and view.network_image.shape == (64, 96, 3)


# Odometry and transforms


def _make_motion(seeds: Any, rng: Random) -> list[SimpleNamespace]:
    return [_posed(rng, rng.choice([1.0, 1.0, None])) for _ in range(rng.randint(1, 6))]


def _posed(rng: Random, good: float | None) -> SimpleNamespace:
    def value() -> float:
        return rng.uniform(-1, 1) if good or rng.random() < 0.6 else float(mutate.number(rng))

    position = SimpleNamespace(x=value(), y=value(), z=value())
    orientation = SimpleNamespace(x=value(), y=value(), z=value(), w=value())
    pose = SimpleNamespace(position=position, orientation=orientation)
    moved = SimpleNamespace(translation=position, rotation=orientation)
    child = rng.choice(["base_link", "/base_link", "cam", *mutate.WORDS])
    return SimpleNamespace(
        header=make_header(rng), child_frame_id=child, pose=SimpleNamespace(pose=pose), transform=moved
    )


def _use_motion(messages: list[SimpleNamespace], folder: Path) -> None:
    measured = MeasuredMotion("base_link")
    static = transforms_from_message(SimpleNamespace(transforms=messages))
    find_transform(static, "base_link", "cam")
    for message in messages:
        stamp_ns, pose = pose_from_odometry(message)
        measured.add(stamp_ns, pose, message.header.frame_id, message.child_frame_id)
        measured.expect(stamp_ns - 10**8, stamp_ns, pose)
        measured.resolved(np.eye(4), stamp_ns)
        measured.complaint(stamp_ns)


TARGETS = (
    Target("image", _none, _make_image, _use_image, share=3, quick=150),
    Target("compressed_image", pictures, _make_compressed, _use_compressed, share=6, quick=150),
    Target("camera_info", _none, _make_camera, _use_camera, share=3, quick=150),
    Target("odometry", _none, _make_motion, _use_motion, share=2, quick=60),
)
