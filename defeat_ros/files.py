"""Files, written whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from defeat_ros.errors import OutputError


@contextlib.contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Keep other processes that ask for the same out of a folder, for the length of a `with` block.

    Raises:
        OutputError: another process has it, or it cannot be opened.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise OutputError(f"cannot open '{folder}': {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise OutputError(f"'{folder}' is being filled by another process, expected a folder of its own") from None
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        os.close(handle)


def is_left_alone(folder: Path) -> bool:
    """Whether a folder is there and no process is its `sole_user`; False where the file system cannot tell."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(handle)


def write_whole(path: Path, write: Callable[[Any], None]) -> None:
    """Let `write` fill a file, which appears under its name once it is complete and on the disk.

    A file of that name is replaced; it stays as it was when anything goes wrong.

    Raises:
        OutputError: the disk is full or not writable.
    """
    scratch = path.with_name(f".{path.name}.part")
    try:
        scratch.unlink(missing_ok=True)  # of a killed process; and where others may write, a link to any file
        with scratch.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except (OSError, RuntimeError) as error:  # torch turns a full disk into a RuntimeError
        kept = f"; the one before is kept: '{path}'" if path.exists() else ""
        raise OutputError(f"cannot write '{path}': {getattr(error, 'strerror', None) or error}{kept}") from error
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink()


def write_json(path: Path, facts: dict[str, Any]) -> None:
    """Write facts as indented JSON, whole or not at all; numbers that JSON has no word for become null.

    Raises:
        OutputError: it cannot be written.
    """
    data = (json_text(facts) + "\n").encode()
    write_whole(path, lambda file: file.write(data))


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
