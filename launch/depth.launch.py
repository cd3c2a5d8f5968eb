"""Starts depth_node on a camera: `ros2 launch defeat_ros depth.launch.py image:=... camera_info:=...`."""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

# This file lies in share/defeat_ros/launch, or in the launch folder of a checkout.
SHARE = Path(__file__).resolve().parents[1]
BOOLEANS = ["true", "false", "True", "False"]
ARGUMENTS = [
    DeclareLaunchArgument("image", default_value="camera/image_raw", description="Topic of the camera's images."),
    DeclareLaunchArgument("camera_info", default_value="camera/camera_info", description="Topic of its calibration."),
    DeclareLaunchArgument(
        "image_transport",
        default_value="",
        choices=["", "raw", "compressed"],
        description="compressed subscribes to <image>/compressed; empty: as params_file says.",
    ),
    DeclareLaunchArgument("checkpoint", default_value="", description="Weight file; empty: as params_file says."),
    DeclareLaunchArgument(
        "params_file",
        default_value=str(SHARE / "config" / "depth.yaml"),
        description="YAML file of node parameters; the other arguments win over it.",
    ),
    DeclareLaunchArgument(
        "odom_in", default_value="odom_in", description="Measured odometry (wheels), for the metric scale."
    ),
    DeclareLaunchArgument(
        "odom", default_value="odom", description="Topic of our odometry; name another where the robot has one already."
    ),
    DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node and its topics."),
    DeclareLaunchArgument(
        "use_sim_time", default_value="false", choices=BOOLEANS, description="Take time from /clock (bags, simulation)."
    ),
    DeclareLaunchArgument(
        "autostart", default_value="true", choices=BOOLEANS, description="Configure and activate without being asked."
    ),
    DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn, error or fatal."),
    DeclareLaunchArgument(
        "use_respawn", default_value="false", choices=BOOLEANS, description="Start the node again when it dies."
    ),
    DeclareLaunchArgument(
        "device", default_value="", description="auto, cpu, cuda or cuda:N; empty: as params_file says."
    ),
    DeclareLaunchArgument("rviz", default_value="false", choices=BOOLEANS, description="Start rviz2 too."),
]


def depth_node(context: LaunchContext) -> list[Node]:
    """The node; text arguments become parameters only where they are given.

    Raises:
        FileNotFoundError: there is no params_file. Launch alone would warn and start the node with its defaults.
    """
    params_file = LaunchConfiguration("params_file").perform(context)
    if not Path(params_file).is_file():
        raise FileNotFoundError(f"params_file {params_file!r} is not a file")
    image = LaunchConfiguration("image").perform(context)
    parameters = {}
    for name in ("image_transport", "checkpoint", "device"):
        if LaunchConfiguration(name).perform(context):
            parameters[name] = ParameterValue(LaunchConfiguration(name), value_type=str)
    for name in ("use_sim_time", "autostart"):
        parameters[name] = ParameterValue(LaunchConfiguration(name), value_type=bool)
    node = Node(
        package="defeat_ros",
        executable="depth_node",
        namespace=LaunchConfiguration("namespace"),
        parameters=[params_file, parameters],
        remappings=[
            ("image", image),
            ("image/compressed", f"{image}/compressed"),
            ("camera_info", LaunchConfiguration("camera_info")),
            ("odom_in", LaunchConfiguration("odom_in")),
            ("odom", LaunchConfiguration("odom")),
        ],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
        output="screen",
        emulate_tty=True,
        respawn=LaunchConfiguration("use_respawn"),
        respawn_delay=2.0,
    )
    return [node]


def rviz() -> Node:
    """rviz2, with our view where it is installed."""
    view = SHARE / "config" / "depth.rviz"
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(view)] if view.is_file() else [],
        parameters=[{"use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)}],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )


def generate_launch_description() -> LaunchDescription:
    """Called by ros2 launch.

    rviz2 first: where it is not installed launch gives up, and leaves alone what it has started before.
    """
    return LaunchDescription([*ARGUMENTS, rviz(), OpaqueFunction(function=depth_node)])
