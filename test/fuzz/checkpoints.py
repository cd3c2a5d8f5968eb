"""Weight files: lying safetensors headers, hostile pickles, archives that grow, models that are too large."""

from __future__ import annotations

import builtins
import collections
import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import torch

from fuzz import Target, mutate
from fuzz.guard import MARKER

OPTIONS = {
    "num_layers": 18, "preres": True, "scales": [0, 1, 2, 3], "use_skips": True, "n_dims": 3, "spp_branches": [4, 2],
    "activation": "relu", "im_pad": None, "norm": True,
}  # fmt: skip


class _Calls:
    """Pickles as a call of anything."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


def _state() -> dict[str, torch.Tensor]:
    return {"depth_net.a": torch.arange(6.0).reshape(2, 3), "pose_net.b": torch.ones(4, dtype=torch.float16)}


def _seeds(folder: Path) -> list[bytes]:
    from defeat_ros.checkpoint.writing import write_checkpoint

    provenance = {
        "trained": True,
        "input_size": [64, 64],
        "metrics": {"night": {"abs_rel": 0.1}},
        "data": [{"frames": 3}],
    }
    write_checkpoint(folder / "a.safetensors", _state(), OPTIONS, provenance)
    made = [(folder / "a.safetensors").read_bytes()]
    for new in (True, False):
        made.append(_saved({"model": {**_state(), **OPTIONS, "scales": range(4)}}, new))
        _use(made[-1], folder)
    return made


def _saved(content: Any, new: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


def _make(whole: list[bytes], rng: Random) -> bytes:
    own, zipped, old = whole
    way = rng.random()
    if way < 0.3:
        return _header(rng, own)
    if way < 0.45:
        return mutate.blind(rng, rng.choice(whole), first=2000)
    if way < 0.75:
        return _hostile(rng)
    if way < 0.85:
        return _rezipped(rng, zipped)
    if way < 0.95:  # opcodes and numbers of the pickle itself
        at = old.index(b"model") - 40
        return old[:at] + mutate.blind(rng, old[at : at + 600], most=6) + old[at + 600 :]
    return pickle.dumps(_payload(rng), rng.choice([0, 1, 2, 4, 5]))


def _header(rng: Random, own: bytes) -> bytes:
    end = 8 + int.from_bytes(own[:8], "little")
    header = json.loads(own[8:end])
    for _ in range(rng.randint(1, 3)):
        way = rng.random()
        name = rng.choice(list(header))
        if way < 0.3 and name != "__metadata__" and isinstance(header[name], dict):
            field = rng.choice(["dtype", "shape", "data_offsets"])
            values = [rng.choice(mutate.WHOLE) for _ in range(rng.randrange(5))]
            header[name][field] = rng.choice([values, values, "F64", "F4", "C64", "BOOL", mutate.anything(rng)])
        elif way < 0.8 and isinstance(header.get("__metadata__"), dict):
            told = rng.choice(
                [mutate.anything(rng), {rng.choice([*OPTIONS, "metrics", "data", "config"]): mutate.anything(rng)}]
            )
            text = told if isinstance(told, str) and rng.random() < 0.3 else _json(told)
            header["__metadata__"][rng.choice(["options", "provenance", "format_version", "x"])] = text
        elif way < 0.9:
            header[rng.choice(mutate.WORDS[:30])] = header[name]
        else:
            header[name] = mutate.anything(rng)
    text = _json(header)
    if rng.random() < 0.1:
        text = '{"a":' * 20000 + "1" + "}" * 20000
    data = text.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(data)) + data + own[end:]


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=bool(id(value) % 2))
    except (RecursionError, ValueError):
        return "[" * 5000 + "]" * 5000


def _payload(rng: Random) -> Any:
    """Something that a pickle should not be able to do."""
    trace = os.environ[MARKER]
    key: Any = ("a",)
    for _ in range(rng.choice([5, 16])):  # `raw_key_pickle` goes deeper: here the key is hashed
        key = (key, key)
    return rng.choice(
        [
            _Calls(os.system, f"touch {trace}"),
            _Calls(builtins.eval, f"open({trace!r}, 'w')"),
            _Calls(builtins.bytearray, 3_000_000_000),
            _Calls(torch.Size, range(10**9)),
            _Calls(collections.Counter, range(10**10)),
            _Calls(collections.OrderedDict, range(10**10)),
            _Calls(builtins.set, range(10**10)),
            _Calls(torch.Tensor, 30000, 30000),
            _Calls(torch._tensor._rebuild_from_type_v2, bytearray, torch.Tensor, (3_000_000_000,), {}),
            _Calls(torch._utils._rebuild_meta_tensor_no_storage, torch.float32, (10**6, 10**6), (1, 1), False),
            _Calls(torch.load, trace),
            _Calls(getattr, range, "__class__"),
            {key: 1},
            key,
            range(10**12),
            10**600,
            mutate.anything(rng),
            torch.zeros(1).expand(10**5, 10**5),
            torch.nn.Linear(2, 2),
            torch.zeros(2, 2).to_sparse(),
            torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        ]
    )


def _hostile(rng: Random) -> bytes:
    evil = _payload(rng)
    model: dict[Any, Any] = {**_state(), **OPTIONS}
    place = rng.randrange(5)
    if place == 0:
        content: Any = evil
    elif place == 1:
        content = {"model": model, "extra": evil}
    elif place == 2:
        content = {"model": {**model, rng.choice([*OPTIONS, "depth_net.a"]): evil}}
    elif place == 3 and getattr(evil, "__hash__", None) and isinstance(evil, (str, int, float, tuple)):
        return raw_key_pickle(rng.choice([8, 26, 60]))
    else:
        content = [evil, evil]
    try:
        return _saved(content, rng.random() < 0.5)
    except (RecursionError, UnicodeEncodeError):
        return _saved({"model": mutate.WORDS[3]}, True)


def raw_key_pickle(depth: int) -> bytes:
    """A dictionary whose key is a tuple of the same tuple twice, and so on: small here, endless to hash or print."""
    body = b"\x80\x02}X\x01\x00\x00\x00aX\x01\x00\x00\x00b\x86q\x00" + b"h\x00h\x00\x86q\x00" * depth + b"K\x01s."
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", body)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return buffer.getvalue()


def _rezipped(rng: Random, zipped: bytes) -> bytes:
    """The same archive with entries compressed, lengthened, doubled, renamed or left out."""
    source = zipfile.ZipFile(io.BytesIO(zipped))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist():
            data, way = source.read(name), rng.randrange(9)
            if way == 0:
                target.writestr(name, data + bytes(200_000_000 if rng.random() < 0.3 else 10), zipfile.ZIP_DEFLATED)
            elif way == 1:
                target.writestr(rng.choice(["../../x", "/etc/x", name.upper(), "data.pkl", "/"]), data)
            elif way == 2:
                target.writestr(name, mutate.blind(rng, data))
            elif way != 3:
                target.writestr(name, data)
    return mutate.blind(rng, buffer.getvalue(), most=2) if rng.random() < 0.3 else buffer.getvalue()


def _use(data: bytes, folder: Path) -> None:
    """Reading, what `info` prints, and the model that the options describe."""
    from defeat_ros.cli.common import provenance_rows
    from defeat_ros.inference.config import DepthConfig
    from defeat_ros.inference.weights import _metres_of, input_size_hw, read_source
    from defeat_ros.networks import DeFeatNet

    path = folder / "weights"
    path.write_bytes(data)
    from defeat_ros.checkpoint.content import translation_of, untrained_of
    from defeat_ros.checkpoint.reading import read_checkpoint
    from defeat_ros.errors import DefeatError

    found = read_checkpoint(path)
    provenance_rows(found.provenance)
    for step in (
        lambda: translation_of(found.provenance),
        lambda: untrained_of(found.provenance),
        lambda: _metres_of(found.provenance),
        lambda: input_size_hw(DepthConfig(), found.provenance),
        lambda: read_source(DepthConfig(checkpoint=str(path))),
        lambda: DeFeatNet.load(found, strict=False),
        lambda: DeFeatNet.load(found),
    ):
        try:
            step()
        except DefeatError:
            continue


TARGETS = (Target("checkpoint", _seeds, _make, _use, share=2, quick=40),)
