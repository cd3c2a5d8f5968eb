"""Compiled models on disk, so that only the first start on a machine has to compile and to check them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
KEPT = 12
"""Entries; of older ones the least recently used are removed."""


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
    own checksums is not there, and one that cannot be written is not kept. Processes may share the folder.

    Args:
        folder: made for the user alone when something is stored; None takes the user's cache folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
        try:
            self.folder = folder or base.expanduser() / "defeat_ros" / "models"
        except RuntimeError:  # a user without a home
            self.folder = Path(tempfile.gettempdir()) / f"defeat_ros-{os.getuid()}"

    def usable(self) -> bool:
        """Whether something can be stored."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            return False
        return os.access(self.folder, os.W_OK | os.X_OK)

    def load(self, facts: Mapping[str, Any]) -> CacheEntry | None:
        """The entry that was stored for these facts, None where there is none that is whole."""
        path = self._path(facts)
        try:
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            if manifest["facts"] != _plain(facts) or not _ours(path):
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
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
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
        entries = [path for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
        for path in sorted(entries, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]:
            shutil.rmtree(path, ignore_errors=True)


def _ours(path: Path) -> bool:
    """Whether nobody else can have written there: a compiled model is as good as code."""
    return all(p.stat().st_uid == os.getuid() and not p.stat().st_mode & 0o022 for p in (path, *path.iterdir()))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _plain(facts: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(facts))
