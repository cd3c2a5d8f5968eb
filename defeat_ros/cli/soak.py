"""The command `defeat-ros soak`: a bag in a loop through the live node, for hours."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from defeat_ros.cli.bench import TOPICS, check_topics
from defeat_ros.cli.common import Commands, engine_config, print_table
from defeat_ros.cli.evaluate_common import add_out, make_out, show, write
from defeat_ros.errors import ConfigError, SourceError
from defeat_ros.progress import progress_bar

LEAST_S = 2.0


def add_soak(add: Commands, add_engine_options: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command."""
    soak = add("soak", _soak, "a bag in a loop through the live node: memory, latency, handles, every frame accounted")
    soak.add_argument("bag", type=Path, metavar="BAG", help="with a camera")
    soak.add_argument("--image-topic", metavar="TOPIC", help="where the bag has several cameras")
    soak.add_argument("--minutes", type=float, default=60.0, help="how long (default 60)")
    soak.add_argument("--rate", type=float, default=1.0, help="how much faster than recorded (default 1)")
    soak.add_argument("--topics", nargs="+", default=list(TOPICS), help=f"subscribed to (default {' '.join(TOPICS)})")
    add_engine_options(soak)
    add_out(soak, "summary.json and soak.png")


def _soak(options: argparse.Namespace) -> None:
    config, seconds = engine_config(options), 60.0 * options.minutes
    if not LEAST_S <= seconds < math.inf or not 0 < options.rate < math.inf:
        given = f"--minutes is {options.minutes} and --rate {options.rate}"
        raise ConfigError(f"{given}, expected at least {LEAST_S:g} s and a positive rate")
    check_topics(options.topics)
    from defeat_ros.bench.soak import run_soak, soak_picture, soak_rows
    from defeat_ros.data.bag import BagReader
    from defeat_ros.inference.pictures import write_picture

    with BagReader(options.bag) as bag:
        image = bag.image_topic(options.image_topic)
        info = bag.camera_info_topic(image)
        if not bag.topics[image].type.endswith("/Image"):
            raise SourceError(f"'{image}' is a {bag.topics[image].type}, expected a sensor_msgs/msg/Image")
    make_out(options.out)
    topics = {"image": image, **({"camera_info": info} if info else {})}
    with progress_bar("soaking, s", round(seconds)) as advance:
        soak = run_soak(options.bag, topics, config, seconds, options.rate, options.topics, advance)
    told = soak.as_json()
    write(options.out, told)
    show(options, told, lambda: print_table(f"soak of {options.bag}", soak_rows(soak)))
    if options.out is not None:  # last: it may fail for want of matplotlib
        write_picture(options.out / "soak.png", soak_picture(soak))
