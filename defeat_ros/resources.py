"""Finds the files that are installed beside the package: ckpt/, config/ and launch/."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from defeat_ros.errors import DefeatError


def share_directory() -> Path:
    """The folder that holds ckpt/, config/ and launch/: the checkout, the ROS package's share, or pip's data folder.

    Raises:
        DefeatError: none of them has it, so the installation is broken.
    """
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "package.xml").is_file():
        return checkout
    candidates = [Path(sysconfig.get_path("data")) / "share" / "defeat_ros"]
    # A colcon workspace installs lib/python3.X/site-packages and share/ under one prefix.
    candidates += [parent / "share" / "defeat_ros" for parent in checkout.parents]
    for candidate in candidates:
        if (candidate / "package.xml").is_file():
            return candidate
    raise DefeatError(f"cannot find share/defeat_ros beside '{checkout}'; is the package installed completely?")
