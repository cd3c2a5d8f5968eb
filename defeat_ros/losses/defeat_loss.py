"""The loss of the whole training, over scales: photometric error, smoothness, features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from defeat_ros.errors import FrameError
from defeat_ros.geometry import inverse_depth
from defeat_ros.losses.config import LossConfig
from defeat_ros.losses.contrastive import contrastive_loss, find_correspondences
from defeat_ros.losses.photometric import Target, minimum_error, photometric_error
from defeat_ros.losses.smoothness import smoothness_loss
from defeat_ros.warp import at_least_float32, half_camera, reproject, sample, support_from_target

Disps = Mapping[tuple[str, int], Tensor]
Pose = tuple[Tensor, Tensor]

TIE_NOISE = 1e-5
"""Standard deviation of what is added to the errors of frames as they are, so that equal errors fall either way."""


@dataclass(frozen=True)
class _Level:
    """One size of the images: the target, S support frames stacked frame by frame, their errors as they are."""

    target: Target
    supports: Tensor
    K: Tensor
    identity: Tensor | None


class DeFeatLoss:
    """Depth, motion and features learned together from plain video (Spencer, Bowden and Hadfield, CVPR 2020).

    The mean over scales of photometric error and smoothness; the finest scale adds the error of the warped features
    and the contrastive loss, which the mean therefore weighs less the more scales there are.

    Args:
        config: weights and choices.
        tie_noise: see `TIE_NOISE`; 0 takes the frame as it is where errors are equal.
    """

    def __init__(self, config: LossConfig | None = None, tie_noise: float = TIE_NOISE) -> None:
        self.config = config or LossConfig()
        self.tie_noise = tie_noise

    @at_least_float32
    def __call__(
        self,
        disps: Disps,
        target: Tensor,
        supports: Sequence[Tensor],
        poses: Sequence[Pose],
        offsets: Sequence[int],
        K: Tensor,
        features: Tensor | None = None,
        support_features: Sequence[Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of one batch.

        Args:
            disps: ('disp', s) to (B, 1, H / 2^s, W / 2^s) in [0, 1], any scales.
            target: (B, 3, H, W) in [0, 1], the clean images.
            supports: frames around it, each of the same shape.
            poses: for each of them what the pose network gave, in the form of `DeFeatNet.forward`.
            offsets: of the support frames in time, negative for earlier ones.
            K: (B, 3, 3) intrinsics of the images at full size, px.
            features: (B, C, H, W) of the target, of unit length over C; None for depth and motion alone.
            support_features: those of the support frames.
            generator: of random numbers, on the images' device; the same state gives the same loss.

        Returns:
            loss, a scalar with gradients; and its terms, detached scalars that add up to it: 'photometric',
            'smoothness', and with features and weights above 0 'feature' and 'contrastive'; besides them
            'automasked', the share of pixels at the finest scale that teach nothing, 0 to 1.

        Raises:
            FrameError: shapes do not fit each other.
            ConfigError: an offset is 0, or there are fewer features than levels of the contrastive hierarchy.
        """
        _check(disps, target, supports, poses, offsets, K)
        _check_features(target, supports, features, support_features)
        scales = sorted(scale for _, scale in disps)
        levels = self._levels(target, supports, K, scales, generator)
        terms = dict.fromkeys(("photometric", "smoothness"), target.new_zeros(()))
        for scale in scales:
            level, disp = levels[scale], disps["disp", scale]
            coords, z = self._project(disp, level, poses, offsets)
            warped = sample(level.supports, coords, self.config.align_corners)
            errors = photometric_error(warped, level.target, self.config.ssim_weight)
            error, index = minimum_error(errors, level.identity)
            terms["photometric"] = terms["photometric"] + error.mean()
            images = self._images(target, level, scale)
            weight = self.config.smoothness / 2**scale
            terms["smoothness"] = terms["smoothness"] + weight * smoothness_loss(disp, images)
            if scale == scales[0]:
                # Which support frame shows the pixel: below 0 none of the warped ones does.
                shown = index - (0 if level.identity is None else len(supports))
                automasked = (shown < 0).float().mean()
                if features is not None and support_features is not None:
                    pair = _halve((features, torch.cat(tuple(support_features))), coords.shape[2:])
                    terms.update(self._feature_terms(pair, coords, z, index, shown, generator))
        terms = {name: term / len(scales) for name, term in terms.items()}
        loss = torch.stack(tuple(terms.values())).sum()
        told = {name: term.detach() for name, term in terms.items()}
        return loss, {**told, "automasked": automasked}

    def _levels(
        self,
        target: Tensor,
        supports: Sequence[Tensor],
        K: Tensor,
        scales: Sequence[int],
        generator: torch.Generator | None,
    ) -> dict[int, _Level]:
        """The images for each scale, and all that does not depend on what the networks said."""
        target, stacked = target.contiguous(), torch.cat(tuple(supports)).contiguous()
        K = K.to(target.dtype).repeat(len(supports), 1, 1)
        levels: dict[int, _Level] = {}
        for scale in range(scales[-1] + 1 if self.config.native_scales else 1):
            if scale:
                target, stacked, K = F.avg_pool2d(target, 2), F.avg_pool2d(stacked, 2), half_camera(K)
            if scale in scales or not self.config.native_scales:
                goal, identity = Target(target), None
                if self.config.automask:
                    identity = photometric_error(stacked, goal, self.config.ssim_weight)
                    if self.tie_noise:
                        noise = torch.randn(
                            identity.shape, generator=generator, dtype=identity.dtype, device=identity.device
                        )
                        identity = identity + self.tie_noise * noise
                levels[scale] = _Level(goal, stacked, K, identity)
        return levels if self.config.native_scales else dict.fromkeys(scales, levels[0])

    def _project(
        self, disp: Tensor, level: _Level, poses: Sequence[Pose], offsets: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Pixels of the target in each support frame (S * B, 2, h, w), and their depth there (S * B, 1, h, w)."""
        size = level.supports.shape[2:]
        if disp.shape[2:] != size:
            disp = F.interpolate(disp, size, mode="bilinear", align_corners=False)
        inverse = inverse_depth(disp)
        mean = inverse.mean((1, 2, 3)) if self.config.translation == "inverse_depth" else None
        moved = [support_from_target(pose, offset, mean) for pose, offset in zip(poses, offsets, strict=True)]
        return reproject((1.0 / inverse).repeat(len(poses), 1, 1, 1), level.K, torch.cat(moved))

    def _images(self, target: Tensor, level: _Level, scale: int) -> Tensor:
        """The target at the size of the disparity, whose edges excuse edges of the disparity."""
        if self.config.native_scales or scale == 0:
            return level.target.images
        return F.interpolate(target, scale_factor=0.5**scale, mode="bilinear", align_corners=True)

    def _feature_terms(
        self,
        pair: tuple[Tensor, Tensor],
        coords: Tensor,
        z: Tensor,
        index: Tensor,
        shown: Tensor,
        generator: torch.Generator | None,
    ) -> dict[str, Tensor]:
        """Error of the warped features where the images' minimum lies, and contrast of corresponding pixels."""
        features, stacked = pair
        config, terms = self.config, {}
        if config.feature_weight:
            goal = Target(features)
            errors = photometric_error(sample(stacked, coords, config.align_corners), goal, config.ssim_weight)
            if config.automask:
                errors = torch.cat((photometric_error(stacked, goal, config.ssim_weight), errors))
            terms["feature"] = config.feature_weight * errors.gather(0, index[None]).mean()
        if config.contrastive_weight:
            total = features.new_zeros(())
            batch = len(features)
            for i, other in enumerate(stacked.split(batch)):
                part = slice(i * batch, (i + 1) * batch)
                seen = (shown == i) & (z[part, 0] > 0)
                found = find_correspondences(coords[part], seen, config.correspondences, generator)
                total = total + contrastive_loss(features, other, found, config.contrasts, generator)
            terms["contrastive"] = config.contrastive_weight * total
        return terms


def _halve(maps: tuple[Tensor, Tensor], size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Features at the size of the finest disparity, averaged over 2x2 as often as it takes."""
    while maps[0].shape[2] > size[0]:
        maps = (F.avg_pool2d(maps[0], 2), F.avg_pool2d(maps[1], 2))
    return maps


def _check(
    disps: Disps,
    target: Tensor,
    supports: Sequence[Tensor],
    poses: Sequence[Pose],
    offsets: Sequence[int],
    K: Tensor,
) -> None:
    """Raise FrameError unless the arguments fit each other."""
    if target.ndim != 4 or not target.is_floating_point():
        raise FrameError(f"target is {tuple(target.shape)} {target.dtype}, expected (B, 3, H, W) floats")
    batch, _, height, width = target.shape
    for support in supports:
        if support.shape != target.shape:
            raise FrameError(f"support frame is {tuple(support.shape)}, expected the target's {tuple(target.shape)}")
    counts = (len(supports), len(poses), len(offsets))
    if not supports or len(set(counts)) > 1:
        raise FrameError(f"support frames, poses and offsets are {counts}, expected equal counts of at least 1")
    if K.shape != (batch, 3, 3):
        raise FrameError(f"K is {tuple(K.shape)}, expected {(batch, 3, 3)}")
    if not disps:
        raise FrameError("disparities are none, expected at least one scale")
    for (_, scale), disp in disps.items():
        wanted = (batch, 1, height >> scale, width >> scale)
        if disp.shape != wanted:
            raise FrameError(f"disparity of scale {scale} is {tuple(disp.shape)}, expected {wanted}")


def _check_features(
    target: Tensor, supports: Sequence[Tensor], features: Tensor | None, others: Sequence[Tensor] | None
) -> None:
    if features is None and others is None:
        return
    if features is None or others is None or len(others) != len(supports):
        given = (0 if features is None else 1, 0 if others is None else len(others))
        raise FrameError(f"features of target and support frames are {given}, expected {(1, len(supports))} or none")
    for part in (features, *others):
        if (
            part.ndim != 4
            or part.shape != features.shape
            or part.shape[2:] != target.shape[2:]
            or len(part) != len(target)
        ):
            wanted = f"({len(target)}, C, {target.shape[2]}, {target.shape[3]})"
            raise FrameError(f"features are {tuple(part.shape)}, expected {wanted} alike")
