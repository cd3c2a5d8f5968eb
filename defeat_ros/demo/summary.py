"""What the demonstration measured, as JSON and as a table."""

from __future__ import annotations

from typing import Any

import numpy as np

from defeat_ros.data.bag import BagReader
from defeat_ros.data.messages import stamp_from_message
from defeat_ros.demo.drive_result import DriveResult, depth_summary, odometry_summary
from defeat_ros.demo.live import LiveRun


def summarise(result: DriveResult, live: LiveRun) -> dict[str, Any]:
    """The figures of one demonstration.

    Frames add up: `in == published + sum(dropped)`. What the player sent and the node never received counts as
    'lost_in_transport'.
    """
    frames, engine, scale = (_status(result, kind) for kind in ("frames", "engine", "scale"))
    received, published = int(frames.get("received", 0)), int(frames.get("published", 0))
    dropped = {key.removeprefix("dropped "): int(value) for key, value in frames.items() if key.startswith("dropped ")}
    if (pending := int(frames.get("pending", 0))) > 0:
        dropped["unfinished"] = pending
    if live.played != received:
        dropped["lost_in_transport"] = live.played - received
    latencies = _latencies_ms(result, live)
    length_s = (result.stamps[-1] - result.stamps[0]) / 1e9 if len(result.stamps) > 1 else 0.0
    return {
        "frames": {"in": live.played, "published": published, "dropped": dropped},
        "rate_hz": {
            "in": round((len(result.stamps) - 1) / length_s, 2) if length_s else None,
            "published": round(published / length_s, 2) if length_s else None,
        },
        "latency_ms": {
            "p50": round(float(np.percentile(latencies, 50)), 1) if latencies else None,
            "p99": round(float(np.percentile(latencies, 99)), 1) if latencies else None,
        },
        "depth": depth_summary(result),
        "odometry": odometry_summary(result),
        "checkpoint": {
            "file": engine.get("checkpoint", ""),
            "sha256": engine.get("sha256", ""),
            "trained": engine.get("trained") == "true",
        },
        "backend": f"{engine.get('backend', '?')} {engine.get('precision', '')}".strip(),
        "device": engine.get("device", "?"),
        "scale": {
            "metres_per_unit": scale.get("metres per unit", "?"),
            "relative_std": scale.get("relative standard deviation", "?"),
            "source": scale.get("source", "?"),
        },
    }


def summary_rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """The summary as names and values of a table."""
    frames, rate, latency = summary["frames"], summary["rate_hz"], summary["latency_ms"]
    depth, odometry = summary["depth"], summary["odometry"]
    mark = "" if summary["checkpoint"]["trained"] else "   (UNTRAINED: means nothing yet)"
    rows = [("frames in", str(frames["in"])), ("published", str(frames["published"]))]
    rows += [(f"dropped: {reason}", str(number)) for reason, number in frames["dropped"].items()]
    rows.append(("rate", f"{rate['published']} Hz of {rate['in']} Hz"))
    rows.append(("latency p50 / p99", f"{latency['p50']} / {latency['p99']} ms"))
    if depth:
        scaled = f"{depth['abs_rel_median_scaled']:.3f} median-scaled"
        rows.append(("depth against truth", f"abs_rel {depth['abs_rel']:.3f} in metres, {scaled}{mark}"))
        rows.append(("reliable pixels", f"{100 * depth['reliable']:.0f} %, of them a1 {depth['a1']:.3f}"))
    if odometry:
        share = f"{odometry['ate_rmse']:.2f} m over {odometry['path_length_m']:.0f} m"
        scaled = f"{odometry['ate_rmse_sim3']:.2f} m after scaling"
        rows.append(("odometry against truth", f"ATE {share} in metres, {scaled}{mark}"))
        rows.append(("odometry steps measured", f"{odometry['measured_steps']} of {odometry['poses'] - 1}"))
    file = summary["checkpoint"]["file"]
    rows.append(("checkpoint", file if summary["checkpoint"]["trained"] else f"{file}   UNTRAINED"))
    rows += [("backend", summary["backend"]), ("device", summary["device"])]
    scale = summary["scale"]
    rows.append(("scale", f"{scale['metres_per_unit']} m a unit, std {scale['relative_std']}, from {scale['source']}"))
    seconds = summary.get("seconds", {})
    rows.append(("seconds", ", ".join(f"{name} {value}" for name, value in seconds.items())))
    return rows


def _status(result: DriveResult, kind: str) -> dict[str, str]:
    return next((values for name, values in result.diagnostics.items() if name.endswith(f": {kind}")), {})


def _latencies_ms(result: DriveResult, live: LiveRun) -> list[float]:
    """From the moment an image was played to the arrival of its depth at the recorder, both by the wall clock."""
    with BagReader(result.in_bag) as bag:
        start_ns = bag.start_ns
    with BagReader(result.out_bag) as bag:
        if "/depth/image_rect" not in bag.topics:
            return []
        arrivals = [(m.stamp_ns, stamp_from_message(m.message)) for m in bag.messages({"/depth/image_rect"})]
    return [(arrived - (live.began_ns + stamp - start_ns)) / 1e6 for arrived, stamp in arrivals]
