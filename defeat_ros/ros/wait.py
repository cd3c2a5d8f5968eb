"""Starts a program once a lifecycle node is active: `python -m defeat_ros.ros.wait NODE PROGRAM ARGUMENTS`.

The program takes the place of this process: it starts once, however often the node comes back, and what ends this
process while it waits leaves nothing behind. ROS arguments, such as the namespace of a relative NODE, are for the
waiting alone.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import rclpy
from lifecycle_msgs.srv import GetState
from rclpy.client import Client
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from defeat_ros.startup import module_command

LOOK_EVERY_S = 0.1
PATIENCE_S = 5.0
"""How long an answer may take: while a node loads it gives none, and one that died owes it for ever."""
REMIND_EVERY_S = 30.0
STAY_S, LEAVE_S = 10.0, 2.0
ACTIVE = b"active\n"
SIGNALS = (signal.SIGINT, signal.SIGTERM)
# What to do about a node that stays in a state.
NEXT = {
    "unconfigured": "its log says why if it was to start by itself, else `ros2 lifecycle set {node} configure`",
    "inactive": "`ros2 lifecycle set {node} activate`",
}


def wait_until_active(node: Node, name: str, stop: threading.Event) -> bool:
    """Wait until a lifecycle node says that it is active, and tell what is waited for.

    Args:
        node: asks.
        name: of the lifecycle node, relative to the namespace of `node`.
        stop: ends the waiting when set.

    Returns:
        Whether it is active; False when stopped.
    """
    client = node.create_client(GetState, f"{name}/get_state")
    full = node.resolve_service_name(client.srv_name).rpartition("/")[0]
    logger = node.get_logger()
    logger.info(f"waiting until {full} is active")
    told, told_at = "", time.monotonic()
    while not stop.wait(LOOK_EVERY_S):
        state = _state(node, client, stop)
        if state == "active":
            return True
        if (state and state != told) or time.monotonic() - told_at > REMIND_EVERY_S:
            found = f"is {state}" if state else "gives no answer"
            advice = f"; {NEXT[state].format(node=full)}" if state in NEXT else ""
            logger.info(f"still waiting until {full} is active: it {found}{advice}")
            told, told_at = state, time.monotonic()
    return False


def _state(node: Node, client: Client, stop: threading.Event) -> str:
    """The node's state, '' where it gives no answer."""
    if not client.service_is_ready():
        return ""
    answer = client.call_async(GetState.Request())
    deadline = time.monotonic() + PATIENCE_S
    while not answer.done() and not stop.is_set() and time.monotonic() < deadline:
        rclpy.spin_once(node, timeout_sec=LOOK_EVERY_S)
    if not answer.done():
        client.remove_pending_request(answer)
        return ""
    return str(answer.result().current_state.label)


def _wait(name: str, ros_args: Sequence[str]) -> int:
    """Write to stdout when the node is active, and stay for a while; 1 where a signal came first."""
    parent, stop = os.getppid(), threading.Event()
    for number in SIGNALS:
        signal.signal(number, lambda *_: stop.set())
    try:
        rclpy.init(args=["wait", *ros_args], signal_handler_options=SignalHandlerOptions.NO)
        node = Node("wait_until_active", start_parameter_services=False)
    except Exception as error:  # the middleware says no, such as to a domain or keys that it cannot use
        raise SystemExit(f"cannot start ROS: {' '.join(str(error).split())}") from error
    try:
        active = wait_until_active(node, name, stop)
        if active:
            os.write(sys.stdout.fileno(), ACTIVE)
        until = time.monotonic() + STAY_S
        while os.getppid() == parent and time.monotonic() < until and not stop.wait(LOOK_EVERY_S):
            pass
        node.destroy_node()
    finally:
        rclpy.try_shutdown()
    return 0 if active else 1


def main(line: Sequence[str]) -> int:
    """Wait in a process of its own, then become the program; 0 where a signal ended the waiting.

    Not in this process, and the other one stays: Fast DDS names a participant after its process and gives it the first
    free port. A program that came as the same process, or to the port that was just left, was seen to be found by the
    node only after one to three seconds, in which its images were lost.
    """
    name, *program = remove_ros_args(["wait", *line])[1:]
    ros_args = line[line.index("--ros-args") :] if "--ros-args" in line else []
    if not program:
        return _wait(name, ros_args)
    came: list[int] = []
    for number in SIGNALS:
        signal.signal(number, lambda number, _: came.append(number))
    waiting = subprocess.Popen(
        module_command("defeat_ros.ros.wait", name, *ros_args),
        stdout=subprocess.PIPE,
        env={**os.environ, "RCUTILS_LOGGING_USE_STDOUT": "0"},
    )
    assert waiting.stdout is not None
    while not came and not select.select([waiting.stdout], [], [], LOOK_EVERY_S)[0]:
        pass
    active = not came and os.read(waiting.stdout.fileno(), len(ACTIVE)) == ACTIVE
    # Back to the default for the program, and only then see whether one came until now.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    try:
        if active and not came:
            os.execvp(program[0], program)
    except OSError as error:
        raise SystemExit(f"{program[0]} cannot be started: {error.strerror}") from error
    finally:
        status = _end(waiting)
    return 0 if came else status  # it has said why


def _end(process: subprocess.Popen[bytes]) -> int:
    """However it hangs: middleware whose peer was killed may hold on to a lock."""
    process.terminate()
    try:
        return process.wait(LEAVE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
