"""depth.launch.py started by the real launch system: names, parameters, lifecycle, images, a killed node, the end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
pytest.importorskip("launch_ros.actions", reason="launch_ros comes with a ROS 2 installation")
pytest.importorskip("launch_pytest", reason="launch_pytest is not installed: apt install ros-$ROS_DISTRO-launch-pytest")

import launch_pytest
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import OnProcessExit, OnProcessIO, OnProcessStart
from launch.launch_description_sources import PythonLaunchDescriptionSource
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters
from ros_tools import ROOT, Camera, new_domain, ros

from defeat_ros.data.messages import stamp_from_message

NODE = "/robot1/depth_node"
START_S = 120.0
"""A first start compiles and tries the networks; other work may share the machine."""
# What a colcon build makes of the entry point.
SCRIPT = """\
#!{python}
import sys
sys.path.insert(0, {root!r})
from defeat_ros.ros.node import main
sys.exit(main())
"""


class Seen:
    """What launch saw of the processes it started."""

    def __init__(self) -> None:
        self.output, self.pids, self.exits = "", [], []

    def handlers(self) -> list[RegisterEventHandler]:
        """Put into the launch description, they fill this."""
        return [
            RegisterEventHandler(OnProcessIO(on_stdout=self._on_output, on_stderr=self._on_output)),
            RegisterEventHandler(OnProcessStart(on_start=lambda event, _: self.pids.append(event.pid))),
            RegisterEventHandler(OnProcessExit(on_exit=lambda event, _: self.exits.append(event.returncode))),
        ]

    def _on_output(self, event) -> None:
        self.output += event.text.decode(errors="replace")


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The module's domain, where launch finds depth_node: the installed one, else this checkout's."""
    folder = tmp_path_factory.mktemp("launch")
    number = new_domain()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(number))
        install_here(folder, patch)
        yield number


def install_here(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Let launch find depth_node: the installed one, else this checkout's."""
    patch.setenv("ROS_LOG_DIR", str(folder / "log"))
    try:
        get_package_prefix("defeat_ros")
    except (PackageNotFoundError, LookupError):  # the second one: there is no AMENT_PREFIX_PATH at all
        paths = [str(install(folder / "prefix")), *filter(None, [os.environ.get("AMENT_PREFIX_PATH")])]
        patch.setenv("AMENT_PREFIX_PATH", os.pathsep.join(paths))


def install(prefix: Path) -> Path:
    """The package as far as launch needs it."""
    return install_program(prefix, "defeat_ros", "lib/defeat_ros/depth_node", SCRIPT)


def install_program(prefix: Path, package: str, program: str, text: str) -> Path:
    marker, script = prefix / "share/ament_index/resource_index/packages" / package, prefix / program
    for file in (marker, script):
        file.parent.mkdir(parents=True)
    marker.touch()
    script.write_text(text.format(python=sys.executable, root=str(ROOT)))
    script.chmod(0o755)
    return prefix


@launch_pytest.fixture(scope="module")
def launched(domain: int, tmp_path_factory: pytest.TempPathFactory) -> tuple[LaunchDescription, Seen]:
    """depth.launch.py with small networks in a namespace."""
    return describe("depth.launch.py", tmp_path_factory, namespace="robot1", image="cam/image", camera_info="cam/info")


def describe(name: str, tmp_path_factory: pytest.TempPathFactory, **arguments: str) -> tuple[LaunchDescription, Seen]:
    """A launch file with small networks and a node that comes back."""
    params_file = tmp_path_factory.mktemp("params") / "small.yaml"
    params_file.write_text("/**: {ros__parameters: {input_size: [192, 128], backend: torch, confidence_min: 0.0}}")
    given = {**arguments, "params_file": str(params_file), "device": "cpu", "use_respawn": "true"}
    seen = Seen()
    source = PythonLaunchDescriptionSource(str(ROOT / "launch" / name))
    include = IncludeLaunchDescription(source, launch_arguments=given.items())
    return LaunchDescription([*seen.handlers(), include, launch_pytest.actions.ReadyToTest()]), seen


@pytest.mark.launch(fixture=launched)
def test_it_becomes_active_with_its_parameters(launched, domain) -> None:
    with ros(domain=domain) as r:
        r.until(lambda: "active:" in launched[1].output, "the node", timeout_s=START_S)
        assert r.call(GetState, f"{NODE}/get_state", GetState.Request()).current_state.label == "active"
        names = ["input_size", "device", "use_sim_time"]
        size, device, sim = r.call(GetParameters, f"{NODE}/get_parameters", GetParameters.Request(names=names)).values
        assert list(size.integer_array_value) == [192, 128]
        assert (device.string_value, sim.bool_value) == ("cpu", False)


@pytest.mark.launch(fixture=launched)
def test_topics_lie_in_its_namespace(launched, domain) -> None:
    outputs = {"depth/image_rect", "depth/camera_info", "depth/confidence", "depth/points", "depth/scale", "odom"}
    expected = {f"/robot1/{name}" for name in {*outputs, "cam/image", "cam/info", "features/image"}} | {"/diagnostics"}
    with ros(domain=domain) as r:
        r.until(lambda: expected <= {name for name, _ in r.node.get_topic_names_and_types()}, "the topics")


@pytest.mark.launch(fixture=launched)
def test_an_image_becomes_depth(launched, domain) -> None:
    with ros(domain=domain) as r:
        depths = r.listen("/robot1/depth/image_rect", "sensor_msgs/msg/Image")
        camera = Camera(r, 192, 128, image="/robot1/cam/image", info="/robot1/cam/info")
        camera.connect()
        r.until(lambda: r.node.count_publishers("/robot1/depth/image_rect"), "the node's publisher")
        for stamp in range(10**8, 10**10, 10**8):  # until the node knows its subscriber
            camera.send(stamp)
            try:
                r.until(lambda: depths, timeout_s=2.0)
                break
            except AssertionError:
                continue
        assert depths, launched[1].output
        assert stamp_from_message(depths[0]) <= stamp
        assert (depths[0].encoding, depths[0].width, depths[0].height) == ("32FC1", 192, 128)


@pytest.mark.launch(fixture=launched)
def test_killed_it_comes_back_active(launched, domain) -> None:
    seen = launched[1]
    with ros(domain=domain) as r:
        os.kill(seen.pids[0], signal.SIGKILL)
        r.until(lambda: seen.output.count("active:") == 2, "the node's second life", timeout_s=START_S)
        assert len(seen.pids) == 2
        r.until(lambda: r.node.count_subscribers("/robot1/cam/image") >= 1, "its subscription")


@pytest.mark.launch(fixture=launched, shutdown=True)
def test_at_the_end_it_leaves_with_status_0(launched) -> None:
    """launch asks with SIGINT, as after Ctrl-C."""
    seen = launched[1]
    assert seen.exits == [-signal.SIGKILL, 0], seen.output
    assert "Traceback" not in seen.output
