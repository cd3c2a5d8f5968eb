"""Charts of errors and paths; the only place that knows matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from defeat_ros.errors import OutputError
from defeat_ros.visualize.pictures import ACCENT, BACKGROUND, INK, MUTED, TRUTH

Color = tuple[int, int, int]

SERIES: tuple[Color, ...] = (ACCENT, TRUTH, (150, 220, 130), (230, 120, 170), (190, 160, 250), MUTED)

_DPI = 100


def distance_chart(
    edges: np.ndarray, series: Mapping[str, np.ndarray], pixels: np.ndarray, title: str, dashed: Sequence[str] = ()
) -> np.ndarray:
    """Relative error over true distance, with the number of pixels behind it below.

    Args:
        edges: (N + 1,) of the bins, m.
        series: name to mean relative error of each bin (N,), NaN where there is none.
        pixels: (N,) pixels in each bin.
        title: what is shown.
        dashed: series to draw with broken lines.

    Returns:
        (600, 900, 3) uint8 RGB.

    Raises:
        OutputError: matplotlib is not installed.
    """
    figure = _figure(900, 600)
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
    centres = (edges[:-1] + edges[1:]) / 2
    for color, (name, errors) in zip(_cycle(len(series)), series.items(), strict=True):
        known = np.isfinite(errors)
        line = "--" if name in dashed else "-"
        upper.plot(centres[known], errors[known], line, marker="o", color=_rgb(color), label=name, markersize=4)
    _axes(upper, title, "", "abs_rel, median-scaled")
    upper.set_ylim(bottom=0)
    if len(series) > 1:
        upper.legend(facecolor=_rgb(BACKGROUND), edgecolor=_rgb(MUTED), labelcolor=_rgb(INK))
    lower.bar(centres, np.maximum(pixels, 0), width=np.diff(edges) * 0.9, color=_rgb(MUTED))
    _axes(lower, "", "true distance, m", "pixels")
    if pixels.any():
        lower.set_yscale("log")
    lower.set_xlim(edges[0], edges[-1])
    return _drawn(figure)


def odometry_chart(
    tracks: Sequence[tuple[str, np.ndarray]], labels: tuple[str, str], curves: Mapping[str, np.ndarray], title: str
) -> np.ndarray:
    """Paths from above at one scale for both axes; beside them position and rotation errors over the path.

    Args:
        tracks: name and points (N, 2) of each path, m, the truth first.
        labels: of the horizontal and the vertical axis.
        curves: see `evaluation.odometry_report.curves`.
        title: what is shown.

    Returns:
        (700, 1400, 3) uint8 RGB.

    Raises:
        OutputError: matplotlib is not installed.
    """
    figure = _figure(1400, 700)
    grid = figure.add_gridspec(2, 2, width_ratios=[1.1, 1])
    path = figure.add_subplot(grid[:, 0])
    for color, (name, points) in zip((TRUTH, *_cycle(len(tracks) - 1)), tracks, strict=True):
        path.plot(points[:, 0], points[:, 1], color=_rgb(color), label=name, linewidth=2)
        path.plot(*points[0], "o", color=_rgb(color), fillstyle="none")
        path.plot(*points[-1], "s", color=_rgb(color))
    path.set_aspect("equal", adjustable="datalim")
    _axes(path, f"{title}   (circle: start, square: end)", *labels)
    path.legend(facecolor=_rgb(BACKGROUND), edgecolor=_rgb(MUTED), labelcolor=_rgb(INK))
    position, rotation = figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, 1])
    for color, (name, label) in zip((ACCENT, SERIES[3]), (("sim3", "Sim(3)"), ("se3", "SE(3)")), strict=True):
        position.plot(curves["distance"], curves[name], color=_rgb(color), label=f"after {label} alignment")
    position.legend(facecolor=_rgb(BACKGROUND), edgecolor=_rgb(MUTED), labelcolor=_rgb(INK))
    _axes(position, "position error", "", "m")
    rotation.plot(curves["distance"], curves["rotation"], color=_rgb(ACCENT))
    _axes(rotation, "rotation error since the start", "distance travelled, m", "deg")
    for one in (position, rotation):
        one.set_ylim(bottom=0)
        one.margins(x=0)
    return _drawn(figure)


def confidence_chart(
    calibration: Mapping[str, tuple[np.ndarray, np.ndarray]],
    kept: Mapping[str, tuple[np.ndarray, np.ndarray]],
    grid: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> np.ndarray:
    """Stated against measured rightness; error over the share kept; recall of obstacles over false ones.

    Args:
        calibration: name to stated and measured shares, (N,) each.
        kept: name to shares kept and abs_rel, (N,) each.
        grid: name to false cells a frame and recall, (N,) each, one point for each `confidence_min`.

    Returns:
        (500, 1500, 3) uint8 RGB.

    Raises:
        OutputError: matplotlib is not installed.
    """
    figure = _figure(1500, 500)
    panels = figure.subplots(1, 3)
    panels[0].plot([0, 1], [0, 1], "--", color=_rgb(MUTED))
    for axes, curves in zip(panels, (calibration, kept, grid), strict=True):
        for color, (name, (x, y)) in zip(_cycle(len(curves)), curves.items(), strict=True):
            axes.plot(x, y, marker="o", color=_rgb(color), label=name, markersize=4)
        axes.set_ylim(bottom=0)
    _axes(panels[0], "calibration: within 25 % of the truth", "stated confidence", "measured share")
    _axes(panels[1], "error of the most confident", "share of the pixels kept", "abs_rel")
    _axes(panels[2], "obstacles, confidence_min 0 (right) to 0.95", "false cells a frame", "recall")
    panels[0].legend(facecolor=_rgb(BACKGROUND), edgecolor=_rgb(MUTED), labelcolor=_rgb(INK))
    return _drawn(figure)


def bench_chart(
    names: Sequence[str],
    parts: Mapping[str, np.ndarray],
    curves: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]],
    title: str,
) -> np.ndarray:
    """Times of the networks by runtime, and the latency of the node over the rate of its images.

    Args:
        names: of the runtimes, the baseline first.
        parts: network to its time on each of them (N,), ms.
        curves: size of the images to rates, Hz, median and 99th percentile of the latency and the engine's own time
            meanwhile, ms, (M,) each.
        title: what was measured.

    Returns:
        (500, 1400, 3) uint8 RGB.

    Raises:
        OutputError: matplotlib is not installed.
    """
    figure = _figure(1400, 500)
    bars, lines = figure.subplots(1, 2)
    left, places = np.zeros(len(names)), np.arange(len(names))[::-1]
    for color, (name, times) in zip(_cycle(len(parts)), parts.items(), strict=True):
        bars.barh(places, times, left=left, color=_rgb(color), label=name, height=0.6)
        left = left + times
    for place, total in zip(places, left, strict=True):
        bars.text(total, place, f"  {total:.0f} ms, {left[0] / total:.2f}x", va="center", color=_rgb(INK))
    bars.set_yticks(places, names)
    bars.set_xlim(0, 1.25 * left.max())
    _axes(bars, title, "median of one image, ms", "")
    for color, (name, (rate, middle, late, engine)) in zip(_cycle(len(curves)), curves.items(), strict=True):
        lines.plot(rate, middle, marker="o", color=_rgb(color), label=f"{name}, median")
        lines.plot(rate, late, marker=".", linestyle=":", color=_rgb(color), label=f"{name}, 99th percentile")
        lines.plot(rate, engine, linestyle="--", color=_rgb(color), alpha=0.6, label=f"{name}, engine alone")
    lines.set_ylim(bottom=0)
    _axes(lines, "node end to end", "images sent, Hz", "latency, ms")
    for axes, corner in ((bars, "lower right"), (lines, "upper left"))[: 1 + bool(curves)]:
        axes.legend(loc=corner, facecolor=_rgb(BACKGROUND), edgecolor=_rgb(MUTED), labelcolor=_rgb(INK))
    return _drawn(figure)


def soak_chart(
    hours: np.ndarray, panels: Sequence[tuple[str, str, Mapping[str, np.ndarray]]], title: str
) -> np.ndarray:
    """What a node took and did in the course of time.

    Args:
        hours: (N,) of the samples.
        panels: four: title, unit, and name to values (N,).
        title: what ran.

    Returns:
        (640, 1400, 3) uint8 RGB.

    Raises:
        OutputError: matplotlib is not installed.
    """
    figure = _figure(1400, 640)
    figure.suptitle(title, color=_rgb(INK), fontsize=12)
    for axes, (name, unit, series) in zip(figure.subplots(2, 2, sharex=True).flat, panels, strict=True):
        for color, (label, values) in zip(_cycle(len(series)), series.items(), strict=True):
            axes.plot(hours, values, color=_rgb(color), label=label, linewidth=1.2)
        _axes(axes, name, "time, h", unit)
        axes.set_ylim(0, 1.15 * max((float(np.nanmax(values)) for values in series.values()), default=1.0) or 1.0)
        axes.legend(loc="best", facecolor=_rgb(BACKGROUND), edgecolor=_rgb(MUTED), labelcolor=_rgb(INK))
    return _drawn(figure)


def _figure(width: int, height: int) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise OutputError("charts need matplotlib, expected it to be installed (pip install matplotlib)") from None
    return Figure((width / _DPI, height / _DPI), dpi=_DPI, facecolor=_rgb(BACKGROUND), layout="constrained")


def _axes(axes: Any, title: str, x: str, y: str) -> None:
    axes.set_facecolor(_rgb(BACKGROUND))
    axes.set_title(title, color=_rgb(INK), fontsize=11, loc="left")
    axes.set_xlabel(x, color=_rgb(INK))
    axes.set_ylabel(y, color=_rgb(INK))
    axes.tick_params(colors=_rgb(MUTED))
    axes.grid(color=_rgb(MUTED), alpha=0.25)
    for side in axes.spines.values():
        side.set_color(_rgb(MUTED))


def _drawn(figure: Any) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _cycle(count: int) -> list[Color]:
    return [SERIES[index % len(SERIES)] for index in range(count)]


def _rgb(color: Color) -> tuple[float, float, float]:
    return color[0] / 255, color[1] / 255, color[2] / 255
