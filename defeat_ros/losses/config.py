"""Weights and choices of the losses."""

from __future__ import annotations

from dataclasses import dataclass

from defeat_ros.errors import ConfigError
from defeat_ros.losses.contrastive import Contrast
from defeat_ros.settings import check, entries, option


@dataclass(frozen=True)
class LossConfig:
    """Weights and choices of `DeFeatLoss`; numbers given as text are read.

    The last four lists have one value, for every level of the hierarchy, or one for each.

    Raises:
        ConfigError: a value has the wrong type, is out of range, or the values contradict each other.
    """

    ssim_weight: float = option(0.85, "share of SSIM in the photometric error, the rest is L1", minimum=0, maximum=1)
    smoothness: float = option(1e-3, "weight of the smoothness, halved with each scale", minimum=0)
    automask: bool = option(True, "leave out pixels that the frames as they are explain better than the warped ones")
    align_corners: bool = option(True, "sample where the coordinates say; false: as published, up to half a px off")
    native_scales: bool = option(True, "compare each scale at its own size; false: as published, all at full size")
    translation: str = option(
        "scene_units",
        "what the pose network's translation is; inverse_depth: as published, times the target's mean inverse depth",
        choices=("scene_units", "inverse_depth"),
    )
    feature_weight: float = option(1.0, "weight of the warped features' error; 0 leaves it out", minimum=0)
    contrastive_weight: float = option(1.0, "weight of the contrastive loss; 0 leaves it out", minimum=0)
    correspondences: int = option(15000, "most pairs of pixels between a target and a support frame", minimum=1)
    truth_scale_free: float = option(
        0.9, "share of an image's common error of true log depth that is forgiven", minimum=0, maximum=1
    )
    truth_differences: float = option(0.3, "weight of differences of true log depth between pixels", minimum=0)
    margins: tuple[float, ...] = option((0.5,), "distance that features of different points are to have", minimum=0)
    alphas: tuple[float, ...] = option((0.0,), "least distance of a negative from the match, px", minimum=0)
    betas: tuple[float, ...] = option((0.0,), "largest distance of a negative, px; 0: no limit", minimum=0)
    negatives: tuple[int, ...] = option((10,), "negatives for each correspondence", minimum=1, maximum=1000)

    def __post_init__(self) -> None:
        for entry in entries(type(self)):
            object.__setattr__(self, entry.name, check(entry, getattr(self, entry.name)))
        lists = {name: getattr(self, name) for name in ("margins", "alphas", "betas", "negatives")}
        levels = max(map(len, lists.values()))
        for name, given in lists.items():
            if len(given) not in (1, levels):
                raise ConfigError(f"parameter {name!r} is {given}, expected 1 or {levels} values, one a level")
        for level in self.contrasts:
            if level.beta and int(level.beta) < level.alpha:
                raise ConfigError(f"parameter 'betas' has {level.beta}, expected 0 or at least alpha {level.alpha}")

    @property
    def contrasts(self) -> tuple[Contrast, ...]:
        """The levels of the contrastive hierarchy."""
        lists = (self.margins, self.alphas, self.betas, self.negatives)
        levels = max(map(len, lists))
        full = [given * levels if len(given) == 1 else given for given in lists]
        return tuple(Contrast(*level) for level in zip(*full, strict=True))
