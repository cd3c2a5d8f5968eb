"""A training run from sources to weights: prepares the data, starts or goes on, trains, exports."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from defeat_ros.checkpoint.content import translation_of, untrained_of
from defeat_ros.checkpoint.reading import read_checkpoint
from defeat_ros.errors import BackendError, ConfigError, OutputError
from defeat_ros.files import write_json
from defeat_ros.settings import values
from defeat_ros.training.config import NETWORKS, OPERATIONAL, TrainConfig
from defeat_ros.training.export import RUN_FILE, commit, export_run
from defeat_ros.training.initial import make_model, parameter_groups
from defeat_ros.training.learner import Learner
from defeat_ros.training.loop import Fit, Progress
from defeat_ros.training.monitor import Monitor
from defeat_ros.training.schedule import Schedule
from defeat_ros.training.sources import TrainingData, prepare_training_data
from defeat_ros.training.state import STATE_FILE, check_same_run, load_state, only_run, plain
from defeat_ros.training.validation import Validation

MODEL_FILE = "model.safetensors"
EPOCHS = 20


@dataclass(frozen=True)
class TrainSummary:
    """What a run came to.

    Attributes:
        finished: False where it was asked to stop; the same command goes on.
        resumed_at: step it went on from, 0 for a new run.
        step, minutes: how far it came, minutes of training.
        curve: measurements against truth, see `Progress`.
        samples_per_s, loader_per_s: speed of this part of the run, and what the loader alone could feed.
        waiting_share: share of the time that steps waited for data.
        model: the exported weights, None where the run has not finished.
    """

    finished: bool
    resumed_at: int
    step: int
    minutes: float
    curve: list[dict[str, Any]]
    samples_per_s: float
    loader_per_s: float
    waiting_share: float
    model: Path | None


def train(
    config: TrainConfig, data: Sequence[str], validation: Sequence[str], folder: Path, command: str = ""
) -> TrainSummary:
    """Train in a folder, or go on with the run that it holds.

    The folder gets `last.ckpt` (the state to go on from), `model.safetensors` (the weights, when the run is over),
    `run.json` (configuration and data), `metrics.json`, `tensorboard/` and, unless set otherwise, `cache/`.

    Args:
        config: of the run.
        data: recordings to learn from, `PATH` or `PATH=INTRINSICS`.
        validation: recordings with truth to measure on.
        folder: of the run; made where it is missing.
        command: that started it, kept with the weights.

    Raises:
        SourceError: a recording cannot be used, or there is nothing to learn from.
        ConfigError: the folder holds a run with another configuration or other data.
        OutputError: the folder holds something else, or cannot be written.
        TrainingError: see `Fit.run`; or the saved state is damaged.
        CheckpointError: see `make_model`.
        BackendError: there is no such device.
    """
    said = read_checkpoint(config.checkpoint).provenance if config.checkpoint else {}
    config = _with_convention(config, said)
    _open_folder(folder)
    with only_run(folder) if first_process() else nullcontext():
        return _train(config, said, data, validation, folder, command)


def first_process() -> bool:
    """Whether this is the process that the user started, not one of those that it started itself."""
    return not any(int(os.environ.get(name, 0)) for name in ("LOCAL_RANK", "NODE_RANK"))


def _train(
    config: TrainConfig,
    said: Mapping[str, Any],
    data: Sequence[str],
    validation: Sequence[str],
    folder: Path,
    command: str,
) -> TrainSummary:
    prepared = prepare_training_data(config, data, validation, Path(config.data.cache or folder / "cache"))
    world = config.devices * config.num_nodes
    if not config.max_steps and not config.max_minutes:
        config = replace(config, max_steps=max(1, EPOCHS * len(prepared.dataset) // (config.batch_size * world)))
    facts = {name: value for name, value in values(config).items() if name != "data.cache"}
    facts |= {**prepared.fingerprints, **_start(config, said), "world_size": world}
    state = _join(folder, facts)
    fabric = make_fabric(config)
    fabric.launch()
    _agree(fabric, facts, state)
    if fabric.is_global_zero and state is None:
        about = {"command": command, "commit": commit(), "sources": prepared.told}
        write_json(folder / RUN_FILE, {"facts": facts, **about})
    fit = _fit(fabric, config, prepared, folder, facts, state)
    resumed_at = fit.progress.step
    with fit.monitor:
        finished = fit.run()
    model = None
    if fabric.is_global_zero:
        write_json(folder / "metrics.json", {"curve": fit.progress.curve})
        if finished:
            model = folder / MODEL_FILE
            export_run(folder, model)
    rates = fit.rates
    return TrainSummary(
        finished, resumed_at, fit.progress.step, fit.progress.seconds / 60, fit.progress.curve,
        rates.samples_per_s, rates.loader_per_s, rates.waited, model,
    )  # fmt: skip


def make_fabric(config: TrainConfig) -> Any:
    """Lightning's engine for the devices that are asked for.

    Raises:
        BackendError: they are not here.
    """
    from lightning.fabric import Fabric

    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and torch.cuda.device_count() < config.devices:
        found = torch.cuda.device_count()
        raise BackendError(f"device is 'cuda' with {config.devices} devices, but this machine has {found}")
    if device == "cpu" and config.devices > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // config.devices))
    return Fabric(
        accelerator=device,
        devices=config.devices,
        num_nodes=config.num_nodes,
        strategy="ddp" if config.devices * config.num_nodes > 1 else "auto",
        precision="bf16-mixed" if _bfloat16(config.precision, device) else "32-true",
    )


def _bfloat16(precision: str, device: str) -> bool:
    """Whether to compute in bfloat16: where asked for, else where the processor has instructions for it."""
    if precision != "auto":
        return precision == "bfloat16"
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Private, but there is no other way to ask; a torch without them trains in float32.
    probes = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return any(probe() for probe in probes if probe is not None)


def _fit(
    fabric: Any, config: TrainConfig, data: TrainingData, folder: Path, facts: Mapping[str, Any],
    state: Mapping[str, Any] | None,
) -> Fit:  # fmt: skip
    model = make_model(config).to(memory_format=torch.channels_last)
    groups = parameter_groups(model, config)
    optimizer = torch.optim.Adam(groups, lr=config.peak_rate, fused=True)
    progress = Progress()
    if state is not None:
        model.load_state_dict(state["model"])
        progress = Progress(**state["progress"])
    learner, optimizer = fabric.setup(Learner(model, config), optimizer)
    if state is not None:
        optimizer.load_state_dict(state["optimizer"])
    first = fabric.is_global_zero
    return Fit(
        fabric=fabric,
        learner=learner,
        optimizer=optimizer,
        config=config,
        schedule=Schedule(config.peak_rate, config.warmup_steps, config.max_steps, 60 * config.max_minutes),
        loader=data.loader(config, progress.step, fabric.global_rank, fabric.world_size),
        validation=Validation(data.validation if first else []),
        monitor=Monitor(folder / "tensorboard" if first else None, config.max_steps or None, progress.step),
        folder=folder,
        facts=facts,
        progress=progress,
    )


def _with_convention(config: TrainConfig, said: Mapping[str, Any]) -> TrainConfig:
    """Weights to fine-tune, of which `said` tells, bring what their pose net's translation means."""
    if not config.checkpoint:
        return config
    return replace(config, loss=replace(config.loss, translation=translation_of(said)))


