"""The live part of the demonstration: node, recorder and player as processes of their own, through real DDS."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defeat_ros.errors import DefeatError
from defeat_ros.progress import progress_bar

RECORDED = (
    "depth/image_rect",
    "depth/camera_info",
    "depth/color",
    "depth/points",
    "depth/scale",
    "features/color",
    "odom",
)
READY_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 60.0


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
    settings = [item for name, value in parameters.items() for item in ("-p", f"{name}:={json.dumps(value)}")]
    remappings = ["-r", "image:=/camera/image_raw", "-r", "camera_info:=/camera/camera_info"]
    topics = [*(f"/{name}" for name in RECORDED), "/diagnostics"]
    told = folder / "logs" / "player.json"
    processes = _Processes(folder / "logs", 1 + os.getpid() % 100 if domain is None else domain)
    try:
        processes.start("node", "--ros-args", *settings, *remappings)
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


class _Processes:
    """Modules of `defeat_ros.ros`, each running as a process with a log file."""

    def __init__(self, folder: Path, domain: int) -> None:
        folder.mkdir()
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        # A domain of its own, so that the demonstration and a robot beside it do not hear each other.
        # Without buffering, a log shows how far a process came.
        extra = {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "PYTHONUNBUFFERED": "1"}
        self._environment = {**os.environ, **extra}

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-m", f"defeat_ros.ros.{name}", *arguments]
        with (self._folder / f"{name}.log").open("wb") as log:
            # A session of its own: Ctrl-C reaches the demonstration alone, which then stops them in order.
            process = subprocess.Popen(
                line, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self._environment, start_new_session=True
            )
        self._running[name] = process
        return process

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def wait(self, done: Callable[[], bool], timeout_s: float, each_second: Callable[[], None] = lambda: None) -> None:
        """Wait until `done`, while all processes that matter live."""
        began = ticked = time.monotonic()
        while not done():
            for name, process in self._running.items():
                if process.poll():
                    raise DefeatError(f"the {name} ended with {process.returncode}: {self._last_words(name)}")
            if "cannot configure" in self.log("node"):
                raise DefeatError(f"the node could not configure: {self._last_words('node')}")
            now = time.monotonic()
            if now > began + timeout_s:
                raise DefeatError(f"the live run was not ready after {timeout_s:.0f} s: {self._last_words('node')}")
            if now >= ticked + 1.0:
                ticked += 1.0
                each_second()
            time.sleep(0.05)

    def stop(self, name: str) -> None:
        """End a process as Ctrl-C would, and wait for it."""
        process = self._running.pop(name)
        process.send_signal(signal.SIGINT)
        try:
            code = process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise DefeatError(f"the {name} did not stop within {STOP_TIMEOUT_S:.0f} s") from error
        if code:
            raise DefeatError(f"the {name} ended with {code}: {self._last_words(name)}")

    def kill(self) -> None:
        """End whatever still runs."""
        for process in self._running.values():
            if process.poll() is None:
                process.kill()
            process.wait()

    def _last_words(self, name: str) -> str:
        lines = [line for line in self.log(name).splitlines() if line.strip()]
        return " / ".join(lines[-3:]) or "it said nothing"
