"""What every process of this package does first, and how it starts others of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

OTHERS_MAY_WRITE = 0o022
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
