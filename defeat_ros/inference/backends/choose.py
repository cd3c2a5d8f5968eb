"""Which runtime runs the networks: what is to be tried, in which order, and why."""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from defeat_ros.errors import BackendError

RUNTIMES = ("torch", "openvino", "onnxruntime")
PRECISIONS = ("float32", "bfloat16", "float16")
INSTALL = {
    "openvino": "pip install openvino",
    "onnxruntime": "pip install onnx onnxruntime (a GPU: onnxruntime-gpu)",
}
BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")
"""Of the processor: instructions that multiply in bfloat16 faster than in float32."""


@dataclass(frozen=True)
class Choice:
    """One way to run the networks.

    Attributes:
        runtime, device, precision: what, where, how.
        reason: why it stands where it does.
    """

    runtime: str
    device: str
    precision: str
    reason: str

    def __str__(self) -> str:
        return f"{self.runtime} {self.precision} on {self.device}"


PLAIN = Choice("torch", "cpu", "float32", "the plain one, as nothing faster can be used")


def candidates(
    backend: str, device: str, precision: str, installed: Collection[str], processor: Collection[str]
) -> list[Choice]:
    """What to try, best first; the last one is float32 PyTorch, which is what the others are held against.

    Args:
        backend: 'auto' or one of `RUNTIMES`.
        device: 'cpu' or 'cuda:N'.
        precision: 'auto' or one of `PRECISIONS`.
        installed: those of `RUNTIMES` that can be imported.
        processor: flags of the CPU.

    Raises:
        BackendError: the backend that was asked for is not installed, or not for this device.
    """
    if backend != "auto" and backend not in installed:
        raise BackendError(f"backend is {backend!r}, which is not installed: {INSTALL[backend]}")
    if backend == "openvino" and device != "cpu":
        raise BackendError(f"backend is 'openvino' and device {device!r}, expected cpu or another backend")
    why = "as asked for" if backend != "auto" else ""
    tried: list[Choice] = []
    for runtime in _runtimes(backend, device, installed):
        for kind, fit in _precisions(runtime, device, precision, processor):
            tried.append(Choice(runtime, device, kind, ", ".join(filter(None, (why or _why(runtime, device), fit)))))
    known = [(choice.runtime, choice.device, choice.precision) for choice in tried]
    return tried if (PLAIN.runtime, PLAIN.device, PLAIN.precision) in known else [*tried, PLAIN]


def installed_runtimes() -> set[str]:
    """Those of `RUNTIMES` that can be imported here; nothing is."""
    needs = {"torch": ("torch",), "openvino": ("openvino",), "onnxruntime": ("onnxruntime", "onnx")}
    return {name for name, modules in needs.items() if all(importlib.util.find_spec(module) for module in modules)}


def processor_flags() -> set[str]:
    """What the CPU says that it can do; empty where the system does not tell."""
    return set(_told("Features" if platform.machine() == "aarch64" else "flags").split())


def processor_name() -> str:
    """What the CPU calls itself; empty where the system does not tell."""
    return _told("model name").strip()


def _told(field: str) -> str:
    """A field of the first processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2] for line in lines if line.startswith(field)), "")


def _runtimes(backend: str, device: str, installed: Collection[str]) -> list[str]:
    if backend != "auto":
        return [backend]
    # TensorRT by way of ONNX Runtime has to be asked for: it compiles for minutes.
    return ["openvino"] if device == "cpu" and "openvino" in installed else ["torch"]


def _precisions(runtime: str, device: str, precision: str, processor: Collection[str]) -> list[tuple[str, str]]:
    if precision != "auto":
        return [(precision, "precision as asked for")]
    if device != "cpu":
        return [("float16", ""), ("float32", "")]
    flags = [flag for flag in BFLOAT16_FLAGS if flag in processor]
    if runtime == "onnxruntime" or not flags:
        return [("float32", "" if runtime == "onnxruntime" else "no bfloat16 in this processor")]
    return [("bfloat16", f"the processor has {flags[0]}"), ("float32", "")]


def _why(runtime: str, device: str) -> str:
    if runtime == "openvino":
        return "fastest on CPUs"
    return "a GPU" if device != "cpu" else "openvino is not installed"
