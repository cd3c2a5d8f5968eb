"""Bags of every kind: cut, flipped, with lying records, indices, databases and metadata, and chunks that are bombs."""

from __future__ import annotations

import sqlite3
import struct
from contextlib import suppress
from pathlib import Path
from random import Random

from bag_tools import write_mcap, write_ours, write_ros1, write_ros2

from fuzz import Target, mutate, write
from fuzz.bombs import bomb, bombed_mcap, bombed_ros1
from fuzz.texts import YAML_WORDS


def _seeds(folder: Path) -> dict[str, bytes]:
    made = {"ours.mcap": next(write_ours(folder / "ours", 4).glob("*.mcap")).read_bytes()}
    made["packed.mcap"] = write_mcap(folder / "packed.mcap").read_bytes()
    made["theirs.db3"] = next(write_ros2(folder / "theirs", "sqlite3").glob("*.db3")).read_bytes()
    for name in ("", "lz4", "bz2"):
        made[f"one{name}.bag"] = write_ros1(folder / f"one{name}.bag", name).read_bytes()
    # Each of a few small pictures, or breaking them takes longer than reading them.
    for name, data in made.items():
        _use_file((name, data), folder / name.replace(".", "_"))
    return made


def _use_file(made: tuple[str, bytes], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / made[0]
    path.write_bytes(made[1])
    read(path)


def read(path: Path) -> None:
    """Everything that the commands do with a bag."""
    from defeat_ros.data.bag import BagReader
    from defeat_ros.errors import MessageError
    from defeat_ros.inference.outputs import TOPICS  # noqa: F401 (what `process` imports)

    with BagReader(path) as bag:
        for message in bag.messages():
            assert isinstance(message.data, bytes)
            with suppress(MessageError):
                _ = message.cdr, message.message
        assert bag.duration_s is not None and (bag.lost is None or "\n" not in bag.lost)
        for item in bag.frames():
            assert item.frame is not None or item.reason


# Single files


def _make_file(whole: dict[str, bytes], rng: Random) -> tuple[str, bytes]:
    name = rng.choice(list(whole))
    data, suffix = whole[name], name.rpartition(".")[2]
    way = rng.random()
    if way < 0.35:
        data = mutate.blind(rng, data, most=6, first=6000)
    elif way < 0.45:  # the end, where indices and the footer are
        data = data[:-3000] + mutate.blind(rng, data[-3000:], most=6)
    elif suffix == "mcap":
        data = bombed_mcap(rng) if way < 0.65 else _mcap_records(rng, data)
    elif suffix == "bag":
        data = bombed_ros1(rng) if way < 0.65 else _ros1_fields(rng, data)
    else:
        data = _database(rng, data)
    return rng.choice([name, name, "input." + rng.choice(["mcap", "db3", "bag"])]), data


def _mcap_records(rng: Random, data: bytes) -> bytes:
    """Change numbers and texts within records, found by walking the file."""
    broken, at, places = bytearray(data), 8, []
    while at + 9 < len(data):
        opcode, length = struct.unpack_from("<BQ", data, at)
        places.append((opcode, at, length))
        at += 9 + length
    for _ in range(rng.randint(1, 3)):
        opcode = rng.choice(sorted({place[0] for place in places}))
        _, at, length = rng.choice([place for place in places if place[0] == opcode])
        if rng.random() < 0.2:
            struct.pack_into("<Q", broken, at + 1, rng.choice(mutate.WHOLE) % 2**64)
        elif length:
            spot, width = at + 9 + rng.randrange(min(length, 64)), rng.choice([1, 2, 4, 8])
            broken[spot : spot + width] = (rng.choice(mutate.WHOLE) % 2 ** (8 * width)).to_bytes(width, "little")
    return bytes(broken)


def _ros1_fields(rng: Random, data: bytes) -> bytes:
    """Change header fields by name, or the lengths before them."""
    broken = bytearray(data)
    names = [b"index_pos=", b"conn_count=", b"chunk_count=", b"size=", b"op=", b"conn=", b"time=", b"count=", b"ver="]
    names += [b"chunk_pos=", b"topic=", b"type=", b"compression=", b"start_time=", b"message_definition="]
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(names)
        places = _places(data, name)
        if places:
            at = rng.choice(places) + (len(name) if rng.random() < 0.7 else -4)
            width = rng.choice([1, 4, 8])
            broken[at : at + width] = (rng.choice(mutate.WHOLE) % 2 ** (8 * width)).to_bytes(width, "little")
    return bytes(broken)


def _places(data: bytes, name: bytes) -> list[int]:
    found, at = [], data.find(name)
    while at >= 0 and len(found) < 50:
        found.append(at)
        at = data.find(name, at + 1)
    return found


def _database(rng: Random, data: bytes) -> bytes:
    """Change the rows of a database: names, types, stamps and blobs of other kinds."""
    connection = sqlite3.connect(":memory:")
    connection.deserialize(data)
    for _ in range(rng.randint(1, 3)):
        statement = rng.choice(
            [
                "UPDATE topics SET name = ? WHERE id = 1", "UPDATE topics SET type = ? WHERE id = 2",
                "UPDATE topics SET serialization_format = ? WHERE id = 3",
                "UPDATE messages SET timestamp = ? WHERE id < 4",
                "UPDATE messages SET data = ? WHERE id < 9", "UPDATE messages SET topic_id = ? WHERE id < 3",
                "UPDATE topics SET offered_qos_profiles = ?", "UPDATE schema SET schema_version = ?",
                "UPDATE message_definitions SET encoded_message_definition = ?",
                "UPDATE message_definitions SET encoding = ?", "UPDATE topics SET id = ? WHERE id = 2",
                "DELETE FROM topics WHERE ? IS NOT 3",
                "CREATE VIEW IF NOT EXISTS v AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
                "SELECT x AS id, 1 AS topic_id, x AS timestamp, 'a' AS data FROM c WHERE x IS NOT ?",
            ]
        )  # fmt: skip
        value = rng.choice([None, 5, -1, 2**62, 1.5, "x", b"\0\1", rng.choice(mutate.WORDS[:30])])
        value = value.encode("utf-8", "replace") if isinstance(value, str) and "\ud800" in value else value
        try:
            if statement.startswith("CREATE VIEW"):
                connection.execute(statement.replace("?", "7"))
                connection.execute("DROP TABLE messages")
                connection.execute("PRAGMA writable_schema = ON")
                connection.execute("UPDATE sqlite_master SET name = 'messages', tbl_name = 'messages' WHERE name = 'v'")
            else:
                connection.execute(statement, [value])
        except sqlite3.Error:
            continue
    connection.commit()
    changed = connection.serialize()
    connection.close()
    return bytes(changed)


# Folders with metadata.yaml


def _folder_seeds(folder: Path) -> list[dict[str, bytes]]:
    kinds = [("mcap", ""), ("sqlite3", ""), ("mcap", "message"), ("mcap", "file"), ("sqlite3", "file")]
    made = []
    for index, (storage, compression) in enumerate(kinds):
        path = write_ros2(folder / str(index), storage, compression)
        made.append({file.name: file.read_bytes() for file in path.iterdir()})
        _use_folder(made[-1], folder / f"use_{index}")
    return made


def _make_folder(whole: list[dict[str, bytes]], rng: Random) -> dict[str, bytes]:
    made = dict(rng.choice(whole))
    name = next(name for name in made if name != "metadata.yaml")
    if rng.random() < 0.8:
        words = [*YAML_WORDS, "../../../etc/passwd", "/etc/passwd", name, "zstd", "FILE", "MESSAGE", "lz4"]
        about = mutate.text(rng, made["metadata.yaml"].decode(), words)
        made["metadata.yaml"] = about.encode("utf-8", "replace")
    if rng.random() < 0.3:
        made[name] = mutate.blind(rng, made[name], first=4000)
    if name.endswith(".zstd") and rng.random() < 0.3:
        made[name] = bomb("zstd", rng)
    if rng.random() < 0.1:
        del made[rng.choice(list(made))]
    return made


def _use_folder(files: dict[str, bytes], folder: Path) -> None:
    read(write(folder / "bag", files))


TARGETS = (
    Target("bag", _seeds, _make_file, _use_file, share=1, quick=12),
    Target("bag_folder", _folder_seeds, _make_folder, _use_folder, share=1, quick=10),
)
