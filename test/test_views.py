"""What rviz2 and Foxglove are told to show is what the node publishes."""

import json
from pathlib import Path

import numpy as np
import yaml

from defeat_ros.inference.outputs import TOPICS
from defeat_ros.visualize import BACKGROUND, points_above

CONFIG = Path(__file__).resolve().parents[1] / "config"
KINDS = {"Image": "sensor_msgs/msg/Image", "PointCloud2": "sensor_msgs/msg/PointCloud2"}
KINDS["Odometry"] = "nav_msgs/msg/Odometry"


def test_rviz_shows_topics_of_the_node_by_displays_of_their_type():
    view = yaml.safe_load((CONFIG / "depth.rviz").read_text())["Visualization Manager"]
    shown = {}
    for display in view["Displays"]:
        if "Topic" in display:
            shown[display["Topic"]["Value"]] = KINDS[display["Class"].removeprefix("rviz_default_plugins/")]
    shown.pop("/camera/image_raw")
    assert shown and all(TOPICS[name.lstrip("/")].type == kind for name, kind in shown.items())
    assert view["Global Options"]["Fixed Frame"] == "odom"


def test_foxglove_places_every_panel_and_shows_topics_of_the_node():
    layout = json.loads((CONFIG / "foxglove_layout.json").read_text())

    def leaves(node):
        return [node] if isinstance(node, str) else leaves(node["first"]) + leaves(node["second"])

    assert sorted(leaves(layout["layout"])) == sorted(layout["configById"])
    images = [panel["imageMode"]["imageTopic"] for name, panel in layout["configById"].items() if name[:5] == "Image"]
    known = {f"/{name}" for name in TOPICS} | {"/camera/image_raw"}
    assert set(images) | set(layout["configById"]["3D!world"]["topics"]) <= known


def test_points_from_above_lie_where_they_are():
    road, post = np.array([[0.0, 1.5, 10.0]]), np.array([[5.0, 0.5, 20.0]])
    seen = points_above(np.vstack([road, post]).astype(np.float32), (360, 480), 25.0, 1.5)
    scale = (360 - 40) / 25.0
    at = {name: tuple(seen[round(360 - 28 - z * scale), round(240 + x * scale)]) for name, x, z in (("road", 0, 10), ("post", 5, 20))}  # fmt: skip  # noqa: E501
    assert at["road"] == (96, 102, 116)  # grey: at the height of the road
    red, green, _ = (int(value) for value in at["post"])
    assert at["post"] not in (at["road"], BACKGROUND) and green > 100 and red > 90
