"""A ROS process from start to a clean end, whoever ends it and however often."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.signals import SignalHandlerOptions

from defeat_ros.ros.dds import use_large_messages
from defeat_ros.ros.security import check_security
from defeat_ros.startup import keep_memory

RCLError: type[Exception] = rclpy_implementation.RCLError
LOOK_FOR_SIGNALS_S = 0.2
"""Python handles signals between two waits of the middleware, so this is how late it may be."""


class Interrupted(BaseException):
    """A signal came.

    Not KeyboardInterrupt: Python ends with status -2 if one ever passed through an `exec`, of which importing torch
    has many, even when it was caught afterwards.
    """


def _interrupt(*_: Any) -> None:
    raise Interrupted


def ignore_signals() -> None:
    """From now on nothing interrupts: a second Ctrl-C while cleaning up is common and must not abort."""
    for number in (signal.SIGINT, signal.SIGTERM):
        _uninterrupted(lambda number=number: signal.signal(number, signal.SIG_IGN))  # type: ignore[misc]


def _uninterrupted(step: Callable[[], Any]) -> None:
    """Repeat a step that may be repeated until no signal of before breaks it off."""
    try:
        step()
    except Interrupted:
        _uninterrupted(step)


@contextmanager
def ros_process(args: Sequence[str] | None = None, stop: threading.Event | None = None) -> Iterator[None]:
    """rclpy from init to shutdown around a block; SIGINT and SIGTERM end the block, not the process.

    Exiting with a context that is still up aborts the process, so the way out is always the same.

    Args:
        args: command line, with ROS arguments.
        stop: is set by the signals, so that the block can finish what it does; without it the signals break the
            block off, at the latest when `rclpy` returns to Python. ROS stays up until the block has ended.

    Raises:
        SystemExit: the ROS arguments cannot be used, or all would go out unsecured though the environment asks for
            security; one line on stderr, status 1.
    """
    keep_memory()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt if stop is None else lambda *_: stop.set())
    try:
        with _connected(args):
            yield
    except (Interrupted, ExternalShutdownException):
        pass


@contextmanager
def _connected(args: Sequence[str] | None) -> Iterator[None]:
    use_large_messages()
    try:
        for line in check_security(args):
            print(f"warning: {line}", file=sys.stderr)
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:
        raise SystemExit(f"cannot start ROS: {' '.join(str(error).split())}") from error
    try:
        yield
    except Exception:
        if rclpy.ok():  # else a signal took ROS away under whatever was going on
            raise
    finally:
        ignore_signals()
        _uninterrupted(rclpy.try_shutdown)
        ignore_signals()  # the shutdown put the handlers of Python back


def run_node(make_node: Callable[[], Any], args: Sequence[str] | None = None) -> int:
    """Run a node until SIGINT or SIGTERM: make it, let it bring itself up, spin, bring it down, destroy it.

    One executor thread: a multi-threaded executor was measured at 14 times the latency and twice the CPU.

    Returns:
        The exit status, 0 after a signal.
    """
    with ros_process(args):
        executor = SingleThreadedExecutor()
        try:
            node = make_node()
        except RCLError as error:  # the middleware says no, such as to keys that it cannot use
            raise SystemExit(f"cannot start ROS: {' '.join(str(error).split())}") from error
        try:
            executor.add_node(node)
            node.bring_up()
            while True:
                executor.spin_once(timeout_sec=LOOK_FOR_SIGNALS_S)
        finally:
            ignore_signals()
            node.bring_down()
            executor.shutdown(timeout_sec=2.0)
            node.destroy_node()
    sys.stdout.flush()
    return 0
