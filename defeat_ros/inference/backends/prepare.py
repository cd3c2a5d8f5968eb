"""Networks to something that a runtime can run, compiled, held against float32 PyTorch, and kept.

As a program this is the process in which compiling and checking happen: what they take of memory is given back when
it ends, and a runtime that crashes on this processor takes nobody along.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from defeat_ros.checkpoint.content import Checkpoint
from defeat_ros.checkpoint.reading import read_checkpoint
from defeat_ros.errors import BackendError, CheckpointError
from defeat_ros.inference.backends import graphs
from defeat_ros.inference.backends.check import Difference, compare, read_frames
from defeat_ros.inference.backends.choose import Choice, processor_name
from defeat_ros.inference.backends.model_cache import CacheEntry, ModelCache
from defeat_ros.inference.backends.protocol import Runtime, features_problem
from defeat_ros.networks import DeFeatNet, blocks, depth_net, feat_net, padding, pose_net
from defeat_ros.networks.blocks import SPP_BRANCHES
from defeat_ros.startup import module_command


@dataclass
class Source:
    """The networks that are to be run, and the size of the images that they will see.

    Attributes:
        checkpoint: their weights.
        key: the entry of a published file that holds them, '' for the usual one.
        size_hw: of the images.
    """

    checkpoint: Checkpoint
    key: str
    size_hw: tuple[int, int]
    _model: DeFeatNet | None = field(default=None, init=False)

    @classmethod
    def read(cls, file: Path, key: str) -> Checkpoint:
        """Read the weights.

        Raises:
            CheckpointError: missing, damaged or unsafe weights.
        """
        return read_checkpoint(file, key=(lambda content: content[key]) if key else None)

    @property
    def model(self) -> DeFeatNet:
        """The model, float32 on the CPU; made once, and only where the cache lacks something.

        Raises:
            CheckpointError: weights of another architecture, or without a full-size scale.
        """
        if self._model is None:
            model = DeFeatNet.load(self.checkpoint)
            if 0 not in model.scales:
                raise CheckpointError(
                    f"checkpoint '{self.checkpoint.path}' has scales {list(model.scales)}, expected 0 (full size) "
                    "among them"
                )
            self._model = model
        return self._model

    @property
    def feature_limits(self) -> tuple[list[int], int | None]:
        """Pooling windows and padding of the feature net."""
        options = self.checkpoint.options
        return list(options.get("spp_branches") or SPP_BRANCHES), options.get("im_pad")

    @property
    def networks(self) -> tuple[str, ...]:
        """The graphs that can run at this size."""
        small = features_problem(self.size_hw, *self.feature_limits) is not None
        return tuple(name for name in graphs.NETWORKS if name != "features" or not small)


def compile_and_check(choice: Choice, source: Source, cache: ModelCache) -> tuple[Runtime, Difference]:
    """Make a runtime, hold it against the networks themselves, and keep what it took.

    Raises:
        BackendError: it gives other numbers than float32 PyTorch.
        Exception: whatever a runtime raises on a machine that it does not like.
    """
    files = _compile(choice, source)
    runtime = open_runtime(choice, source, files)
    difference = compare(runtime, source.model, read_frames(source.size_hw), source.networks)
    if problem := difference.problem:
        raise BackendError(problem)
    notes = {"difference": asdict(difference), "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    cache.store(cache_facts(choice, source), CacheEntry(files, notes))
    return runtime, difference


def _compile(choice: Choice, source: Source) -> dict[str, bytes]:
    """What is worth keeping on disk, by graph."""
    if choice.runtime == "openvino":
        from defeat_ros.inference.backends.openvino_runtime import compile_graph

        return {
            name: compile_graph(graphs.graph_of(source.model, name), _images(name), source.size_hw, choice.precision)
            for name in source.networks
        }
    if choice.runtime == "onnxruntime":
        from defeat_ros.inference.backends.onnx_runtime import export_graph

        return {
            name: export_graph(graphs.graph_of(source.model, name), _images(name), source.size_hw)
            for name in source.networks
        }
    return {}


def open_runtime(choice: Choice, source: Source, files: Mapping[str, bytes]) -> Runtime:
    """The runtime of a choice from the files that `compile_and_check` kept for it, by graph; it has run once."""
    if choice.runtime == "openvino":
        from defeat_ros.inference.backends.openvino_runtime import OpenVinoRuntime

        return _warm(OpenVinoRuntime(files, choice.precision), source)
    if choice.runtime == "onnxruntime":
        from defeat_ros.inference.backends.onnx_runtime import OnnxRuntime

        return _warm(OnnxRuntime(files, choice.device, choice.precision), source)
    from defeat_ros.inference.backends.torch_runtime import CudaGraphRuntime, TorchRuntime

    made = {name: graphs.graph_of(source.model, name) for name in source.networks}
    if choice.device == "cpu":
        return TorchRuntime(made, choice.device, choice.precision)
    return CudaGraphRuntime(made, choice.device, choice.precision, source.size_hw)


def _warm(runtime: Runtime, source: Source) -> Runtime:
    """Run once, so that the first frame does not pay for what a runtime puts off."""
    image = np.zeros((1, *source.size_hw, 3), np.uint8)
    runtime.run({name: [image] * _images(name) for name in source.networks})
    return runtime


def _images(name: str) -> int:
    return 2 if name == "pose" else 1


def cache_facts(choice: Choice, source: Source) -> dict[str, Any]:
    """Everything that compiled models and their check depend on."""
    facts: dict[str, Any] = {
        "weights": source.checkpoint.sha256,
        "options": dict(source.checkpoint.options),
        "size": list(source.size_hw),
        "networks": list(source.networks),
        "runtime": choice.runtime,
        "device": choice.device,
        "precision": choice.precision,
        "code": _code(),
        "torch": torch.__version__,
        "processor": f"{processor_name()} ({torch.backends.cpu.get_cpu_capability()})",
    }
    if choice.runtime == "openvino":
        from defeat_ros.inference.backends.openvino_runtime import device_facts

        facts.update(device_facts())
    elif choice.runtime == "onnxruntime":
        import onnxruntime

        facts["onnxruntime"] = onnxruntime.__version__
    if choice.device != "cpu":
        facts["gpu"] = torch.cuda.get_device_name(choice.device)
    return facts


def _code() -> str:
    """Hash of the source of what is compiled and checked."""
    folder = Path(__file__).parent
    ours = [folder / f"{name}.py" for name in ("graphs", "check", "openvino_runtime", "onnx_runtime", "torch_runtime")]
    theirs = [Path(str(module.__file__)) for module in (blocks, depth_net, feat_net, padding, pose_net)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in [*ours, *theirs])).hexdigest()


def main(arguments: list[str]) -> int:
    """Compile and check for another process, which finds the result in the cache.

    Args:
        arguments: one, JSON: `file`, `key`, `size_hw`, `choice` and `cache`, see `command`.

    Returns:
        0, or 1 with the reason on stderr.
    """
    told = json.loads(arguments[0])
    try:
        source = Source(Source.read(Path(told["file"]), told["key"]), told["key"], tuple(told["size_hw"]))
        compile_and_check(Choice(**told["choice"]), source, ModelCache(Path(told["cache"])))
    except Exception as error:
        print(" ".join(str(error).split()) or type(error).__name__, file=sys.stderr)
        return 1
    return 0


def command(choice: Choice, source: Source, cache: ModelCache) -> list[str]:
    """The command line that does `compile_and_check` in a process of its own."""
    told = {
        "file": str(source.checkpoint.path.absolute()),
        "key": source.key,
        "size_hw": source.size_hw,
        "choice": asdict(choice),
        "cache": str(cache.folder.absolute()),
    }
    return module_command(__spec__.name, json.dumps(told))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
