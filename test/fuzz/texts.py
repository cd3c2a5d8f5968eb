"""Files of text: YAML of parameters, training and cameras, JSON, KITTI's calibration, times and poses."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from fuzz import Target, mutate
from fuzz.guard import MARKER

ROOT = Path(__file__).resolve().parents[2]

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
MAPS = "a0: &a0 {x: 1, y: 2}\n" + "".join(f"a{n}: &a{n} {{p: *a{n - 1}, q: *a{n - 1}}}\n" for n in range(1, 40))
YAML_WORDS = [
    "&a [*a]", "&a {b: *a}", "[" * 3000, "{a: " * 2000, "[" * 300 + "]" * 300, "- " * 2000 + "x",
    "? " * 999, "!!int x", "!!int ''", "!!float x",
    "!!bool x", "!!timestamp x", "2001-99-99", "2001-01-01 99:99:99", "!!binary x", "!!set {a, b}", "!!omap [a]",
    "!!pairs [a: 1]", "!!str {}", "!!seq x", "!!map [1]", "=", "<<: 3", "{<<: [1]}", "*nowhere", "0b2",
    "0o9", "1:99:99",
    "9" * 5000, "0x" + "f" * 5000, "1e400", ".nan", ".inf", "-.inf", "~", "{1: 2}", "{[1]: 2}", "{null: 1}", "{1.5: a}",
    "|\n    x", "%YAML 3.0", "---", "...", "\t", "\0", "'", '"', "@", "`", "&", "\x85", "\ufeff", "!!python/none x",
    "!<tag:yaml.org,2002:int> q", "{a: 1, a: 2}", "[1, [2, [3]]]", "true", "on", "480",
    "[480, 352]", "-1", "x" * 100000,
]  # fmt: skip


def _code() -> list[str]:
    """YAML that would run something where a reader were careless."""
    trace = os.environ[MARKER]
    return [
        f"!!python/object/apply:os.system ['touch {trace}']",
        f"!!python/object/new:subprocess.Popen [['touch', '{trace}']]",
        f"!!python/name:os.system 'touch {trace}'",
    ]


def _yaml(rng: Random, whole: str) -> str:
    way = rng.random()
    if way < 0.04:
        return rng.choice([LAUGHS, MAPS, "x: " + LAUGHS.replace("\n", "\n  "), whole + "\n" + MAPS])
    if way < 0.08:
        return whole + rng.choice(["", "\nx: "]) + rng.choice(_code())
    if way < 0.2:
        return mutate.blind(rng, whole.encode(), most=6).decode("utf-8", "surrogateescape")
    return mutate.text(rng, whole, [*YAML_WORDS, *mutate.WORDS])


def _put(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode("utf-8", "surrogatepass" if "\ud800" in text else "surrogateescape"))
    return path


def _target(name: str, whole: list[str], use: Callable[[str, Path], None], share: int = 2, quick: int = 40) -> Target:
    def seeds(folder: Path) -> list[str]:
        for text in whole:
            use(text, folder)
        return whole

    return Target(name, seeds, lambda texts, rng: _yaml(rng, rng.choice(texts)), use, share, quick)


# Parameters


def _use_params(text: str, folder: Path) -> None:
    from defeat_ros.inference.config import load_config

    load_config(_put(folder, "params.yaml", text))


def _use_training(text: str, folder: Path) -> None:
    from defeat_ros.training.config import load_train_config

    load_train_config(_put(folder, "train.yaml", text), {})


def _use_set(text: str, folder: Path) -> None:
    from defeat_ros.cli.common import parse_overrides
    from defeat_ros.inference.config import load_config
    from defeat_ros.training.config import load_train_config

    items = text.split("\n")
    load_config(None, parse_overrides([item for item in items if not item.startswith("size")]))
    load_train_config(None, parse_overrides([item for item in items if item.startswith("size")]))


SET = """scale.camera_height_m=1.5
points.stride=4
input_size=[64, 96]
hood_mask=x.png
size=[480, 352]
base_from_camera=[1, 2, 3, 0, 0, 0]"""


def _make_set(seeds: Any, rng: Random) -> str:
    lines = SET.split("\n")
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(len(lines))
        name = lines[at].partition("=")[0] if rng.random() < 0.8 else rng.choice(mutate.WORDS)
        lines[at] = f"{name}={rng.choice([*YAML_WORDS, *mutate.WORDS, *_code()])}".replace("\n", " ")
    return "\n".join(lines)


# Cameras and what else lies beside pictures

CALIBRATION = """image_width: 64
image_height: 48
camera_name: cam
camera_matrix:
  rows: 3
  cols: 3
  data: [50.0, 0.0, 32.0, 0.0, 50.0, 24.0, 0.0, 0.0, 1.0]
