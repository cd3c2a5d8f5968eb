"""Runs the demonstration: render, play through the live node, measure, picture."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from rich.table import Table

from defeat_ros.data.night_drive import DriveConfig, NightDrive
from defeat_ros.data.synth import BASE_FRAME, record_drive
from defeat_ros.demo.drive_result import read_result
from defeat_ros.demo.live import run_live
from defeat_ros.demo.preview import write_preview
from defeat_ros.demo.summary import summarise, summary_rows
from defeat_ros.demo.view_bag import write_view
from defeat_ros.errors import OutputError
from defeat_ros.files import write_json
from defeat_ros.geometry import BODY_FROM_OPTICAL, invert, xyz_rpy_from_transform
from defeat_ros.inference.weights import find_checkpoint
from defeat_ros.progress import plain_console, progress_bar

MARKER = ".defeat_ros_demo"


def run_demo(config: DriveConfig, out: Path, checkpoint: str = "") -> None:
    """Make `out` with `in/`, `out/`, `view/`, `preview.png`, `preview.mp4`, `summary.json`, and print the summary.

    Args:
        config: the drive to render.
        out: folder; that of an earlier demonstration is replaced.
        checkpoint: weights; '' takes those that ship.

    Raises:
        OutputError: `out` holds something else, or cannot be written.
        CheckpointError: the weights cannot be read.
        DefeatError: the node could not start; its log is quoted.
    """
    from defeat_ros.networks import DeFeatNet  # loads torch

    began = time.monotonic()
    drive = NightDrive(config)
    weights = find_checkpoint(checkpoint).resolve()
    DeFeatNet.from_ckpt(weights)  # tried before the long work begins
    _prepare(out)
    with progress_bar("rendering (the first time compiles, a minute)", config.frame_count) as advance:
        record_drive(drive, out / "in", advance)
    rendered = time.monotonic()
    mount = drive.base_from_camera @ invert(BODY_FROM_OPTICAL)
    parameters = {
        "checkpoint": str(weights),
        "use_sim_time": True,
        "base_frame": BASE_FRAME,
        # A slow CPU lets through frames a second or two apart: show their odometry all the same.
        "max_gap_s": 3.0,
        "base_from_camera": list(xyz_rpy_from_transform(mount)),
        # What a user measures with a tape: the base of a rendered vehicle stands on the road.
        "scale.camera_height_m": float(mount[2, 3]),
    }
    live = run_live(out, config.seconds, parameters)
    played = time.monotonic()
    result = read_result(out / "in", out / "out")
    summary = summarise(result, live)
    with progress_bar("drawing", len(result.stamps)) as advance:
        write_preview(result, out, config.fps, summary["checkpoint"]["trained"], float(mount[2, 3]), advance)
    write_view(result, out / "view")
    summary["seconds"] = {
        "render": round(rendered - began, 1),
        "live": round(played - rendered, 1),
        "measure and draw": round(time.monotonic() - played, 1),
    }
    write_json(out / "summary.json", summary)
    table = Table(title=f"{config.seconds:g} s of {'night' if config.night else 'day'} drive", show_header=False)
    for name, value in summary_rows(summary):
        table.add_row(name, value)
    plain_console().print(table)
    print(f"pictures: {out}/preview.png {out}/preview.mp4   bags: {out}/in {out}/out   figures: {out}/summary.json")
    print(f"to look at in Foxglove, with config/foxglove_layout.json: {out}/view/view.mcap")


def _prepare(out: Path) -> None:
    """Make an empty folder, in place of one that an earlier demonstration made."""
    try:
        if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / MARKER).exists())):
            raise OutputError(f"'{out}' exists and is not from an earlier demo, expected a new folder")
        if out.exists():
            shutil.rmtree(out)
        out.mkdir(parents=True)
        (out / MARKER).touch()
    except OSError as error:
        raise OutputError(f"cannot make '{out}': {error.strerror or error}") from error
