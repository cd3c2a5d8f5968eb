"""Configuration: one description, clear refusals."""

from pathlib import Path

import pytest

from defeat_ros.errors import ConfigError
from defeat_ros.inference.config import DepthConfig, load_config
from defeat_ros.settings import build, entries, flatten, values


def test_defaults_survive_the_round_trip():
    config = DepthConfig()
    assert build(DepthConfig, values(config)) == config
    assert {entry.name for entry in entries(DepthConfig)} == set(values(config))
    assert "scale.mode" in values(config)


def test_nested_and_dotted_names_mean_the_same():
    nested = build(DepthConfig, {"scale": {"mode": "fixed", "value": 2}})
    assert nested == build(DepthConfig, {"scale.mode": "fixed", "scale.value": 2.0})
    assert nested.scale.value == 2.0
    assert flatten({"a": {"b": {"c": 1}}, "d": 2}) == {"a.b.c": 1, "d": 2}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"devise": "cpu"}, "unknown parameter 'devise'; did you mean 'device'"),
        ({"zzz": 1}, "unknown parameter 'zzz'; expected one of checkpoint"),
        ({"max_gap_s": "soon"}, "'max_gap_s' is 'soon', expected a float"),
        ({"max_gap_s": -1.0}, "'max_gap_s' is -1.0, expected 0.0 to 3600"),
        ({"max_gap_s": float("nan")}, "'max_gap_s' is nan"),
        ({"publish_tf": 1}, "'publish_tf' is 1, expected a bool"),
        ({"max_gap_s": True}, "'max_gap_s' is True, expected a float"),
        ({"scale.mode": "guess"}, "'scale.mode' is 'guess', expected one of auto, camera_height"),
        ({"input_size": [480]}, "'input_size' is [480], expected 2 values"),
        ({"input_size": [480, 0]}, "'input_size' is [480, 0], expected width and height"),
        ({"input_size": "480x352"}, "expected a list"),
        ({"base_from_camera": [float("inf")] * 6}, "'base_from_camera' is (inf"),
        ({"base_from_camera": [1.0]}, "'base_from_camera' is [1.0], expected x y z roll pitch yaw"),
        ({"min_depth_m": 9.0, "max_depth_m": 3.0}, "'min_depth_m' is 9.0, expected less than 3.0"),
    ],
)
def test_refusals_quote_the_value(given, expected):
    with pytest.raises(ConfigError) as caught:
        build(DepthConfig, given)
    assert expected in str(caught.value)


def test_params_file(tmp_path):
    file = tmp_path / "depth.yaml"
    file.write_text(
        "/**:\n  ros__parameters:\n    use_sim_time: true\n    device: cpu\n    scale: {mode: fixed, value: 3}\n"
    )
    config = load_config(file, {"scale.value": 4.0})
    assert (config.device, config.scale.mode, config.scale.value) == ("cpu", "fixed", 4.0)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a: [", "is not YAML"),
        ("device: cpu\n", "has no 'ros__parameters'"),
        ("depth_node:\n  device: cpu\n", "'depth_node' of parameter file"),
        ("camera_driver:\n  ros__parameters:\n    fps: 3\n", "has no 'ros__parameters' under '/**' or 'depth_node'"),
        ("- 1\n", "has no 'ros__parameters'"),
        ("", "has no 'ros__parameters'"),
        ("/**:\n  ros__parameters:\n    devise: cpu\n", "unknown parameter 'devise'"),
        ("/**:\n  ros__parameters: !!python/object/apply:os.system ['touch x']\n", "is not YAML"),
    ],
)
def test_bad_params_files(tmp_path, content, expected):
    file = tmp_path / "depth.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_params_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot read parameter file .*none.yaml"):
        load_config(tmp_path / "none.yaml")


def test_numbers_as_yaml_writes_them_and_null():
    config = build(DepthConfig, {"scale.value": "1e1", "max_gap_s": 2, "checkpoint": None})
    assert (config.scale.value, config.max_gap_s, config.checkpoint) == (10.0, 2.0, "")


def test_the_sections_of_a_robots_file_are_told_apart(tmp_path):
    file = tmp_path / "robot.yaml"
    file.write_text(
        "/**:\n  ros__parameters:\n    scale: {mode: fixed}\n    autostart: false\n"
        "camera_driver:\n  ros__parameters:\n    fps: 30\n"
        "/front/depth_node:\n  ros__parameters:\n    scale: {value: 2.0}\n    qos_overrides: {/image: {depth: 3}}\n"
    )
    config = load_config(file)
    assert (config.scale.mode, config.scale.value) == ("fixed", 2.0)


def test_the_file_we_ship_is_taken_as_it_is():
    shipped = Path(__file__).resolve().parents[1] / "config" / "depth.yaml"
    assert load_config(shipped) == DepthConfig()
