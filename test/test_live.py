"""Real processes over real DDS against the same work done directly: the numbers must be the same."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("rclpy", reason="rclpy is not installed")

from ros_tools import new_domain

from defeat_ros import CameraIntrinsics, DeFeatNet, DepthEngine
from defeat_ros.checkpoint.writing import write_published
from defeat_ros.data.bag import BagReader, BagWriter, bag_messages
from defeat_ros.data.messages import depth_from_message, stamp_from_message
from defeat_ros.data.night_drive import DriveConfig, NightDrive
from defeat_ros.demo.drive_result import read_result
from defeat_ros.demo.live import run_live
from defeat_ros.demo.summary import summarise
from defeat_ros.geometry import disp_to_depth
from defeat_ros.inference.process import process_bag
from defeat_ros.preprocess import to_tensor

START_NS = 1_700_000_000 * 10**9


def write_bag(path: Path, images: list[np.ndarray], gap_ns: int, numbers: list[int] | None = None) -> None:
    make = bag_messages()
    height, width = images[0].shape[:2]
    camera = CameraIntrinsics(fx=width, fy=width, cx=width / 2, cy=height / 2, width=width, height=height)
    with BagWriter(path) as bag:
        for index, image in zip(numbers or range(len(images)), images, strict=True):
            header = {"stamp_ns": START_NS + index * gap_ns, "frame_id": "cam"}
            bag.write("/camera/camera_info", make.camera_info(camera, **header), header["stamp_ns"])
            bag.write("/camera/image_raw", make.image(image, **header), header["stamp_ns"])


def depths(path: Path) -> dict[int, np.ndarray]:
    with BagReader(path) as bag:
        found = [message.message for message in bag.messages({"/depth/image_rect"})]
    return {stamp_from_message(message): depth_from_message(message) for message in found}


def test_live_and_offline_agree_to_the_last_bit_and_every_frame_is_booked(tmp_path, weights):
    drive = NightDrive(DriveConfig(seconds=3.0, fps=4.0, seed=4401, size=(320, 240)))
    images = [frame.image for frame in drive.frames()]
    write_bag(tmp_path / "in", images, gap_ns=250_000_000)
    settings = {"checkpoint": str(weights), "input_size": [192, 128]}
    live = run_live(tmp_path, 3.0, {**settings, "use_sim_time": True}, new_domain())
    through_dds = depths(tmp_path / "out")
    # A frame is judged by the one before it: offline sees the frames that the node had time for.
    seen = [(stamp - START_NS) // 250_000_000 for stamp in through_dds]
    write_bag(tmp_path / "seen", [images[index] for index in seen], 250_000_000, seen)
    process_bag(tmp_path / "seen", tmp_path / "offline", DepthEngine.from_ckpt(weights, input_size=[192, 128]))
    offline = depths(tmp_path / "offline")
    assert list(offline) == list(through_dds) and len(offline) >= 3
    for stamp, depth in through_dds.items():
        np.testing.assert_array_equal(depth, offline[stamp])
        assert np.isfinite(depth).mean() > 0.2
    frames = summarise(read_result(tmp_path / "in", tmp_path / "out"), live)["frames"]
    assert live.played == frames["in"] == 12
    assert frames["published"] == len(through_dds)
    assert frames["published"] + sum(frames["dropped"].values()) == 12, json.dumps(frames)
    assert "lost_in_transport" not in frames["dropped"]


@pytest.fixture
def golden(shared_dir, tmp_path):
    """A checkpoint in the published layout with the golden weights, and the golden numbers."""
    folder = shared_dir / "golden"
    spec = importlib.util.spec_from_file_location("golden_weights", folder / "weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    facts = json.loads((folder / "networks.json").read_text())
    state = {
        key: torch.from_numpy(np.array(module.fill(key, tuple(shape)))) for key, shape in facts["state_dict"].items()
    }
    path = tmp_path / "ckpt_golden.pt"
    write_published(path, state, {**facts["config"], "scales": list(facts["config"]["scales"])})
    return path, np.load(folder / "networks.npz")


def test_golden_checkpoint_from_file_to_topic(golden, tmp_path):
    """The published layout gives the golden values, and the node publishes what those weights say."""
    path, numbers = golden
    model = DeFeatNet.from_ckpt(path, key=lambda x: x["model"])
    with torch.no_grad():
        disp = model.depth_net(torch.from_numpy(numbers["image_a"]))[("disp", 0)].numpy()
    np.testing.assert_allclose(disp, numbers["disp_0"], rtol=1e-5, atol=1e-5 * numbers["disp_0"].max())
    # Messages carry bytes, the golden images are finer: the node is held against the same net on the rounded image.
    image = np.round(numbers["image_a"][0].transpose(1, 2, 0) * 255).astype(np.uint8)
    with torch.no_grad():
        expected = disp_to_depth(model.depth_net(to_tensor(image))[("disp", 0)][0, 0].numpy())
    write_bag(tmp_path / "in", [image] * 4, gap_ns=500_000_000)
    settings = {"checkpoint": str(path), "input_size": [224, 160], "confidence_min": 0.0, "precision": "float32"}
    run_live(tmp_path, 2.0, {**settings, "use_sim_time": True}, new_domain())
    found = depths(tmp_path / "out")
    assert found
    for depth in found.values():
        np.testing.assert_allclose(depth, expected, rtol=1e-4)  # batch norm is folded
