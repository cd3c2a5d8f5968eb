"""The data of a run: every recording prepared, its samples chosen, and what is told about that."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from defeat_ros.data.recording import is_bag
from defeat_ros.errors import SourceError
from defeat_ros.progress import progress_bar
from defeat_ros.training.batches import ShuffledBatches, make_loader
from defeat_ros.training.cache import PreparedSource
from defeat_ros.training.config import TrainConfig
from defeat_ros.training.prepare import prepare_source
from defeat_ros.training.source_spec import SourceSpec
from defeat_ros.training.triplets import Sample, TripletDataset, choose_triplets, single_frames


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from and is measured on.

    Attributes:
        dataset: the samples.
        validation: recordings to measure on.
        told: for each recording its name, frames, samples and what was left out, as plain values.
        fingerprint: changes with the samples; two runs on the same data have the same.
    """

    dataset: TripletDataset
    validation: list[PreparedSource]
    told: list[dict[str, Any]]
    fingerprint: str

    def loader(self, config: TrainConfig, start_step: int, rank: int, world_size: int) -> DataLoader[Sample]:
        """Batches of one process from a step on, without end."""
        batches = ShuffledBatches(
            self.dataset.lengths,
            config.batch_size,
            seed=config.seed,
            start_step=start_step,
            rank=rank,
            world_size=world_size,
            balance=config.data.balance,
        )
        return make_loader(self.dataset, batches, config.workers)


def prepare_training_data(
    config: TrainConfig, data: Sequence[str], validation: Sequence[str], cache: Path
) -> TrainingData:
    """Prepare all recordings, with a progress bar and a line on each, on stderr.

    Raises:
        SourceError: a recording cannot be used, lacks the truth it is wanted for, or no sample is left.
        OutputError: the cache cannot be written.
    """
    if not data:
        raise SourceError("there is no recording to learn from, expected at least one")
    objective = config.objective
    parts, told, digest = [], [], hashlib.sha256()
    for text in data:
        source = _prepare(text, config, cache)
        chosen = choose_triplets(source, config.data.triplets) if config.uses_motion else single_frames(source)
        _hold_truth(source, depth=objective.truth > 0, motion=objective.velocity > 0 or objective.truth_motion > 0)
        parts.append((source, chosen))
        told.append({"name": source.name, "frames": len(source), "samples": chosen.counts, "skipped": source.skipped})
        digest.update(repr((source.name, len(source), chosen.targets.tobytes(), chosen.offsets.tobytes())).encode())
        _tell(source, chosen.counts)
    held_out = [_prepare(text, config, cache) for text in validation]
    for source in held_out:
        _hold_truth(source, depth=True, motion=False)
        digest.update(repr((source.name, len(source))).encode())
    dataset = TripletDataset(
        parts,
        with_depth=objective.truth > 0,
        with_motion=objective.velocity > 0 or objective.truth_motion > 0,
        with_tracks=config.uses_tracks,
    )
    return TrainingData(dataset, held_out, told, digest.hexdigest()[:16])


def _prepare(text: str, config: TrainConfig, cache: Path) -> PreparedSource:
    data = config.data
    spec = SourceSpec.parse(text, data.fps)
    if is_bag(spec.path):
        spec = replace(
            spec,
            image_topic=data.image_topic or None,
            depth_topic=data.depth_topic or None,
            odom_topic=data.odom_topic or None,
        )
    with progress_bar(f"preparing {spec.path.name}", None) as advance:
        return prepare_source(spec, config.size_hw, cache, advance)


def _hold_truth(source: PreparedSource, depth: bool, motion: bool) -> None:
    if depth and source.depth is None:
        raise SourceError(f"{source.name} has no true depth, expected some: of a bag /truth/depth or data.depth_topic")
    if motion and source.poses is None:
        raise SourceError(f"{source.name} has no odometry, expected some: of a bag /truth/odom or data.odom_topic")


def _tell(source: PreparedSource, counts: dict[str, int]) -> None:
    left_out = {**{reason: n for reason, n in counts.items() if reason != "used" and n}, **source.skipped}
    listed = ", ".join(f"{n} {reason}" for reason, n in left_out.items())
    kept = "" if not source.reused else ", prepared before"
    line = f"{source.name}: {counts['used']} samples of {len(source)} frames" + (f" ({listed})" if listed else "")
    print(line + kept, file=sys.stderr)
    for warning in source.warnings:
        print(f"{source.name}: {warning}", file=sys.stderr)
