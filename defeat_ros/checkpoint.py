"""Reading and writing weight files safely: ours (safetensors) and the published ones (PyTorch pickles).

Knows dictionaries, not architectures. A file is data from a stranger: nothing in it is ever executed, and what it
claims is held against its size before memory is spent on it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import secrets
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from defeat_ros.checkpoint_pickle import pickles_of, problem_of
from defeat_ros.errors import BackendError, CheckpointError, OutputError
from defeat_ros.untrusted import quoted

FORMAT_VERSION = 1
MAX_HEADER_BYTES = 16 * 2**20  # ours have 60 kB
MAX_OPTION_ITEMS = 1024
EXPECTED = "expected a .safetensors file or a PyTorch checkpoint of a DeFeat-Net"

_ZIP_MAGIC = b"PK\x03\x04"
_PICKLE_MAGIC = b"\x80"  # the format of torch before 1.6


@dataclass(frozen=True)
class Checkpoint:
    """What a weight file holds.

    Attributes:
        state: tensors by their state-dict key; all floating ones are float32.
        options: the constructor arguments stored beside them, as plain values (None, bool, number, text, list).
        provenance: where the weights came from; empty for published files.
        path: the file.
        sha256: of the file, hexadecimal.
        format: 'safetensors' for ours, 'published' for pickles.
    """

    state: dict[str, Tensor]
    options: dict[str, Any]
    provenance: dict[str, Any]
    path: Path
    sha256: str
    format: Literal["safetensors", "published"]


TRANSLATIONS = ("inverse_depth", "scene_units")


def untrained_of(provenance: Mapping[str, Any]) -> list[str]:
    """The networks that a weight file says were never trained; none where it does not say."""
    listed = provenance.get("untrained")
    return listed if isinstance(listed, list) else []


def translation_of(provenance: Mapping[str, Any]) -> str:
    """What the pose net's translation is multiplied by to give scene units.

    Returns:
        'inverse_depth': the mean inverse depth of the target, as in published weights; 'scene_units': by one.

    Raises:
        CheckpointError: the file says something else.
    """
    found = provenance.get("translation", TRANSLATIONS[0])
    if found not in TRANSLATIONS:
        raise CheckpointError(f"translation of the checkpoint is {found!r:.40}, expected {' or '.join(TRANSLATIONS)}")
    return str(found)


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
    own = data[8:9] == b"{" or not data.startswith((_ZIP_MAGIC, _PICKLE_MAGIC))
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
        raise BackendError(f"device {str(device)!r} cannot hold {str(path)!r}: {_line(error)}") from error
    digest = hashlib.sha256(data).hexdigest()
    return Checkpoint(state, options, provenance, path, digest, "safetensors" if own else "published")


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
    _write_bytes(path, _sorted_header(safetensors.torch.save(tensors, metadata)))


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
    _write_bytes(Path(path), buffer.getvalue())


# Reading


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
            if not start.startswith((_ZIP_MAGIC, _PICKLE_MAGIC)):
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
        raise CheckpointError(f"checkpoint {str(path)!r} is damaged ({_line(error)}); {EXPECTED}") from error
    if version != FORMAT_VERSION:
        raise CheckpointError(f"checkpoint {str(path)!r} has format version {version}, expected {FORMAT_VERSION}")
    if not isinstance(options, dict) or not isinstance(provenance, dict):
        raise CheckpointError(f"checkpoint {str(path)!r} is damaged: its options and provenance must be JSON objects")
    return tensors, options, provenance


def _read_pickle(path: Path, data: bytes) -> Any:
    zipped = data.startswith(_ZIP_MAGIC)
    if zipped:
        _check_archive(path, data)
    try:
        for pickle in pickles_of(data, zipped):
            if problem := problem_of(pickle):
                raise CheckpointError(f"checkpoint {str(path)!r} is unsafe to read ({problem}); {EXPECTED}")
        # weights_only interprets the pickle with an allow-list; `range` is the one thing published files need beyond.
        with torch.serialization.safe_globals([range]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old storages
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # a stranger's pickle can fail in any way
        asked = re.search(r"GLOBAL (\S{1,80})", str(error))
        kind = f"unsafe to read (asks for {asked[1]})" if asked else f"damaged ({_line(error)})"
        raise CheckpointError(f"checkpoint {str(path)!r} is {kind}; {EXPECTED}") from error


def _check_archive(path: Path, data: bytes) -> None:
    """Refuse archives that grow when unpacked: torch stores without compression."""
    try:
        grows = grows_unpacked(io.BytesIO(data), len(data))
    except Exception as error:  # zipfile raises several kinds for damage
        raise CheckpointError(f"checkpoint {str(path)!r} is damaged ({_line(error)}); {EXPECTED}") from error
    if grows:
        raise CheckpointError(f"checkpoint {str(path)!r} is unsafe to read (compressed entries); {EXPECTED}")


def grows_unpacked(archive: IO[bytes] | Path, size: int) -> bool:
    """Whether a zip archive of this size, bytes, is larger unpacked.

    Raises:
        Exception: of several kinds, where it is damaged.
    """
    with zipfile.ZipFile(archive) as opened:
        entries = opened.infolist()
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    return packed or sum(entry.file_size for entry in entries) > size


def _pick(path: Path, content: Any, key: Callable[[Any], Any] | None) -> Mapping[Any, Any]:
    """The dictionary of weights inside a file's content."""
    there = f"it has {_names(content)}" if isinstance(content, dict) else f"it is a {type(content).__name__}"
    if key is None:
        found = content["model"] if isinstance(content, dict) and "model" in content else content
    else:
        try:
            found = key(content)
        except Exception as error:  # the caller's function, on a stranger's data
            message = f"checkpoint {str(path)!r} has no entry as `key` asks ({_line(error)}); {there}"
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


def _line(error: BaseException) -> str:
    """The first sentence of an error, at most 120 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    # torch first explains at length how to switch the safety off; what it met stands after this.
    text = text.split("WeightsUnpickler error: ")[-1].split(". ")[0]
    return text if len(text) <= 120 else text[:117] + "..."


# Writing


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


def _write_bytes(path: Path, data: bytes) -> None:
    """Bring a whole file into place, or none of it."""
    if path.exists() or path.is_symlink():
        raise OutputError(f"{str(path)!r} exists, expected a new path")
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {str(path)!r}: {str(path.parent)!r} is not a folder")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {str(path)!r}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
