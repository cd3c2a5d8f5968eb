"""What Linux tells of a running process."""

from __future__ import annotations

import os
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether it is there, also where it has ended and nobody has asked how."""
    return Path(f"/proc/{pid}").exists()


def cpu_seconds(pid: int) -> float:
    """CPU time so far, of all threads, s."""
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, peak: bool = False) -> float:
    """Resident memory now, or the most since the start, MB."""
    return _status(pid, "VmHWM" if peak else "VmRSS") / 1000


def threads(pid: int) -> int:
    """How many there are."""
    return _status(pid, "Threads")


def handles(pid: int) -> int:
    """Open files, sockets and the like."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def _status(pid: int, name: str) -> int:
    lines = _read(pid, "status").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def _read(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text(encoding="ascii", errors="replace")
