"""What the engine asks of the networks, and what a runtime must offer for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from defeat_ros.errors import BackendError, FrameError
from defeat_ros.networks.blocks import SPP_BRANCHES, check_size


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
    """Runs the three networks on uint8 RGB images (h, w, 3) of the networks' size.

    'pose' may be asked for by one thread while another one asks for the rest.
    """

    name: str
    device: str
    precision: str

    def run(self, image: np.ndarray, earlier: np.ndarray | None, want: Collection[str]) -> NetworkOutput:
        """Run what `want` names: 'disp', 'features', and 'pose' of (image, earlier)."""
        ...

    def features_problem(self, size_hw: tuple[int, int]) -> str | None:
        """Why the feature net cannot take images of this size; None where it can."""
        ...


class Runtime(Protocol):
    """Runs the graphs of `graphs.py`; the one thing that a new backend has to bring."""

    name: str
    device: str
    precision: str

    def run(self, inputs: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
        """Run graphs.

        Args:
            inputs: by graph, its images, each (1, h, w, 3) uint8, contiguous.

        Returns:
            by graph, its output, float32, in memory that nobody else writes to.
        """
        ...


class RuntimeBackend:
    """A runtime as the engine wants it.

    Args:
        runtime: runs the graphs.
        spp_branches, im_pad: of the feature net, which set the smallest image that it takes.
    """

    def __init__(self, runtime: Runtime, spp_branches: Sequence[int] | None = None, im_pad: int | None = None) -> None:
        self.name, self.device, self.precision = runtime.name, runtime.device, runtime.precision
        self._runtime = runtime
        self._limits = spp_branches or SPP_BRANCHES, im_pad

    def features_problem(self, size_hw: tuple[int, int]) -> str | None:
        """See `Backend.features_problem`."""
        return features_problem(size_hw, *self._limits)

    def run(self, image: np.ndarray, earlier: np.ndarray | None, want: Collection[str]) -> NetworkOutput:
        """See `Backend.run`."""
        now = np.ascontiguousarray(image)[None]
        inputs: dict[str, list[np.ndarray]] = {name: [now] for name in ("disp", "features") if name in want}
        if "pose" in want and earlier is not None:
            inputs["pose"] = [now, np.ascontiguousarray(earlier)[None]]
        made = {name: output[0] for name, output in self._runtime.run(inputs).items()}
        motion = made.get("pose")
        return NetworkOutput(
            disp=made.get("disp"),
            features=made.get("features"),
            axisangle=None if motion is None else motion[:3],
            translation=None if motion is None else motion[3:],
        )


def features_problem(size_hw: tuple[int, int], spp_branches: Sequence[int], im_pad: int | None) -> str | None:
    """Why a feature net cannot take images of this size; None where it can."""
    try:
        check_size(size_hw, True, spp_branches, im_pad)
    except FrameError as error:
        return str(error)
    return None


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
