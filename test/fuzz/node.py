"""Messages as the node gets them: serialized, from any publisher, through its own input to a view and back out."""

from __future__ import annotations

from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np

from fuzz import Target, mutate
from fuzz.messages import FRAME_HW, MODELS
from fuzz.pictures import broken_picture, pictures

Sent = list[tuple[str, bytes]]
TYPES = {"image": "sensor_msgs/msg/Image", "compressed": "sensor_msgs/msg/CompressedImage"}
TYPES |= {"camera_info": "sensor_msgs/msg/CameraInfo", "odom_in": "nav_msgs/msg/Odometry"}


class _Node:
    """What `CameraInput` and `OdometryInput` ask of a node: it keeps their callbacks and drops what they say."""

    def __init__(self) -> None:
        self.callbacks: dict[str, Any] = {}
        self._parameter_overrides: dict[str, Any] = {}
        self.said: list[str] = []

    def resolve_topic_name(self, name: str, only_expand: bool = False) -> str:
        return f"/{name}"

    def create_subscription(self, kind: Any, topic: str, callback: Any, profile: Any, **options: Any) -> Any:
        self.callbacks[topic.strip("/")] = callback
        return SimpleNamespace(topic_name=topic)

    def destroy_subscription(self, subscription: Any) -> None:
        return None

    def count_publishers(self, topic: str) -> int:
        return 1

    def get_publishers_info_by_topic(self, topic: str) -> list[Any]:
        return []

    def get_logger(self) -> Any:
        return SimpleNamespace(warning=lambda text, **_: self.said.append(text))


def _seeds(folder: Path) -> dict[str, list[bytes]]:
    from rclpy.serialization import serialize_message

    from defeat_ros.frame import CameraIntrinsics
    from defeat_ros.ros.messages import FACTORY

    height, width = FRAME_HW
    image = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    header: Any = {"stamp_ns": 1_700_000_000 * 10**9, "frame_id": "cam"}
    distorted = {"distortion_model": "plumb_bob", "distortion": (0.1, -0.1, 0.0, 0.0, 0.0)}
    cameras = [CameraIntrinsics(50.0, 50.0, 32.0, 24.0, width, height, **more) for more in ({}, distorted)]
    odometry = FACTORY.odometry(
        **header, child_frame_id="base_link", odom_from_base=np.eye(4), twist=np.zeros(6), pose_covariance=np.eye(6),
        twist_covariance=np.eye(6),
    )  # fmt: skip
    made = {
        "image": [FACTORY.image(image, **header), FACTORY.image(image[..., 0], "bayer_rggb8", **header)],
        "compressed": [FACTORY.compressed_image(image, kind, **header) for kind in ("jpeg", "png")],
        "camera_info": [FACTORY.camera_info(camera, **header) for camera in cameras],
        "odom_in": [odometry],
    }
    whole = {name: [bytes(serialize_message(one)) for one in messages] for name, messages in made.items()}
    whole["pictures"] = pictures(folder)
    _use([("camera_info", whole["camera_info"][1]), ("image", whole["image"][0])], folder)
    return whole


def _make(whole: dict[str, list[bytes]], rng: Random) -> Sent:
    """A camera_info, perhaps an odometry, and an image; one or two of them broken."""
    image = rng.choice(["image", "image", "compressed"])
    names = ["camera_info", "odom_in", image]
    broken = {rng.choice(names), rng.choice([image, "camera_info"])}
    return [(name, _broken(whole, name, rng) if name in broken else rng.choice(whole[name])) for name in names]


def _broken(whole: dict[str, list[bytes]], name: str, rng: Random) -> bytes:
    data = rng.choice(whole[name])
    way = rng.random()
    if way < 0.45:
        return mutate.fields(rng, data, 80)
    if way < 0.7 and name in ("camera_info", "odom_in"):
        return mutate.doubles(rng, data, 28 + 4 * rng.randrange(4), 400)
    if way < 0.7 and name == "compressed":
        return _compressed(broken_picture(whole["pictures"], rng))
    if way < 0.75:
        return rng.choice([b"", b"\0", b"\0\1\0\0", rng.randbytes(40), rng.choice(whole[rng.choice(list(TYPES))])])
    if way < 0.8 and name == "camera_info":
        return data.replace(b"plumb_bob", rng.choice(MODELS).encode()[:9].ljust(9, b"\0"))
    return mutate.blind(rng, data, first=80)


def _compressed(data: bytes) -> bytes:
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import CompressedImage

    return bytes(serialize_message(CompressedImage(format="jpeg", data=data)))


def _use(sent: Sent, folder: Path) -> None:
    from rclpy.serialization import deserialize_message, serialize_message

    from defeat_ros.inference.config import ScaleConfig
    from defeat_ros.inference.measured_motion import MeasuredMotion
    from defeat_ros.inference.view import ViewMaker
    from defeat_ros.ros.camera import CameraInput
    from defeat_ros.ros.messages import FACTORY, message_class
    from defeat_ros.ros.odometry_input import OdometryInput

    node, measured = _Node(), MeasuredMotion("base_link")
    transport = "compressed" if sent[-1][0] == "compressed" else "raw"
    camera = CameraInput(
        node, transport, lambda data: None, lambda count: None, lambda: None, lambda enough, limit: True
    )
    OdometryInput(node, ScaleConfig(), lambda: measured)
    for name, data in sent:
        if name in node.callbacks and name in ("camera_info", "odom_in"):
            try:
                message = deserialize_message(data, message_class(TYPES[name]))
            except Exception:
                continue  # the middleware's part: it does not hand over what it cannot read
            node.callbacks[name](message)
        elif name in ("image", "compressed"):
            frame = camera.frame(data, 5)
            view = ViewMaker((64, 64), (0, 0), "")(frame)
            header: Any = {"stamp_ns": frame.stamp_ns, "frame_id": frame.frame_id}
            serialize_message(FACTORY.image(view.network_image, **header))
            if view.intrinsics is not None:
                serialize_message(FACTORY.camera_info(view.intrinsics, **header))


TARGETS = (Target("node_input", _seeds, _make, _use, share=6, quick=120),)
