"""Building rows of the shape table, in a local frame, and moving them as one."""

from __future__ import annotations

import math

import numpy as np

from defeat_ros.data.night_drive import table as T

Colour = tuple[float, float, float]


class Shapes:
    """Collects shapes of one object; x forward, y left, z up, metres."""

    def __init__(self) -> None:
        self._rows: list[np.ndarray] = []

    def _add(self, kind: int, at: tuple[float, float, float], size: tuple[float, float, float], yaw: float,
             material: int, colour: Colour, seed: int, taper: tuple[float, float, float],
             params: tuple[float, ...]) -> None:  # fmt: skip
        row = np.zeros(T.SHAPE_COLUMNS)
        row[T.KIND] = kind
        row[T.X : T.Z + 1] = at
        row[T.COS], row[T.SIN] = math.cos(yaw), math.sin(yaw)
        row[T.HX : T.H + 1] = size
        row[T.T_FRONT : T.T_SIDE + 1] = taper
        row[T.MATERIAL], row[T.SEED] = material, seed
        row[T.RED : T.BLUE + 1] = colour
        row[T.P0 : T.P0 + len(params)] = params
        self._rows.append(row)

    def box(self, at: tuple[float, float, float], size: tuple[float, float, float], material: int, colour: Colour,
            *, yaw: float = 0.0, seed: int = 0, taper: tuple[float, float, float] = (0.0, 0.0, 0.0),
            params: tuple[float, ...] = ()) -> None:  # fmt: skip
        """A box on its base at `at`, of `size` (half length, half width, height); `taper` leans front, rear, sides."""
        self._add(T.BOX, at, size, yaw, material, colour, seed, taper, params)

    def cylinder(self, at: tuple[float, float, float], radius: float, height: float, material: int, colour: Colour,
                 *, seed: int = 0, params: tuple[float, ...] = ()) -> None:  # fmt: skip
        """An upright cylinder on its base at `at`."""
        self._add(T.CYLINDER, at, (radius, radius, height), 0.0, material, colour, seed, (0.0, 0.0, 0.0), params)

    def wheel(self, at: tuple[float, float, float], radius: float, half_width: float, colour: Colour,
              *, seed: int = 0) -> None:  # fmt: skip
        """A cylinder whose axis lies along y, centred at `at`."""
        self._add(T.WHEEL, at, (radius, half_width, radius), 0.0, T.TYRE, colour, seed, (0.0, 0.0, 0.0), ())

    def ellipsoid(self, at: tuple[float, float, float], radii: tuple[float, float, float], material: int,
                  colour: Colour, *, yaw: float = 0.0, seed: int = 0) -> None:  # fmt: skip
        """An ellipsoid centred at `at`."""
        self._add(T.ELLIPSOID, at, radii, yaw, material, colour, seed, (0.0, 0.0, 0.0), ())

    def rows(self) -> np.ndarray:
        """The shapes collected so far, (N, SHAPE_COLUMNS) float64."""
        return np.array(self._rows).reshape(-1, T.SHAPE_COLUMNS)


def moved(rows: np.ndarray, x: float, y: float, yaw: float, z: float = 0.0) -> np.ndarray:
    """The same shapes with their common origin brought to (x, y, z) and turned by `yaw` (rad)."""
    c, s = math.cos(yaw), math.sin(yaw)
    out = rows.copy()
    out[:, T.X] = x + c * rows[:, T.X] - s * rows[:, T.Y]
    out[:, T.Y] = y + s * rows[:, T.X] + c * rows[:, T.Y]
    out[:, T.Z] += z
    out[:, T.COS] = c * rows[:, T.COS] - s * rows[:, T.SIN]
    out[:, T.SIN] = s * rows[:, T.COS] + c * rows[:, T.SIN]
    return out
