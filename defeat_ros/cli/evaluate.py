"""The command `defeat-ros evaluate`: how far depth, odometry and features are from the truth."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from defeat_ros.cli.common import Commands
from defeat_ros.errors import ConfigError, SourceError
from defeat_ros.evaluation.options import DepthEvaluation, FeatureEvaluation, OdometryEvaluation, PlannerEvaluation
from defeat_ros.files import json_text, write_json
from defeat_ros.progress import progress_bar
from defeat_ros.settings import build, entries

T = TypeVar("T")


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
    _add_planner(kinds, add_engine_options, make_engine)


def _add_depth(kinds: Any, add_engine_options: Any, make_engine: Any) -> None:
    about = "depth of recordings with truth: bags with a truth topic, images with depth PNGs, KITTI layouts"
    depth = kinds.add_parser("depth", help=about, description=about)
    depth.set_defaults(run=lambda options: _depth(options, make_engine))
    _add_sources(depth, "+")
    _add_config(depth, DepthEvaluation)
    bags = "instead of running an engine: bags with its depth, one for each SOURCE, matched by stamp"
    depth.add_argument("--predictions", type=Path, nargs="+", metavar="OUT_BAG", help=bags)
    topic = "depth images of those bags (default /depth/image_rect)"
    depth.add_argument("--prediction-topic", default="/depth/image_rect", metavar="TOPIC", help=topic)
    depth.add_argument("--depth-topic", metavar="TOPIC", help="truth of bags (default /truth/depth)")
    _add_out(depth)
    add_engine_options(depth)


def _add_odometry(kinds: Any, add_engine_options: Any, make_engine: Any) -> None:
    about = "odometry of recordings with truth, or of one trajectory against another"
    odometry = kinds.add_parser("odometry", help=about, description=about)
    odometry.set_defaults(run=lambda options: _odometry(options, make_engine))
    _add_sources(odometry, "*")
    formats = "a bag, a KITTI file (12 numbers a line) or a TUM file (t x y z qx qy qz qw)"
    odometry.add_argument("--estimate", type=Path, metavar="PATH", help=f"instead of running an engine: {formats}")
    odometry.add_argument("--truth", type=Path, metavar="PATH", help=f"{formats} (default: what SOURCE itself has)")
    odometry.add_argument("--odom-topic", metavar="TOPIC", help="truth of bags (default /truth/odom)")
    odometry.add_argument("--estimate-topic", metavar="TOPIC", help="odometry of an --estimate bag (default /odom)")
    _add_config(odometry, OdometryEvaluation)
    _add_out(odometry)
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
    _add_config(features, FeatureEvaluation)
    _add_out(features, "summary.json")
    add_engine_options(features)


def _add_planner(kinds: Any, add_engine_options: Any, make_engine: Any) -> None:
    about = "what a planner depends on: metric scale, confidence, and a grid of obstacles, against true depth"
    planner = kinds.add_parser("planner", help=about, description=about)
    planner.set_defaults(run=lambda options: _planner(options, make_engine))
    _add_sources(planner, "+")
    planner.add_argument("--depth-topic", metavar="TOPIC", help="truth of bags (default /truth/depth)")
    _add_config(planner, PlannerEvaluation)
    fit = "also fit the confidence to these recordings and write its weights, in place of inference/confidence.json"
    planner.add_argument("--fit", type=Path, metavar="FILE", help=fit)
    _add_out(planner, "summary.json and charts")
    add_engine_options(planner)


def _add_sources(parser: argparse.ArgumentParser, count: str) -> None:
    about = "bag, folder of images, KITTI layout or video; with =FILE after it, the camera's intrinsics"
    parser.add_argument("sources", nargs=count, metavar="SOURCE", help=about)
    parser.add_argument("--image-topic", metavar="TOPIC", help="images of bags, where they have several")
    parser.add_argument(
        "--fps", type=float, help="thin recordings to this rate, Hz (default: every frame; training thins to 10)"
    )


def _add_out(parser: argparse.ArgumentParser, holds: str = "summary.json and pictures") -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"new folder for {holds}")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def _add_config(parser: argparse.ArgumentParser, cls: type) -> None:
    """One flag for each field."""
    for entry in entries(cls):
        flag = "--" + entry.name.replace("_", "-")
        if entry.type is bool:
            parser.add_argument(flag, action="store_true", default=None, help=entry.option.help)
            continue
        shown = f"{entry.option.help} (default {entry.default})"
        choices = entry.option.choices or None
        parser.add_argument(flag, type=entry.type, choices=choices, default=None, help=shown)


def _config(cls: type[T], options: argparse.Namespace) -> T:
    return build(cls, {entry.name: getattr(options, entry.name) for entry in entries(cls)})


def _open(options: argparse.Namespace, **topics: str | None) -> list[Any]:
    """The recordings with their names, each name once."""
    from defeat_ros.data.recording import is_bag, open_recording, parse_source, unique_names

    opened = []
    for text in options.sources:
        path, intrinsics = parse_source(text)
        named = {"image_topic": options.image_topic, **topics} if is_bag(path) else {}
        opened.append(open_recording(path, intrinsics=intrinsics, fps=options.fps, **named))
    return list(zip(unique_names([recording.name for recording in opened]), opened, strict=True))


@contextmanager
def _bar(label: str, recordings: Sequence[Any], times: int = 1) -> Iterator[Callable[..., None]]:
    counts = [recording.expected for _, recording in recordings]
    total = times * sum(counts) if all(count is not None for count in counts) else None
    with progress_bar(label, total) as advance:
        yield advance


def _depth(options: argparse.Namespace, make_engine: Any) -> None:
    from defeat_ros.evaluation.depth_run import BagPredictor, fit_baselines, measure_depth, require_truth
    from defeat_ros.evaluation.depth_scores import depth_report
    from defeat_ros.evaluation.tables import print_depth
    from defeat_ros.inference.measure import EnginePredictor
    from defeat_ros.inference.measure_pictures import picture_distances, picture_frames

    config = _config(DepthEvaluation, options)
    recordings = _open(options, depth_topic=options.depth_topic)
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
        _make_out(options.out)
        baselines = None
        if config.baselines:
            with _bar("fitting baselines to the truth", recordings) as advance:
                every = [recording for _, recording in recordings]
                baselines = fit_baselines(every, config, predictors[0].input_size, advance)
        sources = []
        with _bar("evaluating depth", recordings) as advance:
            for (name, recording), predictor in zip(recordings, predictors, strict=True):
                sources.append(measure_depth(recording, predictor, config, baselines, advance, name))
        report = {**facts, **depth_report(sources)}
        _write(options.out, report)
        for source in sources:
            for line in source.warnings:
                print(f"defeat-ros: {source.name}: {line}", file=sys.stderr)
        _show(options, report, lambda: print_depth(report, mark))
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

    config = _config(OdometryEvaluation, options)
    if options.estimate:
        if options.sources or not options.truth:
            raise ConfigError(
                f"--estimate {options.estimate} is compared with --truth PATH, expected that and no SOURCE"
            )
        estimate = read_trajectory(options.estimate, options.estimate_topic, ESTIMATE_TOPICS)
        truth = read_trajectory(options.truth, options.odom_topic)
        _make_out(options.out)
        pairs = {options.estimate.stem: match(estimate, truth, config.max_difference)}
        facts, mark = {"estimate": str(options.estimate), "truth": str(options.truth)}, ""
        runs: dict[str, Any] = {}
    else:
        pairs, facts, runs, mark = _engine_pairs(options, config, make_engine)
    reports = {name: odometry_report(matched, config) | runs.get(name, {}) for name, matched in pairs.items()}
    report = {**facts, **odometry_summary(reports, config)}
    _write(options.out, report)
    for name, one in reports.items():
        for line in one["notes"]:
            print(f"defeat-ros: {name}: {line}", file=sys.stderr)
    _show(options, report, lambda: print_odometry(report, mark))
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
    recordings = _open(options, odom_topic=None if options.truth else options.odom_topic)
    given_truth = read_trajectory(options.truth, options.odom_topic) if options.truth else None
    for _, recording in recordings:
        if given_truth is None and all(item.world_from_camera is None for item in recording):
            raise SourceError(f"{recording.path} has no poses, expected /truth/odom, poses.txt or --truth PATH")
    engine = make_engine(options)
    _make_out(options.out)
    pairs, runs = {}, {}
    with _bar("running the engine", recordings) as advance:
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

    config = _config(FeatureEvaluation, options)
    recordings = _open(options)
    if len(recordings) % 2:
        raise ConfigError(f"the number of SOURCEs is {len(recordings)}, expected pairs of them")
    engine = make_engine(options)
    features_of = EngineFeatures(engine)
    _make_out(options.out)
    total, pairs = Matches(), {}
    with progress_bar("matching", None) as advance:
        for (name, first), (other, second) in zip(recordings[::2], recordings[1::2], strict=True):
            found = measure_features(first, second, features_of, config, advance)
            total.add(found)
            pairs[f"{name} in {other}"] = found.report()
    if len(pairs) > 1:
        pairs["all"] = total.report()
    report = {"checkpoint": asdict(engine.info), "protocol": asdict(config), "pairs": pairs}
    _write(options.out, report)
    learned = engine.info.trained and "features" not in engine.info.untrained
    _show(options, report, lambda: print_features(report, "" if learned else "UNTRAINED"))


def _planner(options: argparse.Namespace, make_engine: Any) -> None:
    from defeat_ros.evaluation.tables import print_planner
    from defeat_ros.inference.measure_pictures import picture_confidence
    from defeat_ros.inference.measure_planner import fitted_weights, measure_planner

    config = _config(PlannerEvaluation, options)
    recordings = _open(options, depth_topic=options.depth_topic)
    engine = make_engine(options)
    _make_out(options.out)
    runs = {}
    with _bar("running the engine", recordings) as advance:
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
    _write(options.out, report)
    for name, run in runs.items():
        for line in run.warnings:
            print(f"defeat-ros: {name}: {line}", file=sys.stderr)
    _show(options, report, lambda: print_planner(report, "" if engine.info.trained else "UNTRAINED"))
    if options.out:
        picture_confidence(report["recordings"], options.out)


def _make_out(out: Path | None) -> None:
    if out is not None:
        from defeat_ros.inference.pictures import make_folder

        make_folder(out)


def _write(out: Path | None, report: dict[str, Any]) -> None:
    if out is not None:
        write_json(out / "summary.json", report)


def _show(options: argparse.Namespace, report: dict[str, Any], tables: Callable[[], None]) -> None:
    if options.json:
        print(json_text(report))
    else:
        tables()