def _start(config: TrainConfig, said: Mapping[str, Any]) -> dict[str, Any]:
    """What of that which the weights that are started from say of themselves still holds when the run is over."""
    if not config.checkpoint:
        return {"start.untrained": list(NETWORKS), "start.metres_per_unit": None}
    untrained = [name for name in NETWORKS if not said.get("trained", True) or name in untrained_of(said)]
    metres = None if config.trains("depth_net") else said.get("metres_per_unit")
    if config.objective.truth_motion and metres is None and not config.metric and "depth_net" not in untrained:
        raise ConfigError(
            f"objective.truth_motion teaches metres, but the depth of '{config.checkpoint}' is in units of its own: "
            "expected objective.truth above 0 beside it"
        )
    return {"start.untrained": untrained, "start.metres_per_unit": metres}


def _open_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        holds = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise OutputError(f"cannot use '{folder}': {error.strerror}") from error
    if holds and RUN_FILE not in holds and holds != ["cache"]:
        raise OutputError(f"'{folder}' holds {', '.join(holds[:4])} and no training run, expected a new folder")


def _agree(fabric: Any, facts: Mapping[str, Any], state: Mapping[str, Any] | None) -> None:
    """Hold every process's view of the run against the first one's."""
    mine = (
        {name: value for name, value in facts.items() if name not in OPERATIONAL},
        state and state["progress"]["step"],
    )
    first = fabric.broadcast(mine)
    differ = torch.tensor(float(plain(list(first[0].items())) != plain(list(mine[0].items())) or first[1] != mine[1]))
    worst: Any = fabric.all_reduce(differ.to(fabric.device), reduce_op="max")
    if float(worst):
        raise ConfigError(
            "the processes see different data or checkpoints, expected the same --data and --out on all machines"
        )


def _join(folder: Path, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """The state to go on from, None for a new run."""
    state = load_state(folder)
    if state is None:
        return None
    check_same_run(state["facts"], facts, folder)
    print(f"going on from step {state['progress']['step']} of '{folder / STATE_FILE}'", file=sys.stderr)
    return state
