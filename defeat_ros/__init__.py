"""Depth, odometry and dense features from one camera, day and night."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from defeat_ros.frame import CameraIntrinsics, Frame, Prediction

if TYPE_CHECKING:
    from defeat_ros.inference.engine import DepthEngine
    from defeat_ros.networks import DeFeatNet

__all__ = ["CameraIntrinsics", "DeFeatNet", "DepthEngine", "Frame", "Prediction"]

# These bring torch, which takes seconds to import; they load at first use.
_LATE = {"DeFeatNet": "defeat_ros.networks", "DepthEngine": "defeat_ros.inference.engine"}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'defeat_ros' has no attribute {name!r}")
    return getattr(import_module(_LATE[name]), name)
