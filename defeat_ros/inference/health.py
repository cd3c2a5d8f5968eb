"""What an image is good for: light, glare, blur, and whether anything in it changes."""

from __future__ import annotations

import cv2
import numpy as np

from defeat_ros.frame import ImageHealth

BLACK_LEVEL, WHITE_LEVEL = 4, 250
"""Grey levels (0 to 255) at and beyond which a pixel tells nothing."""
DARK_MEAN = 12.0
USELESS_SHARE = 0.98
"""An image is useless where so large a share of it is black, or white."""
GLARE_SHARE = 0.15
FLAT_CONTRAST = 2.0
"""Standard deviation of grey levels; fog, a covered lens, a wall."""
BLURRED_SHARPNESS = 0.35
"""See `ImageHealth.sharpness`: driving cameras, real and rendered, were measured between 0.6 and 2.6."""
STATIC_LEVEL = 0.1
"""Mean absolute difference to the frame before below which a stream repeats an image; the darkest night has 0.27."""


def image_health(grey: np.ndarray, before: np.ndarray | None) -> ImageHealth:
    """Measure an image.

    Args:
        grey: (h, w) uint8.
        before: the same of the frame before, None where there is none.
    """
    black, white = float(np.mean(grey <= BLACK_LEVEL)), float(np.mean(grey >= WHITE_LEVEL))
    brightness, contrast = float(grey.mean()), float(grey.std())
    values = grey.astype(np.float32)
    once, twice = cv2.GaussianBlur(values, (0, 0), 1.0), cv2.GaussianBlur(values, (0, 0), 2.0)
    coarse = float(np.mean((once - twice) ** 2))
    sharpness = float(np.mean((values - once) ** 2)) / coarse if coarse > 1e-3 else 0.0
    change = float("nan") if before is None else float(np.mean(cv2.absdiff(grey, before)))
    checks = {
        "black": black > USELESS_SHARE,
        "white": white > USELESS_SHARE,
        "flat": contrast < FLAT_CONTRAST,
        "dark": brightness < DARK_MEAN,
        "glare": white > GLARE_SHARE,
        "blurred": sharpness < BLURRED_SHARPNESS,
        "static": change < STATIC_LEVEL,
    }
    return ImageHealth(
        brightness, black, white, contrast, sharpness, change, tuple(name for name, is_so in checks.items() if is_so)
    )
