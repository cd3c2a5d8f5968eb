"""Plays a bag with its own time into depth_node: `ros2 launch defeat_ros replay.launch.py bag:=night_drive rate:=1.0`.

Every argument of depth.launch.py can be given too.
"""

import math
import shutil
import sys
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import Action, LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit
from launch.events import matches_action
from launch.events.process import ProcessExited, ShutdownProcess
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from defeat_ros.startup import module_command

WAIT_S = "60"
"""How long our own player waits for the subscription of the active node, as an argument of it."""
ARGUMENTS = [
    DeclareLaunchArgument("bag", description="The rosbag to play, once the node is active."),
    DeclareLaunchArgument("rate", default_value="1.0", description="How much faster than recorded."),
    DeclareLaunchArgument("loop", default_value="false", choices=["true", "false", "True", "False"]),
    DeclareLaunchArgument(
        "delay",
        default_value="3.0",
        description="Seconds from the publishers of `ros2 bag play` to its first message (of each turn), "
        "for the active node to find them; our own player sees when it has.",
    ),
]


def has_ros2_bag() -> bool:
    """Whether `ros2 bag play` is installed."""
    try:
        get_package_prefix("ros2bag")
    except PackageNotFoundError:
        return False
    return shutil.which("ros2") is not None


def check_numbers(context: LaunchContext) -> None:
    """Before anything is started: when launch gives up later, it leaves alone what runs already.

    Raises:
        ValueError: rate or delay is no number above (delay: or at) zero.
    """
    for name, least in (("rate", "above 0"), ("delay", "at least 0")):
        text = LaunchConfiguration(name).perform(context)
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (number > 0 or (number == 0 and name == "delay")) or math.isinf(number):
            raise ValueError(f"{name} is {text!r}, expected a number, {least}")


def play_command(context: LaunchContext) -> list[str]:
    """`ros2 bag play`, else our own player."""
    values = {name: LaunchConfiguration(name).perform(context) for name in ("bag", "rate", "loop", "delay")}
    options = [values["bag"], "--clock", "--rate", values["rate"]]
    if values["loop"].lower() == "true":
        options.append("--loop")
    if not has_ros2_bag():
        return [*module_command("defeat_ros.cli", "play", "--wait-for-subscribers", WAIT_S), *options]
    if float(values["delay"]):  # it refuses 0
        options += ["--delay", values["delay"]]
    return ["ros2", "bag", "play", *options, "--disable-keyboard-controls"]


def player(context: LaunchContext) -> list[Action]:
    """What waits for the node and then becomes the player; it ends with a node that does not come back."""
    waiting = module_command("defeat_ros.ros.wait", "depth_node", *play_command(context))
    process = Node(
        executable=sys.executable,
        arguments=waiting[1:],
        namespace=LaunchConfiguration("namespace"),  # as depth_node has it, for its relative name
        exec_name="player",
        output="screen",
    )
    if LaunchConfiguration("use_respawn").perform(context).lower() == "true":
        return [process]

    def on_exit(event: ProcessExited, context: LaunchContext) -> list[Action]:
        if context.is_shutdown or Path(event.cmd[0]).name != "depth_node":
            return []
        stop = EmitEvent(event=ShutdownProcess(process_matcher=matches_action(process)))
        return [LogInfo(msg="depth_node has ended, and the player with it"), stop]

    return [RegisterEventHandler(OnProcessExit(on_exit=on_exit)), process]


def generate_launch_description() -> LaunchDescription:
    """Called by ros2 launch."""
    depth = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(Path(__file__).resolve().with_name("depth.launch.py"))),
        launch_arguments={"use_sim_time": "true"}.items(),
    )
    return LaunchDescription(
        [*ARGUMENTS, OpaqueFunction(function=check_numbers), depth, OpaqueFunction(function=player)]
    )
