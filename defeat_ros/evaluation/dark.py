"""RoboDepth's `dark` corruption: what a day image might look like at night."""

from __future__ import annotations

import numpy as np

GAMMA = 2.0
CEILINGS = (0.6, 0.5, 0.4, 0.3, 0.2)
"""The brightest output by severity 1 to 5, as a share of white."""

_PHOTONS = (600.0, 250.0, 120.0, 50.0, 30.0)  # that white stands for
_READ_NOISE = (0.008, 0.012, 0.018, 0.026, 0.038)  # standard deviation, as a share of white


def darken(image: np.ndarray, severity: int, generator: np.random.Generator) -> np.ndarray:
    """Darken an image and add the noise of a camera in the dark (Kong et al., NeurIPS 2023, `dark`).

    The range from the image's least to its greatest value is stretched to [0, 1], raised to the power 2, and brought
    under a ceiling; then shot noise (Poisson) and read noise (Gaussian) are added.

    Args:
        image: (H, W, 3) uint8 RGB.
        severity: 1 to 5.
        generator: source of the noise.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the severity is out of range.
    """
    if not 1 <= severity <= len(CEILINGS):
        raise ValueError(f"severity is {severity}, expected 1 to {len(CEILINGS)}")
    low, high = int(image.min()), int(image.max())
    levels = (np.arange(256) - low) / max(high - low, 1)  # an image of one colour has no contrast: it becomes black
    curve = CEILINGS[severity - 1] * np.clip(levels, 0.0, 1.0) ** GAMMA
    photons = _PHOTONS[severity - 1]
    shot = generator.poisson((curve * photons)[image]) / photons
    noisy = np.clip(shot, 0.0, 1.0) + generator.normal(scale=_READ_NOISE[severity - 1], size=image.shape)
    darkened: np.ndarray = np.clip(noisy, 0.0, 1.0) * 255.0
    return darkened.astype(np.uint8)
