"""What a weight file holds and says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from defeat_ros.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor  # takes seconds to import

FORMAT_VERSION = 1
"""Of our own files."""

TRANSLATIONS = ("inverse_depth", "scene_units")
"""What the pose net's translation can be, see `translation_of`."""


@dataclass(frozen=True)
class Checkpoint:
    """What a weight file holds.

    Attributes:
        state: tensors by their state-dict key; all floating ones are float32.
        options: the constructor arguments stored beside them, as plain values (None, bool, number, text, list).
        provenance: where the weights came from; empty for published files.
        path: the file.
        sha256: of the file, hexadecimal.
        format: 'safetensors' for ours, 'published' for pickles.
    """

    state: dict[str, Tensor]
    options: dict[str, Any]
    provenance: dict[str, Any]
    path: Path
    sha256: str
    format: Literal["safetensors", "published"]


def untrained_of(provenance: Mapping[str, Any]) -> list[str]:
    """The networks that a weight file says were never trained; none where it does not say."""
    listed = provenance.get("untrained")
    return listed if isinstance(listed, list) else []


def translation_of(provenance: Mapping[str, Any]) -> str:
    """What the pose net's translation is multiplied by to give scene units.

    Returns:
        'inverse_depth': the mean inverse depth of the target, as in published weights; 'scene_units': by one.

    Raises:
        CheckpointError: the file says something else.
    """
    found = provenance.get("translation", TRANSLATIONS[0])
    if found not in TRANSLATIONS:
        raise CheckpointError(f"translation of the checkpoint is {found!r:.40}, expected {' or '.join(TRANSLATIONS)}")
    return str(found)
