"""Fits the weights of the confidence to cues and truth; see `measure_planner`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from defeat_ros.inference.confidence import CUES, NO_CAMERA, NO_FRAME_BEFORE, Weights

HIDDEN = 24
WITHOUT = ((NO_CAMERA, 0.2), (NO_FRAME_BEFORE, 0.2))
"""Shares of the pixels that are shown as they look without camera_info, and as in a first frame."""
STEPS, BATCH, RATE = 4000, 4096, 5e-3
DECIMALS = 4


def fit_weights(cues: Sequence[np.ndarray], is_right: Sequence[np.ndarray], seed: int = 0) -> Weights:
    """Fit by cross-entropy (Adam, cosine rate); the same inputs give the same weights.

    Args:
        cues, is_right: (N, cues) float32 and (N,) bool of each recording; each recording counts the same, as many
            pixels of it as the smallest has twice.
        seed: of the start and of the order.
    """
    least = 2 * min(len(one) for one in is_right)
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(len(one))[:least] for one in is_right]
    inputs = np.concatenate([one[index] for one, index in zip(cues, chosen, strict=True)]).astype(np.float64)
    wanted = np.concatenate([one[index] for one, index in zip(is_right, chosen, strict=True)])
    drawn, below = rng.random(len(inputs)), 0.0
    for known, share in WITHOUT:
        chosen_rows = (drawn >= below) & (drawn < below + share)
        for name, value in known.items():
            inputs[chosen_rows, CUES.index(name)] = value
        below += share
    mean, spread = inputs.mean(axis=0), inputs.std(axis=0) + 1e-6
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.tensor((inputs - mean) / spread, dtype=torch.float32), torch.tensor(wanted, dtype=torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hidden, output = torch.nn.Linear(len(CUES), HIDDEN), torch.nn.Linear(HIDDEN, 1)
    net = torch.nn.Sequential(hidden, torch.nn.ReLU(), output)
    optimizer = torch.optim.Adam(net.parameters(), RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        part = torch.randint(len(x), (BATCH,), generator=generator)
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(x[part])[:, 0], y[part])
        loss.backward()
        optimizer.step()
        schedule.step()
    weight = hidden.weight.detach().numpy() / spread  # of cues as they are, not of normalised ones
    return Weights(
        hidden=np.round(weight.T, DECIMALS).astype(np.float32),
        hidden_bias=np.round(hidden.bias.detach().numpy() - weight @ mean, DECIMALS).astype(np.float32),
        output=np.round(output.weight.detach().numpy()[0], DECIMALS).astype(np.float32),
        output_bias=round(float(output.bias.detach()), DECIMALS),
    )
