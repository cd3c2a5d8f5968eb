"""Fixtures that more than one test file uses."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The developers' folder of golden numbers and recordings beside the checkout."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the developers' data in {folder}")
    return folder


@pytest.fixture(scope="session")
def weights() -> Path:
    """The checkpoint that ships."""
    from defeat_ros.inference.weights import find_checkpoint

    return find_checkpoint("")


@pytest.fixture(scope="session")
def golden_network(shared_dir: Path) -> tuple[dict, Any]:
    """What is known of the published networks, and ours with the golden weights, in eval mode."""
    import torch

    from defeat_ros.networks import DeFeatNet

    folder = shared_dir / "golden"
    sys.path.insert(0, str(folder))
    try:
        from weights import fill
    finally:
        sys.path.remove(str(folder))
    spec = json.loads((folder / "networks.json").read_text())
    network = DeFeatNet(**spec["config"]).eval()
    network.load_state_dict({k: torch.from_numpy(fill(k, tuple(shape))) for k, shape in spec["state_dict"].items()})
    return spec, network
