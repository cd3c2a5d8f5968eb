"""Runtimes of the networks behind one small protocol, and the choice of device."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from defeat_ros.errors import BackendError, FrameError
from defeat_ros.networks import DeFeatNet
from defeat_ros.networks.blocks import check_size
from defeat_ros.preprocess import to_tensor

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class NetworkOutput:
    """What the networks said of one image; None where it was not asked for.

    Attributes:
        disp: (h, w) float32, sigmoid disparity in [0, 1].
        features: (h, w, C) float32 of unit length.
        axisangle, translation: (3,) float32, later_from_earlier before scaling.
    """

    disp: np.ndarray | None = None
    features: np.ndarray | None = None
    axisangle: np.ndarray | None = None
    translation: np.ndarray | None = None


class Backend(Protocol):
    """Runs the three networks on uint8 RGB images (h, w, 3) of the networks' size."""

    name: str
    device: str
    precision: str

    def run(self, image: np.ndarray, earlier: np.ndarray | None, want: Collection[str]) -> NetworkOutput:
        """Run what `want` names: 'disp', 'features', and 'pose' of (image, earlier)."""
        ...

    def features_problem(self, size_hw: tuple[int, int]) -> str | None:
        """Why the feature net cannot take images of this size; None where it can."""
        ...


class TorchBackend:
    """Plain PyTorch on a CPU or a GPU."""

    name = "torch"

    def __init__(self, model: DeFeatNet, device: str, precision: str) -> None:
        self.device = device
        self.precision = precision
        # Images arrive as rows of RGB pixels; with weights in the same order depth and pose ran 1.4 times as fast.
        self._model = model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def features_problem(self, size_hw: tuple[int, int]) -> str | None:
        """See `Backend.features_problem`."""
        try:
            check_size(size_hw, True, self._model.feat_net.spp_branches, self._model.feat_net.im_pad)
        except FrameError as error:
            return str(error)
        return None

    @torch.inference_mode()
    def run(self, image: np.ndarray, earlier: np.ndarray | None, want: Collection[str]) -> NetworkOutput:
        """See `Backend.run`."""
        kind, dtype = torch.device(self.device).type, DTYPES[self.precision]
        with torch.autocast(kind, dtype=dtype, enabled=dtype != torch.float32):
            return self._forward(image, earlier, want)

    def _forward(self, image: np.ndarray, earlier: np.ndarray | None, want: Collection[str]) -> NetworkOutput:
        later = to_tensor(image, self.device)
        disp = features = axisangle = translation = None
        if "disp" in want:
            disp = _numpy(self._model.depth_net(later, scales=[0])[("disp", 0)][0, 0])
        if "features" in want:
            features = _numpy(self._model.feat_net(later)[0].permute(1, 2, 0))
        if "pose" in want and earlier is not None:
            angles, shifts = self._model.pose_net(later, to_tensor(earlier, self.device))
            axisangle, translation = _numpy(angles[0, 0, 0]), _numpy(shifts[0, 0, 0])
        return NetworkOutput(disp, features, axisangle, translation)


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.float().cpu().numpy())


def resolve_device(requested: str, cuda_count: int) -> str:
    """The torch device to use.

    Args:
        requested: 'auto', 'cpu', 'cuda' or 'cuda:N'.
        cuda_count: how many GPUs there are.

    Raises:
        BackendError: the device is not here, or the name is none of these.
    """
    if requested == "auto":
        return "cuda:0" if cuda_count else "cpu"
    if requested == "cpu":
        return "cpu"
    kind, _, index = requested.partition(":")
    if kind != "cuda" or not (index == "" or index.isdecimal()):
        raise BackendError(f"device is {requested!r}, expected auto, cpu, cuda or cuda:N")
    if int(index or 0) >= cuda_count:
        raise BackendError(f"device is {requested!r}, but this machine has {cuda_count} CUDA devices; try auto or cpu")
    return f"cuda:{int(index or 0)}"


def make_backend(model: DeFeatNet, device: str, precision: str) -> Backend:
    """The runtime for a device; 'auto' precision is float16 on a GPU and float32 elsewhere.

    Raises:
        BackendError: see `resolve_device`.
    """
    where = resolve_device(device, torch.cuda.device_count())
    if precision == "auto":
        precision = "float16" if where.startswith("cuda") else "float32"
    return TorchBackend(model, where, precision)
