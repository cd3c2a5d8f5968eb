"""Small files, written whole or not at all."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from defeat_ros.errors import OutputError


def write_json(path: Path, facts: dict[str, Any]) -> None:
    """Write facts as indented JSON, whole or not at all; numbers that JSON has no word for become null.

    Raises:
        OutputError: it cannot be written.
    """
    scratch = path.with_name(f".{path.name}.part")
    try:
        scratch.write_text(json_text(facts) + "\n", encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {error.strerror}") from error


def json_text(facts: dict[str, Any]) -> str:
    """Facts as indented JSON that every reader takes: NaN and infinity are null."""
    return json.dumps(_plain(facts), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # of numpy
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
