"""ROS messages to numpy and back, against truth made with numpy."""

from __future__ import annotations

import array
import importlib
import struct
import zlib
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from defeat_ros.data import messages
from defeat_ros.data.bag import bag_messages
from defeat_ros.data.compose import MessageFactory
from defeat_ros.data.messages import (
    array_from_message,
    depth_from_message,
    image_from_message,
    intrinsics_from_message,
    stamp_from_message,
)
from defeat_ros.errors import MessageError
from defeat_ros.frame import CameraIntrinsics

RNG = np.random.default_rng(7)
RGB = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)
HEAD = {"stamp_ns": 1_700_000_000_123_456_789, "frame_id": "cam"}


def image(values: np.ndarray, encoding: str, *, padding: int = 0, big_endian: bool = False, **changes: Any) -> Any:
    """An Image message like the ones that libraries make, from an (H, W[, C]) array."""
    if big_endian:
        values = values.astype(values.dtype.newbyteorder(">"))
    rows = np.ascontiguousarray(values).reshape(values.shape[0], -1).view(np.uint8)
    data = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xAB)
    fields = {
        "header": SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=2), frame_id="cam"),
        "height": values.shape[0],
        "width": values.shape[1],
        "encoding": encoding,
        "is_bigendian": int(big_endian),
        "step": data.shape[1],
        "data": data.reshape(-1),
    }
    return SimpleNamespace(**{**fields, **changes})


def compressed(data: bytes, format: str) -> Any:
    return SimpleNamespace(format=format, data=np.frombuffer(data, np.uint8))


def with_alpha(values: np.ndarray) -> np.ndarray:
    return np.dstack([values, np.full(values.shape[:2], 77, values.dtype)])


def wide(values: np.ndarray) -> np.ndarray:
    return values.astype(np.uint16) * 257


LAYOUTS = {
    "rgb8": RGB,
    "bgr8": RGB[..., ::-1],
    "rgba8": with_alpha(RGB),
    "bgra8": with_alpha(RGB[..., ::-1]),
    "8UC3": RGB[..., ::-1],
    "8UC4": with_alpha(RGB[..., ::-1]),
    "rgb16": wide(RGB),
    "bgr16": wide(RGB[..., ::-1]),
    "rgba16": wide(with_alpha(RGB)),
    "bgra16": wide(with_alpha(RGB[..., ::-1])),
}


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", LAYOUTS)
def test_colour(encoding: str, padding: int) -> None:
    result = image_from_message(image(LAYOUTS[encoding], encoding, padding=padding))
    np.testing.assert_array_equal(result, RGB)
    assert result.flags.c_contiguous and result.flags.owndata and result.flags.writeable


@pytest.mark.parametrize("encoding", ["mono8", "8UC1", "mono16", "16UC1"])
def test_grey(encoding: str) -> None:
    grey = RGB[..., 0]
    values = wide(grey) if "16" in encoding else grey
    np.testing.assert_array_equal(image_from_message(image(values, encoding, padding=2)), np.dstack([grey] * 3))


@pytest.mark.parametrize("encoding", ["rgb16", "bgra16"])
def test_big_endian(encoding: str) -> None:
    np.testing.assert_array_equal(image_from_message(image(LAYOUTS[encoding], encoding, big_endian=True)), RGB)


def test_sixteen_bits_are_rounded() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.rint(values * (255.0 / 65535.0)).astype(np.uint8)
    np.testing.assert_array_equal(image_from_message(image(values, "mono16"))[..., 1], expected)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_colours(pattern: str, bits: int) -> None:
    colour = {"r": 200, "g": 120, "b": 30}
    mosaic = np.array([[colour[pattern[0]], colour[pattern[1]]], [colour[pattern[2]], colour[pattern[3]]]], np.uint8)
    mosaic = np.tile(mosaic, (6, 6))
    values = wide(mosaic) if bits == 16 else mosaic
    result = image_from_message(image(values, f"bayer_{pattern}{bits}"))
    np.testing.assert_array_equal(result[4:8, 4:8], np.broadcast_to([200, 120, 30], (4, 4, 3)))


def _yuv(rgb: tuple[int, int, int]) -> tuple[int, int, int]:
    """Video-range BT.601."""
    r, g, b = (value / 255 for value in rgb)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return round(16 + 219 * y), round(128 + 112 * (b - y) / 0.886), round(128 + 112 * (r - y) / 0.701)


