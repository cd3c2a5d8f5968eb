"""Remembers the frame that the next one is compared with, and notices when the sequence breaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from defeat_ros.errors import FrameError
from defeat_ros.inference.view import View

KEEP_POSE = ("gap", "size")
"""Restarts after which time went on: odometry goes on from its last pose. After any other it begins anew."""


@dataclass(frozen=True)
class Support:
    """The frame before.

    Attributes:
        view: it, as the networks and the tracking saw it.
        depth: (h, w) float32 at the networks' size, levelled units; None where nobody asked for it.
        useless: whether nothing can be told from its image.
        stamp_ns: its time, ns.
    """

    view: View
    depth: np.ndarray | None
    useless: bool
    stamp_ns: int


class FrameBuffer:
    """Holds the frame before the current one for as long as both belong to one unbroken sequence."""

    REMEMBERED = ("_support", "_last_stamp_ns", "_camera", "_reason")

    def __init__(self, max_gap_s: float) -> None:
        self._max_gap_ns = round(max_gap_s * 1e9)
        self._support: Support | None = None
        self._last_stamp_ns: int | None = None
        self._camera: object = None
        self._reason: str | None = "start"

    def clear(self, reason: str) -> None:
        """Forget everything; the next frame restarts for this reason."""
        self._support = self._last_stamp_ns = None
        self._reason = reason

    def admit(self, stamp_ns: int, camera: object) -> tuple[Support | None, str | None]:
        """Take the next frame's time and find what it can be compared with.

        Args:
            stamp_ns: time of the frame, ns.
            camera: anything that compares unequal when the image's size or intrinsics change.

        Returns:
            The support frame, or None and the reason why the sequence restarts here: 'start', 'gap', 'backwards',
            'size', or what `clear` was given.

        Raises:
            FrameError: the stamp repeats the one before; nothing changes.
        """
        last = self._last_stamp_ns
        if last is not None and stamp_ns == last:
            raise FrameError(f"stamp {stamp_ns} ns repeats that of the frame before", reason="duplicate_stamp")
        reason = self._reason
        if last is not None:
            if stamp_ns < last:
                reason = "backwards"
            elif stamp_ns - last > self._max_gap_ns:
                reason = "gap"
            elif camera != self._camera:
                reason = "size"
            elif self._support is None:
                reason = "gap"  # the frame before failed half-way
        support = None if reason else self._support
        self._support, self._last_stamp_ns, self._camera, self._reason = None, stamp_ns, camera, None
        return support, reason

    def remember(self, support: Support) -> None:
        """Keep the current frame as support of the next one."""
        self._support = support
