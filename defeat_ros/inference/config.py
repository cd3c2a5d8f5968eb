"""Every parameter of depth inference, for the engine, the node and the offline tools alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from defeat_ros.errors import ConfigError
from defeat_ros.inference.backends.choose import PRECISIONS, RUNTIMES
from defeat_ros.settings import build, flatten, option
from defeat_ros.untrusted import quoted, read_yaml

OUR_NODES = ("**", "*", "depth_node")
LOWEST_CAMERA_M = 0.05
NODE_PARAMETERS = ("autostart", "use_sim_time", "start_type_description_service")


@dataclass(frozen=True)
class ScaleConfig:
    """Where metres come from."""

    mode: str = option(
        "auto",
        "auto: fuse what there is; camera_height: the road lies scale.camera_height_m below; odometry: compare with "
        "odom_in; fixed: multiply by scale.value; none: scene units",
        choices=("auto", "camera_height", "odometry", "fixed", "none"),
    )
    value: float = option(1.0, "metres per scene unit for scale.mode fixed", minimum=1e-6, maximum=1e6)
    camera_height_m: float = option(
        0.0, "height of the camera above the road, m; 0: not known", minimum=0.0, maximum=20.0
    )
    odom_tf_frame: str = option(
        "", "fixed frame in which tf tells where base_frame is, to be compared with in place of odom_in; empty: odom_in"
    )
    required: bool = option(False, "publish no depth until the scale is known to 20 % from more than training")

    def __post_init__(self) -> None:
        if self.mode == "camera_height" and self.camera_height_m == 0.0:
            raise ConfigError(
                "parameter 'scale.camera_height_m' is 0.0, expected the camera's height above the road in m, as "
                "scale.mode is camera_height"
            )
        if 0.0 < self.camera_height_m < LOWEST_CAMERA_M:
            raise ConfigError(
                f"parameter 'scale.camera_height_m' is {self.camera_height_m}, expected m, at least {LOWEST_CAMERA_M}"
            )
        if self.required and self.mode == "none":
            raise ConfigError("parameter 'scale.required' is True, expected False as scale.mode is none")


@dataclass(frozen=True)
class OdometryConfig:
    """How the camera's motion is told."""

    refine: bool = option(True, "refine steps by tracked corners; false: the pose net alone")


@dataclass(frozen=True)
class PointsConfig:
    """What goes into depth/points."""

    stride: int = option(4, "a point for every n-th row and column of the depth image", minimum=1, maximum=64)
    min_range_m: float = option(1.0, "closer points are left out, along the optical axis, m", minimum=0.0)
    max_range_m: float = option(25.0, "farther points are left out, along the optical axis, m", minimum=0.0)
    color: bool = option(False, "give each point its colour")
    frame: str = option("optical", "frame of the points: the camera's or base_frame", choices=("optical", "base"))

    def __post_init__(self) -> None:
        if self.min_range_m >= self.max_range_m:
            raise ConfigError(
                f"parameter 'points.min_range_m' is {self.min_range_m}, expected less than points.max_range_m "
                f"({self.max_range_m})"
            )


@dataclass(frozen=True)
class FeatureConfig:
    """What is published of the dense features."""

    stride: int = option(1, "publish features at 1/n of the output size in both directions", minimum=1, maximum=16)


@dataclass(frozen=True)
class DiagnosticsConfig:
    """When /diagnostics warns."""

    silence_s: float = option(2.0, "no image for longer than this: the camera is silent, s", minimum=0.1)
    stall_s: float = option(2.0, "at work on one image for longer than this: stalled, an error, s", minimum=0.1)
    superseded_share: float = option(
        0.9, "more of the images of 10 s replaced by newer ones than this: a flood", minimum=0.0, maximum=1.0
    )
    latency_s: float = option(1.0, "results later than this, median of 10 s, s", minimum=0.0)
    scale_age_s: float = option(10.0, "a scale that was not measured for longer than this, s", minimum=0.0)


