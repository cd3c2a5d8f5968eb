"""One training step: what the networks say of a batch, and what each objective says of that."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defeat_ros.evaluation.features import SAME_DEPTH
from defeat_ros.geometry import FARTHEST_UNIT, disp_to_depth
from defeat_ros.losses import DeFeatLoss, contrastive_loss, find_correspondences, track_loss, true_depth_loss
from defeat_ros.networks import DeFeatNet
from defeat_ros.training.augment import Batch
from defeat_ros.training.config import TrainConfig
from defeat_ros.warp import reproject, sample, support_from_target

OFFSETS = (-1, 1)
"""The support frames: the one before the target and the one after it."""

ROTATION_WEIGHT = 40.0
"""Of true rotations, per rad, against true translations, per m: trained networks err by 0.0025 rad and 0.1 m or so, and
neither is to drown the other."""

Terms = dict[str, Tensor]
Disps = dict[tuple[str, int], Tensor]
Poses = list[tuple[Tensor, Tensor]]


class Learner(nn.Module):
    """The networks and their objectives as one module, which distributed training can wrap.

    Attributes:
        model: the networks.
        config: the run.
    """

    def __init__(self, model: DeFeatNet, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.config = model, config
        self.criterion = DeFeatLoss(config.loss)

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> tuple[Tensor, Terms]:
        """Loss of a batch.

        Args:
            batch: samples; frames in the order target, previous, next, or the target alone where no objective needs
                its neighbours.
            generator: of the losses' random choices.

        Returns:
            the loss; and its parts and the state of health (`health/...`), scalars without gradient.
        """
        weights, parts = self.config.objective, []
        terms: Terms = {}
        disps = self.model.depth_net(_channels_last(batch.seen[0])) if self.config.uses("depth_net") else {}
        poses = self.poses(batch.seen) if self.config.uses_motion else []
        features = self.features(batch.seen) if weights.truth_features else None
        if weights.photometric:
            loss, terms = self._photometric(batch, disps, poses, features, generator)
            parts.append(weights.photometric * loss)
        extra: Terms = {}
        if weights.truth:
            assert batch.depth is not None
            extra["truth"] = weights.truth * true_depth_loss(disps, batch.depth, self.config.loss)
        motions = self.motions(disps, poses)
        if weights.truth_motion:
            assert batch.support_from_target is not None
            extra["truth_motion"] = weights.truth_motion * motion_loss(motions, batch.support_from_target)
        if features is not None:
            extra["truth_features"] = weights.truth_features * self._true_contrast(batch, features, generator)
        if self.config.uses_tracks:
            assert batch.tracks is not None and motions is not None
            size_hw = (batch.frames.shape[3], batch.frames.shape[4])
            errors = [track_loss(disp, size_hw, batch.K, motions, batch.tracks) for disp in disps.values()]
            extra["tracks"] = weights.tracks * torch.stack(errors).mean()
        if weights.velocity:
            assert batch.support_from_target is not None
            extra["velocity"] = weights.velocity * velocity_loss(motions, batch.support_from_target)
        total = torch.stack([*parts, *extra.values()]).sum()
        terms = {**terms, **{name: value.detach() for name, value in extra.items()}, "loss": total.detach()}
        return total, {**terms, **health(disps, motions)}

    def poses(self, seen: Tensor) -> Poses:
        """Axis-angle and translation of each support frame, later frame first, from one pass of the pose net."""
        target, previous, following = seen
        later, earlier = torch.cat((target, following)), torch.cat((previous, target))
        axisangle, translation = self.model.pose_net(_channels_last(later), _channels_last(earlier))
        return list(zip(axisangle.chunk(2), translation.chunk(2), strict=True))

    def features(self, seen: Tensor) -> list[Tensor]:
        """Features (B, C, H, W) of each frame."""
        # One batch, so that batch norm sees target and support frames with the same statistics.
        return list(self.model.feat_net(_channels_last(seen.flatten(0, 1))).float().chunk(len(seen)))

    def _photometric(
        self, batch: Batch, disps: Disps, poses: Poses, features: list[Tensor] | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Terms]:
        """The losses of plain video, for the samples that they are to be computed for, and their terms."""
        rows: Tensor | slice = slice(None)
        share = 1.0
        if self.config.objective.photometric_where == "no_truth":
            assert batch.depth is not None
            unknown = batch.depth.isnan().flatten(1).all(1)
            share = float(unknown.float().mean())
            # At least one: every network has to have a gradient where several processes exchange them.
            rows = unknown.nonzero()[:, 0] if share else slice(1)
        frames, judged, others = batch.frames[:, rows], None, None
        if self.config.uses_judges:
            judged, *others = [maps[rows] for maps in features] if features else self.features(batch.seen[:, rows])
        loss, terms = self.criterion(
            {key: disp[rows] for key, disp in disps.items()}, frames[0], list(frames[1:]),
            [(axisangle[rows], shift[rows]) for axisangle, shift in poses], OFFSETS, batch.K[rows],
            judged, others, generator,
        )  # fmt: skip
        # A sample counts the same whatever others its batch holds.
        return share * loss, {name: term if name == "automasked" else share * term for name, term in terms.items()}

    def _true_contrast(self, batch: Batch, features: list[Tensor], generator: torch.Generator | None) -> Tensor:
        """Contrastive loss where true depth and motion say which pixels show the same point."""
        assert batch.depth is not None and batch.support_from_target is not None and batch.support_depth is not None
        config, (target, *others) = self.config.loss, features
        known = torch.isfinite(batch.depth[:, 0])
        depth = batch.depth.nan_to_num(FARTHEST_UNIT, posinf=FARTHEST_UNIT)
        losses = []
        for other, motion, shown in zip(others, batch.support_from_target, batch.support_depth, strict=True):
            posed = ~motion.isnan().flatten(1).any(1)
            motion = torch.where(posed[:, None, None], motion, torch.eye(4, device=motion.device))
            coords, z = reproject(depth, batch.K, motion)
            # What is hidden there, or drove on, has another depth: its nearest neighbour's tells without mixing edges.
            there = sample(shown.nan_to_num(0.0, posinf=0.0), coords.round())
            same = (there - z).abs()[:, 0] <= SAME_DEPTH * z[:, 0]
            seen = known & same & posed[:, None, None] & (z[:, 0] > 0)
            found = find_correspondences(coords, seen, config.correspondences, generator)
            losses.append(contrastive_loss(target, other, found, config.contrasts, generator))
        return torch.stack(losses).mean()

    def motions(self, disps: Disps, poses: Poses) -> Tensor | None:
        """Motions (F - 1, B, 4, 4) of the support frames, as the losses take them at the finest scale."""
        if not poses:
            return None
        mean_inverse = None
        if self.config.loss.translation == "inverse_depth":
            mean_inverse = (1.0 / disp_to_depth(finest(disps))).mean((1, 2, 3))
        found = [support_from_target(pose, offset, mean_inverse) for pose, offset in zip(poses, OFFSETS, strict=True)]
        return torch.stack(found)


def finest(disps: Disps) -> Tensor:
    """The disparity of the finest scale, float32."""
    return disps[min(disps)].float()


def motion_loss(motions: Tensor | None, truth: Tensor) -> Tensor:
    """Mean absolute difference of translation (m) and rotation against true motions (F - 1, B, 4, 4), NaN unknown."""
    assert motions is not None
    known = ~truth.isnan().flatten(2).any(2)
    truth = torch.where(known[..., None, None], truth, torch.eye(4, device=truth.device))
    shift = (motions[..., :3, 3] - truth[..., :3, 3]).abs().sum(-1)
    turn = (motions[..., :3, :3] - truth[..., :3, :3]).abs().sum((-1, -2)) / 2
    return _mean_of(shift + ROTATION_WEIGHT * turn, known)


def velocity_loss(motions: Tensor | None, truth: Tensor) -> Tensor:
    """Mean absolute difference of the length of the motion, m (Guizilini et al., CVPR 2020, eq. 6).

    The length alone: an odometry's direction depends on how well its mount is known, its length hardly does.
    """
    assert motions is not None
    known = ~truth[..., :3, 3].isnan().any(-1)
    length = truth[..., :3, 3].nan_to_num().norm(dim=-1)
    # A norm has no gradient at zero, where an untrained motion may lie.
    predicted = motions[..., :3, 3].square().sum(-1).clamp(min=1e-12).sqrt()
    return _mean_of((predicted - length).abs(), known)


@torch.no_grad()
def health(disps: Disps, motions: Tensor | None) -> Terms:
    """Signs of collapse: spread and mean of log depth, and length of the motion in mean depths; none without depth."""
    if not disps:
        return {}
    logs = disp_to_depth(finest(disps)).log().flatten(1)
    found = {"health/depth_spread": logs.std(1).mean(), "health/mean_depth": logs.mean().exp()}
    if motions is not None:
        found["health/motion"] = (motions[..., :3, 3].norm(dim=-1) / logs.mean(1).exp()).mean()
    return found


def _mean_of(values: Tensor, known: Tensor) -> Tensor:
    return torch.where(known, values, 0.0).sum() / known.sum().clamp(min=1)


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)
