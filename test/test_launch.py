"""The launch files, run for real with programs that write down how they were called."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

# Not `launch` alone: without ROS that is our own folder of launch files.
pytest.importorskip("launch.actions", reason="launch comes with a ROS 2 installation, the package index has none")
pytest.importorskip("launch_ros.actions", reason="launch_ros comes with a ROS 2 installation")

from launch import LaunchContext, LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import (
    PythonLaunchDescriptionSource,
    get_launch_description_from_python_launch_file,
)
from launch.utilities import perform_substitutions
from launch_ros.actions import Node

from defeat_ros.startup import module_command

LAUNCH = Path(__file__).resolve().parents[1] / "launch"
ARGUMENTS = [
    *("image", "camera_info", "image_transport", "checkpoint", "params_file", "odom_in", "odom", "namespace"),
    *("use_sim_time", "autostart", "log_level", "use_respawn", "device", "rviz"),
]
# Writes its arguments, and the parameter files among them, which launch deletes.
RECORDER = """\
#!{python}
import json, pathlib, sys
files = [pathlib.Path(value).read_text() for flag, value in zip(sys.argv, sys.argv[1:]) if flag == "--params-file"]
pathlib.Path({out!r}).write_text(json.dumps([sys.argv[1:], files]))
"""


class Called:
    """The arguments and the merged parameters a program was started with."""

    def __init__(self, record: Path) -> None:
        self.arguments, files = json.loads(record.read_text())
        self.parameters: dict[str, Any] = {}
        for text in files:
            for node in yaml.safe_load(text).values():
                self.parameters.update(node["ros__parameters"])


class Prefix:
    """A ROS prefix with recording programs, the only one that launch sees."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, package: str, program: str, where: str = "lib/{package}") -> None:
        """Install a program that records its call, in a package."""
        marker = self.folder / "share/ament_index/resource_index/packages" / package
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        script = self.folder / where.format(package=package) / program
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(RECORDER.format(python=sys.executable, out=str(self._record(program))))
        script.chmod(0o755)

    def called(self, program: str) -> Called | None:
        """How a program was called; None if it was not."""
        record = self._record(program)
        return Called(record) if record.exists() else None

    def _record(self, program: str) -> Path:
        return self.folder / f"{program}.json"


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prefix:
    made = Prefix(tmp_path / "prefix")
    made.add("defeat_ros", "depth_node")
    made.add("rviz2", "rviz2")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(made.folder))
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "log"))
    return made


def run(name: str, **arguments: str) -> int:
    """Launch a file until all that it starts has ended."""
    service = LaunchService(noninteractive=True)
    source = PythonLaunchDescriptionSource(str(LAUNCH / name))
    service.include_launch_description(
        LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments.items())])
    )
    return service.run()


def launched(prefix: Prefix, name: str = "depth.launch.py", **arguments: str) -> Called:
    assert run(name, **arguments) == 0
    node = prefix.called("depth_node")
    assert node is not None
    return node


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name.split(".")[0], LAUNCH / name)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_depth_has_the_documented_arguments() -> None:
    arguments = get_launch_description_from_python_launch_file(str(LAUNCH / "depth.launch.py")).get_launch_arguments()
    assert [argument.name for argument in arguments] == ARGUMENTS
    assert all(argument.default_value is not None and argument.description for argument in arguments)


def test_replay_adds_its_own_to_those_of_depth() -> None:
    description = get_launch_description_from_python_launch_file(str(LAUNCH / "replay.launch.py"))
    names = [argument.name for argument in description.get_launch_arguments()]
    assert names[:4] == ["bag", "rate", "loop", "delay"]
    assert set(ARGUMENTS) <= set(names)


def test_by_default_the_parameter_file_decides(prefix: Prefix) -> None:
    node = launched(prefix)
    shipped = yaml.safe_load((LAUNCH.parent / "config" / "depth.yaml").read_text())
    (expected,) = (entry["ros__parameters"] for entry in shipped.values())
    assert node.parameters == {**expected, "use_sim_time": False, "autostart": True}
    assert "image:=camera/image_raw" in node.arguments
    assert "camera_info:=camera/camera_info" in node.arguments
    assert prefix.called("rviz2") is None


def test_arguments_reach_the_node(prefix: Prefix, tmp_path: Path) -> None:
    params_file = tmp_path / "mine.yaml"
    params_file.write_text("/**: {ros__parameters: {device: cpu, max_gap_s: 2.0, checkpoint: old.pt}}")
    node = launched(
        prefix,
        image="/front/image",
        camera_info="/front/info",
        image_transport="compressed",
        checkpoint="1e5",
        params_file=str(params_file),
        namespace="robot1",
        use_sim_time="true",
        autostart="false",
        log_level="debug",
        device="cuda:1",
    )
    assert node.parameters == {
        "max_gap_s": 2.0,
        "image_transport": "compressed",
        "checkpoint": "1e5",  # a text that YAML could take for a number
        "device": "cuda:1",
        "use_sim_time": True,
        "autostart": False,
    }
    for argument in (
        "image:=/front/image",
        "image/compressed:=/front/image/compressed",
        "camera_info:=/front/info",
        "__ns:=/robot1",
        "debug",
    ):
        assert argument in node.arguments


