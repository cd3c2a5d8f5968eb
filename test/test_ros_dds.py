"""Best-effort images of more than half a megabyte arrive between processes; the user's own choice is respected."""

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from defeat_ros.ros import dds


def test_the_profile_is_set_for_fast_dds_only():
    variables = {}
    assert dds.use_large_messages(variables, "rmw_fastrtps_cpp") == ""
    assert variables == {"FASTDDS_DEFAULT_PROFILES_FILE": str(dds.PROFILE)}
    assert dds.PROFILE.is_file()
    assert "not Fast DDS" in dds.use_large_messages({}, "rmw_cyclonedds_cpp")


def test_fast_dds_2_gets_its_own_variable():
    variables = {"ROS_DISTRO": "humble"}
    dds.use_large_messages(variables, "rmw_fastrtps_cpp")
    assert "FASTRTPS_DEFAULT_PROFILES_FILE" in variables


@pytest.mark.parametrize("name", dds.OWN_CHOICE)
def test_a_choice_of_the_user_stays(name):
    variables = {name: "mine"}
    assert name in dds.use_large_messages(variables, "rmw_fastrtps_cpp")
    assert variables == {name: "mine"}


def test_a_small_shared_memory_is_left_alone(monkeypatch):
    monkeypatch.setattr(dds, "shared_memory_free", lambda: 1 << 20)
    variables = {}
    assert "/dev/shm" in dds.use_large_messages(variables, "rmw_fastrtps_cpp")
    assert variables == {}
