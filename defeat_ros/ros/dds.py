"""What the middleware needs before it starts, so that whole images get through."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

PROFILE = Path(__file__).with_name("fastdds_shm.xml")
# Fast DDS 2 reads the first name, Fast DDS 3 the second, and warns of the first.
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
FAST_DDS_2 = ("humble", "iron", "jazzy")
OWN_CHOICE = (*PROFILE_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS")
SEGMENT_BYTES = 16 * 1024 * 1024


def middleware() -> str:
    """The name of the RMW implementation in use, '' where it cannot be told."""
    from rclpy.utilities import get_rmw_implementation_identifier

    try:
        return str(get_rmw_implementation_identifier())
    except Exception:  # a broken RMW choice is for rclpy.init to report, in its own words
        return os.environ.get("RMW_IMPLEMENTATION", "")


def shared_memory_free(path: str = "/dev/shm") -> int:
    """Free bytes of the shared memory file system, 0 where there is none."""
    try:
        status = os.statvfs(path)
    except OSError:
        return 0
    return status.f_bavail * status.f_frsize


def use_large_messages(environment: MutableMapping[str, str] | None = None, rmw: str | None = None) -> str:
    """Let Fast DDS carry messages over 512 KiB to best-effort subscribers; call it before `rclpy.init`.

    Measured between two processes, 480x352 32FC1 best effort: 4 of 40 images arrive by default, 40 of 40 with
    the profile. A choice of transports or profile that the user made stays as it is.

    Args:
        environment: where variables are read and set, by default that of this process.
        rmw: name of the RMW implementation, by default the one in use.

    Returns:
        Why nothing was changed, '' where the profile was set.
    """
    variables = os.environ if environment is None else environment
    chosen = [name for name in OWN_CHOICE if variables.get(name)]
    if chosen:
        return f"{chosen[0]} is set"
    rmw = middleware() if rmw is None else rmw
    if "fastrtps" not in rmw:
        return f"{rmw or 'the middleware'} is not Fast DDS"
    if shared_memory_free() < 2 * SEGMENT_BYTES:
        return f"/dev/shm has less than {2 * SEGMENT_BYTES >> 20} MiB free"
    variables[PROFILE_VARIABLES[variables.get("ROS_DISTRO", "") not in FAST_DDS_2]] = str(PROFILE)
    return ""
