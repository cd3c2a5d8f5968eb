"""The page of topics, services and parameters: `python -m defeat_ros.ros.reference > docs/topics.md`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from defeat_ros.inference.outputs import TOPICS
from defeat_ros.ros.params import node_entries

HEAD = """# Topics, services and parameters

Of `depth_node`, a lifecycle node that configures and activates itself unless `autostart` is false. Names are relative:
a namespace or a remapping moves them. This page is made from the code:
`python -m defeat_ros.ros.reference > docs/topics.md`.
"""
INPUTS = (
    (
        "image",
        "sensor_msgs/msg/Image",
        "any common encoding; the newest frame wins; as reliable as its publishers offer",
    ),
    (
        "image/compressed",
        "sensor_msgs/msg/CompressedImage",
        "in its place with image_transport compressed: JPEG or PNG",
    ),
    ("camera_info", "sensor_msgs/msg/CameraInfo", "optional; that of the same stamp, else the newest"),
    ("odom_in", "nav_msgs/msg/Odometry", "optional: measured motion of base_frame, for the metric scale"),
)
ALWAYS = (
    ("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", "once a second: see [faults.md](faults.md)"),
    ("/tf", "tf2_msgs/msg/TFMessage", "odom_frame to base_frame, where tf2 is installed and publish_tf is on"),
)
SERVICES = (
    ("~/reset", "std_srvs/srv/Trigger", "odometry to the identity; the scale is measured anew"),
    ("~/change_state, ~/get_state, ...", "lifecycle_msgs", "of every lifecycle node"),
)
QOS = """
Outputs are reliable and keep the last; `qos_overrides./TOPIC.publisher.*` and `.subscription.*` change that. What
nobody subscribes to is not computed.
"""
PARAMETERS = """
Unknown names and values out of range are refused when the node configures, with the name, the value and what was
expected. They can be changed while the node is unconfigured.
"""


def reference_page() -> str:
    """The page, Markdown."""
    outputs = [(name, topic.type, topic.about) for name, topic in TOPICS.items()]
    parts = [HEAD, "## Subscribed\n", _table(("topic", "type", "content"), INPUTS), "\n## Published\n"]
    parts += [_table(("topic", "type", "content"), [*outputs, *ALWAYS]), QOS]
    parts += ["## Services\n", _table(("service", "type", "does"), SERVICES), "\n## Parameters\n", PARAMETERS[1:]]
    rows = [(entry.name, _default(entry.default), _limits(entry), entry.option.help) for entry in node_entries()]
    return "\n".join([*parts, _table(("parameter", "default", "limits", "meaning"), rows), ""])


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| `{name}` | {' | '.join(cell.replace('|', chr(92) + '|') for cell in rest)} |" for name, *rest in rows]
    return "\n".join(lines)


def _default(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return " ".join(map(str, value)) if isinstance(value, tuple) and value else str(value or "empty")


def _limits(entry: Any) -> str:
    limits = entry.option
    if limits.choices:
        return ", ".join(limits.choices)
    low, high = limits.minimum, limits.maximum
    if low is None and high is None:
        return ""
    if high is None:
        return f"from {low:g}"
    return f"{low:g} to {high:g}" if low is not None else f"to {high:g}"


if __name__ == "__main__":
    print(reference_page(), end="")
