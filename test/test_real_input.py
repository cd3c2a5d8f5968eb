"""A longer study, by hand: real recordings through the live node and through offline processing.

`python -m pytest -m slow test/test_real_input.py -s` takes about a quarter of an hour on two cores.
"""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from ros_tools import new_domain

from defeat_ros import CameraIntrinsics, DepthEngine
from defeat_ros.data.bag import BagReader
from defeat_ros.data.messages import stamp_from_message
from defeat_ros.data.sources import convert
from defeat_ros.demo.drive_result import read_result
from defeat_ros.demo.live import run_live
from defeat_ros.demo.summary import summarise
from defeat_ros.inference.process import process_bag

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

SOURCES = {
    # The clip's camera is not known; a 60 degree field of view is a guess that lets camera_info take its way.
    "night.mp4": ("video/night.mp4", CameraIntrinsics(fx=554.0, fy=554.0, cx=320.0, cy=180.0, width=640, height=360)),
    "kitti_residential": ("kitti_residential", None),
}


def depth_bytes(bag_path: Path) -> dict[int, bytes]:
    with BagReader(bag_path) as bag:
        messages = [message.message for message in bag.messages({"/depth/image_rect"})]
    return {stamp_from_message(message): np.asarray(message.data).tobytes() for message in messages}


@pytest.mark.parametrize("name", SOURCES)
def test_live_and_offline(name, shared_dir, tmp_path, weights):
    source, camera = SOURCES[name]
    converted = convert(shared_dir / "data" / source, tmp_path / "in", intrinsics=camera, fps=10.0)
    live = run_live(tmp_path, converted.duration_s, {"checkpoint": str(weights), "use_sim_time": True}, new_domain())
    frames = summarise(read_result(tmp_path / "in", tmp_path / "out"), live)["frames"]
    offline = []
    for run in ("first", "second"):
        done = process_bag(tmp_path / "in", tmp_path / run, DepthEngine.from_ckpt(weights))
        assert done.counts.received == done.counts.published + sum(done.counts.dropped.values())
        offline.append(depth_bytes(tmp_path / run))
    through_dds = depth_bytes(tmp_path / "out")
    report = {
        "source": name,
        "live": frames,
        "offline": vars(done.counts),
        "offline_fps": done.counts.received / done.seconds,
    }
    print("\n" + json.dumps(report))
    assert frames["in"] == frames["published"] + sum(frames["dropped"].values()) == converted.frames
    assert frames["published"] == len(through_dds) > 5
    assert done.counts.received == converted.frames
    assert offline[0] == offline[1], "processing twice gives the same bytes"
    assert all(offline[0][stamp] == data for stamp, data in through_dds.items()), "live depth is offline depth"
