"""replay.launch.py started by the real launch system: the bag is played once, and only into an active node."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
pytest.importorskip("launch_ros.actions", reason="launch_ros comes with a ROS 2 installation")
pytest.importorskip("launch_pytest", reason="launch_pytest is not installed: apt install ros-$ROS_DISTRO-launch-pytest")

import launch_pytest
from launch import LaunchDescription
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from ros_tools import Ros, new_domain, ros
from test_launch_live import START_S, Seen, describe, install_here, install_program

# `ros2 bag play`, as far as launch sees it.
PLAYER = """\
#!{python}
import signal, sys
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
print("now plays:", *sys.argv[1:], flush=True)
signal.pause()
"""


@pytest.fixture
def domain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """The test's domain, where launch finds depth_node and a player."""
    install_here(tmp_path, monkeypatch)
    prefix = install_program(tmp_path / "player", "ros2bag", "bin/ros2", PLAYER)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{prefix}{os.pathsep}{os.environ['AMENT_PREFIX_PATH']}")
    monkeypatch.setenv("PATH", f"{prefix / 'bin'}{os.pathsep}{os.environ['PATH']}")
    number = new_domain()
    monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
    return number


@launch_pytest.fixture
def replayed(domain: int, tmp_path_factory: pytest.TempPathFactory) -> tuple[LaunchDescription, Seen]:
    """In a namespace, with the node left to the user."""
    return describe("replay.launch.py", tmp_path_factory, namespace="robot2", autostart="false", bag="night drive")


def activate(r: Ros, node: str) -> None:
    """What the user does with `ros2 lifecycle set`."""
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        client = r.node.create_client(ChangeState, f"{node}/change_state")
        r.until(client.service_is_ready, node, timeout_s=START_S)
        answer = client.call_async(ChangeState.Request(transition=Transition(id=transition)))
        r.until(answer.done, node, timeout_s=START_S)
        assert answer.result().success


@pytest.mark.launch(fixture=replayed)
def test_the_bag_is_played_once_when_the_node_is_active(replayed, domain) -> Iterator[None]:
    seen = replayed[1]
    with ros(domain=domain) as r:
        asked = "/robot2/depth_node is active: it is unconfigured"
        r.until(lambda: asked in seen.output, "what is waited for", timeout_s=START_S)
        assert "now plays:" not in seen.output
        activate(r, "/robot2/depth_node")
        r.until(lambda: "now plays:" in seen.output, "the player", timeout_s=START_S)
    expected = "bag play night drive --clock --rate 1.0 --delay 3.0 --disable-keyboard-controls"
    assert f"now plays: {expected}" in seen.output
    os.kill(seen.pids[0], signal.SIGKILL)
    with ros(domain=domain) as r:
        r.until(lambda: len(seen.pids) == 3, "the node's second life", timeout_s=START_S)
    assert seen.output.count("now plays:") == 1
    yield  # launch ends
    assert -signal.SIGKILL in seen.exits
    assert 0 in seen.exits, seen.output  # the player; the node was just starting
