"""The permissions that config/sros2_policy.xml gives are those that the node needs, no more."""

from xml.etree import ElementTree

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from ros_tools import ROOT, FakeEngine, ros

from defeat_ros.ros.node import DepthNode

WITH_TF2 = {"/tf", "/tf_static"}
BY_PARAMETER = {"/clock", "/image/compressed", "/parameter_events"}  # use_sim_time, image_transport
LATER = {"/depth_node/get_type_description"}  # than Humble


def allowed(what, right):
    """Full names of the topics or services of the policy, as `ros2 security` resolves them."""
    (profile,) = ElementTree.parse(ROOT / "config" / "sros2_policy.xml").iter("profile")
    assert (profile.get("ns"), profile.get("node")) == ("/", "depth_node")
    names = [e.text for group in profile.findall(what) if group.get(right) == "ALLOW" for e in group]
    assert names and len(set(names)) == len(names)
    return {
        name if name[0] == "/" else name.replace("~", "/depth_node") if name[0] == "~" else f"/{name}" for name in names
    }


def test_the_policy_is_what_the_node_does():
    with ros() as r:
        node = r.add(DepthNode(FakeEngine, context=r.context, use_global_arguments=False))
        assert node.bring_up()
        asked = ("publisher", "subscriber", "service", "client")
        publishers, subscriptions, services, clients = (
            {name for name, _ in getattr(r.node, f"get_{kind}_names_and_types_by_node")("depth_node", "/")}
            for kind in asked
        )
    assert allowed("topics", "publish") - WITH_TF2 == publishers - WITH_TF2
    assert allowed("topics", "subscribe") - WITH_TF2 - BY_PARAMETER == subscriptions - WITH_TF2 - BY_PARAMETER
    assert allowed("services", "reply") - LATER == services - LATER
    assert not clients
