"""What the training minimises: photometric error, smoothness, contrast of features, and their sum over scales."""

from defeat_ros.losses.config import LossConfig
from defeat_ros.losses.defeat_loss import DeFeatLoss

__all__ = ["DeFeatLoss", "LossConfig"]
