"""YAML, pictures, bags and weight files that grow when they are read: they cost no more than they say."""

from __future__ import annotations

import collections
import random
import sqlite3
import struct
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
import zstandard
from bag_tools import COUNT, write_ros2
from fuzz.bombs import bomb, bombed_mcap, bombed_ros1
from fuzz.checkpoints import _Calls, _saved, raw_key_pickle
from fuzz.pictures import pictures
from fuzz.texts import LAUGHS, MAPS

from defeat_ros.checkpoint.pickles import problem_of
from defeat_ros.checkpoint.reading import read_checkpoint
from defeat_ros.data import bag_unpack
from defeat_ros.data.bag import BagReader
from defeat_ros.data.bag_unpack import unpack
from defeat_ros.data.compressed import decode_file, decode_image
from defeat_ros.data.folder import read_image
from defeat_ros.data.image_headers import check_header
from defeat_ros.errors import CheckpointError, ConfigError, MessageError, SourceError
from defeat_ros.inference.config import load_config
from defeat_ros.untrusted import quoted, read_yaml


@pytest.mark.parametrize(
    "text", ["a: [1, 2.5, x]", "x: &a {b: 1}\ny: *a", "", "base: &b {c: 1}\nd: {<<: *b, e: 2}", "- 2001-01-01"]
)
def test_plain_yaml_is_read_as_ever(text: str) -> None:
    assert read_yaml(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS, MAPS, "&a [*a]", "&a {b: *a}", "[" * 1000, "- " * 1000, "!!int x", "!!bool x", "!!timestamp x",
        "!!int ''", "2001-99-99", "9" * 5000, "!!python/object/apply:os.system [x]", "a: [", "x" * 600_000, "*b", "\0",
    ],
)  # fmt: skip
def test_yaml_that_cannot_be_used_says_so_in_a_line(text: str) -> None:
    started = time.monotonic()
    with pytest.raises(ValueError) as caught:
        read_yaml(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) <= 300 and time.monotonic() - started < 5


def test_values_are_quoted_briefly() -> None:
    assert quoted("a") == "'a'" and quoted(3) == "3" and quoted([1, "x"]) == "[1, 'x']"
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    for value in (deep, "x" * 10**6, 10**6000, [deep] * 99, {str(n): n for n in range(999)}):
        assert len(quoted(value)) <= 500
    with pytest.raises(ConfigError, match="a number of 19932 bits") as caught:
        load_config(None, {"points.stride": 10**6000})
    assert len(str(caught.value)) < 1000


# Pictures


def test_scans_of_a_jpeg_are_counted() -> None:
    """Each scan of a progressive JPEG is work over the whole picture, in a dozen bytes."""
    whole = next(data for data in pictures(Path()) if b"\xff\xc2" in data[:700] and data[:2] == b"\xff\xd8")
    assert decode_image(whole).shape == (24, 32, 3)
    at, scan = whole.index(b"\xff\xc2"), whole.rindex(b"\xff\xda")
    for size, scans in ((3000, 300), (9000, 90)):
        head = whole[: at + 5] + struct.pack(">HH", size // 3, size) + whole[at + 9 : scan]
        with pytest.raises(MessageError, match="scans") as caught:
            decode_image(head + whole[scan:-2] * scans + b"\xff\xd9")
        assert caught.value.reason == "too_large"


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tiff", "webp", "ppm", "pgm"])
@pytest.mark.parametrize("bits", [8, 16])
def test_sizes_are_read_from_the_header_of_every_kind(suffix: str, bits: int, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (30, 50, 3)).astype(np.uint8 if bits == 8 else np.uint16)
    if bits == 16 and suffix in ("jpg", "bmp", "webp"):
        pytest.skip("has 8 bits only")
    data = cv2.imencode(f".{suffix}", image[..., 0] if suffix == "pgm" else image)[1].tobytes()
    assert check_header(data) == (50, 30)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(data)
    assert read_image(path).shape == (30, 50, 3)
    for length in (2, 9, 20, 30):
        path.write_bytes(data[:length])
        with pytest.raises(MessageError):
            read_image(path)


@pytest.mark.parametrize(
    "data",
    [
        b"BM" + bytes(12) + struct.pack("<Iii", 40, 30000, -30000) + bytes(60),
        b"II*\0\x08\0\0\0\x02\0" + struct.pack("<HHIIHHII", 256, 4, 1, 30000, 257, 4, 1, 30000) + bytes(60),
        b"MM\0*\0\0\0\x08\0\x02" + struct.pack(">HHIHHHHIHH", 256, 3, 1, 60000, 0, 257, 3, 1, 60000, 0) + bytes(60),
        b"RIFF\xff\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xff\x3f\0\xff\x3f\0" + bytes(60),
        b"P6 30000 # wide\n30000 255\n" + bytes(60),
        b"P6\n# first\n30000\n#second\n30000\n255\n" + bytes(60),
    ],
)
def test_pictures_that_claim_much_are_not_decoded(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(MessageError) as caught:
        decode_file(data, cv2.IMREAD_COLOR)
    assert caught.value.reason == "too_large"


# Bags


@pytest.mark.parametrize("kind", ["zstd", "lz4", "bz2"])
def test_unpacking_stops_at_its_bound(kind: str) -> None:
    data = bomb(kind, random.Random(2), 32_000_000)
    with pytest.raises(ValueError, match="unpack to more than"):
        unpack(kind, data, 10_000_000)
    assert len(unpack(kind, data)) >= 20_000_000


@pytest.mark.parametrize("kind", ["zstd", "lz4"])
@pytest.mark.parametrize("claims", [1000, 48_000_000])
@pytest.mark.parametrize("indexed", [False, True])
def test_chunks_that_unpack_to_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, claims: int, indexed: bool
) -> None:
    monkeypatch.setattr(bag_unpack, "MAX_CHUNK", 10_000_000)
    rng = random.Random(2)
    path = tmp_path / "a.mcap"
    path.write_bytes(bombed_mcap(rng, bomb(kind, rng, 48_000_000), claims, kind, indexed))
    try:
        with BagReader(path) as bag:
            assert list(bag.messages()) == [] and "damaged" in str(bag.lost)
    except SourceError as error:
        assert "damaged" in str(error)


@pytest.mark.parametrize("kind", ["lz4", "bz2"])
def test_a_chunk_of_ros1_that_unpacks_to_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(bag_unpack, "MAX_CHUNK", 10_000_000)
    path = tmp_path / "a.bag"
    path.write_bytes(bombed_ros1(random.Random(1), kind, bomb(kind, random.Random(2), 20_000_000)))
    with pytest.raises(SourceError, match="damaged"):
        BagReader(path)


def test_a_packed_bag_that_unpacks_to_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bag_unpack, "MAX_SMALL_FILE", 100_000)
    path = write_ros2(tmp_path / "bag", "sqlite3", "file")
    packed = next(path.glob("*.zstd"))
    packed.write_bytes(bomb("zstd", random.Random(2), 40_000_000))
    with pytest.raises(SourceError, match="unpacks to more than"):
        BagReader(path)


