"""The command `defeat-ros evaluate planner`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from defeat_ros.cli.evaluate_common import (
    add_config,
    add_out,
    add_sources,
    bar,
    config_of,
    make_out,
    open_sources,
    show,
    write,
)
from defeat_ros.evaluation.options import PlannerEvaluation


def add_planner(kinds: Any, add_engine_options: Any, make_engine: Any) -> None:
    """Add the command; see `add_evaluate`."""
    about = "what a planner depends on: metric scale, confidence, and a grid of obstacles, against true depth"
    planner = kinds.add_parser("planner", help=about, description=about)
    planner.set_defaults(run=lambda options: _planner(options, make_engine))
    add_sources(planner, "+")
    planner.add_argument("--depth-topic", metavar="TOPIC", help="truth of bags (default /truth/depth)")
    add_config(planner, PlannerEvaluation)
    fit = "also fit the confidence to these recordings and write its weights, in place of inference/confidence.json"
    planner.add_argument("--fit", type=Path, metavar="FILE", help=fit)
    add_out(planner, "summary.json and charts")
    add_engine_options(planner)


def _planner(options: argparse.Namespace, make_engine: Any) -> None:
    from defeat_ros.evaluation.tables import print_planner
    from defeat_ros.inference.measure_pictures import picture_confidence
    from defeat_ros.inference.measure_planner import fitted_weights, measure_planner

    config = config_of(PlannerEvaluation, options)
    recordings = open_sources(options, depth_topic=options.depth_topic)
    engine = make_engine(options)
    make_out(options.out)
    runs = {}
    with bar("running the engine", recordings) as advance:
        for name, recording in recordings:
            runs[name] = measure_planner(recording, engine, config, options.fit is not None, advance)
    report = {
        "checkpoint": asdict(engine.info),
        "protocol": asdict(config),
        "recordings": {name: run.report() for name, run in runs.items()},
        "seconds_per_part": engine.costs.seconds,
    }
    if options.fit:
        fitted_weights(list(runs.values())).write(options.fit, fitted_to=list(runs), checkpoint=engine.info.checkpoint)
    write(options.out, report)
    for name, run in runs.items():
        for line in run.warnings:
            print(f"defeat-ros: {name}: {line}", file=sys.stderr)
    show(options, report, lambda: print_planner(report, "" if engine.info.trained else "UNTRAINED"))
    if options.out:
        picture_confidence(report["recordings"], options.out)
