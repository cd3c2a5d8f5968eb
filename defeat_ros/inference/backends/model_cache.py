"""Compiled models on disk, so that only the first start on a machine has to compile and to check them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
KEPT = 12
"""Entries; of older ones the least recently used are removed."""
_ENTRY = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class CacheEntry:
    """What was kept.

    Attributes:
        files: contents by name.
        notes: plain values told about them.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


class ModelCache:
    """A folder of entries, each named by a hash of the facts that it depends on.

    Whatever goes wrong with the disk costs time, not the engine: an entry that cannot be read or does not match its
    own checksums is not there, and one that cannot be written is not kept. Processes may share the folder. A compiled
    model is as good as code: nothing is kept in or taken from a folder that somebody else can change.

    Args:
        folder: made for the user alone when something is stored; None takes the user's cache folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        told = os.environ.get("XDG_CACHE_HOME", "")
        base = Path(told if os.path.isabs(told) else "~/.cache")  # noqa: PTH117 - as its specification has it
        try:
            self.folder = (folder or base.expanduser() / "defeat_ros" / "models").absolute()
        except RuntimeError:  # a user without a home
            self.folder = Path(tempfile.gettempdir()).absolute() / f"defeat_ros-{os.getuid()}"

    def usable(self) -> bool:
        """Whether something can be stored, where nobody else can change it."""
        return _make_private(self.folder) and os.access(self.folder, os.W_OK | os.X_OK)

    def load(self, facts: Mapping[str, Any]) -> CacheEntry | None:
        """The entry that was stored for these facts, None where there is none that is whole."""
        path = self._path(facts)
        try:
            # First of all: what somebody else can write may change between this look and the next.
            if not (_private(self.folder) and _ours(path)):
                return None
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            if manifest["facts"] != _plain(facts):
                return None
            files = {name: (path / name).read_bytes() for name in manifest["files"] if Path(name).name == name}
            if {name: _sha256(data) for name, data in files.items()} != manifest["files"]:
                return None
            os.utime(path)
            return CacheEntry(files, dict(manifest["notes"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def store(self, facts: Mapping[str, Any], entry: CacheEntry) -> None:
        """Keep an entry, in place of one that was there."""
        path = self._path(facts)
        manifest = {
            "facts": _plain(facts),
            "files": {name: _sha256(data) for name, data in entry.files.items()},
            "notes": entry.notes,
        }
        scratch = None
        if not _make_private(self.folder):
            return
        try:
            scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=self.folder))  # mode 0700
            for name, data in entry.files.items():
                (scratch / name).write_bytes(data)
                (scratch / name).chmod(0o600)  # whatever the umask: see `_ours`
            (scratch / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
            (scratch / MANIFEST).chmod(0o600)
            shutil.rmtree(path, ignore_errors=True)
            scratch.rename(path)
            self._prune()
        except OSError:  # no room, no permission, or another process was first
            if scratch is not None:
                shutil.rmtree(scratch, ignore_errors=True)

    def _path(self, facts: Mapping[str, Any]) -> Path:
        return self.folder / _sha256(json.dumps(_plain(facts), sort_keys=True).encode())[:32]

    def _prune(self) -> None:
        entries = [path for path in self.folder.iterdir() if _ENTRY.fullmatch(path.name) and path.is_dir()]
        for path in sorted(entries, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]:
            shutil.rmtree(path, ignore_errors=True)


def _ours(path: Path) -> bool:
    """Whether nobody else can have written a folder and the files in it, none of which is a link."""
    states = [one.lstat() for one in (path, *path.iterdir())]
    return all(
        state.st_uid == os.getuid() and not state.st_mode & 0o022 and not stat.S_ISLNK(state.st_mode)
        for state in states
    )


def _private(folder: Path) -> bool:
    """Whether a folder is for its user alone to write, and nobody else can put another one in its place.

    Raises:
        OSError: it is not there.
    """
    for path in (folder, *folder.parents):
        link, state = path.lstat(), path.stat()
        if stat.S_ISLNK(link.st_mode) and link.st_uid not in (0, os.getuid()):
            return False
        if state.st_mode & stat.S_IWOTH and not state.st_mode & stat.S_ISVTX:
            return False
    state = folder.stat()
    return stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid() and not state.st_mode & 0o022


def _make_private(folder: Path) -> bool:
    """Make a folder, and those above it that are missing, for the user alone; whether it is so now."""
    try:
        for path in reversed((folder, *folder.parents)):
            path.mkdir(mode=0o700, exist_ok=True)
        state = folder.stat()
        if state.st_uid == os.getuid() and state.st_mode & 0o077:  # made by a version before, with a loose umask
            folder.chmod(0o700)
        return _private(folder)
    except OSError:
        return False


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _plain(facts: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(facts))
