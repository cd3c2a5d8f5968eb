"""The command `defeat-ros`: parsing, printing and exit codes; the work is done below.

Known errors are one line on stderr and exit code 1, wrong usage is 2, an unknown error is a traceback.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from defeat_ros.cli.bench import add_bench
from defeat_ros.cli.common import engine_config, print_table, provenance_rows, size
from defeat_ros.cli.evaluate import add_evaluate
from defeat_ros.cli.process import add_process
from defeat_ros.cli.soak import add_soak
from defeat_ros.cli.train import add_export, add_train
from defeat_ros.errors import DefeatError, shown
from defeat_ros.progress import progress_bar
from defeat_ros.startup import guard_umask, keep_memory, module_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command; see `defeat-ros --help`."""
    line = list(sys.argv[1:] if arguments is None else arguments)
    guard_umask()
    keep_memory()
    try:
        if line[:1] == ["play"]:  # has a command line of its own
            return _play(line[1:])
        options = command_line().parse_args(line)
        return int(options.run(options) or 0)
    except DefeatError as error:
        print(f"defeat-ros: {shown(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("defeat-ros: interrupted", file=sys.stderr)
        return 130


def command_line() -> argparse.ArgumentParser:
    """The parser of all commands but `play`, which has its own."""
    parser = argparse.ArgumentParser(
        prog="defeat-ros", description="Depth, odometry and dense features from one camera, day and night."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Any, help: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help, description=help)
        command.set_defaults(run=run)
        return command

    synth = add("synth", _synth, "render a drive, with exact truth, to a rosbag")
    synth.add_argument("out", type=Path, metavar="OUT_BAG")
    _add_drive_options(synth)
    synth.add_argument(
        "--varied", action="store_true", help="any kind of road, traffic and camera, drawn by the seed: to train on"
    )

    many = (
        "N drives, of the seeds from --seed on, into OUT_BAG/night_SEED or OUT_BAG/day_SEED; those that are there "
        "already are kept, so the same command goes on"
    )
    synth.add_argument("--count", type=int, metavar="N", help=many)

    convert = add("convert", _convert, "video, image folder or public data set to a rosbag")
    source_help = "video, folder of images, KITTI or RobotCar drive, ROOT/SCENE of nuScenes (docs/datasets.md)"
    convert.add_argument("source", type=Path, metavar="SOURCE", help=source_help)
    convert.add_argument("out", type=Path, metavar="OUT_BAG", help="new rosbag2 (MCAP)")
    intrinsics_help = "YAML of camera_calibration, or JSON {width, height, fx, fy, cx, cy}; default: SOURCE/camera.json"
    convert.add_argument("--intrinsics", type=Path, help=intrinsics_help)
    fps_help = "rate to thin a video or timed folder to; of a plain folder, the rate it was taken at (default 10)"
    convert.add_argument("--fps", type=float, default=10.0, help=fps_help)
    convert.add_argument("--compressed", action="store_true", help="write JPEG CompressedImage messages")

    infer = add("infer", _infer, "pictures of the depth and features of images or a video")
    infer.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    infer.add_argument("--out", type=Path, required=True, help="new folder for the pictures")
    _add_engine_options(infer)

    add_process(add, _add_engine_options, _engine)
    add_bench(add, _add_engine_options)
    add_soak(add, _add_engine_options)
    add_train(add)
    add_export(add)
    add_evaluate(add, _add_engine_options, _engine)

    commands.add_parser("play", help="play a bag onto the live ROS graph")

    demo = add("demo", _demo, "render a night drive, run the node on it live, and show what comes out")
    demo.add_argument("--out", type=Path, default=Path("demo_out"), help="folder of the results (default demo_out)")
    demo.add_argument("--checkpoint", default="", help="weights; default: those that ship")
    _add_drive_options(demo)

    info = add("info", _info, "what a checkpoint is and where it came from")
    info.add_argument("checkpoint", nargs="?", default="", metavar="CKPT", help="default: the one that ships")
    info.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _add_drive_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the drive (default 20)")
    parser.add_argument("--fps", type=float, default=10.0, help="frames per second (default 10)")
    light = parser.add_mutually_exclusive_group()
    light.add_argument("--night", action="store_true", default=True, help="by night (default)")
    light.add_argument("--day", action="store_false", dest="night", help="the same world by day")
    parser.add_argument("--seed", type=int, default=1, help="which world (default 1)")
    parser.add_argument("--size", type=size, default=(480, 352), metavar="WxH", help="image size (default 480x352)")


def _add_engine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", default="", help="weights (.safetensors, or published .pt); default: shipped")
    parser.add_argument("--params-file", type=Path, help="YAML of node parameters")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one parameter of config/depth.yaml; repeatable",
    )


