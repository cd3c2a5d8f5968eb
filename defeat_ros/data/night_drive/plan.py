"""What kind of road, traffic, camera and picture a drive has: the plain street, or anything a real recording shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Range = tuple[float, float]


@dataclass(frozen=True)
class Plan:
    """Ranges from which a drive draws; the defaults are those of the plain street that demo and tests drive along.

    Attributes:
        name: of the kind of road.
        right: probability of driving on the right.
        lane_m, walk_m: widths of a lane and of the pavement.
        roadside_m: carriageway beyond the lane: 0.25 none, 2.15 a row of parked cars, more for further lanes.
        parked: whether cars park there; otherwise it is driven on.
        blocks: probabilities of the styles of `buildings`.
        junctions, lamps, trees: whether there are side streets, street lamps, trees along the kerb.
        wall: probability that a wall, hedge or fence lines a block; wall_m its height, wall_gap_m behind the kerb.
        hills: slope that the road nowhere exceeds.
        speed_mps: mean speed of the camera car; sway: factor on its swings in speed and lane.
        queue: vehicles close ahead, in place of the one that may drive there; queue_gap_m between them.
        beside: probability of vehicles in the further lanes.
        oncoming_m: range of the gaps in oncoming traffic where it is loose.
        heavy: share of vans, lorries and buses.
        people, cyclists: factors on their number.
        focal: focal length by the image's width; stretch: vertical by horizontal focal length.
        height_m, pitch_rad, ahead_m, left_m: place of the camera; roll_rad: its roll; yaw_rad: standard deviation of
            how far it looks aside.
        haze_m: factor on the distance over which contrast falls; sun_rad: elevation of the sun.
        exposure, noise: factors; blur: of the lens, px at 480 px width; tint: spread of the white balance.
        gamma: of the picture; jpeg: quality of a compression that the picture went through, 0 for none.
        grey: whether the camera sees no colour.
    """

    name: str = "street"
    right: float = 0.65
    lane_m: Range = (2.9, 3.4)
    walk_m: Range = (2.0, 3.6)
    roadside_m: tuple[float, ...] = (0.25, 2.15, 2.15)
    parked: bool = True
    blocks: tuple[float, ...] = (0.34, 0.27, 0.2, 0.1, 0.09)
    junctions: bool = True
    lamps: bool = True
    trees: bool = True
    wall: float = 0.0
    wall_m: Range = (0.8, 3.0)
    wall_gap_m: Range = (0.4, 2.0)
    hills: float = 0.0
    speed_mps: Range = (8.5, 11.0)
    sway: float = 1.0
    queue: int = 0
    queue_gap_m: Range = (2.5, 8.0)
    beside: float = 0.0
    oncoming_m: Range = (35.0, 120.0)
    heavy: float = 0.18
    people: float = 1.0
    cyclists: float = 1.0
    focal: Range = (0.78, 0.95)
    stretch: float = 1.0
    height_m: Range = (1.25, 1.65)
    pitch_rad: Range = (-0.01, 0.03)
    ahead_m: Range = (1.4, 1.9)
    left_m: Range = (-0.05, 0.05)
    roll_rad: float = 0.0
    yaw_rad: float = 0.008
    haze_m: float = 1.0
    sun_rad: Range = (0.55, 1.1)
    exposure: float = 1.0
    noise: float = 1.0
    blur: float = 0.0
    tint: float = 0.04
    gamma: float = 1.0
    jpeg: int = 0
    grey: bool = False

    @classmethod
    def draw(cls, seed: int) -> Plan:
        """The kind of road, the traffic and the camera that a seed stands for."""
        # The second one draws what was added later, so that nothing else about a seed changed.
        rng, relief = (np.random.default_rng([seed, k]) for k in (5, 7))
        plan = KINDS[rng.choice(len(KINDS), p=SHARES)]
        busy = rng.random()
        traffic: dict[str, Any] = {"heavy": float(rng.choice([0.18, 0.35, 0.7]))}
        if busy < 0.35:  # a jam: everybody close together and slow
            low = rng.uniform(1.5, 4.0)
            traffic |= {"queue": int(rng.integers(2, 7)), "speed_mps": (low, low + 2.0), "oncoming_m": (7.0, 18.0)}
            traffic |= {"sway": low / 9.0, "beside": 0.9 if plan.beside else 0.0}
        elif busy < 0.5:
            traffic |= {"oncoming_m": (120.0, 400.0), "beside": plan.beside * 0.3}
        fade = float(np.exp(rng.uniform(np.log(0.08), 0.3)))
        return replace(
            plan, **traffic, **_camera(rng), **_picture(rng),
            people=plan.people * float(rng.choice([0.3, 1.0, 3.0])),
            cyclists=plan.cyclists * float(rng.choice([0.5, 1.0, 4.0])),
            hills=float(relief.uniform(0.01, STEEPEST[plan.name])) if relief.random() < 0.4 else 0.0,
            yaw_rad=0.4 if relief.random() < 0.25 else 0.015, roll_rad=float(relief.normal(0.0, 0.015)),
            haze_m=fade if rng.random() < 0.3 else 1.0, sun_rad=(0.15, 1.2),
        )  # fmt: skip


def _camera(rng: np.random.Generator) -> dict[str, Any]:
    """A lens 42 to 95 degrees across, of any aspect once the image is squeezed, anywhere behind a windscreen."""
    focal = float(np.exp(rng.uniform(np.log(0.46), np.log(1.3))))
    stretch = float(np.exp(rng.uniform(np.log(0.85), np.log(2.6)))) if rng.random() < 0.6 else 1.0
    height = rng.uniform(1.1, 1.9) if rng.random() < 0.8 else rng.uniform(1.9, 2.8)
    pitch, left = rng.normal(0.0, 0.035), rng.normal(0.0, 0.25)
    return {
        "focal": (focal, focal), "stretch": stretch, "height_m": (height, height), "pitch_rad": (pitch, pitch),
        "ahead_m": (0.8, 2.4), "left_m": (left, left),
    }  # fmt: skip


def _picture(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "exposure": float(np.exp(rng.uniform(-0.6, 0.5))),
        "noise": float(np.exp(rng.uniform(-1.0, 2.0))),
        "blur": float(rng.uniform(0.3, 1.4)) if rng.random() < 0.4 else 0.0,
        "tint": 0.15,
        "gamma": float(np.exp(rng.uniform(-0.25, 0.25))),
        "jpeg": int(rng.integers(25, 96)) if rng.random() < 0.6 else 0,
        "grey": bool(rng.random() < 0.12),
    }


_PARK = (0.0, 0.0, 0.0, 1.0, 0.0)

KINDS = (
    Plan("street", wall=0.25, lane_m=(2.6, 3.6), walk_m=(1.0, 4.5), speed_mps=(5.0, 14.0)),
    Plan(
        "alley", lane_m=(1.7, 2.5), walk_m=(0.5, 1.4), roadside_m=(0.15, 0.15, 2.0), wall=0.5, wall_gap_m=(0.1, 0.5),
        blocks=(0.45, 0.2, 0.3, 0.05, 0.0), speed_mps=(3.0, 8.0), sway=0.35, trees=False, oncoming_m=(120.0, 400.0),
    ),
    Plan(
        "avenue", lane_m=(2.9, 3.5), walk_m=(2.5, 6.0), roadside_m=(3.3, 3.6, 6.8), parked=False, beside=0.6, wall=0.1,
        blocks=(0.15, 0.1, 0.5, 0.2, 0.05), speed_mps=(7.0, 16.0), oncoming_m=(15.0, 60.0),
    ),
    Plan(
        "country", lane_m=(2.6, 3.4), walk_m=(0.8, 2.0), roadside_m=(0.2, 0.5), wall=0.5, wall_m=(0.6, 2.2),
        blocks=(0.0, 0.12, 0.0, 0.85, 0.03), lamps=False, speed_mps=(10.0, 22.0), people=0.1, junctions=False,
    ),
    Plan(
        "motorway", lane_m=(3.5, 3.8), walk_m=(0.6, 3.0), roadside_m=(4.0, 7.5), parked=False, beside=0.8, wall=0.8,
        wall_m=(0.75, 4.5), wall_gap_m=(0.2, 1.0), blocks=_PARK, junctions=False, lamps=False, trees=False,
        speed_mps=(16.0, 30.0), people=0.0, cyclists=0.0, heavy=0.35, oncoming_m=(20.0, 90.0),
    ),
)  # fmt: skip
STEEPEST = {"street": 0.08, "alley": 0.1, "avenue": 0.06, "country": 0.1, "motorway": 0.04}
SHARES = (0.35, 0.14, 0.22, 0.11, 0.18)
