"""Command lines of defeat-ros, in this process: usage errors exit with 2, known errors are one line and 1."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
from bag_tools import write_ours

from fuzz import Target, mutate
from fuzz.checkpoints import _make as make_checkpoint
from fuzz.checkpoints import _seeds as checkpoint_seeds

# {0}: a folder with whole inputs, {1}: one for results.
LINES = [
    "info {0}/broken", "info {0}/weights --json", "info", "export {0}/weights {1}/out.pt",
    "export {0}/broken {1}/out.safetensors --half", "convert {0}/images {1}/bag --fps 10 --intrinsics {0}/camera.yaml",
    "convert {0}/images {1}/bag --compressed",
    "process {0}/drive {1}/out --set input_size=[64,64] --set backend=torch --topics odom",
    "process {0}/drive {0}/drive {1}/out --workers 0", "infer {0}/a.png --out {1}/look --checkpoint {0}/broken",
    "train --data {0}/drive --out {1}/run --checkpoint {0}/broken --size 64x64 --max-steps 1",
    "train --config {0}/camera.yaml --data x --out {1}/run", "evaluate depth {0}/drive --checkpoint {0}/broken",
    "evaluate odometry {0}/drive --checkpoint {0}/broken", "evaluate trajectory {0}/camera.yaml {0}/drive",
    "synth {1}/drive --seconds 0 --fps 10 --size 64x64", "synth {0}/drive --seed 3 --count 0",
    "infer {0}/a.png --out {1}/look --params-file {0}/camera.yaml", "bench --checkpoint {0}/broken",
]  # fmt: skip
VALUES = [*mutate.WORDS[:33], *map(str, mutate.WHOLE), *map(str, mutate.REAL), "x=y", "=", "--", "-h", "64x64", "0x0"]
VALUES += ["99999x99999", "１x１", "scale.mode=none", "device=cuda:99", "backend=x", "precision=float16", "/dev/null"]


def _seeds(folder: Path) -> dict[str, Any]:
    from defeat_ros.errors import DefeatError

    write_ours(folder / "drive", 1)
    (folder / "images").mkdir()
    for name in ("images/0.png", "a.png"):
        cv2.imwrite(str(folder / name), np.zeros((48, 64, 3), np.uint8))
    (folder / "camera.yaml").write_text('{"width": 64, "height": 48, "fx": 50, "fy": 50, "cx": 32, "cy": 24}')
    (folder / "extra").mkdir()
    whole = checkpoint_seeds(folder / "extra")
    (folder / "weights").write_bytes(whole[0])
    (folder / "broken").write_bytes(b"x")
    with contextlib.suppress(SystemExit, DefeatError):
        for line in LINES[:2]:
            _use(([*line.format(folder, folder / "out").split()], None), folder)
    return {"folder": folder, "weights": whole}


def _make(seeds: dict[str, Any], rng: Random) -> tuple[list[str], bytes | None]:
    line = rng.choice(LINES).format(seeds["folder"], "OUT").split()
    for _ in range(rng.choice([0, 1, 1, 2, 3])):
        at, way = rng.randrange(1, len(line) + 1), rng.randrange(4)
        value = rng.choice(VALUES).replace("\0", "").replace("\ud800", "\udc80")
        if way == 0:
            line.insert(at, value)
        elif way == 1:
            line[at:at] = [
                rng.choice(["--set", "--fps", "--seed", "--size", "--count", "--topics", "--json", "--out"]),
                value,
            ]
        elif at < len(line):
            line[at] = value
    needs = any("broken" in word for word in line)
    return line, make_checkpoint(seeds["weights"], rng) if needs else None


def _use(made: tuple[list[str], bytes | None], folder: Path) -> None:
    from defeat_ros.cli.main import main
    from defeat_ros.errors import DefeatError

    words, weights = made
    line = [word.replace("OUT", str(folder)) for word in words]
    for word in line:
        if weights is not None and word.endswith("/broken"):
            Path(word).write_bytes(weights)
    out = io.TextIOWrapper(io.BytesIO(), "utf-8")  # strict, as stdout is
    complaints = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace")
    here = Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(complaints), patch.dict(os.environ):
            code = main(line)
    except SystemExit as end:
        assert end.code in (0, 2), f"exit code {end.code}"
        return
    finally:
        os.chdir(here)
    complaints.flush()
    said = complaints.buffer.getvalue().decode()  # type: ignore[attr-defined]
    assert "Traceback" not in said, said[-3000:]
    if code:
        last = said.rstrip("\n").split("\n")[-1]
        assert code in (1, 130) and last.startswith("defeat-ros: "), f"code {code}, said {said[-2000:]!r}"
        assert not any(ord(letter) < 32 for letter in last), f"control characters in {last!r}"
        raise DefeatError(last[:4000])


TARGETS = (Target("command_line", _seeds, _make, _use, share=1, quick=12),)
