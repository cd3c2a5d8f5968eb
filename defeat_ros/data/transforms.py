"""Fixed transforms between frames, as `/tf_static` tells them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from defeat_ros.geometry import invert, rotation_from_quaternion, transform


def transforms_from_message(message: Any) -> list[tuple[str, str, np.ndarray]]:
    """A TFMessage as (parent, child, parent_from_child (4, 4)) triples.

    Those whose quaternion has no length (zero or not finite) are left out.
    """
    found: list[tuple[str, str, np.ndarray]] = []
    for item in message.transforms:
        t, q = item.transform.translation, item.transform.rotation
        try:
            rotation = rotation_from_quaternion(q.x, q.y, q.z, q.w)
        except ValueError:
            continue
        pose = transform(rotation, np.array([t.x, t.y, t.z]))
        found.append((item.header.frame_id.lstrip("/"), item.child_frame_id.lstrip("/"), pose))
    return found


def find_transform(transforms: Sequence[tuple[str, str, np.ndarray]], target: str, source: str) -> np.ndarray | None:
    """target_from_source (4, 4) along a tree of (parent, child, parent_from_child); None where none leads there."""
    edges: dict[str, list[tuple[str, np.ndarray]]] = {}
    for parent, child, pose in transforms:
        edges.setdefault(parent, []).append((child, pose))
        edges.setdefault(child, []).append((parent, invert(pose)))
    reached = {target: np.eye(4)}
    queue = [target]
    while queue:
        here = queue.pop()
        for there, here_from_there in edges.get(here, []):
            if there not in reached:
                reached[there] = reached[here] @ here_from_there
                queue.append(there)
    return reached.get(source)
