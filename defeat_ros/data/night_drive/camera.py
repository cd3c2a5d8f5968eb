"""From radiance to the picture of a camera behind a windscreen: glare, exposure, noise, tone."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from defeat_ros.data.night_drive.plan import Plan


def _tone_curve() -> np.ndarray:
    """From signal to display, 0 to 255: a shoulder that keeps lamps from clipping hard, sRGB, a little contrast."""
    signal = _CURVE_TOP * np.linspace(0.0, 1.0, 4096) ** 2
    signal = np.where(signal < 0.6, signal, 0.6 + 0.4 * (1.0 - np.exp(-(signal - 0.6) / 0.55)))
    encoded = np.where(signal < 0.0031308, 12.92 * signal, 1.055 * np.power(signal, 1 / 2.4) - 0.055)
    return (255.0 * (encoded - 0.03 * np.sin(2 * math.pi * encoded))).astype(np.float32)


_TABLE = 1 << 18
_CURVE_TOP = 4.0
_CURVE = _tone_curve()


def bloom(radiance: np.ndarray, sources: np.ndarray, night: bool, slant: float, smear: float) -> np.ndarray:
    """Add glare to an image.

    Args:
        radiance: (H, W, 3) float32.
        sources: (K, 6) float64, lamps in view: u, v (px), radius (px), strength per colour.
        night: at night lamps glare much more against the dark.
        slant: direction of the wiper's smear that draws bright lamps into streaks, rad.
        smear: how dirty the windscreen is, 0 to 1.

    Returns:
        (H, W, 3) float32.
    """
    height, width = radiance.shape[:2]
    image = radiance.copy()
    for u, v, radius, *strength in sources:
        _splat(image, u, v, radius, np.array(strength, np.float32))
    image = np.minimum(image, 400.0).astype(np.float32)
    small = cv2.resize(image, (max(width // 4, 8), max(height // 4, 8)), interpolation=cv2.INTER_AREA)
    scale = small.shape[1] / 120.0
    glare = np.zeros_like(small)
    for sigma, share in (
        ((1.0, 0.05), (3.0, 0.028), (9.0, 0.018), (24.0, 0.010)) if night else ((2.0, 0.03), (12.0, 0.02))
    ):
        glare += share * cv2.GaussianBlur(small, (0, 0), sigma * scale, borderType=cv2.BORDER_REFLECT)
    if night and smear > 0:
        bright = np.maximum(small - 3.0, 0.0)
        glare += 0.10 * smear * cv2.filter2D(bright, -1, _line(17 * scale, slant), borderType=cv2.BORDER_CONSTANT)
    bloomed: np.ndarray = image + cv2.resize(glare, (width, height), interpolation=cv2.INTER_LINEAR)
    return bloomed


def _line(length: float, slant: float) -> np.ndarray:
    """Kernel that smears along a line, fading to its ends; sums to 1."""
    half = max(int(length), 2)
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
    along, across = x * math.cos(slant) + y * math.sin(slant), y * math.cos(slant) - x * math.sin(slant)
    kernel: np.ndarray = np.exp(-np.abs(along) / (0.35 * half)) * np.exp(-((across / 0.7) ** 2))
    kernel /= kernel.sum()
    return kernel.astype(np.float32)


def _splat(image: np.ndarray, u: float, v: float, radius: float, strength: np.ndarray) -> None:
    reach = math.ceil(3 * radius) + 1
    u0, u1 = max(int(u) - reach, 0), min(int(u) + reach + 1, image.shape[1])
    v0, v1 = max(int(v) - reach, 0), min(int(v) + reach + 1, image.shape[0])
    if u0 >= u1 or v0 >= v1:
        return
    y, x = np.mgrid[v0:v1, u0:u1]
    spot = np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * radius**2)) / (2 * math.pi * radius**2)
    image[v0:v1, u0:u1] += spot[..., None].astype(np.float32) * strength


def meter(radiance: np.ndarray) -> float:
    """Mean of the logarithm of luminance, the middle and lower part counting more: what the exposure follows."""
    height, width = radiance.shape[:2]
    luminance = radiance @ np.array([0.25, 0.65, 0.1], radiance.dtype)
    y, x = np.mgrid[0:height, 0:width]
    weight = np.exp(-(((x / width - 0.5) / 0.45) ** 2) - ((y / height - 0.6) / 0.4) ** 2)
    return float((weight * np.log(np.clip(luminance, 4e-3, 4.0))).sum() / weight.sum())


class Sensor:
    """Turns radiance into the 8-bit picture; its noise comes from tables, which each row of a picture enters anywhere.

    Args:
        width, height: of the picture, px.
        rng: fills the tables.
        plan: what becomes of the picture.
    """

    def __init__(self, width: int, height: int, rng: np.random.Generator, plan: Plan) -> None:
        self._plan, self._blur = plan, plan.blur * width / 480.0
        self._normal = sliding_window_view(rng.standard_normal(_TABLE + 3 * width, dtype=np.float32), 3 * width)
        self._uniform = sliding_window_view(rng.random(_TABLE + 3 * width, dtype=np.float32), 3 * width)
        y = ((np.arange(height) + 0.5) / height - 0.5)[:, None, None] * (height / width)
        x = ((np.arange(width) + 0.5) / width - 0.5)[None, :, None]
        self._vignette = (1.0 / (1.0 + 0.55 * (x * x + y * y) * 2.0) ** 2).astype(np.float32)

    def develop(self, radiance: np.ndarray, exposure: float, gain: float, balance: np.ndarray,
                rng: np.random.Generator) -> np.ndarray:  # fmt: skip
        """The 8-bit picture.

        Args:
            radiance: (H, W, 3) float32.
            exposure: factor that brings radiance to the sensor's range, where 1 is full scale.
            gain: amplification after the sensor: 1 by day, more at night; noise grows with it.
            balance: (3,) white balance.
            rng: the noise of this picture.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        height, width = radiance.shape[:2]
        shot, read = 1.0e-4 * gain, 1.7e-4 * gain  # variance per signal, and standard deviation in the dark
        if self._blur:
            radiance = cv2.GaussianBlur(radiance, (0, 0), self._blur, borderType=cv2.BORDER_REFLECT)
        signal = radiance * (self._vignette * (exposure * balance).astype(np.float32))
        flat = signal.reshape(height, 3 * width)
        noise = self._normal[rng.integers(0, _TABLE, height)]
        noise *= cv2.sqrt(np.maximum(flat, 0.0) * np.float32(shot) + np.float32(read**2))
        noise += rng.standard_normal((height, 1), dtype=np.float32) * np.float32(read * 0.15)
        flat += noise
        # The curve is smooth and noise dithers it: 4096 steps, evenly spaced in the root, do for 256 levels.
        flat *= np.float32((_CURVE.size - 1) ** 2 / _CURVE_TOP)
        index = cv2.sqrt(np.clip(flat, 0.0, np.float32((_CURVE.size - 1) ** 2))).astype(np.uint16)
        encoded = _CURVE[index] + self._uniform[rng.integers(0, _TABLE, height)]
        return self._processed(np.minimum(encoded, 255.0).astype(np.uint8).reshape(radiance.shape))

    def _processed(self, image: np.ndarray) -> np.ndarray:
        """What the plan's camera makes of the picture before it hands it out."""
        plan = self._plan
        if plan.gamma != 1.0:
            image = cv2.LUT(image, np.rint(255.0 * (np.arange(256) / 255.0) ** plan.gamma).astype(np.uint8))
        if plan.grey:
            image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        if plan.jpeg:
            quality = [cv2.IMWRITE_JPEG_QUALITY, plan.jpeg]
            _, coded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
            image = cv2.cvtColor(cv2.imdecode(coded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        return image
