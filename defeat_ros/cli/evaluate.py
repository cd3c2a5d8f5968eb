"""The command `defeat-ros evaluate`: how far depth, odometry and features are from the truth."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from defeat_ros.cli.common import Commands
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
from defeat_ros.cli.evaluate_planner import add_planner
from defeat_ros.errors import ConfigError, SourceError
from defeat_ros.evaluation.options import DepthEvaluation, FeatureEvaluation, OdometryEvaluation
from defeat_ros.progress import progress_bar


def add_evaluate(
    add: Commands,
    add_engine_options: Callable[[argparse.ArgumentParser], None],
    make_engine: Callable[[argparse.Namespace], Any],
) -> None:
    """Add the command.

    Args:
        add: adds a command.
        add_engine_options: adds the options that say which engine to make.
        make_engine: makes it from the parsed options.
    """
    evaluate = add("evaluate", None, "errors of depth, odometry and features against truth")
    kinds = evaluate.add_subparsers(required=True, metavar="depth|odometry|features|planner")
    _add_depth(kinds, add_engine_options, make_engine)
    _add_odometry(kinds, add_engine_options, make_engine)
    _add_features(kinds, add_engine_options, make_engine)
    add_planner(kinds, add_engine_options, make_engine)


def _add_depth(kinds: Any, add_engine_options: Any, make_engine: Any) -> None:
    about = "depth of recordings with truth: bags with a truth topic, images with depth PNGs, public data sets"
    depth = kinds.add_parser("depth", help=about, description=about)
    depth.set_defaults(run=lambda options: _depth(options, make_engine))
    add_sources(depth, "+")
    add_config(depth, DepthEvaluation)
    bags = "instead of running an engine: bags with its depth, one for each SOURCE, matched by stamp"
    depth.add_argument("--predictions", type=Path, nargs="+", metavar="OUT_BAG", help=bags)
    topic = "depth images of those bags (default /depth/image_rect)"
    depth.add_argument("--prediction-topic", default="/depth/image_rect", metavar="TOPIC", help=topic)
    depth.add_argument("--depth-topic", metavar="TOPIC", help="truth of bags (default /truth/depth)")
    add_out(depth)
    add_engine_options(depth)


def _add_odometry(kinds: Any, add_engine_options: Any, make_engine: Any) -> None:
    about = "odometry of recordings with truth, or of one trajectory against another"
    odometry = kinds.add_parser("odometry", help=about, description=about)
    odometry.set_defaults(run=lambda options: _odometry(options, make_engine))
    add_sources(odometry, "*")
    formats = "a bag, a KITTI file (12 numbers a line) or a TUM file (t x y z qx qy qz qw)"
    odometry.add_argument("--estimate", type=Path, metavar="PATH", help=f"instead of running an engine: {formats}")
    odometry.add_argument("--truth", type=Path, metavar="PATH", help=f"{formats} (default: what SOURCE itself has)")
    odometry.add_argument("--odom-topic", metavar="TOPIC", help="truth of bags (default /truth/odom)")
    odometry.add_argument("--estimate-topic", metavar="TOPIC", help="odometry of an --estimate bag (default /odom)")
    add_config(odometry, OdometryEvaluation)
    add_out(odometry)
    add_engine_options(odometry)


def _add_features(kinds: Any, add_engine_options: Any, make_engine: Any) -> None:
    about = "how often features find the same point in another recording of the same world, beside ORB"
    features = kinds.add_parser("features", help=about, description=about)
    features.set_defaults(run=lambda options: _features(options, make_engine))
    pairs = (
        "pairs of bags with true depth and poses in one world: the same drive by day and by night, or twice the same"
    )
    features.add_argument("sources", nargs="+", metavar="SOURCE", help=pairs)
    features.add_argument("--image-topic", metavar="TOPIC", help="images of bags, where they have several")
    features.set_defaults(fps=None)
    add_config(features, FeatureEvaluation)
    add_out(features, "summary.json")
    add_engine_options(features)


def _depth(options: argparse.Namespace, make_engine: Any) -> None:
    from defeat_ros.evaluation.depth_run import BagPredictor, fit_baselines, measure_depth, require_truth
    from defeat_ros.evaluation.depth_scores import depth_report
    from defeat_ros.evaluation.tables import print_depth
    from defeat_ros.inference.measure import EnginePredictor
    from defeat_ros.inference.measure_pictures import picture_distances, picture_frames

    config = config_of(DepthEvaluation, options)
    recordings = open_sources(options, depth_topic=options.depth_topic)
    for _, recording in recordings:
        require_truth(recording, config)
    facts: dict[str, Any]
    with ExitStack() as stack:
        predictors: list[Any]
        if options.predictions:
            _check_predictions(options, config)
            predictors = [BagPredictor(bag, options.prediction_topic) for bag in options.predictions]
            for predictor in predictors:
                stack.callback(predictor.close)
            facts, mark = {"predictions": [str(bag) for bag in options.predictions]}, ""
        else:
            engine = make_engine(options)
            predictors = [EnginePredictor(engine)] * len(recordings)
            facts, mark = {"checkpoint": asdict(engine.info)}, "" if engine.info.trained else "UNTRAINED"
        make_out(options.out)
        baselines = None
        if config.baselines:
            with bar("fitting baselines to the truth", recordings) as advance:
                every = [recording for _, recording in recordings]
                baselines = fit_baselines(every, config, predictors[0].input_size, advance)
        sources = []
        with bar("evaluating depth", recordings) as advance:
            for (name, recording), predictor in zip(recordings, predictors, strict=True):
                sources.append(measure_depth(recording, predictor, config, baselines, advance, name))
        report = {**facts, **depth_report(sources)}
        write(options.out, report)
        for source in sources:
            for line in source.warnings:
                print(f"defeat-ros: {source.name}: {line}", file=sys.stderr)
        show(options, report, lambda: print_depth(report, mark))
        if options.out:  # last, so that a picture that fails takes no number with it
            with progress_bar("picturing", 3 * len(sources)) as advance:
                for source, (_, recording), predictor in zip(sources, recordings, predictors, strict=True):
                    picture_frames(recording, source, predictor, options.out, mark, advance)
            picture_distances(sources, config, options.out)


def _check_predictions(options: argparse.Namespace, config: Any) -> None:
    if len(options.predictions) != len(options.sources):
        raise ConfigError(f"--predictions has {len(options.predictions)} bags, expected {len(options.sources)}")
    for name in ("dark", "crop_aspect"):
        if getattr(config, name):
            raise ConfigError(f"{name} is {getattr(config, name)}, expected none: --predictions were made before")


def _odometry(options: argparse.Namespace, make_engine: Any) -> None:
    from defeat_ros.evaluation.odometry_report import odometry_report, odometry_summary
    from defeat_ros.evaluation.tables import print_odometry
    from defeat_ros.evaluation.trajectory import ESTIMATE_TOPICS, match, read_trajectory
    from defeat_ros.inference.measure_pictures import picture_path

    config = config_of(OdometryEvaluation, options)
    if options.estimate:
        if options.sources or not options.truth:
            raise ConfigError(
                f"--estimate {options.estimate} is compared with --truth PATH, expected that and no SOURCE"
            )
        estimate = read_trajectory(options.estimate, options.estimate_topic, ESTIMATE_TOPICS)
        truth = read_trajectory(options.truth, options.odom_topic)
        make_out(options.out)
        pairs = {options.estimate.stem: match(estimate, truth, config.max_difference)}
        facts, mark = {"estimate": str(options.estimate), "truth": str(options.truth)}, ""
        runs: dict[str, Any] = {}
    else:
        pairs, facts, runs, mark = _engine_pairs(options, config, make_engine)
    reports = {name: odometry_report(matched, config) | runs.get(name, {}) for name, matched in pairs.items()}
    report = {**facts, **odometry_summary(reports, config)}
    write(options.out, report)
    for name, one in reports.items():
        for line in one["notes"]:
            print(f"defeat-ros: {name}: {line}", file=sys.stderr)
    show(options, report, lambda: print_odometry(report, mark))
    if options.out:
        for name, matched in pairs.items():
            picture_path(name, matched, options.out / f"{name}_odometry.png", mark)


def _engine_pairs(options: argparse.Namespace, config: Any, make_engine: Any) -> tuple[Any, Any, Any, str]:
    """The engine's trajectories beside the truth, facts about the engine and each run, and a mark for pictures."""
    from defeat_ros.data.recording import is_bag
    from defeat_ros.evaluation.trajectory import match, read_trajectory
    from defeat_ros.inference.measure import run_odometry

    if not options.sources or (options.truth and len(options.sources) > 1):
        given = f"{len(options.sources)} SOURCE"
        raise ConfigError(f"there are {given}, expected one or more (one with --truth), or --estimate with --truth")
    recordings = open_sources(options, odom_topic=None if options.truth else options.odom_topic)
    given_truth = read_trajectory(options.truth, options.odom_topic) if options.truth else None
    for _, recording in recordings:
        if given_truth is None and all(item.world_from_camera is None for item in recording):
            why = f"; {recording.warnings[0]}" if recording.warnings else ""
            raise SourceError(
                f"{recording.path} has no poses, expected /truth/odom, poses.txt, a data set's own or --truth PATH{why}"
            )
    engine = make_engine(options)
    make_out(options.out)
    pairs, runs = {}, {}
    with bar("running the engine", recordings) as advance:
        for name, recording in recordings:
            run = run_odometry(recording, engine, "ros" if is_bag(recording.path) else "optical", advance)
            for line in run.warnings:
                print(f"defeat-ros: {name}: {line}", file=sys.stderr)
            truth = given_truth or run.truth
            if truth is None:  # there are poses, but not of the frames that can be used
                raise SourceError(f"no usable frame of {recording.path} has a pose")
            pairs[name] = match(run.estimate, truth, config.max_difference)
            frames = {"in": run.received, "skipped": run.skipped}
            runs[name] = {"frames": frames, "restarts": run.restarts, "warnings": run.warnings}
    mark = "" if engine.info.trained else "UNTRAINED"
    return pairs, {"checkpoint": asdict(engine.info)}, runs, mark


def _features(options: argparse.Namespace, make_engine: Any) -> None:
    from defeat_ros.evaluation.features import Matches
    from defeat_ros.evaluation.features_run import measure_features
    from defeat_ros.evaluation.tables import print_features
    from defeat_ros.inference.measure import EngineFeatures

    config = config_of(FeatureEvaluation, options)
    recordings = open_sources(options)
    if len(recordings) % 2:
        raise ConfigError(f"the number of SOURCEs is {len(recordings)}, expected pairs of them")
    engine = make_engine(options)
    features_of = EngineFeatures(engine)
    make_out(options.out)
    total, pairs = Matches(), {}
    with progress_bar("matching", None) as advance:
        for (name, first), (other, second) in zip(recordings[::2], recordings[1::2], strict=True):
            found = measure_features(first, second, features_of, config, advance)
            total.add(found)
            pairs[f"{name} in {other}"] = found.report()
    if len(pairs) > 1:
        pairs["all"] = total.report()
    report = {"checkpoint": asdict(engine.info), "protocol": asdict(config), "pairs": pairs}
    write(options.out, report)
    learned = engine.info.trained and "features" not in engine.info.untrained
    show(options, report, lambda: print_features(report, "" if learned else "UNTRAINED"))
