"""Messages of the installed ROS, for the factory that builds them."""

from __future__ import annotations

import array
import functools
import importlib
from typing import Any

import numpy as np

from defeat_ros.data.compose import MessageFactory


@functools.cache
def message_class(name: str) -> Any:
    """The class of a type name such as 'sensor_msgs/msg/Image'.

    Raises:
        LookupError: its package is not installed, or has no such message.
    """
    package, _, rest = name.partition("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), rest.rpartition("/")[2])
    except (ImportError, AttributeError) as error:
        raise LookupError(f"message type {name!r} is not installed") from error


def ros_bytes(values: np.ndarray) -> array.array[int]:
    """An array as a uint8[] field: the only form that rclpy takes over without looking at each byte."""
    data = array.array("B")
    data.frombytes(values.data.cast("B"))
    return data


FACTORY = MessageFactory(message_class, ros_bytes)
