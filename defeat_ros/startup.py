"""What every process of this package does first, and how it starts others of them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

OTHERS_MAY_WRITE = 0o022
KEPT_BYTES, KEPT_IN_ALL_BYTES = 32 << 20, 128 << 20
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
HOME = str(Path(__file__).resolve().parents[1])
# As `python -P -m`, which Python 3.10 does not know; this package itself may lie in the working directory.
RUN = (
    "import sys; sys.path[:] = [*filter(None, sys.path), sys.argv.pop(1)]; "
    "import runpy; runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def module_command(module: str, *arguments: str) -> list[str]:
    """The command line of `python -m MODULE ARGUMENTS`, except that no module is taken from the working directory.

    That is often a folder of recordings from somebody else, and what lies there shall not be run.
    """
    return [sys.executable, "-c", RUN, HOME, module, *arguments]


def guard_umask() -> None:
    """Where the umask lets everybody write what is made, take that away; one for a group's common work stays.

    What we write is believed later: weights, the state of a run, the record of a finished bag.
    """
    before = os.umask(OTHERS_MAY_WRITE)
    os.umask(before if before & 0o002 else before | OTHERS_MAY_WRITE)


def keep_memory() -> None:
    """Let the C library keep the memory of images that are done with for the next ones.

    As it comes it gives everything over some hundred kB back to the kernel, which clears it page by page when the next
    frame asks for it: at 1280x960 that was a third of the node's latency (95 to 63 ms for 40 MB more). Where the user
    has set this, or there is another C library, nothing is done.
    """
    if any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ:
        return
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_IN_ALL_BYTES)
