"""Plays a bag with its own time into depth_node: `ros2 launch defeat_ros replay.launch.py bag:=night_drive rate:=1.0`.

Every argument of depth.launch.py can be given too.
"""

import math
import shutil
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import Action, LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription, OpaqueFunction, TimerAction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from defeat_ros.startup import module_command

WAIT_S = "60"
"""How long our own player waits for the node, as an argument of it."""
ARGUMENTS = [
    DeclareLaunchArgument("bag", description="The rosbag to play."),
    DeclareLaunchArgument("rate", default_value="1.0", description="How much faster than recorded."),
    DeclareLaunchArgument("loop", default_value="false", choices=["true", "false", "True", "False"]),
    DeclareLaunchArgument(
        "delay",
        default_value="10.0",
        description="Seconds before `ros2 bag play`, for the node to load; our own player waits for the node itself.",
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


def player(context: LaunchContext) -> list[Action]:
    """`ros2 bag play` once the node has had time to load, else our own player, which waits until it has."""
    with_ros2_bag = has_ros2_bag()
    own = module_command("defeat_ros.cli", "play", "--wait-for-subscribers", WAIT_S)
    loop = LaunchConfiguration("loop").perform(context).lower() == "true"
    process = ExecuteProcess(
        cmd=[
            *(["ros2", "bag", "play"] if with_ros2_bag else own),
            LaunchConfiguration("bag"),
            "--clock",
            "--rate",
            LaunchConfiguration("rate"),
            *(["--loop"] if loop else []),
        ],
        name="player",
        output="screen",
    )
    if not with_ros2_bag:
        return [process]
    return [TimerAction(period=float(LaunchConfiguration("delay").perform(context)), actions=[process])]


def generate_launch_description() -> LaunchDescription:
    """Called by ros2 launch."""
    depth = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(Path(__file__).resolve().with_name("depth.launch.py"))),
        launch_arguments={"use_sim_time": "true"}.items(),
    )
    return LaunchDescription(
        [*ARGUMENTS, OpaqueFunction(function=check_numbers), depth, OpaqueFunction(function=player)]
    )
