"""The command `defeat-ros bench`: what this machine makes of the networks and of the node."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from defeat_ros.cli.common import Commands, engine_config, size
from defeat_ros.cli.evaluate_common import add_out, make_out, show, write
from defeat_ros.errors import ConfigError
from defeat_ros.progress import progress_bar

LEAST_ROUNDS = 3
TOPICS = ("depth/image_rect", "depth/camera_info", "depth/confidence", "odom")


def add_bench(add: Commands, add_engine_options: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command."""
    bench = add(
        "bench",
        _bench,
        "this machine: the networks on each runtime against plain eager PyTorch in the same run, and the node end to "
        "end through DDS",
    )
    bench.add_argument("--rounds", type=int, default=20, help="of the networks, all runtimes in each (default 20)")
    bench.add_argument("--backends", nargs="+", metavar="NAME", default=[], help="runtimes (default: those installed)")
    images = "of the node's images, repeatable (default 480x352)"
    bench.add_argument("--image-size", type=size, action="append", metavar="WxH", help=images)
    bench.add_argument("--rates", type=float, nargs="+", default=[2.0, 10.0], help="of the node's images, Hz")
    bench.add_argument("--seconds", type=float, default=15.0, help="at each rate (default 15)")
    bench.add_argument("--topics", nargs="+", default=list(TOPICS), help=f"subscribed to (default {' '.join(TOPICS)})")
    bench.add_argument("--no-node", action="store_true", help="the networks alone")
    add_engine_options(bench)
    add_out(bench, "summary.json and bench.png")


def _bench(options: argparse.Namespace) -> None:
    config = engine_config(options)
    _check(options)
    make_out(options.out)
    from defeat_ros.bench.live import time_live
    from defeat_ros.bench.networks import peak_memory_mb, processor, time_networks
    from defeat_ros.bench.report import Report, as_json, picture
    from defeat_ros.inference.pictures import write_picture
    from defeat_ros.inference.weights import read_source

    source = read_source(config)
    with progress_bar("networks (the first time compiles)", options.rounds + 1) as advance:
        networks = time_networks(source, config.device, options.rounds, advance, options.backends)
    lives = []
    sizes = [] if options.no_node else options.image_size or [(480, 352)]
    with progress_bar("node", len(sizes) * (len(options.rates) + 1)) as advance:
        for width, height in sizes:
            rates = sorted(options.rates)
            lives.append(time_live(config, (height, width), options.topics, rates, options.seconds, advance))
    told = source.size_hw[::-1]
    report = Report(processor(), source.checkpoint.path.name, told, networks, tuple(lives), peak_memory_mb())
    facts = as_json(report)
    write(options.out, facts)
    show(options, facts, lambda: _tables(report))
    if options.out is not None:  # last: it may fail for want of matplotlib
        write_picture(options.out / "bench.png", picture(report))


def _check(options: argparse.Namespace) -> None:
    """Raises ConfigError for a wrong number, before anything takes time."""
    from defeat_ros.inference.backends.choose import RUNTIMES

    if options.rounds < LEAST_ROUNDS:
        raise ConfigError(f"--rounds is {options.rounds}, expected at least {LEAST_ROUNDS}")
    if not options.seconds > 0 or not all(0 < rate < 1000 for rate in options.rates):
        raise ConfigError(f"--seconds is {options.seconds} and --rates {options.rates}, expected more than 0")
    for name in options.backends:
        if name not in RUNTIMES:
            raise ConfigError(f"--backends has {name!r}, expected some of {', '.join(RUNTIMES)}")
    check_topics(options.topics)


def check_topics(names: Sequence[str]) -> None:
    """Raises ConfigError for what is no topic of the node, or has no stamp to measure it by."""
    from defeat_ros.inference.outputs import TOPICS as KNOWN

    for name in names:
        if name not in KNOWN or name == "depth/scale":
            raise ConfigError(f"--topics has {name!r}, expected some of {', '.join(set(KNOWN) - {'depth/scale'})}")


def _tables(report: Any) -> None:
    from defeat_ros.bench.report import live_rows, network_rows
    from defeat_ros.evaluation.tables import print_rows

    width, height = report.size
    print(f"{report.machine}; {report.checkpoint} at {width}x{height}")
    print_rows("networks", *network_rows(report.networks))
    for line in report.networks.left_out:
        print(f"  left out: {line}")
    for live in report.lives:
        height, width = live.size_hw
        print()
        print_rows(f"node, images {width}x{height}, {' '.join(live.topics)}", *live_rows(live))
        parts = ", ".join(f"{name} {ms:.1f}" for name, ms in sorted(live.engine_parts_ms.items(), key=lambda x: -x[1]))
        alone = ", ".join(f"{ms:.1f}" for ms in live.engine_ms)
        print(f"  engine alone, beside each of them: {alone} ms a frame; its parts: {parts}")
        print(f"  node under full load: {live.rate_ratio:.2f} of the engine's rate; it adds {live.added_ms:.1f} ms")
