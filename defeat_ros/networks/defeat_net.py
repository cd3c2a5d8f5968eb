"""The complete model: depth, pose and feature networks, and their way from and to weight files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from defeat_ros.checkpoint.content import Checkpoint
from defeat_ros.checkpoint.reading import read_checkpoint
from defeat_ros.checkpoint.writing import write_checkpoint, write_published
from defeat_ros.errors import CheckpointError, ConfigError
from defeat_ros.networks.depth_net import DepthNet
from defeat_ros.networks.feat_net import FeatNet
from defeat_ros.networks.options import OPTIONS, check_options
from defeat_ros.networks.pose_net import PoseNet
from defeat_ros.networks.untrained import UNTRAINED, fill_untrained


class DeFeatNet(nn.Module):
    """Depth, motion and features from one camera, as published by Spencer, Bowden and Hadfield (CVPR 2020).

    Attributes:
        depth_net, pose_net, feat_net: the three networks, usable alone.
        num_layers: depth of the ResNet encoders: 18, 34, 50, 101, 152 (see `PoseNet` for the pose encoder's).
        preres: kept because checkpoints carry it; says that training started from ImageNet. Nothing is downloaded.
        scales: scales of the disparity; s has 1/2^s of the image size.
        use_skips: whether the depth decoder sees the encoder's maps.
        n_dims, spp_branches, activation, im_pad, norm: see `FeatNet`; spp_branches None means 32, 16, 8, 4.
        provenance: where the weights came from; empty for fresh networks and published files.
        sha256: of the file they came from, '' where there is none.

    Raises:
        ConfigError: an option has a value that no network can be built with.
    """

    def __init__(
        self,
        num_layers: int = 18,
        preres: bool = False,
        scales: Sequence[int] = range(4),
        use_skips: bool = True,
        n_dims: int = 3,
        spp_branches: Sequence[int] | None = None,
        activation: str = "relu",
        im_pad: int | None = None,
        norm: bool = True,
    ) -> None:
        super().__init__()
        self.num_layers, self.preres, self.use_skips = num_layers, preres, use_skips
        self.scales = scales
        self.n_dims, self.spp_branches, self.activation = n_dims, spp_branches, activation
        self.im_pad, self.norm = im_pad, norm
        self.provenance: dict[str, Any] = {}
        self.sha256 = ""
        check_options({name: getattr(self, name) for name in OPTIONS})
        self.depth_net = DepthNet(num_layers, preres, scales, use_skips)
        self.pose_net = PoseNet(num_layers, preres)
        self.feat_net = FeatNet(n_dims, spp_branches, activation, im_pad, norm)

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's arguments as plain values, lists for sequences."""
        values = {name: getattr(self, name) for name in OPTIONS}
        return {name: list(v) if isinstance(v, (range, tuple, list)) else v for name, v in values.items()}

    def forward(
        self, target_frames: Tensor, support_frames: Sequence[Tensor], support_idxs: Sequence[int]
    ) -> tuple[dict[tuple[str, int], Tensor], Tensor, tuple[Tensor, ...], list[tuple[Tensor, Tensor]]]:
        """Everything that training needs.

        Args:
            target_frames: (B, 3, H, W) in [0, 1]; H and W multiples of 32, at least 128.
            support_frames: the frames around it, each of the same shape.
            support_idxs: their offsets in time, negative for earlier ones.

        Returns:
            disparities of the target (see `DepthNet`); its features (B, n_dims, H, W); those of each support frame;
            for each support frame, axis-angle and translation (B, 2, 1, 3) of the pair with the later frame first.

        Raises:
            FrameError: the images have another shape or a size that the networks cannot take.
        """
        disps = self.depth_net(target_frames)
        # One batch, so that batch norm sees target and support frames with the same statistics.
        features = self.feat_net(torch.cat((target_frames, *support_frames)))
        target_features, *support_features = features.chunk(1 + len(support_frames))
        poses = [
            self.pose_net(frame, target_frames) if offset > 0 else self.pose_net(target_frames, frame)
            for offset, frame in zip(support_idxs, support_frames, strict=True)
        ]
        return disps, target_features, tuple(support_features), poses

    @classmethod
    def from_ckpt(
        cls,
        file: str | os.PathLike[str],
        key: Callable[[Any], Any] | None = None,
        strict: bool = True,
        device: str | torch.device = "cpu",
    ) -> DeFeatNet:
        """Restore a model with the options and weights of a file, ours or a published one.

        Args:
            file: path of the weights.
            key: takes the file's dictionary, returns the one with the weights, e.g. `lambda x: x['model']`; not
                needed where that is its name, nor for our own files.
            strict: False leaves missing weights at their random start, ignores surplus ones, and takes the defaults
                for missing options.
            device: where the model goes.

        Returns:
            The model in eval mode (call `.train()` to go on training).

        Raises:
            CheckpointError: the file cannot be read safely, or does not fit the model that its options describe.
            BackendError: this machine does not have the device.
        """
        return cls.load(read_checkpoint(file, key, device), strict)

    @classmethod
    def load(cls, checkpoint: Checkpoint, strict: bool = True) -> DeFeatNet:
        """`from_ckpt` for a file that was read before; the model shares its device but no memory.

        Raises:
            CheckpointError: the weights do not fit the model that the options describe.
        """
        given = _usable_options(checkpoint, strict)
        try:
            # Shapes alone first: options in a file must not make us allocate what its tensors do not fill.
            with torch.device("meta"):
                model = cls(**given)
        except ConfigError as error:
            raise CheckpointError(f"checkpoint {str(checkpoint.path)!r}: {error}") from error
        expected = model.state_dict()
        state = {name: tensor for name, tensor in checkpoint.state.items() if strict or name in expected}
        if not state:
            raise CheckpointError(
                f"checkpoint {str(checkpoint.path)!r} has no weight of this model, expected names such as "
                f"{next(iter(expected))!r}, got {next(iter(checkpoint.state))!r}"
            )
        _compare(checkpoint, expected, state, strict)
        device = next(iter(checkpoint.state.values())).device
        if all(name in state for name in expected if not _is_unused(name)):
            model.to_empty(device=device)
        else:
            model = cls(**given).to(device)  # with its random start
        model.load_state_dict(state, strict=strict)
        model.provenance, model.sha256 = dict(checkpoint.provenance), checkpoint.sha256
        return model.eval()

    def save(
        self, path: str | os.PathLike[str], provenance: Mapping[str, Any] | None = None, half: bool = False
    ) -> None:
        """Write our own format, without the unused ImageNet heads.

        Args:
            path: the new file.
            provenance: where the weights came from, plain values; None repeats what the model was loaded with.
            half: store as float16.

        Raises:
            OutputError: the file cannot be written, or exists.
        """
        state = {name: tensor for name, tensor in self.state_dict().items() if not _is_unused(name)}
        told = self.provenance if provenance is None else provenance
        write_checkpoint(path, state, self.options, told, half)

    def save_published(self, path: str | os.PathLike[str]) -> None:
        """Write the authors' format, which their code loads with `key=lambda x: x['model']`.

        Raises:
            OutputError: the file cannot be written, or exists.
        """
        write_published(path, self.state_dict(), self.options)


def make_untrained(path: str | os.PathLike[str], seed: int = 0, **options: Any) -> None:
    """Write a checkpoint of random weights whose outputs are mild: depth about 5 units, motion about 1e-3.

    The bytes depend on nothing but the arguments.

    Args:
        path: the new file.
        seed: of the weights, 0 to 2^64 - 1.
        **options: of `DeFeatNet`.

    Raises:
        ConfigError: an option has a value that no network can be built with.
        OutputError: the file cannot be written, or exists.
    """
    with torch.device("meta"):
        model = DeFeatNet(**options)
    model.to_empty(device="cpu")
    fill_untrained(model, seed)
    model.save(path, {**UNTRAINED, "seed": seed})


def _is_unused(name: str) -> bool:
    return ".encoder.fc." in name


def _usable_options(checkpoint: Checkpoint, strict: bool) -> dict[str, Any]:
    """The file's options that the model knows; strictly, they are all there and no others."""
    wrong = [f"lacks {name!r}" for name in OPTIONS if name not in checkpoint.options]
    wrong += [f"has an unknown {name!r:.40}" for name in checkpoint.options if name not in OPTIONS]
    if strict and wrong:
        few = ", ".join(wrong[:4])
        raise CheckpointError(f"checkpoint {str(checkpoint.path)!r} {few}; expected the options {', '.join(OPTIONS)}")
    return {name: value for name, value in checkpoint.options.items() if name in OPTIONS}


def _compare(checkpoint: Checkpoint, expected: Mapping[str, Tensor], state: Mapping[str, Tensor], strict: bool) -> None:
    """Raise CheckpointError that names the first few entries which do not fit."""
    wrong = []
    for name, want in expected.items():
        have = state.get(name)
        if have is None:
            if strict and not _is_unused(name):
                wrong.append(f"{name} is missing")
        elif have.shape != want.shape or have.is_floating_point() != want.is_floating_point():
            wrong.append(f"{name} is {tuple(have.shape)} {have.dtype}, expected {tuple(want.shape)} {want.dtype}")
    wrong += [f"{name!r:.80} is unexpected" for name in state if name not in expected]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        model = f"DeFeatNet with num_layers={checkpoint.options.get('num_layers', 18)}"
        found = "; ".join(wrong[:3]) + more
        raise CheckpointError(f"checkpoint {str(checkpoint.path)!r} does not fit a {model}: {found}")
