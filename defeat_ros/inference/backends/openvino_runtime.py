"""OpenVINO as a runtime: the fastest of those that were measured on CPUs."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from defeat_ros.inference.backends.graphs import Graph

# Importing OpenVINO tells Google Analytics of it, unasked; where this package is not to be had it tells nobody.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino as ov  # noqa: E402

PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


class OpenVinoRuntime:
    """Compiled models on the CPU, one request for each network.

    Args:
        blobs: by graph, what `compile_graph` gave on this machine.
        precision: what they were compiled for.
    """

    name = "openvino"
    device = "cpu"

    def __init__(self, blobs: Mapping[str, bytes], precision: str) -> None:
        self.precision = precision
        core = ov.Core()
        # The hints again: without them a float32 model comes back in bfloat16.
        hints = _hints(precision)
        self._models = {name: core.import_model(io.BytesIO(blob), "CPU", hints) for name, blob in blobs.items()}
        self._requests = {name: model.create_infer_request() for name, model in self._models.items()}

    def run(self, inputs: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
        """See `Runtime.run`."""
        made = {}
        for name, images in inputs.items():
            request = self._requests[name]
            for index, image in enumerate(images):
                request.set_input_tensor(index, ov.Tensor(image, shared_memory=True))
            # Fresh memory that the model writes to itself: no copy, and the result stays when the next frame comes.
            made[name] = np.empty(tuple(self._models[name].output(0).shape), np.float32)
            request.set_output_tensor(0, ov.Tensor(made[name], shared_memory=True))
            request.infer()
        return made


def compile_graph(graph: Graph, images: int, size_hw: tuple[int, int], precision: str) -> bytes:
    """Translate and compile a graph for this machine's CPU.

    Args:
        graph: the network.
        images: how many images it takes.
        size_hw: their size.
        precision: of `PRECISIONS`.
    """
    examples = tuple(torch.zeros(1, *size_hw, 3, dtype=torch.uint8) for _ in range(images))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing warns of every check of a size
        logging.getLogger("openvino").setLevel(logging.ERROR)
        model = ov.convert_model(graph.eval(), example_input=examples)
    model.reshape({index: [1, *size_hw, 3] for index in range(images)})
    blob = io.BytesIO()
    ov.Core().compile_model(model, "CPU", _hints(precision)).export_model(blob)
    return blob.getvalue()


def _hints(precision: str) -> dict[str, str]:
    # Threads that stay on their core wait where the rest of the frame before is worked on: 7 % slower in the node.
    latency = {"PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": "NO"}
    return {**latency, "INFERENCE_PRECISION_HINT": PRECISIONS[precision]}


def device_facts() -> dict[str, str]:
    """What a compiled model depends on besides the network."""
    core = ov.Core()
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    name = core.get_property("CPU", "FULL_DEVICE_NAME")
    return {"openvino": ov.get_version(), "processor": f"{name} ({', '.join(sorted(capabilities))})"}
