"""Small trees in the formats of public data sets: KITTI, Oxford RobotCar and nuScenes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from defeat_ros.data.recorded import Recorded
from defeat_ros.frame import CameraIntrinsics
from defeat_ros.geometry import rotation_from_vector, transform

WIDTH, HEIGHT = 64, 48
CAMERA = CameraIntrinsics(fx=60.0, fy=61.0, cx=32.0, cy=24.0, width=WIDTH, height=HEIGHT)
COLOUR = (200, 100, 50)  # R, G, B of RobotCar's flat images

VELO_TO_CAM = "R: 0 -1 0 0 0 -1 1 0 0\nT: 0.1 -0.2 -0.3\n"
RECT_ROTATION = np.array([[0.8, 0.0, 0.6], [0.0, 1.0, 0.0], [-0.6, 0.0, 0.8]])
VELO = np.array([[0, -1, 0, 0.1], [0, 0, -1, -0.2], [1, 0, 0, -0.3], [0, 0, 0, 1.0]])
P2 = np.array([[60.0, 0, 32, 6], [0, 61, 24, 0.5], [0, 0, 1, 0.0]])


def row(*values: object) -> str:
    """Numbers on one line."""
    return " ".join(str(value) for value in np.concatenate([np.ravel(np.asarray(value)) for value in values]))


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def picture(index: int) -> np.ndarray:
    """A flat image whose grey level tells its number."""
    return np.full((HEIGHT, WIDTH, 3), 5 * index + 3, np.uint8)


def scan(points: np.ndarray, columns: int) -> bytes:
    """Points (N, 3) as the file of a scan."""
    padded = np.zeros((len(points), columns), np.float32)
    padded[:, :3] = points
    return padded.tobytes()


def kitti_raw(root: Path, packets: Sequence[Sequence[float]], points: np.ndarray) -> Path:
    """A drive with a packet (lat lon alt roll pitch yaw) and an image for each; OXTS runs 40 ms ahead."""
    date = root / "2011_09_26"
    drive = date / "2011_09_26_drive_0001_sync"
    write(
        date / "calib_cam_to_cam.txt",
        "calib_time: 09-Jan-2012 13:57:47\n"
        f"R_rect_00: {row(RECT_ROTATION)}\nP_rect_00: 60 0 32 0 0 61 24 0 0 0 1 0\nP_rect_02: {row(P2)}\n",
    )
    write(date / "calib_velo_to_cam.txt", f"calib_time: 15-Mar-2012 11:37:16\n{VELO_TO_CAM}delta_f: 0 0\n")
    write(date / "calib_imu_to_velo.txt", "R: 1 0 0 0 1 0 0 0 1\nT: -0.8 0.3 -0.7\n")
    for index, packet in enumerate(packets):
        save(drive / "image_02" / "data" / f"{index:010d}.png", picture(index))
        write(drive / "velodyne_points" / "data" / f"{index:010d}.bin", scan(points, 4))
        write(drive / "oxts" / "data" / f"{index:010d}.txt", row(packet, np.zeros(24)) + "\n")
    for folder, offset in (("image_02", 4), ("oxts", 0)):
        times = (f"2011-09-26 13:02:25.{index}{offset}0000000\n" for index in range(len(packets)))
        write(drive / folder / "timestamps.txt", "".join(times))
    return drive


def kitti_odometry(root: Path, poses: Sequence[np.ndarray], points: np.ndarray) -> Path:
    """Sequence 09 with poses (4, 4) of camera 0."""
    sequence = root / "dataset" / "sequences" / "09"
    identity = "0 -1 0 0.1 0 0 -1 -0.2 1 0 0 -0.3"
    write(sequence / "calib.txt", f"P0: 60 0 32 0 0 61 24 0 0 0 1 0\nP2: {row(P2)}\nP3: {row(P2)}\nTr: {identity}\n")
    write(sequence / "times.txt", "".join(f"{0.1 * index:.6e}\n" for index in range(len(poses))))
    write(root / "dataset" / "poses" / "09.txt", "".join(f"{row(pose[:3])}\n" for pose in poses))
    for index in range(len(poses)):
        for camera in (2, 3):
            save(sequence / f"image_{camera}" / f"{index:06d}.png", picture(index + camera))
        write(sequence / "velodyne" / f"{index:06d}.bin", scan(points, 4))
    return sequence


def mosaic(pattern: str, left: tuple[int, int, int] = COLOUR) -> np.ndarray:
    """A Bayer mosaic of `COLOUR`, or of another colour in its left half; pattern as 'gbrg', row by row."""
    made = np.zeros((HEIGHT, WIDTH), np.uint8)
    for place, name in enumerate(pattern):
        channel = "rgb".index(name)
        made[place // 2 :: 2, place % 2 :: 2] = COLOUR[channel]
        made[place // 2 :: 2, place % 2 : WIDTH // 2 : 2] = left[channel]
    return made


STAMP_US = 1418756721000000
INS = (
    "timestamp,ins_status,latitude,longitude,altitude,northing,easting,down,utm_zone,"
    "velocity_north,velocity_east,velocity_down,roll,pitch,yaw\n"
)
VO = "source_timestamp,destination_timestamp,x,y,z,roll,pitch,yaw\n"
RTK = INS.replace("ins_status,", "")


def robotcar(root: Path, count: int = 3) -> Path:
    """A date whose images are 62.5 ms apart, with the SDK's models and extrinsics beside it; no poses."""
    date = root / "2014-12-16-18-44-24"
    lens = "0 -0 1 0\n1 0 -0 {}\n0 1 0 0\n0 0 0 1\n"
    for index in range(count):
        stamp = STAMP_US + 62500 * index
        save(date / "stereo" / "centre" / f"{stamp}.png", mosaic("gbrg", (10, 20, 30)))
        save(date / "mono_rear" / f"{stamp + 1000}.png", mosaic("rggb"))
    write(date / "stereo.timestamps", "".join(f"{STAMP_US + 62500 * index} 1\n" for index in range(count)))
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    shifted = np.stack([u + 4, v])  # each undistorted pixel lies four to the right in the image as recorded
    for name, y in (("stereo_narrow_left", 0), ("stereo_wide_right", 0.239983), ("mono_rear", 0)):
        write(root / "models" / f"{name}.txt", "60.0 61.0 32.0 24.0\n" + lens.format(y))
    write(root / "models" / "stereo_narrow_left_distortion_lut.bin", shifted.tobytes())
    write(root / "extrinsics" / "stereo.txt", "0 0 0 0 0 0\n")
    write(root / "extrinsics" / "ins.txt", "-1.7 0.1 1.2 0 0 0\n")
    write(root / "extrinsics" / "mono_rear.txt", f"-2.0 0.0 0.4 0 0 {np.pi}\n")
    return date


