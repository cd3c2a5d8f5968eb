"""Weights out of a run or a checkpoint: our own format, with where they came from, or the published layout."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from defeat_ros.checkpoint.content import untrained_of
from defeat_ros.errors import CheckpointError, ConfigError, OutputError, SourceError
from defeat_ros.networks import DeFeatNet
from defeat_ros.settings import build, entries
from defeat_ros.training.config import NETWORKS, TrainConfig
from defeat_ros.training.state import STATE_FILE, load_state

RUN_FILE = "run.json"
PUBLISHED = (".pt", ".pth", ".ckpt")


def export_weights(
    source: Path, out: Path, half: bool = False, translation: str | None = None, take: Mapping[str, Path] | None = None
) -> dict[str, Any]:
    """Write the weights of a run's folder or of a checkpoint to a new file; its suffix chooses the format.

    Args:
        source: folder of a run, finished or not, or a weight file of either format.
        out: `.safetensors` for ours, `.pt`, `.pth` or `.ckpt` for the authors' layout, which has no place for where
            the weights came from.
        half: store as float16 (ours only).
        translation: what the pose net's translation is (see `translation_of`), for files that do not say; None takes
            what the file says.
        take: networks to take from other runs or weight files instead, as where they were trained side by side.

    Returns:
        the provenance.

    Raises:
        ConfigError: `half` was asked of the authors' layout, `translation` contradicts what the file says, or networks
            to take are unknown or do not fit the others.
        OutputError: the file exists or cannot be written, or its suffix is another one.
        SourceError: the folder holds no run.
        CheckpointError, TrainingError: the weights cannot be read.
    """
    if out.suffix not in (".safetensors", *PUBLISHED):
        raise OutputError(f"'{out}' ends with {out.suffix!r}, expected .safetensors or {', '.join(PUBLISHED)}")
    if out.exists():
        raise OutputError(f"'{out}' exists, expected a new path")
    if half and out.suffix != ".safetensors":
        raise ConfigError(f"'{out}' in float16 is not possible, expected .safetensors: the authors' layout is float32")
    model = _model_of(source)
    if translation is not None:
        said = model.provenance.get("translation", translation)
        if said != translation:
            raise ConfigError(f"translation is {translation!r}, but '{source}' says {said!r}")
        model.provenance["translation"] = translation
    for name, path in (take or {}).items():
        _take(model, name, path)
    if out.suffix == ".safetensors":
        model.save(out, half=half)
    else:
        model.save_published(out)
    return model.provenance


def _take(model: DeFeatNet, name: str, path: Path) -> None:
    """Put a network of another run or weight file in place of the model's; the provenance says so."""
    if name not in NETWORKS:
        raise ConfigError(f"network to take is {name!r}, expected one of {', '.join(NETWORKS)}")
    other = _model_of(path)
    mine, theirs = model.provenance, other.provenance
    if model.options != other.options:
        names = [option for option in model.options if model.options[option] != other.options[option]]
        raise ConfigError(f"'{path}' has other {', '.join(names)}, expected networks built alike")
    same = ("translation", "metres_per_unit")
    # Depth and motion share one scale; features have none.
    if name != "feat_net" and any(mine.get(fact) != theirs.get(fact) for fact in same):
        raise ConfigError(f"'{path}' has another {' or '.join(same)}, expected the same to take its {name}")
    getattr(model, name).load_state_dict(getattr(other, name).state_dict())
    told = ("command", "commit", "minutes", "steps", "input_size")
    mine["taken"] = {**mine.get("taken", {}), name: {fact: theirs[fact] for fact in told if fact in theirs}}
    random = name in (untrained_of(theirs) if theirs.get("trained", True) else NETWORKS)
    mine["untrained"] = sorted({*untrained_of(mine)} - {name} | ({name} if random else set()))


def export_run(folder: Path, out: Path) -> None:
    """Write the weights of a run over those that it exported before."""
    scratch = out.with_name(f".{out.stem}.part{out.suffix}")
    with contextlib.suppress(OSError):
        scratch.unlink()
    export_weights(folder, scratch)
    scratch.replace(out)


def _model_of(source: Path) -> DeFeatNet:
    return _model_of_run(source) if source.is_dir() else DeFeatNet.from_ckpt(source)


def _model_of_run(folder: Path) -> DeFeatNet:
    state = load_state(folder)
    if state is None:
        raise SourceError(f"'{folder}' has no {STATE_FILE}: no training run, or one that has not saved yet")
    about = _read_run(folder)
    model = DeFeatNet(**state["options"])
    try:
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        raise CheckpointError(f"'{folder / STATE_FILE}' does not fit its own options: {error!s:.120}") from error
    known = {entry.name for entry in entries(TrainConfig)}
    facts = {name: value for name, value in state["facts"].items() if name in known}
    config, progress = build(TrainConfig, facts), state["progress"]
    curve = progress["curve"]
    model.provenance = {
        "trained": True,
        "input_size": list(config.size),
        "translation": config.loss.translation,
        "metres_per_unit": 1.0 if config.metric else state["facts"].get("start.metres_per_unit"),
        "steps": progress["step"],
        "minutes": round(progress["seconds"] / 60, 2),
        "metrics": curve[-1]["scores"] if curve else {},
        "metrics_step": curve[-1]["step"] if curve else None,
        "untrained": [name for name in _untrained_at_start(state["facts"], config) if not config.trains(name)],
        "data": about.get("sources", []),
        "command": about.get("command", ""),
        "commit": about.get("commit", ""),
        "config": facts,
    }
    return model.eval()


def _untrained_at_start(facts: Mapping[str, Any], config: TrainConfig) -> list[str]:
    # Runs of the first versions did not note it.
    untrained: list[str] = facts.get("start.untrained", [] if config.checkpoint else list(NETWORKS))
    return untrained


def _read_run(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def commit() -> str:
    """Commit of the checkout that runs, with '+' where it was changed since; the version of an installed package."""
    place = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(place), *arguments], capture_output=True, text=True, timeout=10)
        return done.stdout.strip() if done.returncode == 0 else ""

    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        if (place / ".git").exists() and (commit := git("rev-parse", "--short=12", "HEAD")):
            return commit + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    return f"defeat_ros {version('defeat_ros')}"
