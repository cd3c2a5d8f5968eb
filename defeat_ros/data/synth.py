"""Records rendered drives, with their truth, to bags."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from defeat_ros.data.bag import BagWriter, bag_messages
from defeat_ros.data.night_drive import DriveConfig, NightDrive
from defeat_ros.data.recording import is_bag, open_recording
from defeat_ros.errors import ConfigError, OutputError, SourceError
from defeat_ros.frame import DEFAULT_FRAME_ID

BASE_FRAME, WORLD_FRAME = "base_link", "world"

TRUTH_VARIANCE = 1e-9
"""Of the true pose and twist: exact, yet not zero, which consumers take for 'unknown'."""


def record_drives(config: DriveConfig, count: int, folder: Path, on_frame: Callable[[], None] = lambda: None) -> int:
    """Render drives of consecutive seeds to `folder/night_SEED` or `folder/day_SEED`; complete ones are kept.

    Args:
        config: the first of them.
        count: how many.
        folder: made where it is missing.
        on_frame: called for each frame, of those that are there already too.

    Returns:
        how many were rendered.

    Raises:
        ConfigError: `count` is below 1, or the last seed too large.
        OutputError: the folder is a bag or cannot be made, a bag cannot be written, or what lies there is no drive of
            this length and size.
    """
    if count < 1:
        raise ConfigError(f"count is {count}, expected at least 1")
    replace(config, seed=config.seed + count - 1)  # refuses a last seed that is too large before any work
    if folder.is_dir() and is_bag(folder):
        raise OutputError(f"'{folder}' is a bag, expected a folder for {count} of them")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make '{folder}': {error.strerror}") from error
    made = 0
    for seed in range(config.seed, config.seed + count):
        out = folder / f"{'night' if config.night else 'day'}_{seed}"
        if out.exists():
            _check_same(out, config)
            for _ in range(config.frame_count):
                on_frame()
            continue
        record_drive(NightDrive(replace(config, seed=seed)), out, on_frame)
        made += 1
    return made


def _check_same(bag: Path, config: DriveConfig) -> None:
    """Raise OutputError unless the bag can be a drive of this length and size."""
    try:
        recording = open_recording(bag)
        first = next(iter(recording))
    except (SourceError, StopIteration) as error:
        raise OutputError(
            f"'{bag}' exists and is no rendered drive: {error}; remove it or name another folder"
        ) from error
    size = first.frame and first.frame.size_hw[::-1]
    if (recording.expected, size) != (config.frame_count, config.size):
        raise OutputError(
            f"'{bag}' exists with {recording.expected} frames of {size}, expected {config.frame_count} of "
            f"{config.size}; remove it or name another folder"
        )


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