def test_rviz_starts_on_request(prefix: Prefix) -> None:
    launched(prefix, rviz="true", use_sim_time="true")
    rviz = prefix.called("rviz2")
    assert rviz is not None
    assert rviz.parameters == {"use_sim_time": True}
    assert ("-d" in rviz.arguments) == (LAUNCH.parent / "config" / "depth.rviz").is_file()


@pytest.mark.parametrize("argument", ["image_transport", "use_sim_time", "autostart", "use_respawn", "rviz"])
def test_unknown_choice_is_refused(prefix: Prefix, argument: str) -> None:
    assert run("depth.launch.py", **{argument: "perhaps"}) == 1
    assert prefix.called("depth_node") is None


def test_a_parameter_file_that_is_not_there_is_refused(prefix: Prefix, tmp_path: Path) -> None:
    """launch itself warns and goes on, with the node's defaults."""
    assert run("depth.launch.py", params_file=str(tmp_path / "mien.yaml")) == 1
    assert prefix.called("depth_node") is None


def test_rviz_is_looked_for_before_the_node_starts(prefix: Prefix) -> None:
    """Where there is no rviz2, launch gives up, and would leave a node that it has started alone."""
    description = get_launch_description_from_python_launch_file(str(LAUNCH / "depth.launch.py"))
    kinds = [type(entity) for entity in description.entities]
    assert kinds.index(Node) < kinds.index(OpaqueFunction)
    (prefix.folder / "share/ament_index/resource_index/packages/rviz2").unlink()
    assert run("depth.launch.py", rviz="true") == 1
    assert prefix.called("depth_node") is None


@pytest.mark.parametrize("argument", ["rate=0", "rate=fast", "delay=soon", "delay=-1", "delay=inf"])
def test_replay_refuses_what_is_no_number_before_it_starts_anything(prefix: Prefix, argument: str) -> None:
    name, _, value = argument.partition("=")
    assert run("replay.launch.py", bag="drive", **{name: value}) == 1
    assert prefix.called("depth_node") is None


def play_command(**given: str) -> list[str]:
    """What is played in the end."""
    context = LaunchContext()
    context.launch_configurations.update(
        {"bag": "night drive", "rate": "0.5", "loop": "false", "delay": "2.0", **given}
    )
    return load("replay.launch.py").play_command(context)


@pytest.fixture
def with_ros2_bag(prefix: Prefix, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix.add("ros2bag", "ros2", where="bin")
    monkeypatch.setenv("PATH", f"{prefix.folder / 'bin'}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.usefixtures("with_ros2_bag")
@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({}, ["--delay", "2.0"]),
        ({"loop": "true"}, ["--loop", "--delay", "2.0"]),
        ({"delay": "0"}, []),  # ros2 bag play takes none of 0
    ],
)
def test_replay_plays_with_ros2_bag_where_it_is(given: dict[str, str], options: list[str]) -> None:
    first = ["ros2", "bag", "play", "night drive", "--clock", "--rate", "0.5"]
    assert play_command(**given) == [*first, *options, "--disable-keyboard-controls"]


def test_replay_plays_by_itself_without_ros2_bag(prefix: Prefix) -> None:
    own = module_command("defeat_ros.cli", "play", "--wait-for-subscribers", "60")
    assert play_command() == [*own, "night drive", "--clock", "--rate", "0.5"]


@pytest.mark.usefixtures("with_ros2_bag")
def test_a_node_that_ends_takes_the_waiting_player_along(prefix: Prefix) -> None:
    """The recording node is never active: without that, launch would wait for ever."""
    node = launched(prefix, "replay.launch.py", bag="night drive", checkpoint="mine.pt")
    assert node.parameters["use_sim_time"] is True
    assert node.parameters["checkpoint"] == "mine.pt"
    assert prefix.called("ros2") is None


@pytest.mark.parametrize("use_respawn", ["true", "false"])
def test_the_player_waits_for_the_node(prefix: Prefix, use_respawn: str) -> None:
    context = LaunchContext()
    context.launch_configurations.update(
        bag="night drive", rate="0.5", loop="false", delay="2.0", use_respawn=use_respawn
    )
    *handlers, process = load("replay.launch.py").player(context)
    assert len(handlers) == (use_respawn == "false")  # else the player stays for the node's next life
    waiting = module_command("defeat_ros.ros.wait", "depth_node", *play_command())
    assert [perform_substitutions(context, part) for part in process.cmd[: len(waiting)]] == waiting
