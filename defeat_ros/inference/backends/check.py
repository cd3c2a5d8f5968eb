"""Holds a runtime against plain float32 PyTorch, so that no processor's peculiarity becomes wrong depth."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from defeat_ros.errors import BackendError
from defeat_ros.frame import CameraIntrinsics
from defeat_ros.geometry import inverse_depth, resize_intrinsics
from defeat_ros.inference.backends.protocol import Runtime
from defeat_ros.networks import DeFeatNet
from defeat_ros.preprocess import resize_image, to_tensor

FRAMES = Path(__file__).parent / "frames"
"""Two frames of a street by night and two by day (rendered, 10 per second)."""

DEPTH_MEDIAN, DEPTH_P99 = 0.01, 0.05
FEATURES_COSINE = 0.02
TURN_RAD, SHIFT_SHARE = 0.002, 0.05


@dataclass(frozen=True)
class Difference:
    """How far a runtime is from plain float32 PyTorch; 0 where a network was not compared.

    Attributes:
        depth_median, depth_p99: of the relative error of depth.
        features: 99th percentile of one minus the cosine between descriptors.
        turn: largest error of the axis-angle, rad.
        shift: largest error of the translation, as a share of its length.
    """

    depth_median: float = 0.0
    depth_p99: float = 0.0
    features: float = 0.0
    turn: float = 0.0
    shift: float = 0.0

    @property
    def problem(self) -> str | None:
        """What is too much, None where nothing is."""
        limits = {
            "depth_median": DEPTH_MEDIAN,
            "depth_p99": DEPTH_P99,
            "features": FEATURES_COSINE,
            "turn": TURN_RAD,
            "shift": SHIFT_SHARE,
        }
        over = [f"{name} {getattr(self, name):.3g} of {limit}" for name, limit in limits.items()
                if not getattr(self, name) <= limit]  # fmt: skip
        return f"differs from float32 PyTorch by {', '.join(over)} allowed" if over else None


def frames_camera(size_hw: tuple[int, int]) -> CameraIntrinsics:
    """The camera of the shipped frames, for images of this size."""
    taken = CameraIntrinsics(fx=397.39, fy=397.39, cx=239.5, cy=175.5, width=480, height=352)
    return resize_intrinsics(taken, size_hw[1], size_hw[0])


def read_frames(size_hw: tuple[int, int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The shipped pairs of frames, later and earlier, each (h, w, 3) uint8 RGB."""
    pairs = []
    for light in ("night", "day"):
        pair = []
        for index in (1, 0):
            picture = cv2.imread(str(FRAMES / f"{light}_{index}.jpg"), cv2.IMREAD_COLOR)
            if picture is None:
                raise BackendError(f"cannot read '{FRAMES / light}_{index}.jpg'; is the package installed completely?")
            pair.append(resize_image(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), size_hw))
        pairs.append((pair[0], pair[1]))
    return pairs


@torch.inference_mode()
def plain(model: DeFeatNet, later: np.ndarray, earlier: np.ndarray, names: Collection[str]) -> dict[str, np.ndarray]:
    """What the networks themselves say, by plain eager float32 on the model's device: the outputs of the graphs."""
    device = next(model.parameters()).device
    now, before = to_tensor(later, device), to_tensor(earlier, device)
    made = {}
    if "disp" in names:
        made["disp"] = model.depth_net(now)["disp", 0][:, 0]
    if "pose" in names:
        made["pose"] = torch.cat([motion[:, 0, 0] for motion in model.pose_net(now, before)], dim=1)
    if "features" in names:
        made["features"] = model.feat_net(now).permute(0, 2, 3, 1)
    return {name: tensor.cpu().numpy() for name, tensor in made.items()}


def compare(
    runtime: Runtime, model: DeFeatNet, pairs: list[tuple[np.ndarray, np.ndarray]], names: Collection[str]
) -> Difference:
    """Run both on pairs of frames.

    Args:
        runtime: to be held against the model.
        model: float32.
        pairs: later and earlier frames, (h, w, 3) uint8.
        names: the graphs that the runtime has.
    """
    depth, cosine, turn, shift = [np.zeros(1)], [np.zeros(1)], [0.0], [0.0]
    for later, earlier in pairs:
        truth = plain(model, later, earlier, names)
        images = {name: [later[None], earlier[None]] if name == "pose" else [later[None]] for name in names}
        made = runtime.run(images)
        if "disp" in names:
            depth.append(np.abs(inverse_depth(truth["disp"]) / inverse_depth(made["disp"]) - 1.0).ravel())
        if "features" in names:
            cosine.append(1.0 - _cosine(truth["features"], made["features"]).ravel())
        if "pose" in names:
            wrong = made["pose"][0].astype(np.float64) - truth["pose"][0]
            turn.append(float(np.linalg.norm(wrong[:3])))
            shift.append(float(np.linalg.norm(wrong[3:])) / max(float(np.linalg.norm(truth["pose"][0, 3:])), 1e-3))
    errors, far = np.concatenate(depth), np.concatenate(cosine)
    return Difference(
        float(np.median(errors)),
        float(np.quantile(errors, 0.99)),
        float(np.quantile(far, 0.99)),
        float(np.max(turn)),
        float(np.max(shift)),
    )


def _cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    cosines: np.ndarray = np.einsum("...c,...c->...", one, other) / np.maximum(lengths, 1e-12)
    return cosines
