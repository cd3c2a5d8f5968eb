"""Text of strangers: YAML that costs no more than its length, and values quoted briefly whatever they are."""

from __future__ import annotations

import reprlib
from typing import Any

import yaml

MAX_CHARACTERS = 500_000
"""Of a YAML text; the metadata of a bag of a thousand files has 200,000. PyYAML reads about 50,000 a second."""
MAX_NODES = 200_000
"""Of a YAML text with every alias replaced by what it stands for."""
MAX_DEPTH = 50


class _Brief(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 4, 200, 100, 60
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 40

    def repr_int(self, value: int, level: int) -> str:
        # Python refuses to print whole numbers of more than 4300 digits.
        return super().repr_int(value, level) if abs(value) < 10**100 else f"a number of {value.bit_length()} bits"


_BRIEF = _Brief()


def quoted(value: object) -> str:
    """A value for a message, as `repr` gives it; what is long or deep is cut, at most a few hundred characters."""
    text = _BRIEF.repr(value)
    return text if len(text) <= 500 else f"{text[:240]}...{text[-240:]}"


def read_yaml(text: str) -> Any:
    """The value of a YAML text: names, numbers, texts, times, lists, mappings and sets of them.

    Aliases are followed as far as they stay small. No tag runs code.

    Raises:
        ValueError: it is not YAML, is too long, nested more than 50 deep, or grows beyond bounds; one line.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"it has {len(text)} characters, expected at most {MAX_CHARACTERS}")
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _measure(node, {}, 0)
        return loader.construct_document(node)
    except RecursionError:
        raise ValueError(f"it is nested too deeply, expected at most {MAX_DEPTH} levels") from None
    except Exception as error:  # PyYAML's constructors fail in many ways on values that belie their tags
        name = "" if isinstance(error, (ValueError, yaml.YAMLError)) else f"{type(error).__name__}: "
        line = " ".join(f"{name}{error}".split()) or type(error).__name__
        raise ValueError(line if len(line) <= 300 else f"{line[:297]}...") from None
    finally:
        if loader is not None:
            loader.dispose()


def _measure(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """Nodes below this one, aliases followed; raises ValueError beyond the bounds and where a node holds itself."""
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested too deeply, expected at most {MAX_DEPTH} levels")
    if id(node) not in known:
        known[id(node)] = MAX_NODES  # until it is measured: one that holds itself never ends
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            parts = list(node.value)
        elif isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_measure(part, known, depth + 1) for part in parts)
    if known[id(node)] >= MAX_NODES:
        raise ValueError(f"its aliases make more than {MAX_NODES} values of it, or hold themselves")
    return known[id(node)]
