"""What a run leaves on disk to go on from: written whole or not at all, read without running code."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from defeat_ros.checkpoint.pickles import load_pickle
from defeat_ros.errors import ConfigError, OutputError, TrainingError
from defeat_ros.files import write_whole
from defeat_ros.settings import entries
from defeat_ros.training.config import OPERATIONAL, TrainConfig

STATE_FILE = "last.ckpt"
FORMAT = 1


def save_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write the state of a run (tensors and plain values).

    Raises:
        OutputError: it cannot be written; the state before is kept.
    """
    write_whole(folder / STATE_FILE, lambda file: torch.save({"format": FORMAT, **state}, file))


@contextlib.contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Keep a second run out of the folder while this one lives; ends with the process, however that ends.

    Raises:
        ConfigError: there is another one.
        OutputError: the folder cannot be written.
    """
    try:
        # In a folder from somebody else this may be a link to any file.
        file = os.fdopen(os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "w")
    except OSError as error:
        raise OutputError(f"cannot write to '{folder}': {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(f"another training run is at work in '{folder}', expected a folder of its own") from error
        yield


def load_state(folder: Path) -> dict[str, Any] | None:
    """The state that a run in this folder left, None where there is none.

    Raises:
        TrainingError: the file is damaged or of another format.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        state = load_pickle(path.read_bytes())
    except OSError as error:
        raise TrainingError(f"'{path}' cannot be read: {error.strerror}") from error
    except MemoryError as error:
        raise TrainingError(f"'{path}' does not fit into memory") from error
    except ValueError as error:
        raise TrainingError(f"'{path}' is {error}; remove it to start anew") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise TrainingError(f"'{path}' has another format, expected {FORMAT}; remove it to start anew")
    return state


def check_same_run(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Hold a run's facts (configuration, data) against those of the run that it goes on with.

    Raises:
        ConfigError: one differs; the message names which, with both values.
    """
    before = {**_defaults(before, now), **before}
    names = [name for name in sorted({*before, *now}) if name not in OPERATIONAL]
    wrong = [
        f"{name}: {before.get(name)!r} then, {now.get(name)!r} now" for name in names if _differ(before, now, name)
    ]
    if wrong:
        more = f"; and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        listed = "; ".join(wrong[:4])
        raise ConfigError(f"'{folder}' holds a run with another configuration ({listed}{more}); use a new --out")


def _defaults(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """What an older version, which did not know some of the facts, took them for."""
    parameters = {entry.name: entry.default for entry in entries(TrainConfig)}
    # True depth was compared as it stood.
    parameters |= {"loss.truth_scale_free": 0.0, "loss.truth_differences": 0.0}
    started = {name: value for name, value in now.items() if name.startswith("start.")}
    return {name: value for name, value in {**parameters, **started}.items() if name not in before and name in now}


def _differ(before: Mapping[str, Any], now: Mapping[str, Any], name: str) -> bool:
    return bool(plain(before.get(name)) != plain(now.get(name)))


def plain(value: Any) -> Any:
    """Tuples as lists, as files give them back."""
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def save_batch(path: Path, **tensors: torch.Tensor) -> None:
    """Write tensors for a look with numpy: `np.load(path)`.

    Raises:
        OutputError: it cannot be written.
    """
    arrays = {name: tensor.detach().float().cpu().numpy() for name, tensor in tensors.items()}
    write_whole(path, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))
