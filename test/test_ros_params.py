"""Parameters of the node: declared from the configuration, refused where they do not fit, written as YAML."""

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

import yaml
from rclpy.node import Node
from rclpy.parameter import Parameter
from ros_tools import ROOT, ros

from defeat_ros.errors import ConfigError
from defeat_ros.inference.config import DepthConfig, load_config
from defeat_ros.ros.params import Parameters, node_entries, parameters_yaml
from defeat_ros.ros.reference import reference_page
from defeat_ros.settings import values


def declared(domain_ros, overrides, **options):
    """Parameters of a fresh node with these overrides."""
    given = [Parameter(name, value=value) for name, value in overrides.items()]
    node = domain_ros.add(
        Node("params", context=domain_ros.context, use_global_arguments=False, parameter_overrides=given, **options)
    )
    return Parameters(node), node


def test_defaults_are_those_of_the_config():
    with ros() as r:
        params, node = declared(r, {})
        assert params.read() == DepthConfig()
        assert params.autostart
        assert {entry.name for entry in node_entries()} <= set(node._parameters)


def test_values_reach_the_config_and_integers_pass_for_floats():
    with ros() as r:
        mount = [1, 0, 2, 0, 0, 0]
        params, _ = declared(r, {"max_gap_s": 1, "scale.mode": "fixed", "base_from_camera": mount, "autostart": False})
        config = params.read()
        assert config.max_gap_s == 1.0 and config.scale.mode == "fixed"
        assert config.base_from_camera == (1.0, 0.0, 2.0, 0.0, 0.0, 0.0)
        assert not params.autostart


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"chekpoint": "x"}, "unknown parameter 'chekpoint'; did you mean 'checkpoint'"),
        ({"scale.valeu": 2.0}, "did you mean 'scale.value'"),
        ({"max_gap_s": -1.0}, "expected 0.0 to"),
        ({"max_gap_s": "soon"}, "expected a float"),
        ({"scale.mode": "guess"}, "fixed, none"),
        ({"input_size": [64]}, "expected 2 values"),
        ({"base_from_camera": [1.0]}, "x y z roll pitch yaw"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_name(overrides, reason):
    with ros() as r:
        params, _ = declared(r, overrides)
        with pytest.raises(ConfigError, match=reason):
            params.read()


@pytest.mark.parametrize("mended", ["torch", DepthConfig().backend])
def test_setting_a_parameter_mends_a_refused_override(mended):
    """Also where it is set to the default, which stood in for the refused value."""
    with ros() as r:
        params, node = declared(r, {"backend": "foo", "max_gap_s": "soon"})
        with pytest.raises(ConfigError, match="'foo'"):
            params.read()
        assert node.set_parameters([Parameter("backend", value=mended)])[0].successful
        with pytest.raises(ConfigError, match="'max_gap_s' is 'soon'"):
            params.read()
        assert not node.set_parameters([Parameter("max_gap_s", value=-1.0)])[0].successful
        with pytest.raises(ConfigError, match="'max_gap_s' is 'soon'"):
            params.read()
        assert node.set_parameters([Parameter("max_gap_s", value=2.0)])[0].successful
        assert (params.read().backend, params.read().max_gap_s) == (mended, 2.0)


def test_all_parameters_can_be_asked_for_at_once():
    """As `ros2 param dump` and parameter windows do; one that is not set would take all the others with it."""
    from rcl_interfaces.srv import GetParameters

    with ros() as r:
        declared(r, {})
        names = [entry.name for entry in node_entries()]
        got = r.call(GetParameters, "/params/get_parameters", GetParameters.Request(names=names)).values
        assert len(got) == len(names)
        mount = got[names.index("base_from_camera")]
        assert mount.type == Parameter.Type.DOUBLE_ARRAY.value and not len(mount.double_array_value)


def test_parameters_of_every_node_are_accepted():
    with ros() as r:
        qos = "qos_overrides./image.subscription.reliability"
        params, _ = declared(r, {"use_sim_time": True, "start_type_description_service": False, qos: "reliable"})
        params.read()
        assert params.unused_qos_overrides() == [qos]


def test_descriptors_tell_meaning_range_and_read_only():
    with ros() as r:
        _, node = declared(r, {})
        gap = node.describe_parameter("max_gap_s")
        assert not gap.read_only and "pause" in gap.description
        assert node.describe_parameter("autostart").read_only
        assert (gap.floating_point_range[0].from_value, gap.floating_point_range[0].to_value) == (0.0, 3600.0)
        assert "raw, compressed" in node.describe_parameter("image_transport").additional_constraints


def test_changes_are_taken_only_while_they_have_an_effect():
    with ros() as r:
        node, open_to_change = r.add(Node("params", context=r.context)), [True]
        params = Parameters(node, lambda: open_to_change[0])
        good, bad = Parameter("max_gap_s", value=2.0), Parameter("image_transport", value="pigeon")
        assert node.set_parameters([good])[0].successful and params.read().max_gap_s == 2.0
        refused = node.set_parameters([bad])[0]
        assert not refused.successful and "'pigeon', expected one of raw, compressed" in refused.reason
        open_to_change[0] = False
        refused = node.set_parameters([Parameter("max_gap_s", value=3.0)])[0]
        assert not refused.successful and "clean it up first" in refused.reason
        assert params.read().max_gap_s == 2.0


def test_the_yaml_file_is_in_step_and_reads_back_as_the_defaults():
    text = (ROOT / "config" / "depth.yaml").read_text(encoding="utf-8")
    assert text == parameters_yaml(), "run: python -m defeat_ros.ros.params > config/depth.yaml"
    given = yaml.safe_load(text)["/**"]["ros__parameters"]
    assert given.pop("autostart") is True
    assert values(load_config(None, given)) == values(DepthConfig())


def test_the_page_of_topics_and_parameters_is_in_step():
    text = (ROOT / "docs" / "topics.md").read_text(encoding="utf-8")
    assert text == reference_page(), "run: python -m defeat_ros.ros.reference > docs/topics.md"


def test_a_node_takes_the_yaml_file():
    with ros("--ros-args", "--params-file", str(ROOT / "config" / "depth.yaml")) as r:
        node = r.add(Node("params", context=r.context))
        assert Parameters(node).read() == DepthConfig()
