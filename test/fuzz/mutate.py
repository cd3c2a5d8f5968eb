"""Ways to break bytes and text, and the numbers and words that parsers trip over."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

WHOLE = [0, 1, 2, 3, 7, 255, 256, 32767, 65535, 65536, 10**6, 2**28, 2**31 - 1, 2**31, 2**32 - 1, 2**32]
WHOLE += [2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, -1, -2, -(2**31), -(2**63)]
REAL = [0.0, -0.0, 1.0, -1.0, 1e-320, 1e-9, 0.5, 1e6, 1e18, 1e38, 1e300, float("inf"), float("-inf"), float("nan")]
WORDS = [
    "", " ", "x", "\0", "a\nb", "\r", "\x1b[31mred", "[/b]", "[bold]", "{}", "%s", "'", '"', "\\", "..", "../../x",
    "/etc", "~", "ß", "\u202e", "\ud800", "９", "nan", "inf", "-1", "1e999", "0x10", "None", "null", "true", "a" * 300,
    "/" * 99, "a" * 70000, "🚗" * 50,
]  # fmt: skip


def number(rng: Random) -> int | float:
    """A number that few expect."""
    return rng.choice(WHOLE) if rng.random() < 0.6 else rng.choice(REAL)


def anything(rng: Random, depth: int = 0) -> Any:
    """A plain value of any kind, perhaps nested."""
    kind = rng.randrange(7 if depth > 3 else 10)
    if kind < 2:
        return number(rng)
    if kind < 4:
        return rng.choice(WORDS)
    if kind < 7:
        return rng.choice([None, True, False, [], {}, 10**400])
    if kind == 7:
        return [anything(rng, depth + 1) for _ in range(rng.randrange(5))]
    if kind == 8:
        return {rng.choice(WORDS): anything(rng, depth + 1) for _ in range(rng.randrange(4))}
    return nested(rng.choice([2, 50, 3000]))


def words(rng: Random) -> str:
    """Such a value as text."""
    try:
        return repr(anything(rng))
    except (RecursionError, ValueError):  # too deep or too many digits
        return "[" * 3000


def nested(depth: int) -> Any:
    """Lists in lists; made without recursion."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def blind(rng: Random, data: bytes, most: int = 4, first: int = 0) -> bytes:
    """Break bytes without knowing what they mean.

    Args:
        most: how often at most.
        first: half of it within so many bytes from the start, where headers are; 0: anywhere.
    """
    broken = bytearray(data)
    for _ in range(rng.randint(1, most)):
        end = min(first, len(broken)) if first and rng.random() < 0.5 else len(broken)
        if end:
            rng.choice(_WAYS)(rng, broken, rng.randrange(end))
    return bytes(broken)


def _flip(rng: Random, data: bytearray, at: int) -> None:
    data[at] ^= 1 << rng.randrange(8)


def _replace(rng: Random, data: bytearray, at: int) -> None:
    data[at : at + rng.choice([1, 1, 2, 8, 64])] = rng.randbytes(rng.choice([1, 1, 2, 8, 64]))


def _cut(rng: Random, data: bytearray, at: int) -> None:
    del data[at:]


def _remove(rng: Random, data: bytearray, at: int) -> None:
    del data[at : at + rng.choice([1, 4, 100, 5000])]


def _repeat(rng: Random, data: bytearray, at: int) -> None:
    data[at:at] = data[at : at + rng.choice([1, 4, 100, 5000])] * rng.choice([1, 2, 20])


def _number(rng: Random, data: bytearray, at: int) -> None:
    width = rng.choice([1, 2, 4, 8])
    value = rng.choice(WHOLE) & (2 ** (8 * width) - 1)
    data[at : at + width] = value.to_bytes(width, rng.choice(["little", "big"]))


def _zeros(rng: Random, data: bytearray, at: int) -> None:
    count = rng.choice([1, 8, 1000])
    data[at : at + count] = bytes([rng.choice([0, 255])]) * len(data[at : at + count])


_WAYS: list[Callable[[Random, bytearray, int], None]] = [
    _flip,
    _flip,
    _replace,
    _cut,
    _remove,
    _repeat,
    _number,
    _number,
]
_WAYS.append(_zeros)


def fields(rng: Random, data: bytes, first: int, width: int = 4) -> bytes:
    """Overwrite whole numbers at aligned places among the first bytes: the sizes, steps, counts and lengths of CDR."""
    broken = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = 4 + width * rng.randrange(max(1, (min(first, len(data)) - 4 - width) // width))
        if rng.random() < 0.3:  # near what was there: off by one, twice as much
            was = int.from_bytes(broken[at : at + width], "little")
            value = rng.choice([was + 1, was - 1, was * 2, was // 2, was + 2**31])
        else:
            value = rng.choice(WHOLE)
        broken[at : at + width] = (value & (2 ** (8 * width) - 1)).to_bytes(width, "little")
    return bytes(broken)


def doubles(rng: Random, data: bytes, first: int, last: int) -> bytes:
    """Overwrite 64-bit floats at aligned places."""
    broken = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = first + 8 * rng.randrange(max(1, (min(last, len(data)) - first) // 8))
        if at + 8 <= len(broken):
            broken[at : at + 8] = struct.pack("<d", rng.choice([*REAL, rng.uniform(-2, 2), rng.uniform(0, 2000)]))
    return bytes(broken)


def text(rng: Random, whole: str, words: Sequence[str]) -> str:
    """Break lines of text: values exchanged, lines moved, repeated, indented, cut; hostile words put in."""
    lines = whole.split("\n")
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        way = rng.randrange(8)
        if way < 3 and ":" in lines[at]:
            lines[at] = lines[at].partition(":")[0] + ": " + rng.choice(words)
        elif way == 3:
            lines[at] = rng.choice(["  ", " ", "\t", "- "]) + lines[at]
        elif way == 4:
            lines.insert(rng.randrange(len(lines)), lines[at])
        elif way == 5:
            lines[at] = rng.choice(words)
        elif way == 6:
            place = rng.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:place] + rng.choice(words) + lines[at][place:]
        else:
            del lines[at:]
            lines.append("")
    return "\n".join(lines)
