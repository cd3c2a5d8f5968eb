"""The camera's step from frame to frame: refined where corners can be tracked, else what the pose net says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from defeat_ros.geometry import earlier_from_later, rotation_from_vector, transform, vector_from_rotation
from defeat_ros.inference.backends.protocol import NetworkOutput
from defeat_ros.inference.frame_buffer import Support
from defeat_ros.inference.look import Look
from defeat_ros.inference.motion import Refined, find_matches, refine_step
from defeat_ros.inference.odometry import FLOOR_VARIANCE, LOST, Step
from defeat_ros.inference.view import View

FAR_UNITS = 90.0
"""Corners as far as the networks can say are sky: no depth, and at night noise."""
MOST_CHANGE, SLOW_UNITS_PER_S = 0.5, 3.0
"""A refined step whose speed changed by more than this share, and by more than the second, tracked something else: a
vehicle ahead, the light of the headlamps."""
REMEMBERED_S = 1.0
"""After this long without a refined step any speed is possible again."""
NETWORK_TURN_STD, NETWORK_ASIDE, NETWORK_LENGTH = 0.006, 0.1, 0.35
"""Of the pose net's steps: rad; direction and length as shares of the length. Measured on rendered drives and KITTI."""
LEAST_MOVE_UNITS, MOST_TURN_RAD = 0.15, 0.05
"""Shorter steps, or sharper turns, tell no heading."""
LEAST_HEADINGS, HEADINGS_KEPT = 5, 10
"""Its pitch bounces by half a degree; over a second it does not."""
STILL_VARIANCE = np.array([5e-3] * 3 + [3e-4] * 3) ** 2
"""What a quarter of a pixel hides, units and rad."""
FROZEN_VARIANCE = np.array([0.1] * 3 + [3e-3] * 3) ** 2
RATIOS_KEPT = 20


