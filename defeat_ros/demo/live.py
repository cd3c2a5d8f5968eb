"""The live part of the demonstration: node, recorder and player as processes of their own, through real DDS."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defeat_ros.demo.processes import Processes, node_arguments, own_domain
from defeat_ros.progress import progress_bar

RECORDED = (
    "depth/image_rect",
    "depth/camera_info",
    "depth/confidence",
    "depth/color",
    "depth/points",
    "depth/scale",
    "features/color",
    "odom",
)
READY_TIMEOUT_S = 180.0


@dataclass(frozen=True)
class LiveRun:
    """What the processes told.

    Attributes:
        played: images that the player published.
        began_ns: wall time at which it published the bag's first message, ns.
    """

    played: int
    began_ns: int


def run_live(folder: Path, seconds: float, parameters: Mapping[str, Any], domain: int | None = None) -> LiveRun:
    """Play `folder/in` at its recorded rate into the node, and record what it publishes to `folder/out`.

    Args:
        folder: holds the bag; takes the processes' output too, in `logs/`.
        seconds: length of the bag, for the progress bar.
        parameters: of the node, by name.
        domain: ROS domain of the processes; None: one that is not the user's own.

    Raises:
        DefeatError: a process could not start or failed; the end of its log is quoted.
    """
    camera = {"image": "/camera/image_raw", "camera_info": "/camera/camera_info"}
    topics = [*(f"/{name}" for name in RECORDED), "/diagnostics"]
    told = folder / "logs" / "player.json"
    processes = Processes(folder / "logs", own_domain() if domain is None else domain)
    try:
        processes.start("node", *node_arguments(parameters, camera))
        processes.start("recorder", str(folder / "out"), "--topics", *topics)
        with progress_bar("starting the node", None):
            processes.wait(lambda: "ready" in processes.log("recorder").splitlines(), READY_TIMEOUT_S)
        waiting = ["--wait-for-subscribers", "30"]
        player = processes.start("player", str(folder / "in"), "--clock", *waiting, "--summary", str(told))
        with progress_bar("playing", round(seconds)) as tick:
            processes.wait(lambda: player.poll() is not None, 10 * seconds + READY_TIMEOUT_S, tick)
        for name in ("node", "recorder"):
            processes.stop(name)
    finally:
        processes.kill()
    facts = json.loads(told.read_text(encoding="utf-8"))
    told.unlink()
    return LiveRun(facts["messages"].get("/camera/image_raw", 0), facts["began_ns"])
