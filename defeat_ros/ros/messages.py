"""Messages of the installed ROS, for the factory that builds them."""

from __future__ import annotations

import array
import functools
import importlib
import os
import re
import site
import sys
from pathlib import Path
from typing import Any

import numpy as np

from defeat_ros.data.compose import MessageFactory

_TYPE = re.compile(r"([A-Za-z][A-Za-z0-9_]*)/msg/([A-Za-z][A-Za-z0-9_]*)")


@functools.cache
def message_class(name: str) -> Any:
    """The class of a type name such as 'sensor_msgs/msg/Image'.

    The name may come from a bag or the graph; nothing is imported unless ROS lists it among its interfaces.

    Raises:
        LookupError: its package is not installed, or has no such message.
    """
    parts = _TYPE.fullmatch(name)
    if parts is None:
        raise LookupError(f"message type {name!r:.200} is none, expected PACKAGE/msg/NAME")
    try:
        if not _listed(parts[1], f"msg/{parts[2]}.msg"):
            raise ImportError(parts[1])
        return getattr(importlib.import_module(f"{parts[1]}.msg"), parts[2])
    except (ImportError, AttributeError) as error:
        raise LookupError(f"message type {name!r} is not installed") from error


def _listed(package: str, interface: str) -> bool:
    """Whether the package is registered as one of messages, with this one: by ament, or where this Python installs."""
    ament = filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep))
    for prefix in (*ament, sys.prefix, sys.base_prefix, site.getuserbase()):
        try:
            text = Path(prefix, "share/ament_index/resource_index/rosidl_interfaces", package).read_text()
        except (OSError, UnicodeDecodeError):
            continue
        # Packages with definitions in IDL alone list no .msg.
        if not {interface, f"{interface[:-3]}idl"}.isdisjoint(text.split()):
            return True
    return False


def ros_bytes(values: np.ndarray) -> array.array[int]:
    """An array as a uint8[] field: the only form that rclpy takes over without looking at each byte."""
    data = array.array("B")
    data.frombytes(values.data.cast("B"))
    return data


FACTORY = MessageFactory(message_class, ros_bytes)
