"""Whether the security that the environment asks for is there: ROS goes on unsecured in silence where it is not.

`rcl` reads four variables. Unless ROS_SECURITY_ENABLE is exactly 'true' nothing is secured; and with it, but without
ROS_SECURITY_STRATEGY=Enforce, a keystore, an enclave or a key that is missing lets everything go out in the clear.
"""

from __future__ import annotations

import enum
import itertools
import mmap
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from defeat_ros.errors import SecurityError
from defeat_ros.ros.dds import middleware

ENABLE, STRATEGY, KEYSTORE = "ROS_SECURITY_ENABLE", "ROS_SECURITY_STRATEGY", "ROS_SECURITY_KEYSTORE"
OVERRIDE = "ROS_SECURITY_ENCLAVE_OVERRIDE"
OFF = ("", "0", "false", "no", "off")
STRATEGIES = ("", "Permissive", "Enforce")
FILES = ("identity_ca.cert.pem", "cert.pem", "key.pem", "permissions_ca.cert.pem", "governance.p7s", "permissions.p7s")
"""What an enclave needs; a .pem may be a .p11 that names a token instead."""


class Support(enum.Enum):
    """Whether a middleware can secure what it sends."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


# By a part of the name of the RMW implementation: libraries, and what stands in them with the plugins and without.
# The sentences are those that the RMW implementations are compiled with where they lack the plugins.
MARKS: dict[str, tuple[tuple[tuple[str, ...], bytes, bytes], ...]] = {
    "fastrtps": (
        (("librmw_fastrtps_shared_cpp.",), b"get_security_files", b"doesn't have the security libraries"),
        (("libfastdds.", "libfastrtps."), b"DDS:Auth:PKI-DH", b""),
    ),
    "cyclonedds": ((("librmw_cyclonedds_cpp.",), b"dds_security_ac", b"does not have security support enabled"),),
}
BY_ENCLAVE = (*MARKS, "connext")
"""RMW implementations that take keys from an enclave of the keystore."""


def check_security(
    arguments: Sequence[str] | None = None, variables: Mapping[str, str] | None = None, rmw: str | None = None
) -> list[str]:
    """See that what will be sent is secured, where the environment asks for that; call it before `rclpy.init`.

    Args:
        arguments: the command line with ROS arguments, of which `--enclave` counts; None: that of this process.
        variables: the environment, by default that of this process.
        rmw: name of the RMW implementation, by default the one in use.

    Returns:
        What cannot be known or is odd, each a sentence.

    Raises:
        SecurityError: it is certain that everything would go out unsecured.
    """
    variables = os.environ if variables is None else variables
    asked = variables.get(ENABLE, "")
    if asked.strip().lower() in OFF:
        return []
    if asked != "true":
        raise SecurityError(f"{ENABLE} is {asked!r}, which ROS takes for no, expected 'true' or 'false'")
    rmw = middleware() if rmw is None else rmw
    support = security_support(rmw)
    if support is Support.NO:
        raise SecurityError(
            f"{ENABLE} is 'true', but {rmw} was built without the DDS security plugins and would send everything "
            "unsecured, expected a ROS 2 installation that has them, or 'false'"
        )
    warnings = []
    if support is Support.UNKNOWN:
        name = rmw or "the middleware"
        warnings.append(f"{ENABLE} is 'true', but whether {name} can secure what it sends is not known here")
    if any(part in rmw for part in BY_ENCLAVE):
        _check_enclave(enclave_of(sys.argv[1:] if arguments is None else arguments, variables), variables)
    if (strategy := variables.get(STRATEGY, "")) not in STRATEGIES:
        warnings.append(f"{STRATEGY} is {strategy!r}, which ROS takes for 'Permissive', expected 'Enforce'")
    return warnings


def enclave_of(arguments: Sequence[str], variables: Mapping[str, str]) -> str:
    """Name of the enclave that rcl takes: by variable, else the last `--enclave` among the ROS arguments, else '/'."""
    if override := variables.get(OVERRIDE):
        return override
    found, ours = "/", False
    for word, following in itertools.pairwise([*arguments, ""]):
        ours = (ours or word == "--ros-args") and word != "--"
        if ours and word in ("-e", "--enclave") and following:
            found = following
    return found


def _check_enclave(name: str, variables: Mapping[str, str]) -> None:
    """Raise SecurityError unless the keystore has the enclave, whole."""
    keystore = variables.get(KEYSTORE, "")
    if not keystore:
        raise SecurityError(f"{ENABLE} is 'true' and {KEYSTORE} is not set, expected the path of a keystore")
    folder = Path(keystore, "enclaves", name[1:])  # as rcl does: whatever the first character is
    if not folder.is_dir():
        raise SecurityError(f"enclave {name!r} has no folder {str(folder)!r}, expected one made by ros2 security")
    for file in FILES:
        if not any((folder / file).with_suffix(suffix).is_file() for suffix in (Path(file).suffix, ".p11")):
            raise SecurityError(f"enclave {name!r} has no {file} in {str(folder)!r}, expected {', '.join(FILES)}")


def security_support(rmw: str, libraries: Iterable[Path] | None = None) -> Support:
    """Whether an RMW implementation was built with its security plugins, as told by what its libraries contain.

    Args:
        rmw: its name; it has been loaded.
        libraries: where to look, by default the libraries of this process.
    """
    marks = next((marks for part, marks in MARKS.items() if part in rmw), ())
    loaded = list(loaded_libraries() if libraries is None else libraries)
    found = [_support(loaded, *mark) for mark in marks]
    if Support.NO in found:
        return Support.NO
    return Support.YES if found and all(one is Support.YES for one in found) else Support.UNKNOWN


def _support(libraries: Sequence[Path], names: tuple[str, ...], present: bytes, absent: bytes) -> Support:
    path = next((library for library in libraries if library.name.startswith(names)), None)
    try:
        if path is None:
            return Support.UNKNOWN
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if absent and content.find(absent) >= 0:
                return Support.NO
            return Support.YES if content.find(present) >= 0 else Support.UNKNOWN
    except (OSError, ValueError):
        return Support.UNKNOWN


def loaded_libraries() -> list[Path]:
    """Shared libraries that this process has loaded, each once; none where the system does not tell."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    paths = (line.split(maxsplit=5)[-1] for line in lines if "/" in line and ".so" in line)
    return [Path(path) for path in dict.fromkeys(paths)]
