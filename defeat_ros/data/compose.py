"""Building ROS messages from numpy, for rclpy and for rosbags alike.

Both sides name and fill their messages the same way; what differs is where the classes come from and what a byte
field takes. A `MessageFactory` is given these two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import cv2
import numpy as np

from defeat_ros.errors import MessageError
from defeat_ros.frame import CameraIntrinsics
from defeat_ros.geometry import quaternion_from_rotation

_JPEG_QUALITY = 95


class MessageFactory:
    """Makes messages of one ROS library.

    Args:
        resolve: gives the class of a name such as 'sensor_msgs/msg/Image'.
        as_bytes: turns a contiguous array into what a uint8[] field takes.
    """

    def __init__(self, resolve: Callable[[str], type], as_bytes: Callable[[np.ndarray], Any]) -> None:
        self._resolve = resolve
        self._as_bytes = as_bytes

    def make(self, name: str, /, **fields: Any) -> Any:
        """A message of the named type."""
        return self._resolve(name)(**fields)

    def time(self, stamp_ns: int) -> Any:
        return self.make("builtin_interfaces/msg/Time", sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)

    def header(self, stamp_ns: int, frame_id: str) -> Any:
        return self.make("std_msgs/msg/Header", stamp=self.time(stamp_ns), frame_id=frame_id)

    def image(self, array: np.ndarray, encoding: str | None = None, *, stamp_ns: int, frame_id: str) -> Any:
        """A sensor_msgs/Image.

        Args:
            array: (H, W) or (H, W, C).
            encoding: its ROS name; None takes rgb8 for (H, W, 3) uint8, mono8, mono16, 32FC1, 32FC<C>.

        Raises:
            MessageError: the encoding is not given and does not follow from the array.
        """
        array = np.ascontiguousarray(array)
        return self.make(
            "sensor_msgs/msg/Image",
            header=self.header(stamp_ns, frame_id),
            height=array.shape[0],
            width=array.shape[1],
            encoding=encoding or _encoding_of(array),
            is_bigendian=0,
            step=array.nbytes // array.shape[0],
            data=self._as_bytes(array),
        )

    def compressed_image(self, array: np.ndarray, format: str = "jpeg", *, stamp_ns: int, frame_id: str) -> Any:
        """A sensor_msgs/CompressedImage of an (H, W, 3) RGB or (H, W) grey uint8 image.

        Raises:
            MessageError: the format is neither 'jpeg' nor 'png'.
        """
        if format not in ("jpeg", "png"):
            raise MessageError(f"format is {format!r}, expected jpeg or png")
        colour = array.ndim == 3
        options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if format == "jpeg" else []
        picture = cv2.cvtColor(array, cv2.COLOR_RGB2BGR) if colour else array
        data = cv2.imencode(".jpg" if format == "jpeg" else ".png", picture, options)[1]
        return self.make(
            "sensor_msgs/msg/CompressedImage",
            header=self.header(stamp_ns, frame_id),
            format=f"{'rgb8' if colour else 'mono8'}; {format} compressed {'bgr8' if colour else ''}",
            data=self._as_bytes(np.ascontiguousarray(data).reshape(-1)),
        )

    def camera_info(self, intrinsics: CameraIntrinsics, *, stamp_ns: int, frame_id: str) -> Any:
        """A sensor_msgs/CameraInfo with D, K, R and P."""
        fx, fy, cx, cy = intrinsics.projection or (intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy)
        rotation = np.eye(3).reshape(9) if intrinsics.rectification is None else intrinsics.rectification
        roi = {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0, "do_rectify": False}
        return self.make(
            "sensor_msgs/msg/CameraInfo",
            header=self.header(stamp_ns, frame_id),
            height=intrinsics.height,
            width=intrinsics.width,
            # An empty model means "uncalibrated" to some consumers; plumb_bob of zeros means "no distortion" to all.
            distortion_model=intrinsics.distortion_model or "plumb_bob",
            d=np.array(intrinsics.distortion or (0.0,) * (4 if intrinsics.distortion_model == "equidistant" else 5)),
            k=intrinsics.K.reshape(9),
            r=np.array(rotation, dtype=np.float64),
            p=np.array([fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1, 0], dtype=np.float64),
            binning_x=0,
            binning_y=0,
            roi=self.make("sensor_msgs/msg/RegionOfInterest", **roi),
        )

    def odometry(
        self,
        *,
        stamp_ns: int,
        frame_id: str,
        child_frame_id: str,
        odom_from_base: np.ndarray,
        twist: np.ndarray,
        pose_covariance: np.ndarray,
        twist_covariance: np.ndarray,
    ) -> Any:
        """A nav_msgs/Odometry.

        Args:
            frame_id: frame of the pose.
            child_frame_id: frame that is posed, and in which the twist is.
            odom_from_base: (4, 4), m.
            twist: (6,) linear m/s, then angular rad/s.
            pose_covariance: (36,) or (6, 6), row-major.
            twist_covariance: the same of the twist.
        """
        geometry = "geometry_msgs/msg/"
        x, y, z = (float(value) for value in odom_from_base[:3, 3])
        pose = self.make(
            geometry + "Pose",
            position=self.make(geometry + "Point", x=x, y=y, z=z),
            orientation=self._quaternion(odom_from_base),
        )
        speed = self.make(geometry + "Twist", linear=self._vector(twist[:3]), angular=self._vector(twist[3:]))
        return self.make(
            "nav_msgs/msg/Odometry",
            header=self.header(stamp_ns, frame_id),
            child_frame_id=child_frame_id,
            pose=self.make(geometry + "PoseWithCovariance", pose=pose, covariance=_covariance(pose_covariance)),
            twist=self.make(geometry + "TwistWithCovariance", twist=speed, covariance=_covariance(twist_covariance)),
        )

    def transform_stamped(self, parent: str, child: str, parent_from_child: np.ndarray, *, stamp_ns: int) -> Any:
        """A geometry_msgs/TransformStamped; parent_from_child is (4, 4), m."""
        transform = self.make(
            "geometry_msgs/msg/Transform",
            translation=self._vector(parent_from_child[:3, 3]),
            rotation=self._quaternion(parent_from_child),
        )
        return self.make(
            "geometry_msgs/msg/TransformStamped",
            header=self.header(stamp_ns, parent),
            child_frame_id=child,
            transform=transform,
        )

    def transforms(self, items: Iterable[tuple[str, str, np.ndarray]], *, stamp_ns: int) -> Any:
        """A tf2_msgs/TFMessage of (parent, child, parent_from_child) triples."""
        made = [self.transform_stamped(*item, stamp_ns=stamp_ns) for item in items]
        return self.make("tf2_msgs/msg/TFMessage", transforms=made)

    def point_cloud(self, points: np.ndarray, colors: np.ndarray | None, *, stamp_ns: int, frame_id: str) -> Any:
        """An unorganised sensor_msgs/PointCloud2 with fields x, y, z and, where there are colours, rgb as PCL packs it.

        Args:
            points: (N, 3) float32, m, all finite.
            colors: (N, 3) uint8 RGB, or None.
        """
        columns = np.ascontiguousarray(points, np.float32)
        names = ["x", "y", "z"]
        if colors is not None:
            red, green, blue = colors.astype(np.uint32).T
            packed = (red << 16 | green << 8 | blue).view(np.float32)
            columns = np.concatenate([columns, packed[:, None]], axis=1)
            names.append("rgb")
        fields = [
            self.make("sensor_msgs/msg/PointField", name=name, offset=4 * index, datatype=7, count=1)  # FLOAT32
            for index, name in enumerate(names)
        ]
        return self.make(
            "sensor_msgs/msg/PointCloud2",
            header=self.header(stamp_ns, frame_id),
            height=1,
            width=len(columns),
            fields=fields,
            is_bigendian=False,
            point_step=4 * len(names),
            row_step=columns.nbytes,
            data=self._as_bytes(columns.reshape(-1)),
            is_dense=True,
        )

    def clock(self, stamp_ns: int) -> Any:
        """A rosgraph_msgs/Clock."""
        return self.make("rosgraph_msgs/msg/Clock", clock=self.time(stamp_ns))

    def float64(self, value: float) -> Any:
        """A std_msgs/Float64."""
        return self.make("std_msgs/msg/Float64", data=float(value))

    def _vector(self, values: np.ndarray) -> Any:
        x, y, z = (float(value) for value in values)
        return self.make("geometry_msgs/msg/Vector3", x=x, y=y, z=z)

    def _quaternion(self, transform: np.ndarray) -> Any:
        x, y, z, w = quaternion_from_rotation(transform[:3, :3])
        return self.make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)


def _covariance(values: np.ndarray) -> np.ndarray:
    return np.array(values, dtype=np.float64).reshape(36)


def _encoding_of(array: np.ndarray) -> str:
    """The encoding that an array's shape and type suggest."""
    channels = 1 if array.ndim == 2 else array.shape[2] if array.ndim == 3 else 0
    if array.dtype == np.float32 and channels:
        return f"32FC{channels}"
    known = {("uint8", 3): "rgb8", ("uint8", 4): "rgba8", ("uint8", 1): "mono8", ("uint16", 1): "mono16"}
    name = known.get((array.dtype.name, channels))
    if name is None:
        raise MessageError(f"array is {array.shape} {array.dtype}, expected (H, W[, C]) uint8 or float32")
    return name
