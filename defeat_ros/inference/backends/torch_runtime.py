"""PyTorch as a runtime: eager on a CPU, recorded CUDA graphs on a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from defeat_ros.inference.backends.graphs import Graph

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
WARM_UP = 3
"""Runs before recording, in which libraries choose their kernels and allocate."""


class TorchRuntime:
    """Eager PyTorch."""

    name = "torch"

    def __init__(self, graphs: Mapping[str, Graph], device: str, precision: str) -> None:
        self.device, self.precision = device, precision
        self._graphs = {name: ready(graph, device, precision) for name, graph in graphs.items()}

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
        """See `Runtime.run`."""
        made = {}
        for name, images in inputs.items():
            output = self._graphs[name](*(torch.from_numpy(image).to(self.device) for image in images))
            made[name] = output.cpu().contiguous().numpy()
        return made


class CudaGraphRuntime:
    """PyTorch on a GPU, each network recorded as one CUDA graph.

    A replay costs one launch instead of some hundred. The networks run side by side, each on a stream of its own with
    its copies from and to pinned memory; the images are normalised on the GPU, as part of the graph.

    Args:
        graphs: the networks.
        device: 'cuda:N'.
        precision: of `DTYPES`.
        size_hw: of the images.
    """

    name = "torch"

    def __init__(self, graphs: Mapping[str, Graph], device: str, precision: str, size_hw: tuple[int, int]) -> None:
        self.device, self.precision = device, precision
        self._recorded = {
            name: _Recorded(ready(graph, device, precision), 2 if name == "pose" else 1, device, size_hw)
            for name, graph in graphs.items()
        }

    def run(self, inputs: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
        """See `Runtime.run`."""
        for name, images in inputs.items():
            self._recorded[name].start(images)
        return {name: self._recorded[name].finish() for name in inputs}


class _Recorded:
    """One network: its graph, its stream, and the fixed memory that a graph reads and writes."""

    def __init__(self, graph: Graph, images: int, device: str, size_hw: tuple[int, int]) -> None:
        shape = (1, *size_hw, 3)
        self._host = [torch.empty(shape, dtype=torch.uint8, pin_memory=True) for _ in range(images)]
        self._inputs = [torch.zeros(shape, dtype=torch.uint8, device=device) for _ in range(images)]
        self._stream = torch.cuda.Stream(device)
        self._done = torch.cuda.Event()
        self._graph = torch.cuda.CUDAGraph()
        with torch.inference_mode(), torch.cuda.device(device):
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_UP):
                    graph(*self._inputs)
            self._stream.synchronize()
            with torch.cuda.graph(self._graph, stream=self._stream):
                self._output = graph(*self._inputs).contiguous()
            self._result = torch.empty(self._output.shape, dtype=self._output.dtype, pin_memory=True)

    def start(self, images: Sequence[np.ndarray]) -> None:
        """Copy the images in and set everything going; returns at once."""
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            for host, device, image in zip(self._host, self._inputs, images, strict=True):
                host.numpy()[...] = image
                device.copy_(host, non_blocking=True)
            self._graph.replay()
            self._result.copy_(self._output, non_blocking=True)
            self._done.record()

    def finish(self) -> np.ndarray:
        """Wait for the result."""
        self._done.synchronize()
        return self._result.numpy().copy()


def ready(graph: Graph, device: str, precision: str) -> Graph:
    """A graph's weights on the device, in the precision and in the images' own order of channels.

    Images arrive as rows of RGB pixels; with weights in the same order depth and pose ran 1.2 times as fast.
    """
    moved: Graph = graph.to(device, DTYPES[precision], memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved.eval().requires_grad_(False)
