"""Tells how a run goes: on the terminal, in TensorBoard and as pictures."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from defeat_ros.geometry import disp_to_depth
from defeat_ros.progress import progress_bar
from defeat_ros.training.augment import Batch
from defeat_ros.training.learner import OFFSETS, Learner, finest
from defeat_ros.training.validation import Scores
from defeat_ros.visualize import FeatureColors, captioned, depth_colors
from defeat_ros.warp import reproject, sample

LINE_SECONDS = 30.0
PICTURED = 3


class Rates:
    """How fast samples are used, over this part of the run.

    Attributes:
        waited: share of the time that steps waited for data, 0 to 1, over the whole run.
    """

    def __init__(self) -> None:
        self._seconds = self._waiting = 0.0
        self._samples = 0

    def add(self, samples: int, seconds: float, waiting: float) -> None:
        """Count one step that took `seconds`, of which it waited `waiting` for its data."""
        self._samples += samples
        self._seconds += seconds
        self._waiting += waiting

    @property
    def samples_per_s(self) -> float:
        return self._samples / self._seconds if self._seconds else 0.0

    @property
    def loader_per_s(self) -> float:
        """Samples that the loader gives in a second of waiting: what it could feed if the networks took no time."""
        return self._samples / self._waiting if self._waiting else 0.0

    @property
    def waited(self) -> float:
        return self._waiting / self._seconds if self._seconds else 0.0


class Monitor:
    """Progress bar or, where stderr is no terminal, a line now and then; and TensorBoard.

    Args:
        folder: where TensorBoard's files go; None writes none (other processes than the first).
        total: steps of the run, None where time ends it.
        step: where it goes on from; what an interrupted run wrote of later steps is dropped.
    """

    def __init__(self, folder: Path | None, total: int | None, step: int = 0) -> None:
        self._writer: Any = None
        if folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)
        self._quiet = folder is None
        self._bar = progress_bar("training", total if not self._quiet else None)
        self._advance: Any = None
        self._last_line = time.monotonic()

    def __enter__(self) -> Monitor:
        if not self._quiet:
            self._advance = self._bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if not self._quiet:
            self._bar.__exit__(*error)
        self._write("close")

    def step(self, step: int, total: int, loss: float, rates: Rates, minutes_left: float) -> None:
        """Show one finished step."""
        if self._quiet:
            return
        speed = (
            f"{rates.samples_per_s:.1f} samples/s (loader {rates.loader_per_s:.0f}/s, waits {100 * rates.waited:.1f} %)"
        )
        state = f"loss {loss:.4f}, {speed}"
        self._advance(step, total, f"training: {state}")
        if not sys.stderr.isatty() and time.monotonic() - self._last_line >= LINE_SECONDS:
            self._last_line = time.monotonic()
            print(f"step {step} of {total}: {state}, {minutes_left:.1f} min left", file=sys.stderr, flush=True)

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Write scalars to TensorBoard."""
        for name, value in values.items():
            self._write("add_scalar", name if "/" in name else f"train/{name}", value, step)

    def scores(self, step: int, scores: Scores) -> None:
        """Tell a measurement against truth."""
        self.numbers(step, {f"{c}/{name}": value for c, row in scores.items() for name, value in row.items()})
        if not self._quiet:
            parts = [
                f"{condition} abs_rel {row['abs_rel']:.3f} (unscaled {row['abs_rel_unscaled']:.3f}) a1 {row['a1']:.3f}"
                for condition, row in scores.items()
            ]
            print(f"step {step}: " + "; ".join(parts), file=sys.stderr, flush=True)

    def picture(self, step: int, image: np.ndarray) -> None:
        """Write a picture (H, W, 3) uint8 to TensorBoard."""
        self._write("add_image", "samples", image, step, dataformats="HWC")

    def _write(self, method: str, *arguments: Any, **options: Any) -> None:
        """TensorBoard is for looking at: a full disk there is said once and ends nothing."""
        if self._writer is None:
            return
        try:
            getattr(self._writer, method)(*arguments, **options)
        except OSError as error:
            self._writer = None
            print(f"TensorBoard's files end here: {error}", file=sys.stderr)


@torch.no_grad()
def picture_of(learner: Learner, batch: Batch) -> np.ndarray:
    """What the networks make of the first samples: image, depth, features, and with both depth and motion the warps.

    Returns:
        (H, W, 3) uint8 RGB, a row for each sample.
    """
    count = min(PICTURED, batch.K.shape[0])
    seen, frames, K = batch.seen[:, :count], batch.frames[:, :count], batch.K[:count]
    columns = [("as seen", _rgb(seen[0]))]
    depth = None
    if learner.config.uses("depth_net"):
        disps = learner.model.depth_net(seen[0].contiguous(memory_format=torch.channels_last), scales=[0])
        depth = disp_to_depth(finest(disps))
        columns.append(("depth", np.stack([depth_colors(d[0].cpu().numpy()) for d in depth])))
    if learner.config.uses_features:
        colors = FeatureColors()
        for maps, name in zip(
            learner.features(seen), ("features", "of the frame before", "of the frame after"), strict=True
        ):
            columns.append((name, np.stack([colors(m.cpu().numpy()) for m in maps.movedim(1, 3)])))
    if depth is not None and learner.config.uses_motion:
        motions = learner.motions(disps, learner.poses(seen))
        assert motions is not None
        for motion, offset, support in zip(motions, OFFSETS, frames[1:], strict=True):
            coords, _ = reproject(depth, K, motion)
            warped = sample(support, coords)
            columns.append((f"frame {offset:+d} warped", _rgb(warped)))
            columns.append((f"its error, times 3 ({offset:+d})", _rgb(3 * (warped - frames[0]).abs())))
    if batch.depth is not None:
        truth = batch.depth[:count, 0].cpu().numpy()
        columns.append(("true depth", np.stack([depth_colors(d) for d in truth])))
    return np.hstack([captioned(np.vstack(list(images)), name, 12) for name, images in columns])


def _rgb(images: torch.Tensor) -> np.ndarray:
    """(B, 3, H, W) in [0, 1] to (B, H, W, 3) uint8."""
    return (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
