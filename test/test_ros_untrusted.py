"""Names that come from a stranger's bag: what is none stays off the graph, and no module is imported for them."""

import sys
import threading

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from ros_tools import ros

from defeat_ros.data.bag import BagReader, BagWriter, bag_messages
from defeat_ros.ros.bag_player import BagPlayer
from defeat_ros.ros.messages import message_class

ODD_NAMES = ["/../x", "a b", "~/x", "/{node}/x", "/x/", "//x", "/ü", "/a\0b", "/1a", "/\x1b[31m", "/" + 300 * "a"]
IMAGE = "sensor_msgs/msg/Image"


def test_topics_with_odd_names_are_left_out(tmp_path):
    made = bag_messages()
    with BagWriter(tmp_path / "bag") as bag:
        for stamp, name in enumerate([*ODD_NAMES, "/fine"], 1):
            bag.write(name, made.clock(stamp), stamp)
    with ros() as r, BagReader(tmp_path / "bag") as bag:
        heard = r.listen("/fine", "rosgraph_msgs/msg/Clock")
        player = BagPlayer(r.node, bag, None, False, threading.Event())
        assert player.wait_for_subscribers(20.0)
        player.play(1000.0, loop=False)
        r.until(lambda: heard, "the message")
        names = {name for name, _ in r.node.get_topic_names_and_types()}
    assert set(player.skipped) == set(ODD_NAMES) and dict(player.counts) == {"/fine": 1}
    assert all(name in ("/fine", "/rosout", "/parameter_events") for name in names), names


@pytest.mark.parametrize(
    "name",
    [
        "odd_msgs/msg/Thing",
        "odd_msgs.msg/msg/Thing",
        "antigravity/msg/X",
        "json.tool/x",
        "../odd_msgs/msg/Thing",
        "",
        "\0",
    ],
)
def test_no_module_is_imported_for_a_type_that_ros_does_not_list(name, tmp_path, monkeypatch):
    (tmp_path / "odd_msgs" / "msg").mkdir(parents=True)
    for place in ("odd_msgs", "odd_msgs/msg"):
        (tmp_path / place / "__init__.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\nclass Thing: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LookupError, match="message type"):
        message_class(name)
    assert not (tmp_path / "sprung").exists()
    assert not {"odd_msgs", "antigravity", "json.tool"} & set(sys.modules)


def test_a_package_that_ament_lists_is_found(tmp_path, monkeypatch):
    index = tmp_path / "share" / "ament_index" / "resource_index" / "rosidl_interfaces"
    index.mkdir(parents=True)
    (index / "listed_msgs").write_text("msg/Thing.idl\nmsg/Thing.msg\nsrv/Do.srv")
    (tmp_path / "listed_msgs" / "msg").mkdir(parents=True)
    (tmp_path / "listed_msgs" / "__init__.py").touch()
    (tmp_path / "listed_msgs" / "msg" / "__init__.py").write_text("class Thing: pass\nclass Other: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path}")
    assert message_class("listed_msgs/msg/Thing").__name__ == "Thing"
    with pytest.raises(LookupError, match="'listed_msgs/msg/Other' is not installed"):
        message_class("listed_msgs/msg/Other")
    assert message_class(IMAGE).__name__ == "Image"