@dataclass(frozen=True)
class DepthConfig:
    """Parameters of depth inference; the names are those of the ROS parameters and of the YAML keys."""

    checkpoint: str = option("", "weight file (.safetensors or published .pt); empty: the one that ships")
    checkpoint_key: str = option("", "entry of a published .pt that holds the state dict; empty: 'model' or the top")
    device: str = option("auto", "auto, cpu, cuda or cuda:N")
    backend: str = option(
        "auto", "runtime of the networks; auto: the fastest that is right here", choices=("auto", *RUNTIMES)
    )
    precision: str = option(
        "auto", "arithmetic of the networks; auto: the fastest that is right here", choices=("auto", *PRECISIONS)
    )
    input_size: tuple[int, int] = option(
        (0, 0), "width and height the networks see, multiples of 32; 0 0: the checkpoint's", minimum=0, maximum=4096
    )
    output_size: tuple[int, int] = option(
        (0, 0), "width and height of depth and features; 0 0: the image's", minimum=0, maximum=16384
    )
    max_gap_s: float = option(
        0.5, "a longer pause between frames starts a new odometry segment, s", minimum=0.0, maximum=3600.0
    )
    min_depth_m: float = option(0.0, "closer depth becomes -Inf, m; applies once the scale is known", minimum=0.0)
    max_depth_m: float = option(
        1000.0, "depth beyond becomes +Inf (sky), m; applies once the scale is known", minimum=0.0
    )
    confidence_min: float = option(
        0.5, "depth less likely than this to be within 25 % of the truth becomes NaN", minimum=0.0, maximum=1.0
    )
    hood_mask: str = option(
        "", "image file of the camera's size, not black where the vehicle itself is seen; empty: it is not seen"
    )
    image_transport: str = option("raw", "raw or compressed input", choices=("raw", "compressed"))
    base_frame: str = option("base_link", "the robot's frame, child of the odometry")
    odom_frame: str = option("odom", "fixed frame of the odometry")
    publish_tf: bool = option(True, "broadcast odom to base where tf2 exists")
    base_from_camera: tuple[float, ...] = option(
        (),
        "mount of the camera body (x forward, y left, z up) on the base: x y z (m) roll pitch yaw (rad); "
        "empty: look it up in tf, else the origin",
    )
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    odometry: OdometryConfig = field(default_factory=OdometryConfig)
    points: PointsConfig = field(default_factory=PointsConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    diagnostics: DiagnosticsConfig = field(default_factory=DiagnosticsConfig)

    def __post_init__(self) -> None:
        if self.base_from_camera and len(self.base_from_camera) != 6:
            raise ConfigError(
                f"parameter 'base_from_camera' is {list(self.base_from_camera)}, expected x y z roll pitch yaw"
            )
        for name, size in (("input_size", self.input_size), ("output_size", self.output_size)):
            if (0 in size) != (size == (0, 0)):
                raise ConfigError(f"parameter {name!r} is {list(size)}, expected width and height, or 0 0")
        if self.publish_tf and self.scale.odom_tf_frame == self.odom_frame:
            raise ConfigError(
                f"parameter 'scale.odom_tf_frame' is {quoted(self.scale.odom_tf_frame)}, which this node itself "
                "broadcasts: expected another frame, another odom_frame, or publish_tf false"
            )
        if self.min_depth_m >= self.max_depth_m:
            raise ConfigError(f"parameter 'min_depth_m' is {self.min_depth_m}, expected less than {self.max_depth_m}")


def read_params_file(path: str | Path) -> dict[str, Any]:
    """The parameters that a ROS YAML file (`/**: ros__parameters: ...`) has for depth_node, with dotted names.

    Sections of other nodes and parameters that concern a running node only (`autostart`, `use_sim_time`,
    `qos_overrides`) are left out.

    Raises:
        ConfigError: the file cannot be read, is no YAML, or has another layout.
    """
    try:
        tree = read_yaml(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read parameter file '{path}': {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"parameter file '{path}' is not YAML that can be used: {error}") from error
    merged: dict[str, Any] = {}
    sections = 0
    for name, node in tree.items() if isinstance(tree, Mapping) else ():
        if str(name).strip("/").rpartition("/")[2] in OUR_NODES:
            if not isinstance(node, Mapping) or not isinstance(node.get("ros__parameters"), Mapping):
                raise ConfigError(f"section {quoted(name)} of parameter file '{path}' has no 'ros__parameters'")
            merged.update(flatten(node["ros__parameters"]))
            sections += 1
    if not sections:
        raise ConfigError(f"parameter file '{path}' has no 'ros__parameters' under '/**' or 'depth_node'")
    return {name: value for name, value in merged.items() if not _of_any_node(name)}


def _of_any_node(name: str) -> bool:
    """Whether a parameter belongs to running as a ROS node, not to depth."""
    return name in NODE_PARAMETERS or name.startswith("qos_overrides.")


def load_config(params_file: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> DepthConfig:
    """Parameters from a ROS YAML file (where given), then overrides with dotted names.

    Raises:
        ConfigError: see `read_params_file` and `settings.build`.
    """
    merged = read_params_file(params_file) if params_file else {}
    merged.update(flatten(overrides or {}))
    return build(DepthConfig, merged)
