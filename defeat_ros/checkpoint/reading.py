"""Reading weight files safely: ours (safetensors) and the published ones (PyTorch pickles).

Knows dictionaries, not architectures. A file is data from a stranger: nothing in it is ever executed, and what it
claims is held against its size before memory is spent on it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from defeat_ros.checkpoint.content import FORMAT_VERSION, Checkpoint
from defeat_ros.checkpoint.pickles import PICKLE_MAGIC, ZIP_MAGIC, line_of, load_pickle
from defeat_ros.errors import BackendError, CheckpointError
from defeat_ros.untrusted import quoted

MAX_HEADER_BYTES = 16 * 2**20  # ours have 60 kB
MAX_OPTION_ITEMS = 1024
EXPECTED = "expected a .safetensors file or a PyTorch checkpoint of a DeFeat-Net"


def read_checkpoint(
    path: str | os.PathLike[str],
    key: Callable[[Any], Any] | None = None,
    device: str | torch.device = "cpu",
) -> Checkpoint:
    """Read a weight file of either format.

    Args:
        path: the file; its content, not its name, tells the format.
        key: takes the file's dictionary, returns the one with the weights, e.g. `lambda x: x['model']`; None takes
            'model' where there is one, else the whole. Our own files count as `{'model': ...}`.
        device: where the tensors go.

    Raises:
        CheckpointError: the file is missing, unreadable, damaged, unsafe, or holds no weights under `key`.
        BackendError: this machine does not have the device.
    """
    path = Path(path)
    data = _read_bytes(path)
    # Ours begin with the length of their header, which can look like the magic of a pickle; then comes JSON.
    own = data[8:9] == b"{" or not data.startswith((ZIP_MAGIC, PICKLE_MAGIC))
    provenance: dict[str, Any] = {}
    if own:
        tensors, options, provenance = _read_safetensors(path, data)
        content: Any = {"model": {**tensors, **options}}
    else:
        content = _read_pickle(path, data)
    state, options = _split(path, _pick(path, content, key), len(data))
    try:
        state = {name: _restore(tensor, device) for name, tensor in state.items()}
    except (RuntimeError, AssertionError, ValueError) as error:
        raise BackendError(f"device {str(device)!r} cannot hold {str(path)!r}: {line_of(error)}") from error
    digest = hashlib.sha256(data).hexdigest()
    return Checkpoint(state, options, provenance, path, digest, "safetensors" if own else "published")


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise CheckpointError(f"checkpoint {str(path)!r} is a folder; {EXPECTED}")
    if not path.exists():
        raise CheckpointError(f"checkpoint {str(path)!r} does not exist; {EXPECTED}")
    if not path.is_file():
        raise CheckpointError(f"checkpoint {str(path)!r} is not a regular file; {EXPECTED}")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(16)
            # Look before reading on: the path may be that of a recording of many gigabytes.
            if not start.startswith((ZIP_MAGIC, PICKLE_MAGIC)):
                _header_length(path, start, size)
            return start + file.read()
    except OSError as error:
        raise CheckpointError(f"checkpoint {str(path)!r} cannot be read ({error.strerror}); {EXPECTED}") from error


def _header_length(path: Path, start: bytes, size: int) -> int:
    """Length of the safetensors header that the first bytes of a file announce."""
    length = int.from_bytes(start[:8], "little")
    if size == 0:
        raise CheckpointError(f"checkpoint {str(path)!r} is empty; {EXPECTED}")
    if len(start) < 9 or start[8:9] != b"{" or length > min(size - 8, MAX_HEADER_BYTES):
        raise CheckpointError(f"checkpoint {str(path)!r} is damaged or of another kind; {EXPECTED}")
    return length


def _read_safetensors(path: Path, data: bytes) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    length = _header_length(path, data[:16], len(data))
    try:
        # The library holds every tensor's range against the file before it makes a tensor.
        tensors = safetensors.torch.load(data)
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
        version = int(metadata.get("format_version", FORMAT_VERSION))
        options, provenance = (json.loads(metadata.get(name, "{}")) for name in ("options", "provenance"))
    except Exception as error:  # damage shows as many kinds of error, inside the library too
        raise CheckpointError(f"checkpoint {str(path)!r} is damaged ({line_of(error)}); {EXPECTED}") from error
    if version != FORMAT_VERSION:
        raise CheckpointError(f"checkpoint {str(path)!r} has format version {version}, expected {FORMAT_VERSION}")
    if not isinstance(options, dict) or not isinstance(provenance, dict):
        raise CheckpointError(f"checkpoint {str(path)!r} is damaged: its options and provenance must be JSON objects")
    return tensors, options, provenance


def _read_pickle(path: Path, data: bytes) -> Any:
    try:
        return load_pickle(data)
    except ValueError as error:
        raise CheckpointError(f"checkpoint {str(path)!r} is {error}; {EXPECTED}") from error
    except MemoryError as error:
        raise CheckpointError(f"checkpoint {str(path)!r} does not fit into memory") from error


def _pick(path: Path, content: Any, key: Callable[[Any], Any] | None) -> Mapping[Any, Any]:
    """The dictionary of weights inside a file's content."""
    there = f"it has {_names(content)}" if isinstance(content, dict) else f"it is a {type(content).__name__}"
    if key is None:
        found = content["model"] if isinstance(content, dict) and "model" in content else content
    else:
        try:
            found = key(content)
        except Exception as error:  # the caller's function, on a stranger's data
            message = f"checkpoint {str(path)!r} has no entry as `key` asks ({line_of(error)}); {there}"
            raise CheckpointError(message) from error
    if not isinstance(found, dict):
        what = f"`key` gives a {type(found).__name__}" if key else there
        raise CheckpointError(f"checkpoint {str(path)!r} holds no dictionary of weights: {what}; {EXPECTED}")
    if not any(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(f"checkpoint {str(path)!r} holds no tensors under {_names(found)}; {EXPECTED}")
    return found


def _split(path: Path, found: Mapping[Any, Any], size: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and plain values of one dictionary in a file of `size` bytes, each checked."""
    claimed = 0
    state: dict[str, Tensor] = {}
    options: dict[str, Any] = {}
    for name, value in found.items():
        if not isinstance(name, str):
            what = quoted(name) if isinstance(name, (int, float)) else f"named by a {type(name).__name__}"
            raise CheckpointError(f"checkpoint {str(path)!r} has an entry {what}, expected names of text")
        if not isinstance(value, Tensor):
            options[name] = _plain(path, name, value)
        elif value.layout is not torch.strided or value.is_meta or value.is_quantized or value.is_complex():
            raise CheckpointError(f"checkpoint {str(path)!r}: {quoted(name):.80} is not a plain dense tensor")
        elif (claims := value.numel() * value.element_size()) > value.untyped_storage().nbytes() or (
            claimed := claimed + claims
        ) > 2 * size:
            # A view may claim any shape over few bytes, and many may share them: the next copy would allocate it all.
            raise CheckpointError(f"checkpoint {str(path)!r}: {quoted(name):.80} claims more than the file holds")
        else:
            state[name] = value.detach()
    return state, options


def _plain(path: Path, name: str, value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple, range)):
        head = list(value[: MAX_OPTION_ITEMS + 1])  # before anything else: a range may claim any length
        if len(head) <= MAX_OPTION_ITEMS and all(isinstance(item, (bool, int, float, str)) for item in head):
            return head
    kind = type(value).__name__
    raise CheckpointError(
        f"checkpoint {str(path)!r}: {quoted(name):.80} is a {kind}, expected a tensor or a plain value"
    )


def _restore(tensor: Tensor, device: str | torch.device) -> Tensor:
    return tensor.to(device, torch.float32 if tensor.is_floating_point() else tensor.dtype)


def _names(content: Mapping[Any, Any]) -> str:
    """The first entries of a dictionary, for a message."""
    shown = ", ".join(f"{quoted(name):.40}" for name in list(content)[:8])
    return f"{shown}, ... ({len(content)} entries)" if len(content) > 8 else shown or "no entries"
