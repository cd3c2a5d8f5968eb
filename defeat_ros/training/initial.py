"""First weights from which depth and motion find each other without labels.

Depth and pose net start at random and judge each other only through warped images. Started plainly (sigmoid around
0.5, motion around zero) they settle on a wrong direction of motion: a near scene that hardly moves explains the road
ahead as well as the truth does, within the few pixels that bilinear sampling looks around. Measured on rendered drives
at 192x128, that ends 87 degrees off, with an abs_rel above 0.7. Three changes avoid it:

- The disparity starts at sigmoid(-2): the scene is far, so motion changes the image little and smoothly.
- The pose net's last layer starts and learns five times larger than published (whose factor of 0.01, kept for the
  checkpoints' sake, makes motion the slowest part of all to learn); for Adam, larger weights with a rate larger in the
  same proportion are exactly a larger factor.
- It starts at driving forward by a twentieth of the mean depth. A camera that moves otherwise unlearns this in the
  first hundred steps; without it, forward and backward are equally likely guesses.

A run that learns metres starts at metres, 11 m away and moving by 0.6 m: the same picture, which need not first be
scaled up (supervised by the truth of one drive, after 120 steps: abs_rel 0.159 instead of 0.193).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from defeat_ros.networks import DeFeatNet
from defeat_ros.networks.blocks import PaddedConv
from defeat_ros.networks.pose_net import OUTPUT_SCALE
from defeat_ros.training.config import NETWORKS, TrainConfig

MOTION_GAIN = 5.0
DISPARITY_BIAS, METRIC_DISPARITY_BIAS = -2.0, -4.7
"""Before the sigmoid: depth starts at 0.83 units, or at 11 m."""
FORWARD_UNITS, FORWARD_M = 0.05, 0.6
"""First guess of the motion between two frames."""


def make_model(config: TrainConfig) -> DeFeatNet:
    """The model to train: loaded where a checkpoint is named, else from scratch; the seed decides every weight.

    Raises:
        ConfigError, CheckpointError: see `DeFeatNet`.
    """
    if config.checkpoint:
        model = DeFeatNet.from_ckpt(config.checkpoint)
    else:
        torch.manual_seed(config.seed)
        model = DeFeatNet(num_layers=config.network.num_layers, n_dims=config.network.n_dims)
        start_from_scratch(model, config.metric)
    for name in NETWORKS:
        if not config.trains(name):
            getattr(model, name).requires_grad_(False)
    return model


@torch.no_grad()
def start_from_scratch(model: DeFeatNet, metric: bool) -> None:
    """Change random first weights to those from which training without labels converges (see above).

    Args:
        model: fresh networks.
        metric: whether the run learns metres.
    """
    for head in model.depth_net.decoder:
        if isinstance(head, PaddedConv) and head.conv.bias is not None:
            head.conv.bias.fill_(METRIC_DISPARITY_BIAS if metric else DISPARITY_BIAS)
    last = _last_layer(model)
    last.weight.mul_(MOTION_GAIN)
    assert last.bias is not None
    last.bias.zero_()
    # The net tells where points of the earlier camera lie in the later one: driving forward brings them nearer.
    last.bias[5] = -(FORWARD_M if metric else FORWARD_UNITS) / OUTPUT_SCALE


def parameter_groups(model: DeFeatNet, config: TrainConfig) -> list[dict[str, Any]]:
    """Trained parameters for the optimiser, each group with `gain`, the factor on its learning rate."""
    fast = list(_last_layer(model).parameters())
    known = {id(parameter) for parameter in fast}
    rest = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in known]
    fast = [parameter for parameter in fast if parameter.requires_grad]
    gain = 1.0 if config.checkpoint else MOTION_GAIN
    groups = [{"params": rest, "gain": 1.0}, {"params": fast, "gain": gain}]
    return [group for group in groups if group["params"]]


def set_modes(model: DeFeatNet, config: TrainConfig) -> None:
    """Training mode for what is trained; the rest keeps the statistics of its norms."""
    for name in NETWORKS:
        getattr(model, name).train(config.trains(name))


def _last_layer(model: DeFeatNet) -> nn.Conv2d:
    last = model.pose_net.decoder[-1]
    assert isinstance(last, nn.Conv2d)
    return last