def test_a_packed_bag_that_is_cut_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = write_ros2(tmp_path / "bag", "mcap", "file")
    packed = next(path.glob("*.zstd"))
    packed.write_bytes(packed.read_bytes()[:-1000])
    with BagReader(path) as bag:
        assert len(list(bag.messages({"/camera/image_raw"}))) > 20 and bag.lost


@pytest.mark.parametrize("by_hand", [False, True], ids=["killed recorder", "unpacked by hand"])
def test_files_are_packed_by_their_names_whatever_the_metadata_say(tmp_path: Path, by_hand: bool) -> None:
    path = write_ros2(tmp_path / "bag", "mcap", "file")
    packed = next(path.glob("*.zstd"))
    if by_hand:
        with packed.open("rb") as file:
            packed.with_suffix("").write_bytes(zstandard.ZstdDecompressor().stream_reader(file).read())
        packed.unlink()
    else:
        (path / "metadata.yaml").unlink()
    with BagReader(path) as bag:
        assert len(list(bag.messages({"/camera/image_raw"}))) == COUNT


# Weight files


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "evil",
    [
        _Calls(bytearray, 3 * 10**9),
        _Calls(collections.Counter, range(10**10)),
        _Calls(set, range(10**10)),
        _Calls(collections.OrderedDict, range(10**10)),
        _Calls(torch.Size, range(10**10)),
        _Calls(torch.Tensor, 30000, 30000),
    ],
)
def test_calls_that_cost_more_than_the_file(tmp_path: Path, evil: Any, new: bool) -> None:
    (tmp_path / "a.pt").write_bytes(_saved({"model": {"a": torch.ones(2), "b": evil}}, new))
    with pytest.raises(CheckpointError, match="unsafe to read \\(asks for"):
        read_checkpoint(tmp_path / "a.pt")


def test_a_key_that_is_never_hashed_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(raw_key_pickle(60))
    with pytest.raises(CheckpointError, match="a tuple of more than"):
        read_checkpoint(tmp_path / "a.pt")


def test_many_names_of_one_storage(tmp_path: Path) -> None:
    shared = torch.ones(1000, dtype=torch.float16)
    (tmp_path / "a.pt").write_bytes(_saved({f"a{n}": shared.view(10, 100) for n in range(900)}, True))
    with pytest.raises(CheckpointError, match="claims more"):
        read_checkpoint(tmp_path / "a.pt")


def test_nothing_that_torch_writes_of_weights_is_a_problem() -> None:
    content = {
        "model": {"a": torch.nn.Parameter(torch.ones(2)), "scales": range(4), "size": torch.Size([1, 2]), "n": (1,)}
    }
    content["epoch"] = collections.OrderedDict(a=torch.ones(1).bfloat16())  # type: ignore[assignment]
    assert problem_of(_saved(content, False)) is None


@pytest.mark.parametrize(
    "change", ["data = 10000000000", "data = 1.5", "data = 'x'", "timestamp = 'soon'", "timestamp = 1.5"]
)
@pytest.mark.parametrize("suffix", ["db3", "renamed"])  # read by rosbags and by our own scan
def test_columns_of_another_kind(tmp_path: Path, change: str, suffix: str) -> None:
    path = next(write_ros2(tmp_path / "bag", "sqlite3").glob("*.db3"))
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"UPDATE messages SET {change} WHERE id = 9")
        database.commit()
    with BagReader(path.rename(path.with_suffix(f".{suffix}"))) as bag:
        assert len(list(bag.messages())) == 92


def test_names_of_another_kind(tmp_path: Path) -> None:
    path = next(write_ros2(tmp_path / "bag", "sqlite3").glob("*.db3"))
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE topics SET name = x'ff01' WHERE name = '/odd'")
        database.commit()
    with BagReader(path) as bag:
        assert "\ufffd\x01" in bag.topics and len(list(bag.frames())) == 30
