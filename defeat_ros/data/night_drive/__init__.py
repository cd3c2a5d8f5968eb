"""A seeded street at night or by day, ray cast with exact depth, pose and intrinsics."""

from defeat_ros.data.night_drive.config import DriveConfig, DriveFrame
from defeat_ros.data.night_drive.drive import NightDrive

__all__ = ["DriveConfig", "DriveFrame", "NightDrive"]
