"""The commands `train` and `export`: parsing and printing; the work is done in training/."""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import sys
from pathlib import Path
from typing import Any

from rich.table import Table

from defeat_ros.checkpoint.content import TRANSLATIONS, translation_of
from defeat_ros.cli.common import Commands, parse_overrides, parse_pairs, print_table, provenance_rows, size
from defeat_ros.errors import ConfigError, DefeatError
from defeat_ros.progress import plain_console


def add_train(add: Commands) -> None:
    """Add `train` to the command line."""
    train = add(
        "train",
        _train,
        "learn from your own recordings, without labels; the same command again goes on with an interrupted run",
    )
    train.add_argument("--config", type=Path, help="YAML of training parameters, see config/train.yaml")
    source_help = (
        "bag, video, image folder or data set (docs/datasets.md) to learn from; PATH=FILE names its intrinsics"
    )
    train.add_argument("--data", nargs="+", required=True, metavar="SOURCE", help=source_help)
    check_help = "recordings with true depth, measured every validate_every steps and at the end"
    train.add_argument("--validation", nargs="+", default=[], metavar="SOURCE", help=check_help)
    train.add_argument("--out", type=Path, required=True, help="folder of the run")
    train.add_argument("--checkpoint", help="weights to fine-tune; default: from scratch")
    train.add_argument("--size", type=size, metavar="WxH", help="what the networks see (default 480x352)")
    train.add_argument(
        "--max-minutes", type=float, help="length of the run, restarts included; without any length: 20 epochs"
    )
    train.add_argument("--max-steps", type=int, help="length of the run in steps")
    train.add_argument("--devices", type=int, help="processes (GPUs) on this machine")
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one parameter of config/train.yaml; repeatable",
    )


def add_export(add: Commands) -> None:
    """Add `export` to the command line."""
    export = add("export", _export, "weights of a training run or checkpoint to a new file")
    export.add_argument(
        "source", type=Path, metavar="RUN-or-CKPT", help="folder of train --out, finished or not, or a weight file"
    )
    export.add_argument("out", type=Path, metavar="OUT", help=".safetensors, or .pt for the authors' layout")
    said = (
        "how to read the pose net's translation where the input does not say; converts nothing (default: inverse_depth)"
    )
    export.add_argument("--translation", choices=TRANSLATIONS, help=said)
    export.add_argument(
        "--take", action="append", default=[], metavar="NETWORK=RUN-or-CKPT",
        help="a network of another run instead, as feat_net=OTHER; repeatable",
    )  # fmt: skip
    export.add_argument("--half", action="store_true", help="store as float16 (.safetensors only)")


def _train(options: argparse.Namespace) -> int:
    missing = [name for name in ("lightning", "tensorboard") if importlib.util.find_spec(name) is None]
    if missing:
        raise DefeatError(f"training needs {' and '.join(missing)}: pip install lightning tensorboard")
    from defeat_ros.training.config import load_train_config
    from defeat_ros.training.run import first_process, train

    overrides: dict[str, Any] = parse_overrides(options.set)
    for name in ("checkpoint", "size", "max_minutes", "max_steps", "devices"):
        if getattr(options, name) is not None:
            overrides[name] = getattr(options, name)
    config = load_train_config(options.config, overrides)
    command = shlex.join(["defeat-ros", *sys.argv[1:]])
    done = train(config, options.data, options.validation, options.out, command)
    if not first_process():
        return 0  # that one speaks for all
    rows: list[tuple[str, Any]] = [
        ("steps", f"{done.step}" + (f" (went on from {done.resumed_at})" if done.resumed_at else "")),
        ("minutes of training", f"{done.minutes:.1f}"),
        ("samples/s", f"{done.samples_per_s:.1f}"),
        ("loader alone, samples/s", f"{done.loader_per_s:.0f}"),
        ("waiting for data", f"{100 * done.waiting_share:.1f} %"),
        ("weights", done.model or "not yet: the same command goes on"),
    ]
    print_table(f"training in {options.out}", rows)
    if done.curve:
        _print_scores(done.curve[-1]["scores"])
    if not done.finished:
        print(f"defeat-ros: stopped at step {done.step}; the same command goes on from there", file=sys.stderr)
    return 0 if done.finished else 130


def _print_scores(scores: dict[str, dict[str, float]]) -> None:
    table = Table(title="depth at the size of the training, against truth", title_justify="left")
    names = ("abs_rel", "abs_rel_unscaled", "rmse", "a1", "scale_spread", "frames")
    for name in ("condition", *names):
        table.add_column(name)
    for condition, row in scores.items():
        table.add_row(condition, *(f"{row[name]:.0f}" if name == "frames" else f"{row[name]:.4f}" for name in names))
    plain_console().print(table)


def _export(options: argparse.Namespace) -> None:
    from defeat_ros.training.export import export_weights

    pairs = parse_pairs("--take", options.take, "NETWORK=RUN-or-CKPT")
    take = {name: Path(path) for name, path in pairs}
    if len(take) < len(pairs):
        raise ConfigError(f"--take is {options.take}, expected each network once")
    told = export_weights(options.source, options.out, options.half, options.translation, take)
    if options.out.suffix != ".safetensors" and translation_of(told) != "inverse_depth":
        print(
            "defeat-ros: the motion of these weights is in scene units, which the authors' layout cannot say: readers "
            "take it times the mean inverse depth; on the way back, export with --translation scene_units",
            file=sys.stderr,
        )
    print_table(f"{options.source} -> {options.out}", provenance_rows(told) or [("provenance", "not recorded")])
