"""Measures the depth of a model in training against truth, on frames it does not learn from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from defeat_ros.evaluation.depth import depth_errors
from defeat_ros.evaluation.options import is_night
from defeat_ros.geometry import disp_to_depth
from defeat_ros.networks import DeFeatNet
from defeat_ros.preprocess import to_tensor
from defeat_ros.training.cache import PreparedSource

FRAMES_PER_SOURCE = 24
BATCH = 8
SHOWN = ("abs_rel", "rmse", "a1")

Scores = dict[str, dict[str, float]]


class Validation:
    """Frames with truth at the size of the training.

    Measured there, not at the size of the recording: fast enough to repeat during training. `defeat-ros evaluate depth`
    follows the published protocol.

    Args:
        sources: prepared recordings; those without depth are left out.
    """

    def __init__(self, sources: Sequence[PreparedSource]) -> None:
        self._sources = [source for source in sources if source.depth is not None]

    def __bool__(self) -> bool:
        return bool(self._sources)

    @torch.no_grad()
    def measure(self, model: DeFeatNet, device: torch.device) -> Scores:
        """Errors by condition, 'day' and 'night' (whichever there are), each the mean over frames.

        Args:
            model: in eval mode.
            device: where it is.

        Returns:
            {condition: {'abs_rel', 'rmse', 'a1' median-scaled, the same with `_unscaled`, 'scale_spread' (standard
            deviation over mean of the frames' scales), 'frames'}}.
        """
        rows: dict[str, list[dict[str, float]]] = {}
        for source in self._sources:
            condition = "night" if is_night([source.mean_grey]) else "day"
            rows.setdefault(condition, []).extend(_frame_rows(model, source, device))
        return {condition: _mean(found) for condition, found in sorted(rows.items()) if found}


def _frame_rows(model: DeFeatNet, source: PreparedSource, device: torch.device) -> list[dict[str, float]]:
    images, truths = source.images, source.depth
    assert truths is not None and source.depth_known is not None
    known = np.flatnonzero(source.depth_known)
    indices = known[np.unique(np.linspace(0, len(known) - 1, FRAMES_PER_SOURCE).astype(int))]
    rows = []
    for batch in np.array_split(indices, -(-len(indices) // BATCH)):
        tensor = to_tensor(images[batch], device)
        disp = model.depth_net(tensor.contiguous(memory_format=torch.channels_last), scales=[0])["disp", 0]
        depths = disp_to_depth(disp.float()).cpu().numpy()[:, 0]
        for index, depth in zip(batch, depths, strict=True):
            truth = truths[index].astype(np.float32)
            scaled, unscaled = (depth_errors(depth, truth, median_scaling=scaling) for scaling in (True, False))
            if scaled is not None and unscaled is not None:
                rows.append({**scaled, **{f"{name}_unscaled": unscaled[name] for name in SHOWN}})
    return rows


def _mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    names = [*SHOWN, *(f"{name}_unscaled" for name in SHOWN)]
    found = {name: float(np.mean([row[name] for row in rows])) for name in names}
    scales = np.array([row["scale"] for row in rows])
    return {**found, "scale_spread": float(scales.std() / scales.mean()), "frames": float(len(rows))}
