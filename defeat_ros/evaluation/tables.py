"""Reports of evaluations as tables on stdout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from defeat_ros.evaluation.odometry_report import FIGURES, figure
from defeat_ros.progress import plain_console

_COLUMNS = 4  # trajectories side by side in one table


def print_depth(report: dict[str, Any], mark: str = "") -> None:
    """Print what `depth_report` made; `mark` goes to the title, such as 'UNTRAINED'."""
    protocol, sources = report["protocol"], report["sources"]
    light = {"auto": f"night: median grey level below {protocol['night_below_grey_level']:g}"}
    said = [f"truth {protocol['min_depth']:g} to {protocol['max_depth']:g} m", f"crop {protocol['crop']}"]
    said += [light.get(protocol["condition"], f"condition {protocol['condition']} as told")]
    said += [f"dark {protocol['dark']} at the input size"] if protocol["dark"] else []
    names = ("abs_rel", "sq_rel", "rmse", "rmse_log", "a1", "a2", "a3", "dee")
    table = _table(f"depth {mark} ({'; '.join(said)})", ["", "", "scaling"], ["frames", *names, "scale", "std/mean"])
    groups = [("overall", report["overall"])] if len(sources) > 1 else []
    groups += [*report["conditions"].items()] if len(sources) > 1 else []
    groups += [(f"{name} ({facts['condition']})", facts["methods"]) for name, facts in sources.items()]
    for group, methods in groups:
        for number, (method, scores) in enumerate(methods.items()):
            first = (group if number == 0 else "", method)
            numbers = [[f"{scores[scaling][name]:.3f}" for name in names] for scaling in ("median_scaled", "unscaled")]
            scale = (f"{scores['scale']['mean']:.3g}", f"{scores['scale']['std_over_mean']:.3f}")
            table.add_row(*first, "median", str(scores["frames"]), *numbers[0], *scale)
            table.add_row("", "", "none", "", *numbers[1])
        table.add_section()
    _print(table)
    if protocol["baselines"]:
        print("constant and rows are fitted to the very truth they are measured on: optimistic priors")
    for name, facts in sources.items():
        frames = facts["frames"]
        skipped = "".join(f", {reason} {number}" for reason, number in frames["skipped"].items())
        told = (
            f"{name}: {frames['in']} frames, {frames['evaluated']} evaluated{skipped}; grey {facts['grey_level']:.0f}"
        )
        for method, scores in facts["methods"].items():
            if scores["missing"] > 0:
                told += f"; {method} has no finite depth at {100 * scores['missing']:.3g} % of the pixels with truth"
        print(told)


def print_odometry(report: dict[str, Any], mark: str = "") -> None:
    """Print what `odometry_summary` made; `mark` goes to the title."""
    every = report["trajectories"]
    columns: list[tuple[str, dict[str, Any] | None]] = list(every.items())
    columns += [("mean", None)] if len(every) > 1 else []
    for first in range(0, len(columns), _COLUMNS):
        part = columns[first : first + _COLUMNS]
        table = _table(f"odometry {mark}".strip(), [""], [name for name, _ in part])
        for label, path in FIGURES:
            values = [report["mean"][label] if one is None else figure(one, path) for _, one in part]
            missing = "too short" if path[0].startswith("segments") else "-"
            table.add_row(label, *(missing if value is None else f"{value:.4g}" for value in values))
        _print(table)
    for name, one in every.items():
        steps = one["steps"]
        line = f"{name}: {one['poses']} poses, {steps['count']} steps, {steps['moving']} moving"
        for whose, number in one["unmatched"].items():
            line += f", {number} of the {whose} unmatched" if number else ""
        if "restarts" in one:
            line += "".join(f", motion unknown ({why}) {n}" for why, n in one["restarts"].items())
            line += "".join(f", {why} {n}" for why, n in one["frames"]["skipped"].items())
        print(line)


def _table(title: str, texts: Sequence[str], columns: Sequence[str]) -> Table:
    """A table whose first columns are texts and the others numbers, none of them cut short."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in texts:
        table.add_column(column, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _print(table: Table) -> None:
    """At its full width also where the terminal is narrower: a figure cut short is worth nothing."""
    needed = plain_console(width=1000).measure(table).maximum
    console = plain_console()
    (plain_console(width=needed) if console.width < needed else console).print(table)


def print_features(report: dict[str, Any], mark: str = "") -> None:
    """Print what `evaluate features` measured."""
    title = f"features {mark} (within {report['protocol']['tolerance_px']:g} px of the truth)".replace("  ", " ")
    names = ("orb", "features", "features_over_orb", "features_at_keypoints", "features_at_keypoints_over_orb")
    table = _table(title, [""], ["pairs", "points", "repeatable", *names])
    for pair, scores in report["pairs"].items():
        shown = ["-" if scores[name] is None else f"{scores[name]:.3f}" for name in ("repeatable", *names)]
        table.add_row(pair, str(scores["pairs"]), str(scores["points"]), *shown)
    _print(table)
    print(
        "shares of ORB's keypoints that are seen in the other image; features search all its pixels, at_keypoints ORB's"
    )


def print_planner(report: dict[str, Any], mark: str = "") -> None:
    """Print what `evaluate planner` measured; `mark` goes to the titles."""
    every: dict[str, Any] = report["recordings"]
    columns = ["frames", "source", "scale error", "frame error", "largest step", "stated std", "abs_rel", "over median"]
    table = _table(f"metric scale {mark}(from 2 s on)", [""], columns)
    for name, one in every.items():
        settled, sources = one["scale"]["settled"], one["scale"]["sources"]
        if settled is None:
            table.add_row(name, str(one["scale"]["frames"]), "", "too short")
            continue
        numbers = [f"{100 * settled['median_error']:+.1f} %", f"{100 * settled['median_frame_error']:.1f} %"]
        numbers += [f"{100 * settled['largest_step']:.2f} %", f"{100 * settled['stated_std']:.1f} %"]
        numbers += [f"{settled['abs_rel_metric']:.3f}", f"{settled['metric_over_median_scaled']:.2f}"]
        table.add_row(name, str(settled["frames"]), max(sources, key=lambda key: sources[key]), *numbers)
    _print(table)
    columns = ["abs_rel", "of best 80 %", "gain", "right", "stated", "calibration error"]
    table = _table(f"confidence {mark}", [""], columns)
    for name, one in every.items():
        sure = one["confidence"]
        shown = [f"{sure[key]:.3f}" for key in ("abs_rel", "abs_rel_of_80_percent")]
        shown += [f"{100 * sure['gain_of_dropping_20_percent']:.0f} %"]
        table.add_row(name, *shown, *(f"{sure[key]:.3f}" for key in ("right", "stated", "calibration_error")))
    _print(table)
    table = _table(
        f"obstacles {mark}(0.2 m cells within 20 m; a frame's mean)",
        [""],
        ["confidence_min", "recall", "false", "true", "sky"],
    )
    for name, one in every.items():
        for row in one["grid"]:
            shown = ["-" if row["recall"] is None else f"{row['recall']:.3f}"]
            shown += [f"{row[f'{key}_cells_per_frame']:.1f}" for key in ("false", "true", "sky")]
            table.add_row(name, f"{row['confidence_min']:g}", *shown)
        table.add_section()
    _print(table)
    print("ms a frame: " + ", ".join(f"{part} {1e3 * took:.1f}" for part, took in report["seconds_per_part"].items()))


def print_rows(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of words under their header, the first column to the left."""
    table = _table(title, header[:1], header[1:])
    for row in rows:
        table.add_row(*row)
    _print(table)
