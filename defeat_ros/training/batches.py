"""The order in which samples are drawn: a function of the step alone, so that a run that was stopped goes on alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from defeat_ros.errors import ConfigError
from defeat_ros.training.triplets import Sample, TripletDataset

PREFETCH = 4
"""Batches that each worker has ready."""


class ShuffledBatches(Sampler[list[int]]):
    """Batches of sample numbers.

    The samples of all steps and processes form one endless sequence of epochs, each shuffled anew; step s of process r
    takes its piece of it. An epoch has as many draws as there are samples. Of a source it takes

    - all samples once, or
    - with `balance`, a share in proportion to the square root of its length: between every source alike, which repeats
      short ones over and over, and every sample alike, which lets long ones rule. A source's samples all come up
      before any of them comes again.

    Args:
        lengths: samples of each source, in the order of the data set.
        batch_size: of one process.
        seed: of the shuffling.
        start_step: where to begin.
        steps: where to end, counted from 0; None never ends.
        rank, world_size: which process of how many.
        balance: see above.

    Raises:
        ConfigError: there is no sample, or a number is out of range.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        seed: int = 0,
        start_step: int = 0,
        steps: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        balance: bool = False,
    ) -> None:
        if not lengths or min(lengths) < 1:
            raise ConfigError(f"sources have {list(lengths)} samples, expected at least one each")
        if batch_size < 1 or start_step < 0 or seed < 0 or not 0 <= rank < world_size:
            values = f"batch_size={batch_size}, start_step={start_step}, seed={seed}, rank={rank} of {world_size}"
            raise ConfigError(f"batches cannot be made with {values}")
        self.batch_size, self.seed, self.start_step, self.steps = batch_size, seed, start_step, steps
        self.rank, self.world_size = rank, world_size
        self._lengths = np.array(lengths, np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self._lengths)[:-1]])
        self._shares = _balanced(self._lengths) if balance else self._lengths
        self._epoch_length = int(self._shares.sum())
        self._epoch: tuple[int, np.ndarray] | None = None

    def __iter__(self) -> Iterator[list[int]]:
        step = self.start_step
        while self.steps is None or step < self.steps:
            yield self.batch(step)
            step += 1

    def __len__(self) -> int:
        if self.steps is None:
            raise TypeError("endless batches have no length")
        return max(0, self.steps - self.start_step)

    def batch(self, step: int) -> list[int]:
        """The sample numbers of one step of this process."""
        first = (step * self.world_size + self.rank) * self.batch_size
        positions = range(first, first + self.batch_size)
        return [int(self._order(p // self._epoch_length)[p % self._epoch_length]) for p in positions]

    def epoch_of(self, step: int) -> int:
        """Which epoch a step begins in."""
        return step * self.world_size * self.batch_size // self._epoch_length

    def _order(self, epoch: int) -> np.ndarray:
        """The sample numbers of an epoch."""
        if self._epoch is None or self._epoch[0] != epoch:
            drawn = np.concatenate([self._drawn(source, epoch) for source in range(len(self._lengths))])
            shuffled = np.random.default_rng([self.seed, epoch]).permutation(drawn)
            self._epoch = (epoch, shuffled)
        return self._epoch[1]

    def _drawn(self, source: int, epoch: int) -> np.ndarray:
        """Sample numbers of one source in an epoch: the next ones of its own endless shuffled sequence."""
        length, share, start = int(self._lengths[source]), int(self._shares[source]), int(self._starts[source])
        if share == length:  # all of them; their order does not matter
            return start + np.arange(length)
        rounds = range(epoch * share // length, (epoch * share + share - 1) // length + 1)
        orders = [np.random.default_rng([self.seed, source, turn, 1]).permutation(length) for turn in rounds]
        begin = epoch * share - rounds.start * length
        return start + np.concatenate(orders)[begin : begin + share]


def _balanced(lengths: np.ndarray) -> np.ndarray:
    """As many draws as there are samples, in proportion to the square roots of the lengths, at least one each."""
    roots = np.sqrt(lengths)
    exact = lengths.sum() * roots / roots.sum()
    shares: np.ndarray = np.maximum(1, np.floor(exact)).astype(np.int64)
    missing = int(lengths.sum() - shares.sum())
    if missing > 0:
        shares[np.argsort(-(exact - shares), kind="stable")[:missing]] += 1
    return shares


def make_loader(dataset: TripletDataset, batches: ShuffledBatches, workers: int = 0) -> DataLoader[Sample]:
    """A loader of whole batches; see `TripletDataset` for what is in one.

    Args:
        dataset: the samples.
        batches: their order. In Lightning switch `use_distributed_sampler` off: the order knows the processes itself.
        workers: processes that read ahead; 0 reads in this one.
    """
    ahead: dict[str, Any] = {"persistent_workers": True, "prefetch_factor": PREFETCH} if workers else {}
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=torch.cuda.is_available(),
        **ahead,
    )


def _as_it_is(batch: Any) -> Any:
    """The data set gives whole batches already."""
    return batch