distortion_model: plumb_bob
distortion_coefficients:
  data: [0.1, -0.1, 0.0, 0.0, 0.0]
rectification_matrix:
  data: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
projection_matrix:
  data: [50.0, 0.0, 32.0, 0.0, 0.0, 50.0, 24.0, 0.0, 0.0, 0.0, 1.0, 0.0]
"""
SHORT = """{"width": 64,
"height": 48,
"fx": 50,
"fy": 50,
"cx": 32,
"cy": 24,
"fps": 10,
"distortion_model": "plumb_bob",
"distortion": [0.1, 0, 0, 0]}"""


def _use_intrinsics(text: str, folder: Path) -> None:
    from defeat_ros.data.intrinsics import read_intrinsics

    read_intrinsics(_put(folder, "camera.yaml", text))


def _use_camera_folder(text: str, folder: Path) -> None:
    import cv2
    import numpy as np

    from defeat_ros.data.sources import open_frames

    cv2.imwrite(str(folder / "0.png"), np.zeros((48, 64, 3), np.uint8))
    _put(folder, "camera.json", text)
    _put(folder, "0.json", text)
    list(open_frames(folder))


KITTI = {
    "calib.txt": "P0: 1 0 0 0 0 1 0 0 0 0 1 0\nP2: 50.0 0 32.0 0 0 50.0 24.0 0 0 0 1 0\n",
    "times.txt": "0.0\n0.1\n",
    "poses.txt": "1 0 0 0 0 1 0 0 0 0 1 0\n1 0 0 0 0 1 0 0 0 0 1 1.5\n",
    "path.tum": "0.0 0 0 0 0 0 0 1\n0.1 0 0 1 0 0 0 1\n",
    "timestamps.txt": "2011-09-26 13:02:25.964389445\n2011-09-26 13:02:26.064389445\n",
}


def _kitti_seeds(folder: Path) -> None:
    for name, text in KITTI.items():
        _use_kitti((name, text), folder)


def _make_kitti(seeds: Any, rng: Random) -> tuple[str, str]:
    name = rng.choice(list(KITTI))
    if rng.random() < 0.3:
        return name, mutate.blind(rng, KITTI[name].encode(), most=5).decode("utf-8", "surrogateescape")
    words = KITTI[name].split(" ")
    for _ in range(rng.randint(1, 3)):
        words[rng.randrange(len(words))] = rng.choice([*mutate.WORDS, "1e400", "1_0", "nan", "inf", "1\n1", "0x1p3"])
    return name, " ".join(words)


def _use_kitti(made: tuple[str, str], folder: Path) -> None:
    from defeat_ros.data.intrinsics import read_kitti_calibration
    from defeat_ros.data.layout import read_times
    from defeat_ros.data.truth import read_kitti_poses
    from defeat_ros.evaluation.trajectory import read_trajectory

    path = _put(folder, *made)
    if made[0] == "calib.txt":
        read_kitti_calibration(path, "P2", (48, 64))
    elif made[0].startswith("time"):
        read_times(path)
    elif made[0] == "poses.txt":
        read_kitti_poses(path)
    else:
        read_trajectory(path)


TARGETS = (
    _target("params_yaml", [(ROOT / "config" / "depth.yaml").read_text()], _use_params),
    _target("train_yaml", [(ROOT / "config" / "train.yaml").read_text()], _use_training),
    Target("set_options", lambda folder: _use_set(SET, folder), _make_set, _use_set, share=2, quick=100),
    _target("intrinsics", [CALIBRATION, SHORT], _use_intrinsics, share=3),
    _target("camera_json", [SHORT], _use_camera_folder, share=1, quick=40),
    Target("kitti_files", _kitti_seeds, _make_kitti, _use_kitti, share=2, quick=80),
)
