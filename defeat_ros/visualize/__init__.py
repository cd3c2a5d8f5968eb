"""Arrays to RGB arrays: colours for depth, errors and features, paths from above, panels with captions, charts."""

from defeat_ros.visualize.above import points_above
from defeat_ros.visualize.errors import depth_panel, error_colors
from defeat_ros.visualize.pictures import (
    ACCENT,
    BACKGROUND,
    INK,
    MUTED,
    TRUTH,
    FeatureColors,
    captioned,
    depth_colors,
    text,
    trajectory,
)

__all__ = [
    "ACCENT",
    "BACKGROUND",
    "INK",
    "MUTED",
    "TRUTH",
    "FeatureColors",
    "captioned",
    "depth_colors",
    "depth_panel",
    "error_colors",
    "points_above",
    "text",
    "trajectory",
]