def _drive(options: argparse.Namespace) -> Any:
    from defeat_ros.data.night_drive import DriveConfig
    from defeat_ros.settings import build

    names = ("seconds", "fps", "night", "seed", "size", "varied")
    return build(DriveConfig, {name: getattr(options, name) for name in names if hasattr(options, name)})


def _engine(options: argparse.Namespace) -> Any:
    from defeat_ros.inference.engine import DepthEngine

    engine = DepthEngine(engine_config(options))
    for line in engine.info.warnings:
        print(f"defeat-ros: {line}", file=sys.stderr)
    if engine.info.caution:
        print(f"defeat-ros: checkpoint {engine.info.caution}", file=sys.stderr)
    return engine


def _synth(options: argparse.Namespace) -> None:
    config = _drive(options)
    from defeat_ros.data.night_drive import NightDrive
    from defeat_ros.data.synth import record_drive, record_drives

    light = "night" if config.night else "day"
    count = 1 if options.count is None else options.count
    with progress_bar("rendering (the first time compiles, a minute)", count * config.frame_count) as advance:
        if options.count is None:
            record_drive(NightDrive(config), options.out, advance)
            print(f"{config.frame_count} frames of seed {config.seed}, {light}, in {options.out}")
        else:
            made = record_drives(config, count, options.out, advance)
            print(f"{made} drives rendered, {count - made} there before, {light}, in {options.out}")


def _convert(options: argparse.Namespace) -> None:
    from defeat_ros.data.sources import convert

    with progress_bar("converting", None) as advance:
        summary = convert(
            options.source,
            options.out,
            intrinsics=options.intrinsics,
            fps=options.fps,
            compressed=options.compressed,
            progress=advance,
        )
    for line in summary.told:
        print(f"defeat-ros: {shown(line)}", file=sys.stderr)
    for name, reason in summary.skipped:
        print(f"skipped {shown(name)}: {reason}", file=sys.stderr)
    if summary.camera_info_topic is None:
        print("the camera is not known: the bag has no camera_info (see --intrinsics)", file=sys.stderr)
    print(f"{summary.frames} frames in {options.out}, {len(summary.skipped)} skipped")


def _infer(options: argparse.Namespace) -> None:
    from defeat_ros.inference.pictures import make_folder, named_frames, picture_frames

    engine = _engine(options)
    make_folder(options.out)
    if engine.features_problem:
        print(f"defeat-ros: no features: {engine.features_problem}", file=sys.stderr)
    frames = named_frames(options.images)
    with progress_bar("inferring", None) as advance:
        done, skipped = picture_frames(engine, frames, options.out, advance)
    for line in skipped:
        print(f"skipped {shown(line)}", file=sys.stderr)
    print(f"{done} frames pictured in {options.out}, {len(skipped)} skipped")
    if not done:
        raise DefeatError("no frame could be pictured")


def _play(arguments: Sequence[str]) -> int:
    """A process of its own: rclpy stays out of the command line."""
    with subprocess.Popen(module_command("defeat_ros.ros.player", *arguments)) as player:
        while True:
            try:
                return player.wait()
            except KeyboardInterrupt:
                pass  # Ctrl-C reaches the player too, which then ends in order


def _demo(options: argparse.Namespace) -> None:
    config = _drive(options)
    from defeat_ros.demo.run import run_demo

    run_demo(config, options.out, options.checkpoint)


def _info(options: argparse.Namespace) -> None:
    from defeat_ros.checkpoint.reading import read_checkpoint
    from defeat_ros.inference.weights import find_checkpoint

    checkpoint = read_checkpoint(find_checkpoint(options.checkpoint))
    elements = sum(tensor.numel() for tensor in checkpoint.state.values())
    facts: dict[str, Any] = {
        "file": str(checkpoint.path),
        "format": checkpoint.format,
        "sha256": checkpoint.sha256,
        "tensors": len(checkpoint.state),
        "numbers": elements,
        "options": checkpoint.options,
        "provenance": checkpoint.provenance or "not recorded in the file",
    }
    if options.json:
        print(json.dumps(facts, indent=2))
        return
    told = provenance_rows(checkpoint.provenance)
    if told:
        del facts["provenance"]
    print_table("checkpoint", [*facts.items(), *told])
