"""The data of a run: every recording prepared, its samples chosen, and what is told about that."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from defeat_ros.data.recording import is_bag
from defeat_ros.errors import SourceError
from defeat_ros.progress import progress_bar
from defeat_ros.training.batches import ShuffledBatches, make_loader
from defeat_ros.training.cache import PreparedSource
from defeat_ros.training.config import ObjectiveConfig, TrainConfig
from defeat_ros.training.prepare import prepare_source
from defeat_ros.training.source_spec import SourceSpec
from defeat_ros.training.triplets import (
    Sample,
    TripletDataset,
    Triplets,
    choose_triplets,
    find_twins,
    single_frames,
)


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from and is measured on.

    Attributes:
        dataset: the samples.
        validation: recordings to measure on.
        told: for each recording its name and frames, its samples or why it is left out, as plain values.
        fingerprints: by recording, changes with what is learned from or measured on.
    """

    dataset: TripletDataset
    validation: list[PreparedSource]
    told: list[dict[str, Any]]
    fingerprints: dict[str, str]

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

    One of several recordings that has no sample, as where the car only stands, is left out with a line that says why.

    Raises:
        SourceError: a recording cannot be read, or lacks the truth it is wanted for; no sample is left.
        OutputError: the cache cannot be written.
    """
    if not data:
        raise SourceError("there is no recording to learn from, expected at least one")
    objective = config.objective
    told: list[dict[str, Any]] = []
    parts, prints = [], {}
    for text in data:
        source = _prepare(text, config, cache)
        alone = not config.uses_neighbours
        try:
            chosen = single_frames(source) if alone else choose_triplets(source, config.data.triplets)
        except SourceError as error:
            if len(data) == 1:
                raise
            told.append({"name": source.name, "frames": len(source), "left_out": str(error)})
            print(f"left out: {error}", file=sys.stderr)
            continue
        counts = chosen.counts | _counted_truth(source, chosen, objective)
        parts.append((source, chosen))
        told.append({"name": source.name, "frames": len(source), "samples": counts, "skipped": source.skipped})
        prints[f"data {text}"] = _fingerprint(source, chosen.targets, chosen.offsets)
        _tell(source, counts)
    if not parts:
        raise SourceError(f"none of the {len(data)} recordings can be learned from; the first: {told[0]['left_out']}")
    told_of_used = [one["samples"] for one in told if "samples" in one]
    held_out = [_prepare(text, config, cache) for text in validation]
    for text, source in zip(validation, held_out, strict=True):
        if source.depth_known is None or not source.depth_known.any():
            raise SourceError(_NO_DEPTH.format(source.name))
        prints[f"validation {text}"] = _fingerprint(source)
    needed = {"with_depth": objective.needs_true_depth, "with_odometry": objective.needs_true_motion}
    for (wanted, asked), message in zip(needed.items(), (_NO_DEPTH, _NO_MOTION), strict=True):
        if asked and not any(samples[wanted] for samples in told_of_used):
            raise SourceError(message.format(parts[0][0].name))
    if objective.photometric_where == "no_truth" and all(one["with_depth"] == one["used"] for one in told_of_used):
        raise SourceError(
            "every sample has true depth, expected some without for objective.photometric_where 'no_truth'"
        )
    if objective.truth_features and not any(all(samples[name] for name in needed) for samples in told_of_used):
        raise SourceError("no recording has both true depth and odometry, expected one for objective.truth_features")
    dataset = TripletDataset(
        parts,
        with_depth=objective.needs_true_depth,
        with_motion=objective.needs_true_motion,
        with_tracks=config.uses_tracks,
        with_support_depth=objective.truth_features > 0,
        twins=find_twins([source for source, _ in parts]) if config.data.twins else None,
    )
    return TrainingData(dataset, held_out, told, prints)


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


_NO_DEPTH = "{} has no true depth, expected some: of a bag /truth/depth or data.depth_topic"
_NO_MOTION = "{} has no odometry at its samples, expected some: of a bag /truth/odom or data.odom_topic"


def _counted_truth(source: PreparedSource, chosen: Triplets, objective: ObjectiveConfig) -> dict[str, int]:
    """How many of the samples have the truth that is learned from."""
    counts = {}
    if objective.needs_true_depth:
        known = source.depth_known
        counts["with_depth"] = 0 if known is None else int(known[chosen.targets].sum())
    if objective.needs_true_motion:
        counts["with_odometry"] = 0
        poses = source.poses
        if poses is not None:
            posed = np.isfinite(poses).all(axis=(1, 2))
            targets, offsets = chosen.targets, chosen.offsets
            beside = posed[targets - offsets] | posed[targets + offsets]
            counts["with_odometry"] = int((posed[targets] & beside).sum())
    return counts


def _fingerprint(source: PreparedSource, *chosen: np.ndarray) -> str:
    """Of the samples, cameras and truth; images enter by their times, mean and motion."""
    digest = hashlib.sha256(repr((source.name, len(source), source.mean_grey)).encode())
    arrays = (source.stamps, source.cameras, source.parallax, source.poses, source.depth_known)
    for array in (*chosen, *arrays):
        digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _tell(source: PreparedSource, counts: dict[str, int]) -> None:
    others = {**{reason: n for reason, n in counts.items() if reason != "used" and n}, **source.skipped}
    listed = ", ".join(f"{n} {reason}" for reason, n in others.items())
    kept = "" if not source.reused else ", prepared before"
    line = f"{source.name}: {counts['used']} samples of {len(source)} frames" + (f" ({listed})" if listed else "")
    print(line + kept, file=sys.stderr)
    for warning in source.warnings:
        print(f"{source.name}: {warning}", file=sys.stderr)
