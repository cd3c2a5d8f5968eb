"""PyTorch pickles, each looked at before it is read: that it only builds what weight files hold.

`torch.load(weights_only=True)` runs no foreign code, but lets a pickle of a hundred bytes call `bytearray(10**10)`, or
make a tuple of the same tuple twice, sixty times over, which never ends being hashed or printed.
"""

from __future__ import annotations

import pickletools
import re
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import torch

ZIP_MAGIC = b"PK\x03\x04"
PICKLE_MAGIC = b"\x80"
"""Of the format of torch before 1.6."""

MAX_PARTS = 100_000
"""Of a tuple, with all that lies in it; in weight files they are shapes and references to storages."""

CALLED = frozenset(
    ["collections.OrderedDict", "builtins.range", "torch.Size", "torch.serialization._get_layout"]
    + [f"torch._utils._rebuild_{kind}" for kind in ("tensor", "tensor_v2", "parameter", "sparse_tensor")]
)
"""What a weight file may call; torch allows more. What it may name is torch's business."""


@dataclass(frozen=True)
class _Thing:
    """What is known of a value: a name that was looked up, how many parts a tuple has, whether a range is in it."""

    name: str = ""
    parts: int = 1
    ranges: bool = False


_PLAIN = _Thing()


def load_pickle(data: bytes) -> Any:
    """The content of a PyTorch file of either format, on the CPU, where it only builds what weight files hold.

    Raises:
        ValueError: it is unsafe or damaged; the message begins with which and says why.
        MemoryError: there is not enough for it.
    """
    zipped = data.startswith(ZIP_MAGIC)
    try:
        grows = _growth(data) if zipped else None
        problem = grows or next(filter(None, map(problem_of, _pickles_of(data, zipped))), None)
        content = None if problem else _load(data)
    except MemoryError:
        raise
    except Exception as error:  # a stranger's pickle can fail in any way
        asked = re.search(r"GLOBAL (\S{1,80})", str(error))
        kind = f"unsafe to read (asks for {asked[1]})" if asked else f"damaged ({line_of(error)})"
        raise ValueError(kind) from error
    if problem:
        raise ValueError(f"unsafe to read ({problem})")
    return content


def _load(data: bytes) -> Any:
    # weights_only interprets the pickle with an allow-list; `range` is the one thing published files need beyond.
    with torch.serialization.safe_globals([range]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about old storages
        return torch.load(BytesIO(data), map_location="cpu", weights_only=True)


def _growth(data: bytes) -> str | None:
    """Archives must not grow when unpacked: torch stores without compression."""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        entries = archive.infolist()
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    return "compressed entries" if packed or sum(entry.file_size for entry in entries) > len(data) else None


def _pickles_of(data: bytes, zipped: bool) -> list[bytes]:
    """The pickles in a weight file: all that an archive holds, or the file itself from each pickle's start.

    Raises:
        Exception: the archive is damaged.
    """
    if not zipped:
        return [data]
    with zipfile.ZipFile(BytesIO(data)) as archive:
        # torch looks names up without regard to case.
        return [archive.read(entry) for entry in archive.infolist() if entry.filename.lower().endswith("pkl")]


def problem_of(data: bytes) -> str | None:
    """What in the pickles that follow each other in some bytes is more than a weight file needs, None for nothing.

    Reading stops where no pickle is left; what is damaged is left to torch.
    """
    stream = BytesIO(data)
    for _ in range(6):  # the format before 1.6: a magic number, a version, facts of the machine, content, names
        try:
            if problem := _problem_of_one(stream):
                return problem
        except Exception:  # pickletools raises several kinds for damage
            return None
    return None


def _problem_of_one(stream: BytesIO) -> str | None:
    """Follows the pickle's stack without making anything of what it says."""
    stack: list[_Thing] = []
    marks: list[int] = []
    memo: dict[Any, _Thing] = {}
    for opcode, argument, _ in pickletools.genops(stream):
        name = opcode.name
        if name == "MARK":
            marks.append(len(stack))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            stack.append(_Thing(name=_modern(str(argument))))
        elif name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
            first = marks.pop() if name == "TUPLE" else len(stack) - int(name[-1])
            made = _tuple(stack[first:])
            if made.parts > MAX_PARTS:
                return f"a tuple of more than {MAX_PARTS} parts"
            stack[first:] = [made]
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, function = stack.pop(), stack.pop()
            if function.name not in CALLED:
                return f"asks for a call of {function.name or 'what it made itself':.80}"
            if arguments.ranges:
                return f"asks for {function.name} of a range"
            stack.append(_Thing(ranges=function.name == "builtins.range"))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        else:
            _follow(opcode, stack, marks)
    return None


def _modern(name: str) -> str:
    """'module name' as Python 3 spells it, with a dot."""
    module, _, rest = name.partition(" ")
    module, rest = NAME_MAPPING.get((module, rest), (IMPORT_MAPPING.get(module, module), rest))
    return f"{module}.{rest}"


def _tuple(items: list[_Thing]) -> _Thing:
    return _Thing(parts=1 + sum(item.parts for item in items), ranges=any(item.ranges for item in items))


def _follow(opcode: pickletools.OpcodeInfo, stack: list[_Thing], marks: list[int]) -> None:
    """Any other operation: it takes from the stack and puts there what it is described to."""
    before = [kind.name for kind in opcode.stack_before]
    if "mark" in before:
        del stack[marks.pop() :]
        before = before[: before.index("mark")]
    taken = stack[len(stack) - len(before) :] if before else []
    del stack[len(stack) - len(taken) :]
    # A list or dictionary that is added to stays what it was; none of them can be hashed.
    stack.extend(_PLAIN for _ in opcode.stack_after)


def line_of(error: BaseException) -> str:
    """The first sentence of an error, at most 120 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    # torch first explains at length how to switch the safety off; what it met stands after this.
    text = text.split("WeightsUnpickler error: ")[-1].split(". ")[0]
    return text if len(text) <= 120 else text[:117] + "..."