class CameraMotion:
    """Tells the steps of one unbroken sequence.

    The pose net runs only where it is needed: as a guess at the start, and where corners do not agree. Its unit of
    length is not quite that of the depth; the ratio is measured where both are known.

    Args:
        refine: whether to track corners at all.
        pose_net: runs it on (image now, image before) at the networks' size.
        factor: of the pose net's translation, from the mean inverse depth of the frame now; see `earlier_from_later`.
    """

    REMEMBERED = ("_ratios", "_headings", "_heading", "_velocity", "_speed", "_speed_age_s", "_rest", "_last_ns")

    def __init__(
        self,
        refine: bool,
        pose_net: Callable[[np.ndarray, np.ndarray], NetworkOutput],
        factor: Callable[[float], float],
    ) -> None:
        self._refine, self._pose_net, self._factor = refine, pose_net, factor
        self._ratios: list[float] = []
        self._headings = 0
        self._heading = np.zeros(3)
        self.restart()

    @property
    def heading(self) -> np.ndarray | None:
        """(3,) unit vector in optical axes: where the camera has been moving of late; None where it has not."""
        length = float(np.linalg.norm(self._heading))
        return self._heading / length if self._headings >= LEAST_HEADINGS and length > 1e-6 else None

    def restart(self) -> None:
        """A new sequence begins, or frames were not asked about."""
        self._velocity: np.ndarray | None = None  # (6,) of the last step, if it was refined
        self._speed: float | None = None
        self._speed_age_s = 0.0
        self._rest: Support | None = None
        self._last_ns: int | None = None

    def __call__(self, now: View, look: Look, before: Support, stamp_ns: int) -> Step:
        """The step from the frame before to this one.

        Args:
            now, look, stamp_ns: the frame, what it shows, and its time, ns.
            before: the frame before.
        """
        if self._last_ns != before.stamp_ns:
            self.restart()
        self._last_ns = stamp_ns
        dt_s = (stamp_ns - before.stamp_ns) / 1e9
        self._speed_age_s += dt_s
        if look.health.useless or before.useless:
            self._velocity = self._rest = None
            return LOST
        network = None
        # Since it stands nothing moved: compared with where the rest began, creeping adds up until it is seen.
        reference = before if self._rest is None else self._rest
        if self._velocity is None:
            network = self._network_step(now, before.view, look.mean_inverse)
        guess = network if self._velocity is None else _step_of(self._velocity, dt_s)
        refined = self._refined(now, reference.view, look, guess)
        if refined is None and (reference is not before or network is None):
            reference = before  # the light has changed since, or it starts with a jerk
            network = self._network_step(now, before.view, look.mean_inverse) if network is None else network
            refined = self._refined(now, before.view, look, network)
        self._velocity = None
        since_s = (stamp_ns - reference.stamp_ns) / 1e9
        if refined is not None and self._plausible(refined, since_s):
            self._accept(refined, network, since_s)
            self._rest = reference if refined.still else None
            return _refined_step(refined, "static" in look.health.problems)
        self._rest = None
        if network is None:
            return LOST
        found = (refined.matches, refined.inliers) if refined is not None else (0, 0.0)
        return self._network_only(network, dt_s, found)

    def _refined(self, now: View, before: View, look: Look, guess: np.ndarray | None) -> Refined | None:
        camera = now.grey_intrinsics
        if not self._refine or guess is None or camera is None or before.grey_intrinsics != camera:
            return None
        usable = look.depth < FAR_UNITS
        if now.network_seen is not None:
            usable &= now.network_seen
        matches = find_matches(now.grey, before.grey, 1.0 / look.depth, usable, look.on_road, camera, guess)
        return refine_step(matches, camera, guess, stood=self._rest is not None)

    def _accept(self, refined: Refined, network: np.ndarray | None, dt_s: float) -> None:
        step = refined.previous_from_camera
        self._velocity = np.concatenate([step[:3, 3], vector_from_rotation(step[:3, :3])]) / dt_s
        length = float(np.linalg.norm(step[:3, 3]))
        self._speed, self._speed_age_s = length / dt_s, 0.0
        turn = float(np.linalg.norm(self._velocity[3:])) * dt_s
        if length > LEAST_MOVE_UNITS and turn < MOST_TURN_RAD:
            direction = step[:3, :3].T @ step[:3, 3] / length
            self._headings += 1
            self._heading += (direction - self._heading) / min(self._headings, HEADINGS_KEPT)
        if network is not None and not refined.still:
            told = float(np.linalg.norm(network[:3, 3]))
            if told > 1e-3:
                self._ratios = [*self._ratios[1 - RATIOS_KEPT :], length / told * self._ratio]

    def _network_only(self, network: np.ndarray, dt_s: float, found: tuple[int, float]) -> Step:
        """The pose net's step; vehicles keep their speed better than the pose net tells it."""
        covariance = _network_covariance(network)
        known = self._known_speed
        if known is not None:
            network[:3, 3] *= known * dt_s / max(float(np.linalg.norm(network[:3, 3])), 1e-6)
            covariance = np.maximum(covariance, _network_covariance(network))
            covariance[:3, :3] += np.eye(3) * (SLOW_UNITS_PER_S * dt_s) ** 2
        return Step(network, covariance, "network", *found)

    @property
    def _ratio(self) -> float:
        return float(np.median(self._ratios)) if self._ratios else 1.0

    def _network_step(self, now: View, before: View, mean_inverse: float) -> np.ndarray | None:
        """What the pose net says, in levelled units; None where its numbers overflowed."""
        said = self._pose_net(now.network_image, before.network_image)
        assert said.axisangle is not None and said.translation is not None
        with np.errstate(invalid="ignore", over="ignore"):
            step = earlier_from_later(said.axisangle, said.translation, self._factor(mean_inverse))
        step[:3, 3] *= self._ratio
        return step if np.isfinite(step).all() else None

    def _plausible(self, refined: Refined, dt_s: float) -> bool:
        known = self._known_speed
        speed = float(np.linalg.norm(refined.previous_from_camera[:3, 3])) / dt_s
        return known is None or abs(speed - known) < max(MOST_CHANGE * known, SLOW_UNITS_PER_S)

    @property
    def _known_speed(self) -> float | None:
        """Of the last refined step, units/s, while it is fresh."""
        return self._speed if self._speed_age_s <= REMEMBERED_S else None


def _step_of(velocity: np.ndarray, dt_s: float) -> np.ndarray:
    return transform(rotation_from_vector(velocity[3:] * dt_s), velocity[:3] * dt_s)


def _refined_step(refined: Refined, frozen: bool) -> Step:
    """As a step; `frozen`: the image repeats the one before to the last bit, which also a broken camera does."""
    covariance = refined.covariance + np.diag(FLOOR_VARIANCE)
    if refined.still:
        covariance = np.diag(FROZEN_VARIANCE if frozen else STILL_VARIANCE)
    source = "still" if refined.still else "refined"
    return Step(refined.previous_from_camera, covariance, source, refined.matches, refined.inliers)


def _network_covariance(step: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(step[:3, 3])) + 0.01
    along = step[:3, :3].T @ step[:3, 3] / length
    aside = (NETWORK_ASIDE * length) ** 2
    covariance = np.eye(6) * NETWORK_TURN_STD**2
    covariance[:3, :3] = aside * np.eye(3) + ((NETWORK_LENGTH * length) ** 2 - aside) * np.outer(along, along)
    return covariance + np.diag(FLOOR_VARIANCE)
