"""Weight files: round trips, damage, strangers' pickles, writing all or nothing."""

import errno
import io
import json
import os
import pickle
import random
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import safetensors.torch
import torch

from defeat_ros.checkpoint.reading import read_checkpoint
from defeat_ros.checkpoint.writing import write_checkpoint, write_published
from defeat_ros.errors import BackendError, CheckpointError, OutputError

OPTIONS = {"num_layers": 18, "scales": [0, 1, 2, 3], "spp_branches": None, "activation": "relu", "norm": True}
ZIP = pytest.mark.parametrize("new_zip", [True, False], ids=["zip", "legacy"])


def _state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "net.weight": torch.randn(20, 3, generator=generator),
        "net.bias": torch.randn(20, generator=generator),
        "net.num_batches_tracked": torch.tensor(7),
    }


def _saved(content: object, new_zip: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=new_zip)
    return buffer.getvalue()


def _file(folder: Path, data: bytes) -> Path:
    path = folder / "weights.bin"
    path.write_bytes(data)
    return path


def _refused(path: Path, **kwargs) -> str:
    """Read a file that must be refused; return the message."""
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path, **kwargs)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Payload:
    """Pickles as a call, the way malicious files do."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


# Round trips


def test_own_format_round_trip(tmp_path):
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, _state(), OPTIONS, {"trained": True, "epochs": 3})
    got = read_checkpoint(path)
    assert _same(got.state, _state())
    assert got.options == OPTIONS
    assert got.provenance == {"trained": True, "epochs": 3}
    assert (got.format, got.path, len(got.sha256)) == ("safetensors", path, 64)


def test_every_length_of_the_header_is_read_as_ours(tmp_path):
    """A file begins with that length, whose bytes can be those that a pickle begins with."""
    firsts = set()
    for length in range(0, 264, 8):
        path = tmp_path / f"{length}.safetensors"
        write_checkpoint(path, {"a": torch.ones(2)}, {}, {"note": "x" * length})
        firsts.add(path.read_bytes()[0])
        assert read_checkpoint(path).format == "safetensors"
    assert 0x80 in firsts


def test_published_format_round_trip(tmp_path):
    path = tmp_path / "a.pt"
    write_published(path, _state(), OPTIONS)
    for key in (None, lambda x: x["model"]):
        got = read_checkpoint(path, key=key)
        assert _same(got.state, _state())
        assert got.options == OPTIONS
        assert (got.format, got.provenance) == ("published", {})


def test_published_format_has_plain_values_beside_the_tensors(tmp_path):
    path = tmp_path / "a.pt"
    write_published(path, _state(), OPTIONS)
    model = torch.load(path, weights_only=False)["model"]
    assert isinstance(model, OrderedDict)
    assert model["scales"] == range(4) and isinstance(model["scales"], range)
    assert model["spp_branches"] is None and model["activation"] == "relu"


@pytest.mark.parametrize("scales", [[0, 2], [1, 0], [3]])
def test_scales_survive_publishing(tmp_path, scales):
    write_published(tmp_path / "a.pt", _state(), {**OPTIONS, "scales": scales})
    assert read_checkpoint(tmp_path / "a.pt").options["scales"] == scales


def test_key_reads_own_format_too(tmp_path):
    write_checkpoint(tmp_path / "a", _state(), OPTIONS, {})
    assert read_checkpoint(tmp_path / "a", key=lambda x: x["model"]).options == OPTIONS


@ZIP
def test_state_at_top_level(tmp_path, new_zip):
    path = _file(tmp_path, _saved(OrderedDict(_state(), scales=range(2)), new_zip))
    got = read_checkpoint(path)
    assert _same(got.state, _state()) and got.options == {"scales": [0, 1]}


def test_half_precision_round_trip(tmp_path):
    state = _state() | {"big": torch.tensor([1e6])}
    write_checkpoint(tmp_path / "full", state, {}, {})
    write_checkpoint(tmp_path / "half", state, {}, {}, half=True)
    got = read_checkpoint(tmp_path / "half").state
    assert (tmp_path / "half").stat().st_size < (tmp_path / "full").stat().st_size
    assert got["net.weight"].dtype == torch.float32
    assert torch.equal(got["net.weight"], state["net.weight"].half().float())
    assert torch.equal(got["big"], state["big"])  # float16 would make it infinite
    assert got["net.num_batches_tracked"].dtype == torch.int64


def test_same_input_gives_same_bytes(tmp_path):
    # The library orders metadata differently from call to call.
    for i in range(8):
        write_checkpoint(tmp_path / str(i), _state(), OPTIONS, {"b": 1, "a": 2})
    assert len({(tmp_path / str(i)).read_bytes() for i in range(8)}) == 1


def test_views_and_shared_tensors_can_be_written(tmp_path):
    base = torch.arange(12.0).view(3, 4)
    state = {"t": base.t(), "again": base, "part": base[:, 1:2]}
    write_checkpoint(tmp_path / "a", state, {}, {})
    write_published(tmp_path / "b", state, {})
    assert _same(read_checkpoint(tmp_path / "a").state, state)
    assert _same(read_checkpoint(tmp_path / "b").state, state)


def test_unknown_device(tmp_path):
    write_checkpoint(tmp_path / "a", _state(), {}, {})
    with pytest.raises(BackendError, match="cuda:99"):
        read_checkpoint(tmp_path / "a", device="cuda:99")


# Refusals


@ZIP
@pytest.mark.parametrize("kind", ["system", "eval", "getattr", "module"])
def test_code_in_a_pickle_is_not_executed(tmp_path, kind, new_zip):
    trace = tmp_path / "executed"
    evil = {
        "system": Payload(os.system, f"touch {trace}"),
        "eval": Payload(eval, f"open({str(trace)!r}, 'w')"),
        "getattr": Payload(getattr, range, "__class__"),
        "module": torch.nn.Linear(1, 1),
    }[kind]
    for content in (evil, {"model": _state(), "extra": evil}, {"model": {**_state(), "scales": evil}}):
        path = _file(tmp_path, _saved(content, new_zip))
        assert "unsafe" in _refused(path)
        assert "unsafe" in _refused(path, key=lambda x: x["model"])
    assert not trace.exists()


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_bare_pickle_is_not_executed(tmp_path, protocol):
    trace = tmp_path / "executed"
    _refused(_file(tmp_path, pickle.dumps(Payload(os.system, f"touch {trace}"), protocol)))
    assert not trace.exists()


def test_the_environment_cannot_allow_code(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    trace = tmp_path / "executed"
    _refused(_file(tmp_path, _saved({"model": Payload(os.system, f"touch {trace}")})))
    assert not trace.exists()


def test_range_is_allowed_while_reading_only(tmp_path):
    write_published(tmp_path / "a.pt", _state(), OPTIONS)
    read_checkpoint(tmp_path / "a.pt")
    assert range not in torch.serialization.get_safe_globals()


@pytest.mark.parametrize("name", ["missing", "folder", "empty", "noise", "text"])
def test_not_a_checkpoint(tmp_path, name):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif name != "missing":
        path.write_bytes({"empty": b"", "noise": random.Random(1).randbytes(5000), "text": b"weights " * 9}[name])
    assert "expected a .safetensors file or a PyTorch checkpoint" in _refused(path)


def test_device_files_are_not_read():
    assert "regular file" in _refused(Path("/dev/zero"))


def test_permission_denied(tmp_path, monkeypatch):
    def deny(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    path = _file(tmp_path, _saved(_state()))
    monkeypatch.setattr(Path, "open", deny)  # the test may run as root, whom no mode stops
    assert "Permission denied" in _refused(path)


@ZIP
def test_truncated_pickle(tmp_path, new_zip):
    data = _saved({"model": {**_state(), **OPTIONS}}, new_zip)
    for length in (1, 3, 9, 100, len(data) // 2, len(data) - 30, len(data) - 1):
        _refused(_file(tmp_path, data[:length]))


def test_truncated_safetensors(tmp_path):
    write_checkpoint(tmp_path / "a", _state(), OPTIONS, {})
    data = (tmp_path / "a").read_bytes()
    for length in (1, 7, 8, 9, 100, len(data) // 2, len(data) - 1):
        _refused(_file(tmp_path, data[:length]))


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 10**9, 200])
def test_header_that_claims_more_than_the_file(tmp_path, length):
    assert "damaged" in _refused(_file(tmp_path, length.to_bytes(8, "little") + b"{" + b" " * 100))


def test_tensor_that_claims_more_than_the_file(tmp_path):
    entry = {"a": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}}
    text = json.dumps(entry).encode()
    assert "damaged" in _refused(_file(tmp_path, len(text).to_bytes(8, "little") + text + b"\0" * 16))


@ZIP
def test_view_that_claims_more_than_the_file(tmp_path, new_zip):
    huge = torch.zeros(1).expand(10**6, 10**6)
    assert "claims more" in _refused(_file(tmp_path, _saved({"a": huge}, new_zip)))


def test_storage_shorter_than_its_claim(tmp_path):
    source = zipfile.ZipFile(io.BytesIO(_saved({"a": torch.ones(10000)})))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name)[: 100 if "/data/" in name else None])
    assert "damaged" in _refused(_file(tmp_path, buffer.getvalue()))


def test_compressed_archive(tmp_path):
    source = zipfile.ZipFile(io.BytesIO(_saved({"a": torch.zeros(10**6)})))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert "compressed" in _refused(_file(tmp_path, buffer.getvalue()))


@ZIP
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "no dictionary"),
        ({"model": {"a": 1}}, "no tensors"),
        ({}, "no tensors"),
        ({"model": {**_state(), "optimizer": {"lr": 1}}}, "'optimizer' is a dict"),
        ({**_state(), 3: 1}, "names of text"),
        ({**_state(), "scales": range(10**30)}, "'scales' is a range"),
        ({"a": torch.eye(2).to_sparse()}, "not a plain dense tensor"),
    ],
)
def test_content_that_is_no_state(tmp_path, content, said, new_zip):
    assert said in _refused(_file(tmp_path, _saved(content, new_zip)))


def test_wrong_key_lists_what_there_is(tmp_path):
    path = _file(tmp_path, _saved({"network": _state(), "epoch": 3}))
    assert "'network', 'epoch'" in _refused(path, key=lambda x: x["model"])
    assert "'network', 'epoch'" in _refused(path)
    assert "int" in _refused(path, key=lambda x: x["epoch"])


@pytest.mark.parametrize("field", ["options", "provenance", "format_version"])
def test_damaged_metadata(tmp_path, field):
    for value in ("{", "[1]", "x" * 10):
        metadata = {"options": "{}", "provenance": "{}", "format_version": "1", field: value}
        _refused(_file(tmp_path, safetensors.torch.save(_state(), metadata)))


def test_format_of_the_future(tmp_path):
    path = _file(tmp_path, safetensors.torch.save(_state(), {"format_version": "2"}))
    assert "version 2" in _refused(path)


# Writing


@pytest.mark.parametrize(
    "write", [lambda p: write_checkpoint(p, _state(), {}, {}), lambda p: write_published(p, {}, {})]
)
def test_existing_files_are_kept(tmp_path, write):
    path = tmp_path / "a"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        write(path)
    assert path.read_text() == "mine"
    with pytest.raises(OutputError, match="not a folder"):
        write(tmp_path / "none" / "a")


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, None])
def test_failure_leaves_nothing(tmp_path, monkeypatch, step, code):
    def fail(*args):
        raise KeyboardInterrupt if code is None else OSError(code, os.strerror(code))

    monkeypatch.setattr(os if step == "fsync" else Path, step, fail)
    with pytest.raises(KeyboardInterrupt if code is None else OutputError):
        write_checkpoint(tmp_path / "a", _state(), {}, {})
    assert list(tmp_path.iterdir()) == []


def test_options_must_be_plain(tmp_path):
    for options in ({"a": object()}, {"a": float("nan")}):
        with pytest.raises(OutputError, match="plain"):
            write_checkpoint(tmp_path / "a", _state(), options, {})
    assert list(tmp_path.iterdir()) == []