@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "UYVY", "yuv422_yuy2", "yuyv", "nv12", "nv21", "nv24"])
@pytest.mark.parametrize("rgb", [(200, 60, 30), (20, 30, 220)])
def test_yuv(encoding: str, rgb: tuple[int, int, int]) -> None:
    y, u, v = _yuv(rgb)
    changes: dict[str, Any] = {}
    if encoding.lower() in ("yuv422", "uyvy"):
        values = np.tile(np.array([[[u, y], [v, y]]], np.uint8), (4, 3, 1))
    elif encoding in ("yuv422_yuy2", "yuyv"):
        values = np.tile(np.array([[[y, u], [y, v]]], np.uint8), (4, 3, 1))
    else:
        chroma = np.tile(np.array([v, u] if encoding == "nv21" else [u, v], np.uint8), 12)
        planes = chroma.reshape(2, 6, 2).reshape(2, -1)[:, :6] if encoding != "nv24" else np.tile(chroma, 2)
        values = np.vstack([np.full((4, 6), y, np.uint8), planes.reshape(-1, 6)])
        changes = {"height": 4}
    result = image_from_message(image(values, encoding, **changes))
    assert result.shape == (4, 6, 3)
    assert np.abs(result.astype(int) - rgb).max() <= 3


@pytest.mark.parametrize("encoding", ["32FC1", "32FC10", "8UC2", "16SC1", "64FC3", "32SC1"])
@pytest.mark.parametrize("big_endian", [False, True])
def test_raw_arrays(encoding: str, big_endian: bool) -> None:
    dtype = {"32F": "f4", "8UC": "u1", "16S": "i2", "64F": "f8", "32S": "i4"}[encoding[:3]]
    channels = int(encoding.partition("C")[2])
    shape = (5, 7) if channels == 1 else (5, 7, channels)
    values = RNG.integers(0, 100, shape).astype(dtype)
    result = array_from_message(image(values, encoding, padding=3 if dtype == "u1" else 8, big_endian=big_endian))
    np.testing.assert_array_equal(result, values)
    assert result.dtype == np.dtype(dtype) and result.dtype.isnative


def test_depth() -> None:
    metres = np.array([[1.5, np.nan], [np.inf, 0.25]], np.float32)
    np.testing.assert_array_equal(depth_from_message(image(metres, "32FC1")), metres)
    millimetres = np.array([[1500, 0]], np.uint16)
    np.testing.assert_array_equal(
        depth_from_message(image(millimetres, "16UC1")), np.array([[1.5, np.nan]], np.float32)
    )
    with pytest.raises(MessageError, match="rgb8"):
        depth_from_message(image(RGB, "rgb8"))


BAD = {
    "unknown_encoding": [{"encoding": "yuv411p"}, {"encoding": ""}, {"encoding": "32FC1", "step": 32, "height": 4}],
    "bad_size": [{"width": 0}, {"height": 0}],
    "bad_step": [{"step": 23}, {"step": 0}],
    "short_data": [{"data": b""}, {"data": bytes(143)}, {"height": 7}, {"step": 2**32 - 1}],
    "too_large": [{"width": 10**5, "height": 10**5, "step": 3 * 10**5}],
}


@pytest.mark.parametrize(("reason", "changes"), [(reason, item) for reason, items in BAD.items() for item in items])
def test_contradictions(reason: str, changes: dict[str, Any]) -> None:
    with pytest.raises(MessageError) as caught:
        image_from_message(image(RGB, **{"encoding": "rgb8", **changes}))
    assert caught.value.reason == reason
    assert any(str(value) in str(caught.value) for value in changes.values()) or "data" in changes


@pytest.mark.parametrize("encoding", ["uyvy", "nv12", "nv21"])
def test_odd_sizes_of_yuv(encoding: str) -> None:
    data = np.zeros(1000, np.uint8)
    with pytest.raises(MessageError, match="even"):
        image_from_message(image(RGB, encoding, width=5, height=6, step=10, data=data))


def _png(values: np.ndarray) -> bytes:
    return cv2.imencode(".png", values)[1].tobytes()


