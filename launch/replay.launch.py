"""Plays a bag with its own time into depth_node: `ros2 launch defeat_ros replay.launch.py bag:=night_drive rate:=1.0`.

Every argument of depth.launch.py can be given too.
"""

import shutil
import sys
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription, OpaqueFunction, TimerAction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

ARGUMENTS = [
    DeclareLaunchArgument("bag", description="The rosbag to play."),
    DeclareLaunchArgument("rate", default_value="1.0", description="How much faster than recorded."),
    DeclareLaunchArgument("loop", default_value="false", choices=["true", "false", "True", "False"]),
    DeclareLaunchArgument("delay", default_value="5.0", description="Seconds before the bag, for the node to load."),
]


def player_command() -> list[str]:
    """`ros2 bag play` where it is installed, else our own player."""
    try:
        get_package_prefix("ros2bag")
    except PackageNotFoundError:
        installed = False
    else:
        installed = shutil.which("ros2") is not None
    return ["ros2", "bag", "play"] if installed else [sys.executable, "-m", "defeat_ros.cli", "play"]


def player(context: LaunchContext) -> list[TimerAction]:
    """The player, once the node has had time to load."""
    loop = LaunchConfiguration("loop").perform(context).lower() == "true"
    process = ExecuteProcess(
        cmd=[
            *player_command(),
            LaunchConfiguration("bag"),
            "--clock",
            "--rate",
            LaunchConfiguration("rate"),
            *(["--loop"] if loop else []),
        ],
        name="player",
        output="screen",
    )
    return [TimerAction(period=float(LaunchConfiguration("delay").perform(context)), actions=[process])]


def generate_launch_description() -> LaunchDescription:
    """Called by ros2 launch."""
    depth = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(Path(__file__).resolve().with_name("depth.launch.py"))),
        launch_arguments={"use_sim_time": "true"}.items(),
    )
    return LaunchDescription([*ARGUMENTS, depth, OpaqueFunction(function=player)])
