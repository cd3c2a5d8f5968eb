"""The loop itself: steps, the clock, checkpoints and the checks that stop a run which has gone wrong.

Built on Lightning Fabric, which puts the same loop on one CPU or on several GPUs and nodes.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric

from defeat_ros.errors import TrainingError
from defeat_ros.preprocess import to_tensor
from defeat_ros.training.augment import Batch, augment
from defeat_ros.training.collapse import CollapseWatch
from defeat_ros.training.config import TrainConfig
from defeat_ros.training.initial import set_modes
from defeat_ros.training.learner import Learner
from defeat_ros.training.monitor import Monitor, Rates, picture_of
from defeat_ros.training.schedule import Schedule
from defeat_ros.training.state import save_batch, save_state
from defeat_ros.training.validation import Scores, Validation

LOG_EVERY = 20
_MIX = (1_000_003, 7_919)  # keeps the seeds of step and process apart
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Progress:
    """How far a run has come; all of it is kept in the checkpoint.

    Attributes:
        step: steps done.
        seconds: of training, by the first process's clock; pauses between interruption and resumption do not count.
        curve: measurements against truth so far, each {'step', 'minutes', 'scores'}.
        watch: memory of the `CollapseWatch`.
    """

    step: int = 0
    seconds: float = 0.0
    curve: list[dict[str, Any]] = field(default_factory=list)
    watch: dict[str, Any] = field(default_factory=dict)


@dataclass
class Fit:
    """One run, ready to go.

    Attributes:
        fabric: the engine, launched.
        learner, optimizer: as `fabric.setup` gives them.
        config, schedule: of the run.
        loader: batches from the step on that `progress` names; as many as it takes.
        validation: what is measured against truth.
        monitor: tells how it goes.
        folder: of the run.
        facts: kept in each checkpoint, to tell whether a later command goes on with the same run.
        progress: how far it has come.
        rates: how fast this part of it is.
    """

    fabric: Fabric
    learner: Any
    optimizer: Any
    config: TrainConfig
    schedule: Schedule
    loader: Iterable[Mapping[str, torch.Tensor]]
    validation: Validation
    monitor: Monitor
    folder: Path
    facts: Mapping[str, Any]
    progress: Progress
    rates: Rates = field(default_factory=Rates)

    def run(self) -> bool:
        """Train until the schedule ends.

        Returns:
            whether it did; False where a signal asked to stop. The state is saved either way.

        Raises:
            TrainingError: a loss or gradient is not finite (its batch is saved), or the training has collapsed.
            OutputError: the state cannot be written; the one before is kept.
        """
        progress, rates = self.progress, self.rates
        watch = CollapseWatch(self.config.uses_motion, progress.watch)
        set_modes(self._plain.model, self.config)
        saved_at = time.monotonic()
        with stop_requested() as asked:
            batches = iter(self.loader)
            while not self.schedule.done(progress.step, progress.seconds):
                began = time.perf_counter()
                item = next(batches)
                waited = time.perf_counter() - began
                batch, terms = self._step(item)
                seconds, stop, sign = self._agree(time.perf_counter() - began, asked(), watch.see(terms))
                progress.step += 1
                progress.seconds += seconds
                rates.add(batch.K.shape[0] * self.fabric.world_size, seconds, waited)
                self._tell(batch, terms)
                if sign:
                    raise TrainingError(self._collapsed(sign))
                if stop:
                    break
                if time.monotonic() - saved_at >= 60 * self.config.save_minutes:
                    self.save()
                    saved_at = time.monotonic()
        self._hold_same()
        done = self.schedule.done(progress.step, progress.seconds)
        if done:
            self._measure()
        self.save()
        return done

    @property
    def _plain(self) -> Learner:
        learner: Learner = self.learner.module
        return learner

    def _step(self, item: Mapping[str, torch.Tensor]) -> tuple[Batch, dict[str, float]]:
        """One update; the batch as the networks saw it and its terms."""
        progress = self.progress
        generator = torch.Generator(self.fabric.device)
        generator.manual_seed((self.config.seed * _MIX[0] + progress.step) * _MIX[1] + self.fabric.global_rank)
        batch = augment(to_batch(item, self.fabric.device), self.config.augment, generator)
        rate = self.schedule.rate(progress.step, progress.seconds)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["gain"]
        loss, tensors = self.learner(batch, generator)
        # Before the gradients: those of sampling at coordinates that are not numbers crash the process.
        self._hold_finite("loss", loss, batch)
        self.fabric.backward(loss)
        limit = self.config.gradient_clip or float("inf")
        norm = self.fabric.clip_gradients(self.learner, self.optimizer, max_norm=limit, error_if_nonfinite=False)
        assert norm is not None
        self._hold_finite("gradient", norm, batch)
        self.optimizer.step()
        self.optimizer.zero_grad()
        terms = {name: float(value) for name, value in tensors.items()}
        return batch, {**terms, "gradient": float(norm), "learning_rate": rate}

    def _hold_finite(self, what: str, value: torch.Tensor, batch: Batch) -> None:
        """Stop every process, before the weights change, where one of them met a number that is not finite."""
        bad = (~torch.isfinite(value.detach())).float()
        worst: Any = self.fabric.all_reduce(bad, reduce_op="max")
        if not float(worst):
            return
        rank, step = self.fabric.global_rank, self.progress.step
        path = self.folder / f"bad_batch_step{step}_rank{rank}.npz"
        fields = {name: value for name, value in vars(batch).items() if value is not None}
        save_batch(path, **fields)
        raise TrainingError(
            f"the {what} of step {step} is {value.item():.4g}, expected a finite one in every process; the batch is in "
            f"'{path}', the weights of the last checkpoint are good. A lower learning_rate often helps"
        )

    def _hold_same(self) -> None:
        """Make sure that all processes end with the same weights, as they do where gradients were exchanged."""
        if self.fabric.world_size == 1:
            return
        sums = torch.stack([parameter.detach().double().sum() for parameter in self._plain.parameters()])
        all_sums: Any = self.fabric.all_gather(sums)
        if not torch.allclose(all_sums, all_sums[:1].expand_as(all_sums), rtol=1e-9, atol=1e-9):
            raise TrainingError(f"the {self.fabric.world_size} processes hold different weights, expected the same")

    def _agree(self, seconds: float, stop: bool, sign: str | None) -> tuple[float, bool, str | None]:
        """The first process's clock, wish to stop and sign of collapse, in every process alike."""
        if self.fabric.world_size == 1:
            return seconds, stop, sign
        told: tuple[float, bool, str | None] = self.fabric.broadcast((seconds, stop, sign))
        return told

    def _tell(self, batch: Batch, terms: dict[str, float]) -> None:
        step, config, rates = self.progress.step, self.config, self.rates
        share = self.schedule.progress(step, self.progress.seconds)
        total = self.schedule.max_steps or max(step, round(step / max(share, 1e-9)))
        left = self.progress.seconds * (1 / max(share, 1e-9) - 1) / 60
        self.monitor.step(step, total, terms["loss"], rates, left)
        if step % LOG_EVERY == 0:
            speed = {
                "speed/samples_per_s": rates.samples_per_s,
                "speed/loader_per_s": rates.loader_per_s,
                "speed/waiting_share": rates.waited,
            }
            self.monitor.numbers(step, {**terms, **speed})
        if not self.fabric.is_global_zero:
            return
        if config.picture_every and step % config.picture_every == 0:
            self.monitor.picture(step, self._frozen(lambda: picture_of(self._plain, batch)))
        if config.validate_every and step % config.validate_every == 0:
            self._measure()

    def _measure(self) -> None:
        """Measure against truth, once a step."""
        progress = self.progress
        if not self.validation or not self.fabric.is_global_zero:
            return
        if progress.curve and progress.curve[-1]["step"] == progress.step:
            return
        scores: Scores = self._frozen(lambda: self.validation.measure(self._plain.model, self.fabric.device))
        progress.curve.append({"step": progress.step, "minutes": progress.seconds / 60, "scores": scores})
        self.monitor.scores(progress.step, scores)

    def _frozen(self, look: Callable[[], Any]) -> Any:
        """Look at the networks as they are used: norms with their statistics, the training's arithmetic."""
        model = self._plain.model
        model.eval()
        try:
            with self.fabric.autocast():
                return look()
        finally:
            set_modes(model, self.config)

    def _collapsed(self, sign: str) -> str:
        return (
            f"the training has collapsed by step {self.progress.step}: {sign}. Training on would not help. Look at the "
            f"pictures in '{self.folder}', at whether the intrinsics fit and the camera moves; a lower learning_rate, "
            "another seed, or starting from a checkpoint may help"
        )

    def save(self) -> None:
        """Write all that it takes to go on.

        Raises:
            OutputError: it cannot be written; the state before is kept.
        """
        if self.fabric.is_global_zero:
            state = {
                "model": self._plain.model.state_dict(),
                "options": self._plain.model.options,
                "optimizer": self.optimizer.state_dict(),
                "facts": dict(self.facts),
                "progress": vars(self.progress),
            }
            save_state(self.folder, state)


def to_batch(item: Mapping[str, torch.Tensor], device: torch.device) -> Batch:
    """What the loader gives, on the device: see `TripletDataset`."""
    frames = to_tensor(item["images"].transpose(0, 1).contiguous(), device)
    moved = {name: tensor.to(device, non_blocking=True) for name, tensor in item.items() if name != "images"}
    depth = moved.get("depth")
    motion, tracks, support_depth = (moved.get(name) for name in ("support_from_target", "tracks", "support_depth"))
    return Batch(
        frames=frames,
        seen=frames,
        K=moved["K"],
        depth=None if depth is None else depth.float()[:, None],
        support_from_target=None if motion is None else motion.transpose(0, 1),
        tracks=None if tracks is None else tracks.transpose(0, 1),
        support_depth=None if support_depth is None else support_depth.float().transpose(0, 1)[:, :, None],
    )


@contextmanager
def stop_requested() -> Iterator[Callable[[], bool]]:
    """Within, Ctrl-C and SIGTERM no longer interrupt; the function tells whether one came."""
    came: list[int] = []
    before = {}
    for number in STOP_SIGNALS:
        with suppress(ValueError):  # not in the main thread, where no signal arrives either
            before[number] = signal.signal(number, lambda got, _: came.append(got))
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
