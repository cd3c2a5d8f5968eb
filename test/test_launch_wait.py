"""What replay.launch.py starts in front of the player: it waits for the node, says so, and becomes the player."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from rclpy.lifecycle import LifecycleNode
from ros_tools import Process, Ros, ros

ARGUMENTS = ["bag with a space", "--loop"]
PLAYER = "import os, sys; print('played', sys.argv[1:], os.environ.get('FASTDDS_DEFAULT_PROFILES_FILE'))"
IN_ROBOT1 = ["--ros-args", "-r", "__ns:=/robot1"]


@pytest.fixture
def r() -> Iterator[Ros]:
    with ros() as made:
        yield made


@pytest.fixture
def waiting(r: Ros, request: pytest.FixtureRequest) -> Iterator[Process]:
    program = getattr(request, "param", [sys.executable, "-c", PLAYER])
    process = Process("defeat_ros.ros.wait", "depth_node", *program, *ARGUMENTS, *IN_ROBOT1, domain=r.domain)
    yield process
    process.kill()


def lifecycle_node(r: Ros) -> LifecycleNode:
    return r.add(LifecycleNode("depth_node", namespace="robot1", context=r.context, use_global_arguments=False))


def said(r: Ros, process: Process, text: str) -> None:
    """Spin until the process has said so: it asks the node, which is ours."""
    r.until(lambda: text in process.output, f"{text!r} in {process.output!r}", timeout_s=60.0)


def test_it_becomes_the_player_once_the_node_is_active(r: Ros, waiting: Process) -> None:
    node = lifecycle_node(r)
    said(r, waiting, "waiting until /robot1/depth_node is active")
    said(r, waiting, "it is unconfigured")
    assert "`ros2 lifecycle set /robot1/depth_node configure`" in waiting.output
    node.trigger_configure()
    said(r, waiting, "it is inactive; `ros2 lifecycle set /robot1/depth_node activate`")
    assert "played" not in waiting.output
    node.trigger_activate()
    said(r, waiting, "played")
    assert waiting.end() == 0
    (line,) = (line for line in waiting.lines if line.startswith("played"))
    assert line == f"played {ARGUMENTS} None"  # and our settings of the middleware are not for other programs


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_waiting_and_nothing_is_played(r: Ros, waiting: Process, number: int) -> None:
    said(r, waiting, "waiting until")
    waiting.signal(number)
    assert waiting.end() == 0
    assert "played" not in waiting.output
    assert "Traceback" not in waiting.output


@pytest.mark.parametrize("waiting", [["no-such-player"]], indirect=True)
def test_a_player_that_is_not_there_is_one_line(r: Ros, waiting: Process) -> None:
    node = lifecycle_node(r)
    node.trigger_configure()
    node.trigger_activate()
    said(r, waiting, "no-such-player cannot be started: No such file")
    assert waiting.end() == 1
    assert "Traceback" not in waiting.output
