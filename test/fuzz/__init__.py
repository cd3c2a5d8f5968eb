"""Broken inputs for every parser of what others made: messages, bags, weight files, YAML, pictures, command lines.

A `Target` is one parser. It has whole things to break, breaks them (knowing their fields, or blindly), and takes the
result as the program would. The law: a parser accepts its input or raises a DefeatError; nothing else comes out,
nothing hangs, no memory is spent on what an input merely claims, and nothing in it is run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any


@dataclass(frozen=True)
class Target:
    """One parser of foreign data.

    Attributes:
        name: for tables and for `--only`.
        seeds: makes the whole things to break, once a process, in an empty folder.
        make: breaks one of them: bytes, text, files by name, or an object.
        use: gives that to the parser; may write to an empty folder. Raises what the parser raises.
        share: how many inputs it gets for each of another target of share 1.
        quick: inputs in the test suite.
    """

    name: str
    seeds: Callable[[Path], Any]
    make: Callable[[Any, Random], Any]
    use: Callable[[Any, Path], None]
    share: int = 1
    quick: int = 10


def targets() -> dict[str, Target]:
    """All of them, by name."""
    from fuzz import bags, checkpoints, commands, messages, node, pictures, texts

    parts = (messages, node, pictures, bags, checkpoints, texts, commands)
    return {target.name: target for part in parts for target in part.TARGETS}


def random_for(target: str, seed: int, index: int) -> Random:
    """The same input for the same three, whatever ran before."""
    return Random(f"{target} {seed} {index}")


def write(folder: Path, made: Any) -> Path:
    """Put an input to disk: bytes as one file, files by name as a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(made, dict):
        for name, data in made.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return folder
    if isinstance(made, tuple) and isinstance(made[1], bytes):
        made = {made[0]: made[1]}
        return write(folder, made) / next(iter(made))
    path = folder / "input"
    data = made if isinstance(made, bytes) else made if isinstance(made, str) else repr(made)
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
    return path
