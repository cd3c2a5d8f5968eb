"""The node's ears: image and camera_info topics to frames."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from rclpy.qos import QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from defeat_ros.data.messages import image_from_message, intrinsics_from_message, stamp_from_message
from defeat_ros.errors import FrameError, MessageError
from defeat_ros.frame import DEFAULT_FRAME_ID, CameraIntrinsics, Frame
from defeat_ros.ros.qos import offers_best_effort, qos_overrides, with_overrides

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

FIRST_CAMERA_INFO_S = 0.3
"""How long the first image waits for a camera_info that somebody publishes."""
REMEMBERED = 30
IMAGES_TAKEN = 5
"""A queue makes depth late only where a callback is slow; ours just keeps the newest, and so counts the others."""
WARN_EVERY_S = 10.0
LOST = "without it images are not rectified, and there is no camera_info, no points, no road and no refined odometry"


class CameraInput:
    """Subscribes to one camera. Images stay serialized until somebody works on them: most may never be.

    Args:
        node: where the subscriptions live.
        transport: 'raw' or 'compressed'.
        on_image: gets the serialized image.
        on_lost: is told of images that the middleware noticed but could not deliver.
        on_camera_info: is called after a camera_info came in.
        wait_for_news: see `LatestWorker.wait_for_news`.

    Raises:
        ConfigError: a QoS override cannot be used; nothing is subscribed to then.
    """

    def __init__(
        self,
        node: Any,
        transport: str,
        on_image: Callable[[bytes], None],
        on_lost: Callable[[int], None],
        on_camera_info: Callable[[], None],
        wait_for_news: Callable[[Callable[[], bool], float], bool],
    ) -> None:
        self._node = node
        self._image_type = CompressedImage if transport == "compressed" else Image
        self._on_camera_info = on_camera_info
        self._wait_for_news = wait_for_news
        self._infos: OrderedDict[int, Any] = OrderedDict()
        self._waited = self._destroyed = self._unstamped = False
        self._on_image = on_image
        self._on_lost = on_lost
        image_topic, info_topic = _image_topic(node, transport), node.resolve_topic_name("camera_info")
        self._chosen_by_user = f"qos_overrides.{image_topic}.subscription.reliability" in node._parameter_overrides
        self._reliability = ReliabilityPolicy.RELIABLE
        if self._chosen_by_user or offers_best_effort(node, image_topic):
            self._reliability = ReliabilityPolicy.BEST_EFFORT
        self._images = self._subscribe(image_topic)
        info_qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        options = qos_overrides()

        def subscribe() -> Any:
            return node.create_subscription(
                CameraInfo, info_topic, self._remember, info_qos, qos_overriding_options=options
            )

        try:
            self._camera_infos = with_overrides(node, info_topic, subscribe)
        except Exception:
            node.destroy_subscription(self._images)
            raise

    @property
    def image_topic(self) -> str:
        """Full name of the image topic."""
        return str(self._images.topic_name)

    @property
    def image_type(self) -> str:
        """ROS type name of the images."""
        return f"sensor_msgs/msg/{self._image_type.__name__}"

    @property
    def camera_info_topic(self) -> str:
        """Full name of the camera_info topic."""
        return str(self._camera_infos.topic_name)

    def destroy(self) -> None:
        """Unsubscribe."""
        self._destroyed = True
        self._node.destroy_subscription(self._images)
        self._node.destroy_subscription(self._camera_infos)

    def adapt(self) -> None:
        """Ask for images as their publishers offer them: reliable from reliable ones, else best effort.

        Best effort would match every publisher, but a driver with Fast DDS as it comes sends images over 523 kB in
        pieces: of 30 of 640x480 rgb8, best effort was measured to lose 22 to 27, reliable none. Call it now and then.
        """
        if self._chosen_by_user or not self._node.count_publishers(self.image_topic):
            return
        best_effort = offers_best_effort(self._node, self.image_topic)
        wanted = ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE
        if wanted != self._reliability:
            self._reliability = wanted
            topic, old = self.image_topic, self._images
            self._images = self._subscribe(topic)
            self._node.destroy_subscription(old)

    def _subscribe(self, topic: str) -> Any:
        # Fast DDS tells of images that it saw come but not come in whole, not of those that a newer one replaced.
        events = SubscriptionEventCallbacks(
            incompatible_qos=self._on_incompatible, message_lost=lambda event: self._on_lost(event.total_count_change)
        )
        return with_overrides(
            self._node,
            topic,
            lambda: self._node.create_subscription(
                self._image_type,
                topic,
                self._on_image,
                QoSProfile(depth=IMAGES_TAKEN, reliability=self._reliability),
                raw=True,
                event_callbacks=events,
                qos_overriding_options=qos_overrides(with_reliability=self._chosen_by_user),
            ),
        )

    def _on_incompatible(self, event: Any) -> None:
        """A publisher does not offer what we ask for: reliability we can give up, the rest the user must hear of."""
        if event.last_policy_kind == QoSPolicyKind.RELIABILITY and not self._chosen_by_user:
            # Later, because this runs inside the subscription that is to go.
            self._node.executor.create_task(self._adapt_if_alive)
            return
        policy = QoSPolicyKind(event.last_policy_kind).name.lower()
        self._node.get_logger().warning(
            f"a publisher of '{self.image_topic}' does not match: its {policy} is incompatible; "
            "see the parameters qos_overrides.*"
        )

    def _adapt_if_alive(self) -> None:
        if not self._destroyed:
            self.adapt()

    def frame(self, serialized: bytes, received_ns: int) -> Frame:
        """Make a frame of an image, with the camera_info of the same stamp or else the latest.

        A camera_info that does not fit costs the intrinsics and a warning, not the frame.

        Args:
            received_ns: when it came, by the node's clock; stands in for a stamp of 0.

        Raises:
            MessageError: the image contradicts itself or has an unknown encoding.
        """
        try:
            message = deserialize_message(serialized, self._image_type)
        except Exception as error:
            raise MessageError(f"image cannot be deserialized: {error}") from error
        image, stamp_ns = image_from_message(message), stamp_from_message(message)
        camera = self._intrinsics(stamp_ns)
        height, width = image.shape[:2]
        if camera is not None and (camera.width, camera.height) != (width, height):
            self._warn(f"'{self.camera_info_topic}' is for {camera.width}x{camera.height}, images are {width}x{height}")
            camera = None
        if not stamp_ns and not self._unstamped:
            self._unstamped = True
            self._node.get_logger().warning(
                f"the driver does not stamp its images on '{self.image_topic}' (stamp 0): the time of arrival is taken"
            )
        return Frame(image, stamp_ns or received_ns, str(message.header.frame_id) or DEFAULT_FRAME_ID, camera)

    def _remember(self, message: Any) -> None:
        self._infos[stamp_from_message(message)] = message
        while len(self._infos) > REMEMBERED:
            self._infos.popitem(last=False)
        self._on_camera_info()

    def _intrinsics(self, stamp_ns: int) -> CameraIntrinsics | None:
        if not self._infos and not self._waited and self._node.count_publishers(self.camera_info_topic):
            self._waited = True
            self._wait_for_news(lambda: bool(self._infos), FIRST_CAMERA_INFO_S)
        infos = self._infos.copy()  # the executor's thread may add to it at any time
        if not infos:
            self._warn(f"no camera_info on '{self.camera_info_topic}'")
            return None
        message = infos[stamp_ns] if stamp_ns in infos else next(reversed(infos.values()))
        try:
            camera = intrinsics_from_message(message)
        except (MessageError, FrameError) as error:
            self._warn(f"'{self.camera_info_topic}': {error}")
            return None
        if camera is None:
            self._warn(f"'{self.camera_info_topic}' says that the camera is not calibrated (K is 0)")
        return camera

    def _warn(self, what: str) -> None:
        self._node.get_logger().warning(f"{what}; {LOST}", throttle_duration_sec=WARN_EVERY_S)


def _image_topic(node: Any, transport: str) -> str:
    """The topic to listen to; like image_transport, a remapped `image` takes its `/compressed` along."""
    if transport == "raw":
        return str(node.resolve_topic_name("image"))
    plain = str(node.resolve_topic_name("image/compressed", only_expand=True))
    remapped = str(node.resolve_topic_name("image/compressed"))
    return remapped if remapped != plain else str(node.resolve_topic_name("image")) + "/compressed"
