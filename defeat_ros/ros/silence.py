"""Words for it when no images come."""

from __future__ import annotations

from typing import Any

from defeat_ros.ros.camera import CameraInput
from defeat_ros.ros.meter import Meter

WARN_AFTER_S = 5.0
REPEAT_AFTER_S = 30.0


class SilenceWatch:
    """Warns of a camera that sends nothing, and again now and then."""

    def __init__(self, node: Any, meter: Meter) -> None:
        self._node = node
        self._meter = meter
        self._reported_s = 0.0

    def restart(self) -> None:
        """Wait anew, as at an activation."""
        self._reported_s = 0.0

    def look(self, camera: CameraInput) -> None:
        """To be called about once a second while active."""
        silence_s = self._meter.silence_s()
        if silence_s > max(WARN_AFTER_S, self._reported_s + REPEAT_AFTER_S):
            self._reported_s = silence_s
            self._node.get_logger().warning(explain(self._node, camera))
        elif silence_s < WARN_AFTER_S:
            self._reported_s = -REPEAT_AFTER_S


def explain(node: Any, camera: CameraInput) -> str:
    """Why there may be no images: who publishes what on the image topic, and where else images are."""
    topic, wanted = camera.image_topic, camera.image_type
    publishers = node.get_publishers_info_by_topic(topic)
    others = sorted({p.topic_type for p in publishers} - {wanted})
    start = f"no images on '{topic}'"
    if others:
        return f"{start}: it is published as {', '.join(others)}, expected {wanted}; see image_transport"
    if publishers:
        return f"{start} although it has {len(publishers)} publisher(s): paused, or incompatible QoS?"
    topics = [name for name, kinds in node.get_topic_names_and_types() if wanted in kinds and name != topic]
    elsewhere = [name for name in topics if _published_by_others(node, name)]
    hint = f"; images are on {', '.join(elsewhere)}: remap with image:=..." if elsewhere else ""
    return f"{start}: nobody publishes it{hint}"


def _published_by_others(node: Any, topic: str) -> bool:
    mine = node.get_fully_qualified_name()
    names = (f"{p.node_namespace.rstrip('/')}/{p.node_name}" for p in node.get_publishers_info_by_topic(topic))
    return any(name != mine for name in names)
