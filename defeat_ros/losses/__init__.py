"""What the training minimises: photometric error, smoothness, contrast of features, corners, true depth."""

from defeat_ros.losses.config import LossConfig
from defeat_ros.losses.contrastive import contrastive_loss, find_correspondences
from defeat_ros.losses.defeat_loss import DeFeatLoss
from defeat_ros.losses.tracks import track_loss
from defeat_ros.losses.true_depth import true_depth_loss

__all__ = ["DeFeatLoss", "LossConfig", "contrastive_loss", "find_correspondences", "track_loss", "true_depth_loss"]
