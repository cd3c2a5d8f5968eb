"""Finds the weights that the parameters name, loads them and tells what runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from defeat_ros.checkpoint.content import TRANSLATIONS, Checkpoint, translation_of, untrained_of
from defeat_ros.errors import CheckpointError
from defeat_ros.inference.backends.build import make_backend, remake
from defeat_ros.inference.backends.choose import PLAIN
from defeat_ros.inference.backends.prepare import Source
from defeat_ros.inference.backends.protocol import Backend
from defeat_ros.inference.backends.steady import Change, SteadyBackend
from defeat_ros.inference.config import DepthConfig
from defeat_ros.networks import check_size
from defeat_ros.preprocess import PUBLISHED_SIZE_HW
from defeat_ros.resources import share_directory

OUTPUT_OF = {"depth_net": "depth", "pose_net": "odometry", "feat_net": "features"}
"""What each network is for."""


@dataclass(frozen=True)
class EngineInfo:
    """What an engine runs, for logs, diagnostics and summaries.

    Attributes:
        checkpoint: name of the weight file, '' for a backend that was handed in.
        sha256: of that file.
        trained: False where the file says that its weights were never trained.
        backend, device, precision: how the networks run.
        input_size: width and height the networks see, px.
        translation: what the pose net's translation is, see `checkpoint.translation_of`.
        metres_per_unit: what the training made a scene unit, None where it did not know metres.
        reason: why these networks run this way.
        warnings: what was tried in vain and what gave up later, each a sentence.
        untrained: outputs ('depth', 'odometry', 'features') whose networks the file says were left at random weights.
    """

    checkpoint: str
    sha256: str
    trained: bool
    backend: str
    device: str
    precision: str
    input_size: tuple[int, int]
    translation: str = TRANSLATIONS[0]
    untrained: tuple[str, ...] = ()
    metres_per_unit: float | None = None
    reason: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def caution(self) -> str:
        """What must not be relied on, as a sentence; '' for nothing."""
        if not self.trained:
            return f"{self.checkpoint} is UNTRAINED: its depth means nothing"
        if self.untrained:
            return f"{self.checkpoint} was trained without {' and '.join(self.untrained)}: these mean nothing"
        return ""

    @classmethod
    def of(cls, backend: Backend, size_hw: tuple[int, int], checkpoint: Checkpoint | None = None) -> EngineInfo:
        """Describe a backend and, where known, its weights.

        Raises:
            CheckpointError: see `translation_of`.
        """
        size = (size_hw[1], size_hw[0])
        runs = (backend.name, backend.device, backend.precision, size)
        if checkpoint is None:
            return cls("", "", True, *runs)
        told = checkpoint.provenance
        trained = bool(told.get("trained", True))
        listed = untrained_of(told)
        untrained = tuple(result for net, result in OUTPUT_OF.items() if net in listed)
        told_of = translation_of(told), untrained, _metres_of(told)
        return cls(checkpoint.path.name, checkpoint.sha256, trained, *runs, *told_of)


def _metres_of(provenance: Mapping[str, Any]) -> float | None:
    """Metres per scene unit as the training recorded them; anything but a positive number is none."""
    told = provenance.get("metres_per_unit")
    if not isinstance(told, (int, float)) or isinstance(told, bool) or not 1e-6 < told < 1e6:
        return None
    return float(told)


def find_checkpoint(name: str) -> Path:
    """The weight file that the `checkpoint` parameter means; '' is the one that ships in ckpt/.

    Raises:
        CheckpointError: '' and none ships, or several do.
    """
    if name:
        return Path(name).expanduser()
    shipped = sorted((share_directory() / "ckpt").glob("*.safetensors"))
    if len(shipped) != 1:
        found = ", ".join(path.name for path in shipped) or "none"
        raise CheckpointError(
            f"parameter 'checkpoint' is empty and '{share_directory() / 'ckpt'}' holds {found}, "
            "expected one .safetensors there or the path of a checkpoint; see ckpt/README.md"
        )
    return shipped[0]


def input_size_hw(config: DepthConfig, provenance: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width the networks see: the parameter, else what the weights were trained at, else as published.

    Raises:
        FrameError: the networks cannot take that size.
    """
    width, height = config.input_size
    if not width:
        trained_at = provenance.get("input_size")
        told = isinstance(trained_at, list) and len(trained_at) == 2 and all(type(side) is int for side in trained_at)
        width, height = trained_at if told else PUBLISHED_SIZE_HW[::-1]  # type: ignore[misc]
    check_size((height, width))
    return height, width


def read_source(config: DepthConfig) -> Source:
    """The networks that the parameters name, not yet made.

    Raises:
        CheckpointError: missing, damaged or unsafe weights.
        FrameError: see `input_size_hw`.
    """
    if any(config.input_size):
        input_size_hw(config, {})  # a wrong number is told before a large file is read
    checkpoint = Source.read(find_checkpoint(config.checkpoint), config.checkpoint_key)
    return Source(checkpoint, config.checkpoint_key, input_size_hw(config, checkpoint.provenance))


def load_backend(config: DepthConfig, changed: Change) -> tuple[Backend, EngineInfo]:
    """Read the weights and put them on the device.

    Args:
        config: names them.
        changed: is told when another runtime had to take over.

    Raises:
        CheckpointError: missing, damaged or unsafe weights, or weights of another architecture.
        BackendError: a device or a backend that is not here.
        FrameError: see `input_size_hw`.
    """
    source = read_source(config)
    built = make_backend(source, config.backend, config.device, config.precision)
    info = EngineInfo.of(built.backend, source.size_hw, source.checkpoint)

    def same_source() -> Source:
        # Read once more: weights that are kept for a day that may never come are memory wasted.
        found = read_source(config)
        if found.checkpoint.sha256 != info.sha256:
            raise CheckpointError(f"'{found.checkpoint.path}' is another file now")
        return found

    backend = SteadyBackend(
        built.backend,
        lambda: remake(built.choice, same_source()),
        lambda: remake(PLAIN, same_source()),
        changed,
    )
    return backend, replace(info, reason=built.choice.reason, warnings=built.warnings)
