"""Records a rendered night drive, with its truth, to a bag."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from defeat_ros.data.bag import BagWriter, bag_messages
from defeat_ros.data.night_drive import NightDrive
from defeat_ros.frame import DEFAULT_FRAME_ID

BASE_FRAME, WORLD_FRAME = "base_link", "world"

TRUTH_VARIANCE = 1e-9
"""Of the true pose and twist: exact, yet not zero, which consumers take for 'unknown'."""


def record_drive(drive: NightDrive, out: Path, on_frame: Callable[[], None] = lambda: None) -> None:
    """Render a drive to a rosbag2.

    Writes `/camera/image_raw`, `/camera/camera_info`, `/truth/depth` (32FC1, m, +Inf sky), `/truth/odom` (base in
    'world') and `/tf_static` (camera on base). The bag appears only once it is complete.

    Args:
        drive: what to render.
        out: path of the bag to make.
        on_frame: called after each frame.

    Raises:
        OutputError: the bag exists or cannot be written.
    """
    messages = bag_messages()
    covariance = np.eye(6) * TRUTH_VARIANCE
    with BagWriter(out, atomic=True) as bag:
        camera_from_base = np.linalg.inv(drive.base_from_camera)
        for index, frame in enumerate(drive.frames()):
            stamp = frame.stamp_ns
            header: dict[str, Any] = {"stamp_ns": stamp, "frame_id": DEFAULT_FRAME_ID}
            if index == 0:
                mount = [(BASE_FRAME, DEFAULT_FRAME_ID, drive.base_from_camera)]
                bag.write("/tf_static", messages.transforms(mount, stamp_ns=stamp), stamp)
            bag.write("/camera/camera_info", messages.camera_info(drive.intrinsics, **header), stamp)
            bag.write("/camera/image_raw", messages.image(frame.image, **header), stamp)
            bag.write("/truth/depth", messages.image(frame.depth, **header), stamp)
            truth = messages.odometry(
                stamp_ns=stamp,
                frame_id=WORLD_FRAME,
                child_frame_id=BASE_FRAME,
                odom_from_base=frame.world_from_camera @ camera_from_base,
                twist=frame.velocity,
                pose_covariance=covariance,
                twist_covariance=covariance,
            )
            bag.write("/truth/odom", truth, stamp)
            on_frame()