def nuscenes(root: Path, points: np.ndarray) -> Path:
    """Version v1.0-mini with scene-0061 (two key frames, a sweep between them) and scene-0103 (one key frame).

    The vehicle goes 10 m/s along the map's x from 100 m on; each scan is 50 ms later than its image.
    """
    half = float(np.sqrt(0.5))
    mounts = {
        "CAM_FRONT": ([1.7, 0.0, 1.5], [0.5, -0.5, 0.5, -0.5]),
        "CAM_BACK": ([-0.3, 0.0, 1.5], [0.5, -0.5, -0.5, 0.5]),
        "LIDAR_TOP": ([0.9, 0.0, 1.8], [half, 0.0, 0.0, -half]),
    }
    k = [[60.0, 0.0, 32.0], [0.0, 61.0, 24.0], [0.0, 0.0, 1.0]]
    tables: dict[str, list[dict[str, object]]] = {
        "scene": [{"token": f"s{name}", "name": f"scene-{name}", "description": "Night"} for name in ("0061", "0103")],
        "sample": [
            {"token": token, "timestamp": 0, "scene_token": scene}
            for token, scene in (("k0", "s0061"), ("k1", "s0061"), ("other", "s0103"))
        ],
        "sensor": [{"token": f"sensor {name}", "channel": name, "modality": "x"} for name in mounts],
        "calibrated_sensor": [
            {
                "token": f"at {name}", "sensor_token": f"sensor {name}", "translation": mount, "rotation": turn,
                "camera_intrinsic": k if name.startswith("CAM") else [],
            }
            for name, (mount, turn) in mounts.items()
        ],
        "sample_data": [],
        "ego_pose": [],
    }  # fmt: skip
    begin = 1532402927612460
    for sample, time_us, key in (("k1", 80000, False), ("k0", 0, True), ("k1", 500000, True), ("other", 9000000, True)):
        for channel in mounts:
            if channel == "LIDAR_TOP" and not key:
                continue
            stamp = begin + time_us + (50000 if channel == "LIDAR_TOP" else 0)
            folder, suffix = ("samples" if key else "sweeps"), ("pcd.bin" if channel == "LIDAR_TOP" else "png")
            token, name = f"{channel} {stamp}", f"{folder}/{channel}/n015__{channel}__{stamp}.{suffix}"
            tables["ego_pose"].append(
                {
                    "token": token, "timestamp": stamp, "rotation": [1.0, 0.0, 0.0, 0.0],
                    "translation": [100.0 + 1e-5 * (stamp - begin), 0.0, 0.0],
                }
            )  # fmt: skip
            tables["sample_data"].append(
                {
                    "token": f"d{token}", "sample_token": sample, "ego_pose_token": token, "filename": name,
                    "calibrated_sensor_token": f"at {channel}", "timestamp": stamp, "is_key_frame": key,
                    "width": WIDTH, "height": HEIGHT,
                }
            )  # fmt: skip
            if channel == "LIDAR_TOP":
                write(root / name, scan(points, 5))
            else:
                save(root / name, picture(time_us // 80000 % 50))
    for name, rows in tables.items():
        write(root / "v1.0-mini" / f"{name}.json", json.dumps(rows, indent=0))
    return root


# A hundred-thousandth of a degree at the equator is 1.113 m; the car looks east, then north.
PACKETS = (
    (0, 8e-5, 100, 0, 0, 0),
    (0, 9e-5, 100, 0, 0, 0),
    (0, 10e-5, 101, 0, 0, 0),
    (0, 11e-5, 101, 0, 0, 1.5708),
)
POSES = tuple(transform(rotation_from_vector(np.array([0, 0.2 * i, 0])), np.array([i, 0, 2.0 * i])) for i in range(4))
AHEAD = np.random.default_rng(3).uniform((3, -9, -4), (60, 9, 4), (400, 3)).astype(np.float32)  # x ahead, z up
# Lidar axes of nuScenes: x right, y ahead, z up. The first lies on the camera's axis.
SWEEP = np.array([[0.0, 20.0, -0.3], [2.0, 10.0, -1.3], [0, 0.9, -0.3], [0.0, -10.0, 0.0]], np.float32)


def camera_of(item: Recorded) -> CameraIntrinsics | None:
    assert item.frame is not None
    return item.frame.intrinsics


def pose_of(item: Recorded) -> np.ndarray:
    assert item.world_from_camera is not None
    return item.world_from_camera


def known(item: Recorded) -> np.ndarray:
    assert item.depth is not None
    return item.depth
