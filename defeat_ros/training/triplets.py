"""Which frames of a recording are learned from, and with which neighbours; and the samples made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from defeat_ros.errors import ConfigError, SourceError
from defeat_ros.geometry import invert
from defeat_ros.settings import option
from defeat_ros.training.cache import PreparedSource
from defeat_ros.training.prepare import ENOUGH_PX, MAX_OFFSET

LONGEST_PERIODS = 2.5
"""Time between two frames, in median periods, above which there is a gap."""

MIN_USED = 1
"""Targets without which a recording is of no use; each has a frame before and after it, so three in a row."""

TRACKS = 200
"""Most tracked corners of a pair in a sample; they are found best first."""

Sample = dict[str, torch.Tensor]


@dataclass(frozen=True)
class TripletConfig:
    """How much a target has to differ from its neighbours.

    0.75 px at 192 px width lies far above what noise makes of a standing camera (up to 0.15) and below what any street
    gives from one frame to the next at 10 Hz (1 to 5); on a dark motorway, where only lights can be tracked, it leaves
    two thirds of the frames.
    """

    min_parallax_px: float = option(
        0.75, "least parallax of a target to both neighbours, px at 192 px width", minimum=0.0, maximum=ENOUGH_PX
    )
    max_offset: int = option(
        MAX_OFFSET, "most frames apart that a neighbour may lie to reach it", minimum=1, maximum=MAX_OFFSET
    )


@dataclass(frozen=True)
class Triplets:
    """Targets of one recording with the distance to their neighbours.

    Attributes:
        targets: (M,) int64, frame numbers, ascending.
        offsets: (M,) int64: the neighbours are this many frames before and after; 0 for frames without neighbours.
        counts: what became of every frame: 'used'; 'gap': no neighbour on one side without a gap in time, an unusable
            image or another camera in between; 'untrackable': too few corners, a cut, or motion of many kinds;
            'static': too little parallax at every offset. They add up to the frames of the recording.
    """

    targets: np.ndarray
    offsets: np.ndarray
    counts: dict[str, int]

    def __len__(self) -> int:
        return len(self.targets)


def choose_triplets(prepared: PreparedSource, config: TripletConfig | None = None) -> Triplets:
    """For each frame the nearest neighbours on both sides, equally far, to which it has enough parallax.

    Raises:
        SourceError: no frame can be used; says why.
    """
    config = config or TripletConfig()
    count = len(prepared)
    breaks = np.cumsum(~_connected(prepared))
    offsets = np.zeros(count, np.int64)
    reasons = np.full(count, "gap", dtype="<U11")
    index = np.arange(count)
    for k in range(1, config.max_offset + 1):
        inside = index[k : count - k]
        inside = inside[(offsets[inside] == 0) & (breaks[inside - k] == breaks[inside + k])]
        before, after = prepared.parallax[k - 1, inside - k], prepared.parallax[k - 1, inside]
        least = np.minimum(before, after)  # NaN where either is not known
        reasons[inside] = np.where(np.isnan(least), "untrackable", "static")
        enough = inside[least >= config.min_parallax_px]
        offsets[enough], reasons[enough] = k, "used"
    counts = {name: int(np.sum(reasons == name)) for name in ("used", "static", "untrackable", "gap")}
    if counts["used"] < MIN_USED:
        raise SourceError(_nothing_to_learn(prepared, config, counts))
    targets = np.flatnonzero(offsets)
    return Triplets(targets, offsets[targets], counts)


def single_frames(prepared: PreparedSource, with_depth: bool = True) -> Triplets:
    """Every frame by itself, as supervision by depth and validation need them.

    Args:
        prepared: the recording.
        with_depth: only frames with true depth; counts the others as 'no_depth'.

    Raises:
        SourceError: no frame has depth.
    """
    usable = np.ones(len(prepared), bool)
    if with_depth:
        known = prepared.depth_known
        usable = usable & (False if known is None else known)
        if not usable.any():
            raise SourceError(f"{prepared.name} has no true depth in its {len(prepared)} frames")
    targets = np.flatnonzero(usable)
    counts = {"used": len(targets), "no_depth": len(prepared) - len(targets)}
    return Triplets(targets, np.zeros(len(targets), np.int64), counts)


def find_twins(sources: Sequence[PreparedSource]) -> dict[int, int]:
    """Recordings of the same drive in other light, as rendering a seed by night and by day gives: by number, the other.

    Raises:
        SourceError: there is none.
    """
    groups: dict[bytes, list[int]] = {}
    for index, source in enumerate(sources):
        if source.poses is not None:
            key = b"".join(
                np.ascontiguousarray(part).tobytes() for part in (source.stamps, source.poses, source.cameras)
            )
            groups.setdefault(key, []).append(index)
    found = {one: alike[k - 1] for alike in groups.values() if len(alike) > 1 for k, one in enumerate(alike)}
    if not found:
        raise SourceError(f"none of the {len(sources)} recordings is another's twin, expected two of one drive")
    return found


def _connected(prepared: PreparedSource) -> np.ndarray:
    """(N,) bool: the frame before follows directly, in time and with the same camera; the first has none."""
    connected = prepared.follows.copy()
    cameras = prepared.cameras
    connected[1:] &= np.diff(prepared.stamps) <= LONGEST_PERIODS * prepared.period_ns
    connected[1:] &= (cameras[1:] == cameras[:-1]).all(axis=(1, 2))
    return connected


def _nothing_to_learn(prepared: PreparedSource, config: TripletConfig, counts: dict[str, int]) -> str:
    found = f"{prepared.name} has nothing to learn motion from in {len(prepared)} frames"
    if counts["static"] == counts["untrackable"] == 0:
        return f"{found}: expected at least 3 usable ones in a row"
    pairs = prepared.parallax[: config.max_offset]
    most = f"{np.nanmax(pairs):.2f}" if np.isfinite(pairs).any() else "unknown"
    listed = ", ".join(f"{counts[reason]} {reason}" for reason in ("static", "untrackable", "gap") if counts[reason])
    return f"{found}: {listed}; the largest parallax is {most} px, expected {config.min_parallax_px:g} to both sides"


class TripletDataset(Dataset[Sample]):
    """Samples of several recordings; gathers from mapped files and does nothing else.

    A sample (and, with a leading axis, a batch) has

    - `images` (3, h, w, 3) uint8 RGB: the target, then the frames before and after it; (1, h, w, 3) where the
      triplets are single frames,
    - `K` (3, 3) float32, px,
    - `source`, `index`, `offset` int64: which recording, the target's number in it, how far its neighbours are,
    - with_depth: `depth` (h, w) float32 m, NaN none, +Inf sky,
    - with_support_depth: `support_depth` (2, h, w), the same of the frames before and after,
    - with_motion: `support_from_target` (2, 4, 4) float32 m and `distance` (2,) float32 m, NaN unknown; before, after.

    - with_tracks: `tracks` (2, TRACKS, 4) float32: corners x, y in the target and x, y in the neighbour, px, NaN beyond
      those that were found; before, after.

    Args:
        parts: recordings with what was chosen of them; all of one size, all with neighbours or all without.
        with_depth, with_motion, with_tracks, with_support_depth: whether samples have these.
        twins: for recordings, by number, another one from which the neighbours' images are taken; see `find_twins`.

    Raises:
        ConfigError: the parts do not go together, or there is none.
    """

    def __init__(
        self,
        parts: Sequence[tuple[PreparedSource, Triplets]],
        with_depth: bool = False,
        with_motion: bool = False,
        with_tracks: bool = False,
        with_support_depth: bool = False,
        twins: Mapping[int, int] | None = None,
    ) -> None:
        sizes, single = {source.size_hw for source, _ in parts}, {not chosen.offsets.any() for _, chosen in parts}
        if len(sizes) != 1 or len(single) != 1:
            kinds = f"sizes {sorted(sizes)}, {'some' if len(single) == 2 else 'all or none'} of them without neighbours"
            raise ConfigError(f"recordings have {kinds}; expected one size, and neighbours for all or none")
        self.sources = [source for source, _ in parts]
        self.lengths = [len(chosen) for _, chosen in parts]
        self.with_depth, self.with_motion, self.with_tracks = with_depth, with_motion, with_tracks
        self.with_support_depth, self._twins = with_support_depth, dict(twins or {})
        self.size_hw = sizes.pop()
        self._single = single.pop()
        self._source = np.repeat(np.arange(len(parts)), self.lengths)
        self._target = np.concatenate([chosen.targets for _, chosen in parts])
        self._offset = np.concatenate([chosen.offsets for _, chosen in parts])

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Sample:
        return {name: values[0] for name, values in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> Sample:
        """A whole batch (the name is torch's): one copy from the files into the tensors."""
        chosen = np.asarray(indices, np.int64)
        source, target, offset = self._source[chosen], self._target[chosen], self._offset[chosen]
        steps = (0,) if self._single else (0, -1, 1)
        shape = (len(chosen), len(steps), *self.size_hw, 3)
        images, camera = np.empty(shape, np.uint8), np.empty((len(chosen), 3, 3), np.float32)
        for row, (s, t, k) in enumerate(zip(source, target, offset, strict=True)):
            prepared = self.sources[s]
            camera[row] = prepared.cameras[t]
            beside = self.sources[self._twins.get(int(s), int(s))]
            for column, step in enumerate(steps):
                images[row, column] = (beside if step else prepared).images[t + step * k]
        batch: dict[str, np.ndarray] = {
            "images": images,
            "K": camera,
            "source": source,
            "index": target,
            "offset": offset,
        }
        if self.with_depth:
            batch["depth"] = self._depths(source, target)
        if self.with_support_depth:
            pair = [self._depths(source, target - offset), self._depths(source, target + offset)]
            batch["support_depth"] = np.stack(pair, 1)
        if self.with_motion:
            motions = self._motions(source, target, offset)
            batch["support_from_target"] = motions
            batch["distance"] = np.linalg.norm(motions[:, :, :3, 3], axis=2)
        if self.with_tracks:
            batch["tracks"] = self._tracks(source, target, offset)
        return {name: torch.from_numpy(values) for name, values in batch.items()}

    def _depths(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        depths = np.full((len(source), *self.size_hw), np.nan, np.float32)
        for row, (s, t) in enumerate(zip(source, target, strict=True)):
            known = self.sources[s].depth
            if known is not None:
                depths[row] = known[t]
        return depths

    def _tracks(self, source: np.ndarray, target: np.ndarray, offset: np.ndarray) -> np.ndarray:
        tracks = np.full((len(source), 2, TRACKS, 4), np.nan, np.float32)
        for row, (s, t, k) in enumerate(zip(source, target, offset, strict=True)):
            if k:
                before = self.sources[s].matches(t - k, k)[:TRACKS, [2, 3, 0, 1]]  # tracked from the neighbour
                after = self.sources[s].matches(t, k)[:TRACKS]
                tracks[row, 0, : len(before)], tracks[row, 1, : len(after)] = before, after
        return tracks

    def _motions(self, source: np.ndarray, target: np.ndarray, offset: np.ndarray) -> np.ndarray:
        motions = np.full((len(source), 2, 4, 4), np.nan, np.float32)
        for row, (s, t, k) in enumerate(zip(source, target, offset, strict=True)):
            poses = self.sources[s].poses
            if poses is not None and k:
                for column, support in enumerate((t - k, t + k)):
                    motions[row, column] = invert(poses[support]) @ poses[t]
        return motions
