"""Every parameter of the training; the fields make the YAML keys of train.yaml and the names that --set takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from defeat_ros.errors import ConfigError
from defeat_ros.losses import LossConfig
from defeat_ros.networks import check_size
from defeat_ros.settings import build, entries, flatten, option, yaml_lines
from defeat_ros.training.triplets import TripletConfig
from defeat_ros.untrusted import read_yaml

NETWORKS = ("depth_net", "pose_net", "feat_net")
HEADER = (
    "# Parameters of defeat-ros train with their defaults: defeat-ros train --config THIS_FILE --data ... --out ...",
    "# Unknown names are refused. Written by defeat_ros.training.config.parameters_yaml().",
)
OPERATIONAL = ("workers", "devices", "num_nodes", "device", "save_minutes", "picture_every", "max_minutes")
"""Parameters that may differ when a run goes on: they change where and how long it runs, not what it learns from."""


@dataclass(frozen=True)
class ObjectiveConfig:
    """What is learned from. Weights; 0 leaves a part out, and what only it needs is not computed."""

    photometric: float = option(1.0, "reprojection of the neighbouring frames: needs no labels", minimum=0.0)
    photometric_where: str = option(
        "all",
        "no_truth: only for samples without true depth, in runs that learn from objective.truth as well",
        choices=("all", "no_truth"),
    )
    features: bool = option(True, "learn features too, and let them judge the reprojection (the full DeFeat-Net)")
    tracks: float = option(0.1, "tracked corners: depth and motion land them where they went; no labels", minimum=0.0)
    velocity: float = option(0.0, "length of the motion against an odometry: learns metres", minimum=0.0)
    truth: float = option(0.0, "depth against truth, as rendered drives have it: learns metres", minimum=0.0)
    truth_motion: float = option(0.0, "motion against the truth", minimum=0.0)
    truth_features: float = option(
        0.0, "features of pixels that show the same point by true depth and motion alike, others apart", minimum=0.0
    )

    @property
    def needs_true_depth(self) -> bool:
        """Whether something is learned from true depth."""
        return self.truth > 0 or self.truth_features > 0

    @property
    def needs_true_motion(self) -> bool:
        """Whether something is learned from true motion."""
        return self.velocity > 0 or self.truth_motion > 0 or self.truth_features > 0


@dataclass(frozen=True)
class AugmentConfig:
    """Changes to the samples. Colours and night change what the networks see; the losses compare the clean images."""

    flip: float = option(0.5, "probability of mirroring left and right", minimum=0.0, maximum=1.0)
    color: float = option(
        0.5, "probability of other brightness, contrast, saturation and hue", minimum=0.0, maximum=1.0
    )
    zoom: float = option(
        0.0,
        "probability of a part of the view, of other proportions, filling it: a camera changed",
        minimum=0.0,
        maximum=1.0,
    )
    night: float = option(0.1, "probability of a bright sample turning dark and noisy", minimum=0.0, maximum=1.0)


@dataclass(frozen=True)
class DataConfig:
    """Which frames are trained on."""

    fps: float = option(10.0, "rate to thin recordings to, Hz", minimum=0.1, maximum=1000.0)
    image_topic: str = option("", "images of bags; needed where a bag has several")
    odom_topic: str = option("", "nav_msgs/Odometry of bags, for velocity; empty: /truth/odom where it is")
    depth_topic: str = option("", "true depth of bags; empty: /truth/depth where it is")
    balance: bool = option(False, "draw from long recordings in proportion to the square root of their length only")
    twins: bool = option(
        False, "neighbours from the rendering of the same drive in other light, where it is among the data"
    )
    cache: str = option("", "folder of the decoded frames; empty: OUT/cache")
    triplets: TripletConfig = field(default_factory=TripletConfig)


@dataclass(frozen=True)
class NetworkConfig:
    """Of a model that starts from scratch; one that is fine-tuned keeps its own."""

    num_layers: int = option(18, "of the ResNet encoders: 18, 34, 50, 101 or 152")
    n_dims: int = option(3, "channels of the features", minimum=1, maximum=1024)


@dataclass(frozen=True)
class TrainConfig:
    """Parameters of a training run."""

    size: tuple[int, int] = option(
        (480, 352),
        "width and height the networks see, multiples of 32; from 64 on, with features from 128",
        maximum=4096,
    )
    batch_size: int = option(8, "samples per step and process", minimum=1, maximum=4096)
    max_steps: int = option(0, "length of the run in steps; 0: by max_minutes, else 20 epochs", minimum=0)
    max_minutes: float = option(0.0, "length of the run in minutes of training; 0: no limit", minimum=0.0)
    learning_rate: float = option(
        0.0, "peak of Adam's; 0: 5e-4 from scratch, 1e-4 to fine-tune", minimum=0.0, maximum=1.0
    )
    warmup_steps: int = option(100, "steps over which the learning rate rises", minimum=0)
    gradient_clip: float = option(1.0, "largest norm of the gradient; 0: no limit", minimum=0.0)
    checkpoint: str = option("", "weights to start from (fine-tuning); empty: from scratch")
    frozen: tuple[str, ...] = option((), "networks to keep as they are", choices=())
    seed: int = option(
        0, "of the order of samples, the augmentation and the first weights", minimum=0, maximum=2**31 - 1
    )
    device: str = option("auto", "auto, cpu or cuda", choices=("auto", "cpu", "cuda"))
    devices: int = option(1, "processes (GPUs) per node", minimum=1, maximum=1024)
    num_nodes: int = option(1, "machines", minimum=1, maximum=1024)
    precision: str = option("auto", "auto: bfloat16 where it is fast", choices=("auto", "float32", "bfloat16"))
    workers: int = option(0, "processes that read samples ahead, where reading is slow", minimum=0, maximum=256)
    validate_every: int = option(500, "steps between measurements against truth; 0: only at the end", minimum=0)
    picture_every: int = option(500, "steps between pictures in TensorBoard; 0: none", minimum=0)
    save_minutes: float = option(2.0, "minutes between checkpoints", minimum=0.0)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)

    def __post_init__(self) -> None:
        width, height = self.size
        check_size((height, width), features=self.uses_features)
        if unknown := set(self.frozen) - set(NETWORKS):
            raise ConfigError(f"parameter 'frozen' is {sorted(unknown)}, expected some of {', '.join(NETWORKS)}")
        if self.objective.velocity and not self.objective.photometric:
            raise ConfigError("objective.velocity needs objective.photometric above 0, got 0")
        if self.objective.photometric_where == "no_truth" and not self.objective.truth:
            raise ConfigError("objective.photometric_where 'no_truth' needs objective.truth above 0, got 0")
        if not any(self.uses(name) for name in NETWORKS):
            names = "objective.photometric, truth, truth_motion and truth_features"
            raise ConfigError(f"{names} are all 0, expected one above 0: there is nothing to learn")
        if self.uses("pose_net") and not self.uses("depth_net") and self.loss.translation == "inverse_depth":
            raise ConfigError(
                "loss.translation is 'inverse_depth', which takes the depth learned beside the motion: expected "
                "objective.photometric or objective.truth above 0"
            )
        if not any(self.trains(name) for name in NETWORKS):
            raise ConfigError(
                f"parameter 'frozen' is {list(self.frozen)}, expected a network left that an objective needs"
            )
        levels = len(self.loss.contrasts)
        if self.uses_features and not self.checkpoint and levels > self.network.n_dims:
            raise ConfigError(f"loss has {levels} contrasts, expected at most network.n_dims, {self.network.n_dims}")
        if self.data.twins and not self.objective.truth_features:
            raise ConfigError("data.twins needs objective.truth_features above 0, got 0")
        if self.data.twins and self.uses("pose_net"):
            raise ConfigError("data.twins is for features alone: expected objective.photometric and truth_motion of 0")

    @property
    def metric(self) -> bool:
        """Whether the run learns depth in metres."""
        motion = self.objective.truth_motion > 0 and self.uses("depth_net")
        depth = self.objective.truth > 0 and self.loss.truth_scale_free < 1
        return self.objective.velocity > 0 or depth or motion

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width, px."""
        return self.size[1], self.size[0]

    @property
    def uses_motion(self) -> bool:
        """Whether the motion between frames is predicted."""
        return self.objective.photometric > 0 or self.objective.truth_motion > 0

    @property
    def uses_neighbours(self) -> bool:
        """Whether samples need neighbouring frames."""
        return self.uses_motion or self.objective.truth_features > 0

    @property
    def uses_tracks(self) -> bool:
        """Whether samples need tracked corners."""
        return self.uses("depth_net") and self.uses_motion and self.objective.tracks > 0

    @property
    def uses_features(self) -> bool:
        """Whether the feature net is trained."""
        return self.uses_judges or self.objective.truth_features > 0

    @property
    def uses_judges(self) -> bool:
        """Whether features judge the reprojection and learn from it."""
        judged = self.loss.feature_weight > 0 or self.loss.contrastive_weight > 0
        return self.objective.features and self.objective.photometric > 0 and judged

    def uses(self, name: str) -> bool:
        """Whether an objective needs one of `NETWORKS`."""
        depth = self.objective.photometric > 0 or self.objective.truth > 0
        return {"depth_net": depth, "pose_net": self.uses_motion, "feat_net": self.uses_features}[name]

    def trains(self, name: str) -> bool:
        """Whether one of `NETWORKS` learns."""
        return self.uses(name) and name not in self.frozen

    @property
    def peak_rate(self) -> float:
        """The highest learning rate."""
        return self.learning_rate or (1e-4 if self.checkpoint else 5e-4)


def load_train_config(file: Path | None, overrides: Mapping[str, Any]) -> TrainConfig:
    """Parameters from a YAML file (where given), then overrides with dotted names.

    Raises:
        ConfigError: the file cannot be read or is not YAML; a name is unknown or a value does not fit.
        FrameError: the networks cannot take the size.
    """
    merged: dict[str, Any] = {}
    if file is not None:
        try:
            tree = read_yaml(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot read '{file}': {error.strerror}") from error
        except ValueError as error:
            raise ConfigError(f"'{file}' is not YAML that can be used: {error}") from error
        if tree is not None and not isinstance(tree, Mapping):
            raise ConfigError(f"'{file}' is {type(tree).__name__}, expected names and values")
        merged.update(flatten(tree or {}))
    merged.update(flatten(overrides))
    return build(TrainConfig, merged)


def parameters_yaml() -> str:
    """All parameters with their defaults and what they mean, as `config/train.yaml`."""
    return "\n".join([*HEADER, *yaml_lines(entries(TrainConfig))]) + "\n"


if __name__ == "__main__":
    print(parameters_yaml(), end="")
