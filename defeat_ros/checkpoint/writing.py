"""Writing weight files: ours (safetensors) and those of the authors' layout (PyTorch pickles)."""

from __future__ import annotations

import io
import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from defeat_ros.checkpoint.content import FORMAT_VERSION
from defeat_ros.errors import OutputError
from defeat_ros.files import write_whole


def write_checkpoint(
    path: str | os.PathLike[str],
    state: Mapping[str, Tensor],
    options: Mapping[str, Any],
    provenance: Mapping[str, Any],
    half: bool = False,
) -> None:
    """Write weights as safetensors. The same input gives the same bytes; a failure leaves nothing behind.

    Args:
        path: the new file, in an existing folder.
        state: tensors by their state-dict key.
        options: constructor arguments, plain values.
        provenance: where the weights came from, plain values.
        half: store floating tensors as float16, half the size; they are restored to float32 when read. Tensors whose
            values exceed float16 stay as they are.

    Raises:
        OutputError: the path exists, its folder does not, the disk is full or not writable, or a value is not plain.
    """
    path = Path(path)
    try:
        metadata = {
            "format_version": str(FORMAT_VERSION),
            "options": json.dumps(dict(options), sort_keys=True, allow_nan=False),
            "provenance": json.dumps(dict(provenance), sort_keys=True, allow_nan=False),
        }
    except (TypeError, ValueError) as error:
        raise OutputError(f"cannot write {str(path)!r}: options and provenance must be plain ({error})") from error
    tensors = {name: _to_store(tensor, half) for name, tensor in state.items()}
    _write_new(path, _sorted_header(safetensors.torch.save(tensors, metadata)))


def write_published(path: str | os.PathLike[str], state: Mapping[str, Tensor], options: Mapping[str, Any]) -> None:
    """Write weights as the authors' code does: `{'model': state_dict}` with the options as un-prefixed entries.

    Args:
        path: the new file, in an existing folder.
        state: tensors by their state-dict key.
        options: constructor arguments; `scales` becomes a range where it counts up by one, as published.

    Raises:
        OutputError: the path exists, its folder does not, or the disk is full or not writable.
    """
    model: OrderedDict[str, Any] = OrderedDict((name, tensor.detach().cpu()) for name, tensor in state.items())
    model.update(options)
    scales = options.get("scales")
    if isinstance(scales, list) and scales and scales == list(range(scales[0], scales[0] + len(scales))):
        model["scales"] = range(scales[0], scales[0] + len(scales))
    buffer = io.BytesIO()
    torch.save({"model": model}, buffer)
    _write_new(Path(path), buffer.getvalue())


def _to_store(tensor: Tensor, half: bool) -> Tensor:
    tensor = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    if half and tensor.is_floating_point() and bool((tensor.abs() <= torch.finfo(torch.float16).max).all()):
        return tensor.half()
    return tensor


def _sorted_header(data: bytes) -> bytes:
    """The same safetensors file with its metadata in a fixed order: the library's changes from run to run."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors stay aligned
    return len(text).to_bytes(8, "little") + text + data[end:]


def _write_new(path: Path, data: bytes) -> None:
    """Bring a whole file into place, or none of it."""
    if path.exists() or path.is_symlink():
        raise OutputError(f"{str(path)!r} exists, expected a new path")
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {str(path)!r}: {str(path.parent)!r} is not a folder")
    write_whole(path, lambda file: file.write(data))
