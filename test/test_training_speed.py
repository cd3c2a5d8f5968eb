"""How much faster the training is than the same networks and losses in plain eager float32, in one run."""

from __future__ import annotations

import statistics
import time

import pytest
import torch
import torch.nn.functional as F
from drawn_drive import write_drive
from torch import nn

from defeat_ros.losses import defeat_loss
from defeat_ros.networks.padding import ReflectPad
from defeat_ros.preprocess import to_tensor
from defeat_ros.training.augment import Batch
from defeat_ros.training.config import load_train_config
from defeat_ros.training.initial import make_model
from defeat_ros.training.learner import Learner
from defeat_ros.training.run import _fit, make_fabric
from defeat_ros.training.sources import prepare_training_data

ROUNDS = 5


def plain_error(images, target, ssim_weight):
    """SSIM and L1 as the formulas stand, differentiated by autograd; see `photometric_error`."""

    def mean(x):
        return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), 3, 1)

    def error(image, goal):
        m, n = mean(image), mean(goal)
        variances = mean(image**2) - m**2 + mean(goal**2) - n**2
        covariance = mean(image * goal) - m * n
        ssim = (2 * m * n + 1e-4) * (2 * covariance + 9e-4) / ((m**2 + n**2 + 1e-4) * (variances + 9e-4))
        return (ssim_weight * ((1 - ssim) / 2).clamp(0, 1) + (1 - ssim_weight) * (image - goal).abs()).mean(1)

    return torch.stack([error(image, target.images) for image in images.split(len(target.images))])


class Plain:
    """The loop that a reader of the paper would write."""

    def __init__(self, config, loader, monkeypatch):
        self.model = make_model(config)
        for module in list(self.model.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, ReflectPad):
                    setattr(module, name, nn.ReflectionPad2d(child.width))
        self.learner = Learner(self.model, config)
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-4)
        self.batches = iter(loader)
        self.patch = monkeypatch

    def step(self):
        with self.patch.context() as patch:
            patch.setattr(defeat_loss, "photometric_error", plain_error)
            patch.setattr("defeat_ros.training.learner._channels_last", lambda images: images.contiguous())
            item = next(self.batches)
            frames = to_tensor(item["images"].transpose(0, 1)).contiguous()
            loss, _ = self.learner(Batch(frames, frames, item["K"], tracks=item["tracks"].transpose(0, 1)))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return loss


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("size", ["192x128", "480x352"])
@pytest.mark.parametrize("features", [False, True], ids=["photometric", "full"])
def test_at_least_twice_as_fast_as_plain_eager(size, features, tmp_path, monkeypatch, capsys):
    width, height = map(int, size.split("x"))
    drive = write_drive(tmp_path / "bag", [(0.02 * i, 0.15 * i) for i in range(24)])
    batch = 2 if features and width > 192 else 8  # plain float32 needs more than 20 GB for 8
    given = {"size": [width, height], "batch_size": batch, "objective.features": features, "max_steps": 1000}
    config = load_train_config(None, given)
    data = prepare_training_data(config, [str(drive)], [], tmp_path / "cache")
    fit = _fit(make_fabric(config), config, data, tmp_path, {}, None)
    plain = Plain(config, data.loader(config, 0, 0, 1), monkeypatch)
    batches = iter(fit.loader)
    ours, theirs = [], []
    for _ in range(ROUNDS):  # in turns, so that other work on the machine meets both
        began = time.perf_counter()
        fit._step(next(batches))
        middle = time.perf_counter()
        plain.step()
        ours.append(middle - began)
        theirs.append(time.perf_counter() - middle)
    mine, other = (config.batch_size / statistics.median(times[1:]) for times in (ours, theirs))
    with capsys.disabled():
        precision = fit.fabric._precision.precision
        print(f"\n{size} {'full' if features else 'photometric'}: {mine:.2f} samples/s ({precision}),", end=" ")
        print(f"plain eager float32 {other:.2f}, {mine / other:.2f} times as fast")
    assert mine >= 2 * other