def _jpeg(values: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", values, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()


SMOOTH = cv2.resize(RGB, (64, 48), interpolation=cv2.INTER_CUBIC)


def test_compressed_png() -> None:
    bgr = SMOOTH[..., ::-1]
    for name in ("png", "rgb8; png compressed bgr8", "PNG", ""):
        np.testing.assert_array_equal(image_from_message(compressed(_png(bgr), name)), SMOOTH)
    np.testing.assert_array_equal(image_from_message(compressed(_png(with_alpha(bgr)), "png")), SMOOTH)
    np.testing.assert_array_equal(
        image_from_message(compressed(_png(wide(bgr)), "rgb16; png compressed bgr16")), SMOOTH
    )
    grey = SMOOTH[..., 0]
    for values in (grey, wide(grey)):
        result = image_from_message(compressed(_png(values), "mono16; png compressed "))
        np.testing.assert_array_equal(result, np.dstack([grey] * 3))


def test_compressed_jpeg() -> None:
    data = _jpeg(SMOOTH[..., ::-1])
    for name in ("jpeg", "jpg", "rgb8; jpeg compressed bgr8", "bgr8; jpeg compressed bgr8"):
        assert np.abs(image_from_message(compressed(data, name)).astype(int) - SMOOTH).mean() < 6
    swapped = image_from_message(compressed(_jpeg(SMOOTH), "rgb8; jpeg compressed rgb8"))
    assert np.abs(swapped.astype(int) - SMOOTH).mean() < 6
    padded = image_from_message(compressed(data + bytes(4000), "jpeg"))  # cameras pad to a fixed length
    assert padded.shape == SMOOTH.shape


@pytest.mark.parametrize("format", ["bayer_rggb8; png compressed bayer_rggb8", "bayer_rggb8; png compressed "])
def test_compressed_bayer(format: str) -> None:
    mosaic = np.tile(np.array([[200, 120], [120, 30]], np.uint8), (6, 6))
    result = image_from_message(compressed(_png(mosaic), format))
    np.testing.assert_array_equal(result[4:8, 4:8], np.broadcast_to([200, 120, 30], (4, 4, 3)))


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_truncated_files(kind: str) -> None:
    data = _png(SMOOTH) if kind == "png" else _jpeg(SMOOTH)
    for length in (0, 1, 3, 10, 40, len(data) // 2, len(data) - 2):
        with pytest.raises(MessageError):
            image_from_message(compressed(data[:length], kind))


def test_flipped_bits_of_a_png() -> None:
    data = bytearray(_png(SMOOTH))
    data[len(data) // 2] ^= 0x10
    with pytest.raises(MessageError, match="checksum"):
        image_from_message(compressed(bytes(data), "png"))


def test_decompression_bombs() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    jpeg = bytearray(_jpeg(SMOOTH))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 60000, 60000)
    for data in (png, bytes(jpeg)):
        with pytest.raises(MessageError, match="60000x60000") as caught:
            image_from_message(compressed(data, "png"))
        assert caught.value.reason == "too_large"


def test_other_compressed_formats() -> None:
    with pytest.raises(MessageError, match="compressedDepth"):
        image_from_message(compressed(_png(wide(SMOOTH)), "16UC1; compressedDepth png"))
    with pytest.raises(MessageError, match="h264"):
        image_from_message(compressed(b"\x00\x00\x00\x01\x67" * 20, "h264"))


def camera_info(upper: bool = False, **changes: Any) -> Any:
    k = [500.0, 0, 320, 0, 510, 240, 0, 0, 1]
    values = {"d": [0.1, -0.2, 0.01, 0.02, 0.0], "k": k, "r": list(np.eye(3).reshape(9)), "p": [0.0] * 12}
    values.update({name: value for name, value in changes.items() if name in values})
    fields: dict[str, Any] = {
        "width": 640,
        "height": 480,
        "distortion_model": "plumb_bob",
        "binning_x": 0,
        "binning_y": 0,
        "roi": SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False),
    }
    fields.update({name: value for name, value in changes.items() if name not in values})
    return SimpleNamespace(**fields, **{name.upper() if upper else name: value for name, value in values.items()})


@pytest.mark.parametrize("upper", [False, True])
def test_intrinsics(upper: bool) -> None:
    camera = intrinsics_from_message(camera_info(upper))
    assert camera == CameraIntrinsics(
        fx=500, fy=510, cx=320, cy=240, width=640, height=480,
        distortion_model="plumb_bob", distortion=(0.1, -0.2, 0.01, 0.02, 0.0)
    )  # fmt: skip
    assert intrinsics_from_message(camera_info(upper, k=[0.0] * 9)) is None


def test_intrinsics_of_a_cropped_and_binned_image() -> None:
    roi = SimpleNamespace(x_offset=100, y_offset=40, width=400, height=300, do_rectify=True)
    p = [480.0, 0, 310, 0, 0, 490, 230, 0, 0, 0, 1, 0]
    camera = intrinsics_from_message(camera_info(roi=roi, binning_x=2, binning_y=4, p=p))
    assert camera is not None
    assert (camera.width, camera.height) == (200, 75)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (250, 127.5, 110, 50)
    assert camera.projection == (240, 122.5, 105, 47.5)


def test_distortion_models() -> None:
    fisheye = intrinsics_from_message(camera_info(distortion_model="fisheye", d=[0.1] * 4))
    assert fisheye is not None and fisheye.distortion_model == "equidistant"
    assert intrinsics_from_message(camera_info(distortion_model="rational_polynomial", d=[0.1] * 8)) is not None
    plain = intrinsics_from_message(camera_info(distortion_model="", d=[]))
    assert plain is not None and plain.distortion == ()
    for changes in (
        {"distortion_model": "thin_prism", "d": [0.0] * 4},
        {"distortion_model": "", "d": [0.1]},
        {"d": [0.1] * 3},
        {"k": [500.0] * 8},
        {"k": [float("nan")] * 9},
        {"width": 0},
    ):
        with pytest.raises(MessageError):
            intrinsics_from_message(camera_info(**changes))


def test_rectifications() -> None:
    turned = cv2.Rodrigues(np.array([0.01, 0.02, -0.01]))[0]
    for r, expected in (([0.0] * 9, None), ([], None), (np.eye(3).reshape(9), None)):
        camera = intrinsics_from_message(camera_info(r=r))
        assert camera is not None and camera.rectification is expected
    rounded = np.round(turned, 3).reshape(9)  # files have few digits
    camera = intrinsics_from_message(camera_info(r=rounded))
    assert camera is not None and camera.rectification == tuple(rounded)
    for bad in (np.ones(9), np.diag([1.0, 1, 0]), np.diag([1.0, 1, -1]), 1.02 * turned, np.full(9, np.nan)):
        values = np.reshape(bad, 9)
        with pytest.raises(MessageError, match="expected a rotation") as caught:
            intrinsics_from_message(camera_info(r=values))
        assert ", ".join(f"{value:g}" for value in values) in str(caught.value)


def test_stamps() -> None:
    for stamp in (SimpleNamespace(sec=3, nanosec=4), SimpleNamespace(secs=3, nsecs=4)):
        assert stamp_from_message(SimpleNamespace(header=SimpleNamespace(stamp=stamp))) == 3_000_000_004


def rclpy_messages() -> MessageFactory:
    """The factory as the node makes it."""
    pytest.importorskip("sensor_msgs.msg")

    def resolve(name: str) -> type:
        package, _, kind = name.split("/")
        return getattr(importlib.import_module(f"{package}.msg"), kind)

    def as_bytes(values: np.ndarray) -> Any:
        data = array.array("B")
        data.frombytes(memoryview(values).cast("B"))
        return data

    return MessageFactory(resolve, as_bytes)


@pytest.fixture(params=["rosbags", "rclpy"])
def make(request: pytest.FixtureRequest) -> MessageFactory:
    return bag_messages() if request.param == "rosbags" else rclpy_messages()


def test_composed_images_read_back(make: MessageFactory) -> None:
    message = make.image(RGB, **HEAD)
    assert message.encoding == "rgb8" and message.header.frame_id == "cam"
    assert stamp_from_message(message) == HEAD["stamp_ns"]
    np.testing.assert_array_equal(image_from_message(message), RGB)
    for values, encoding in ((RGB[..., 0].astype(np.float32), "32FC1"), (RGB.astype(np.float32), "32FC3")):
        message = make.image(values, **HEAD)
        assert message.encoding == encoding
        np.testing.assert_array_equal(array_from_message(message), values)
    np.testing.assert_array_equal(image_from_message(make.compressed_image(SMOOTH, "png", **HEAD)), SMOOTH)
    grey = image_from_message(make.compressed_image(SMOOTH[..., 0], "jpeg", **HEAD))
    assert np.abs(grey[..., 0].astype(int) - SMOOTH[..., 0]).mean() < 3
    with pytest.raises(MessageError, match="bool"):
        make.image(RGB > 3, **HEAD)
    with pytest.raises(MessageError, match="gif"):
        make.compressed_image(RGB, "gif", **HEAD)


def test_composed_cameras_read_back(make: MessageFactory) -> None:
    turned = cv2.Rodrigues(np.array([0.1, 0.2, -0.1]))[0]
    camera = CameraIntrinsics(
        fx=500, fy=510, cx=320, cy=240, width=640, height=480, distortion_model="equidistant",
        distortion=(0.1, 0.2, 0.3, 0.4), rectification=tuple(turned.reshape(9)), projection=(400, 410, 300, 200),
    )  # fmt: skip
    assert intrinsics_from_message(make.camera_info(camera, **HEAD)) == camera
    plain = CameraIntrinsics(fx=500, fy=510, cx=320, cy=240, width=640, height=480)
    read = intrinsics_from_message(make.camera_info(plain, **HEAD))
    assert read is not None and read.rectified() == plain and not read.needs_rectification


def test_composed_poses(make: MessageFactory) -> None:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(np.array([0.0, 0.0, np.pi / 2]))[0], (1, 2, 3)
    message = make.odometry(
        stamp_ns=5, frame_id="odom", child_frame_id="base", odom_from_base=pose, twist=np.arange(6.0),
        pose_covariance=np.arange(36.0), twist_covariance=np.eye(6),
    )  # fmt: skip
    assert (message.pose.pose.position.y, message.twist.twist.angular.z) == (2, 5)
    assert message.pose.pose.orientation.z == pytest.approx(np.sqrt(0.5))
    np.testing.assert_array_equal(message.pose.covariance, np.arange(36))
    stamped = make.transform_stamped("odom", "base", pose, stamp_ns=10**9 + 7)
    assert (stamped.header.frame_id, stamped.child_frame_id, stamped.transform.translation.z) == ("odom", "base", 3)
    assert make.float64(2).data == 2.0
    assert (make.time(10**9 + 7).sec, make.time(10**9 + 7).nanosec) == (1, 7)


def test_both_libraries_read_the_same() -> None:
    ours, theirs = bag_messages(), rclpy_messages()
    values = RNG.integers(0, 65536, (4, 5, 3), dtype=np.uint16)
    one, two = (image_from_message(make.image(values, "bgr16", **HEAD)) for make in (ours, theirs))
    np.testing.assert_array_equal(one, two)


EXACT = {**{name: LAYOUTS[name] for name in ("rgb8", "bgr8", "rgba8", "bgra8")}, "mono8": RGB[..., 0]}
ROUNDED = {  # arithmetic, in which the two may round differently
    **{name: LAYOUTS[name] for name in ("rgb16", "bgr16", "rgba16", "bgra16")},
    "mono16": RNG.integers(0, 65536, (6, 8), dtype=np.uint16),
    **{f"bayer_{kind}8": RGB[..., 0] for kind in ("rggb", "bggr", "gbrg", "grbg")},
    **dict.fromkeys(("yuv422", "yuv422_yuy2"), RGB[..., :2]),
}


@pytest.mark.parametrize("encoding", [*EXACT, *ROUNDED])
def test_cv_bridge_agrees(encoding: str) -> None:
    bridge = messages._cv_bridge()
    if bridge is None:
        pytest.skip("cv_bridge comes with a ROS installation, not with the package index")
    values = {**EXACT, **ROUNDED}[encoding]
    for padding, big_endian in ((0, False), (5, False), (24, False), (0, True), (24, True)):
        message = image(values, encoding, padding=padding, big_endian=big_endian)
        ours = messages._rgb_by_ourselves(message)
        if padding or (big_endian and values.itemsize == 2):  # not every version of cv_bridge reads these right
            np.testing.assert_array_equal(image_from_message(message), ours)
            continue
        # Called itself: what the package calls falls back to ours, which would agree with itself.
        theirs = bridge.imgmsg_to_cv2(message, "rgb8")
        np.testing.assert_array_equal(image_from_message(message), theirs)
        assert np.abs(theirs.astype(int) - ours).max() <= (0 if encoding in EXACT else 1)


@pytest.mark.parametrize(
    ("encoding", "padding", "big_endian"), [("rgb8", 5, False), ("bgra8", 16, False), ("rgb16", 0, True)]
)
def test_cv_bridge_gets_no_rows_that_it_misreads(
    monkeypatch: pytest.MonkeyPatch, encoding: str, padding: int, big_endian: bool
) -> None:
    """It takes padding for whole pixels, or for none, and leans the picture."""

    monkeypatch.setattr(messages, "_cv_bridge", lambda: "a bridge")
    monkeypatch.setattr(messages, "_rgb_by_cv_bridge", lambda message: pytest.fail("asked"))
    message = image(LAYOUTS[encoding], encoding, padding=padding, big_endian=big_endian)
    np.testing.assert_array_equal(image_from_message(message), RGB)
