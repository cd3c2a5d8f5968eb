"""ONNX Runtime: on a GPU through TensorRT, else CUDA; on a CPU for machines that have nothing else."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
import torch

from defeat_ros.errors import BackendError
from defeat_ros.inference.backends.graphs import Graph

OPSET = 17


class OnnxRuntime:
    """A session for each network.

    Args:
        models: by graph, what `export_graph` gave.
        device: 'cpu' or 'cuda:N'.
        precision: 'float32', or on a GPU 'float16'.

    Raises:
        BackendError: this build of ONNX Runtime cannot use the device, or not in this precision.
    """

    name = "onnxruntime"

    def __init__(self, models: Mapping[str, bytes], device: str, precision: str) -> None:
        self.device, self.precision = device, precision
        providers = _providers(device, precision)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        self._sessions = {
            name: ort.InferenceSession(model, options, providers=providers) for name, model in models.items()
        }

    def run(self, inputs: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
        """See `Runtime.run`."""
        made = {}
        for name, images in inputs.items():
            session = self._sessions[name]
            fed = {wanted.name: image for wanted, image in zip(session.get_inputs(), images, strict=True)}
            made[name] = session.run(None, fed)[0]
        return made


def export_graph(graph: Graph, images: int, size_hw: tuple[int, int]) -> bytes:
    """A graph as an ONNX model for images (1, h, w, 3) uint8."""
    examples = tuple(torch.zeros(1, *size_hw, 3, dtype=torch.uint8) for _ in range(images))
    names = [f"image{index}" for index in range(images)]
    made = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing warns of every check of a size
        torch.onnx.export(
            graph.eval(),
            examples,
            made,  # type: ignore[arg-type]
            input_names=names,
            opset_version=OPSET,
            dynamo=False,
        )
    return made.getvalue()


def _providers(device: str, precision: str) -> list[Any]:
    available = ort.get_available_providers()
    if device == "cpu":
        if precision != "float32":
            raise BackendError(f"precision is {precision!r}, expected float32 for onnxruntime on a CPU")
        return ["CPUExecutionProvider"]
    index = int(device.partition(":")[2] or 0)
    wanted = [
        ("TensorrtExecutionProvider", {"device_id": index, "trt_fp16_enable": precision == "float16"}),
        ("CUDAExecutionProvider", {"device_id": index}),
    ]
    found = [entry for entry in wanted if entry[0] in available]
    if precision == "bfloat16" or not found:
        raise BackendError(
            f"device is {device!r} and precision {precision!r}, expected float32 or float16 and an onnxruntime with "
            f"TensorRT or CUDA (pip install onnxruntime-gpu); this one has {', '.join(available)}"
        )
    return found
