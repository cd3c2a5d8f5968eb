"""Plays a bag onto the live ROS graph where `ros2 bag play` is missing: `python -m defeat_ros.ros.player BAG`."""

from __future__ import annotations

import argparse
import json
import math
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from defeat_ros.data.bag import BagReader
from defeat_ros.errors import BackendError, DefeatError, OutputError, shown
from defeat_ros.progress import progress_bar


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="defeat-ros play", description=__doc__)
    made.add_argument("bag", type=Path, help="rosbag2 directory, or a .mcap, .db3 or .bag file")
    made.add_argument("--rate", type=_rate, default=1.0, help="how much faster than recorded")
    made.add_argument("--loop", action="store_true", help="start over at the end, until Ctrl-C")
    made.add_argument("--clock", action="store_true", help="publish /clock, for nodes with use_sim_time")
    made.add_argument("--topics", nargs="+", metavar="TOPIC", help="play these topics only")
    made.add_argument(
        "--wait-for-subscribers", type=_patience, default=0.0, metavar="S", help="wait up to S seconds for a subscriber"
    )
    made.add_argument("--summary", type=Path, metavar="FILE", help="write what was played as JSON")
    return made


def _rate(text: str) -> float:
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no rate, expected a positive number")
    return value


def _patience(text: str) -> float:
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no time to wait, expected seconds from 0")
    return value


def _number(text: str) -> float:
    """NaN, which no range admits, for what is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def main(args: Sequence[str] | None = None) -> int:
    """Entry point; ROS arguments such as remappings follow `--ros-args`."""
    line = list(sys.argv[1:] if args is None else args)
    try:
        options = parser().parse_args(_without_ros_args(line))
        with BagReader(options.bag) as bag:
            return _play(bag, options, line)
    except DefeatError as error:
        print(f"defeat-ros play: {shown(error)}", file=sys.stderr)
        return 1


def _without_ros_args(line: Sequence[str]) -> list[str]:
    """What is left for us; importing rclpy here is the first thing that fails where ROS is missing."""
    try:
        from rclpy.utilities import remove_ros_args
    except ImportError as error:
        hint = "source the setup.bash of a ROS 2 installation, or install rclpy into this Python"
        raise BackendError(f"rclpy cannot be imported ({error}): {hint}") from error
    return list(remove_ros_args(["play", *line])[1:])


def _play(bag: BagReader, options: argparse.Namespace, line: Sequence[str]) -> int:
    from rclpy.node import Node

    from defeat_ros.ros.bag_player import BagPlayer
    from defeat_ros.ros.process import ros_process

    stop = threading.Event()
    with ros_process(["play", *line], stop):
        if options.summary:
            _write(options.summary, "")  # not only after playing should it turn out that this cannot be done
        node = Node("bag_player", start_parameter_services=False)
        try:
            player = BagPlayer(node, bag, options.topics, options.clock, stop)
            waited = options.wait_for_subscribers
            if waited and not player.wait_for_subscribers(waited) and not stop.is_set():
                node.get_logger().warning(f"nobody subscribed to the images within {waited:g} s; playing all the same")
            total = math.ceil(bag.duration_s)
            with progress_bar("playing, s", total) as advance:
                player.play(options.rate, options.loop, lambda seconds: advance(completed=int(seconds), total=total))
        finally:
            node.destroy_node()
    summary = player.summary()
    print(json.dumps(summary), flush=True)
    if options.summary:
        _write(options.summary, json.dumps(summary) + "\n")
    return 0


def _write(path: Path, text: str) -> None:
    try:
        with path.open("w" if text else "a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise OutputError(f"summary {path} cannot be written: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())
