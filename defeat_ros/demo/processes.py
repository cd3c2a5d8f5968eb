"""Processes with real DDS between them, for demonstrations and measurements."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from defeat_ros.errors import DefeatError
from defeat_ros.startup import module_command

STOP_TIMEOUT_S = 60.0


def own_domain() -> int:
    """A ROS domain that hardly anybody else uses: what runs here and a robot beside it do not hear each other."""
    return 1 + os.getpid() % 100


def node_arguments(parameters: Mapping[str, Any], topics: Mapping[str, str]) -> list[str]:
    """The node's command line: values of parameters, and remapped topics, by name."""
    given = [item for name, value in parameters.items() for item in ("-p", f"{name}:={json.dumps(value)}")]
    return ["--ros-args", *given, *(item for name, topic in topics.items() for item in ("-r", f"{name}:={topic}"))]


class Processes:
    """Modules of `defeat_ros.ros`, each running as a process with a log file.

    Args:
        folder: to make, for the logs.
        domain: ROS domain of the processes.
    """

    def __init__(self, folder: Path, domain: int) -> None:
        folder.mkdir()
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        # Without buffering, a log shows how far a process came.
        extra = {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "PYTHONUNBUFFERED": "1"}
        self._environment = {**os.environ, **extra}

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        line = module_command(f"defeat_ros.ros.{name}", *arguments)
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

    def interrupt(self, name: str) -> None:
        """Tell a process to end, as Ctrl-C would."""
        self._running[name].send_signal(signal.SIGINT)

    def stop(self, name: str) -> None:
        """End a process as Ctrl-C would, and wait for it."""
        self.interrupt(name)
        process = self._running.pop(name)
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
