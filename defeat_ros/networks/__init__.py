"""The networks: depth, pose, features, and the model that holds all three."""

from defeat_ros.networks.blocks import check_size
from defeat_ros.networks.defeat_net import DeFeatNet, make_untrained
from defeat_ros.networks.depth_net import DepthNet
from defeat_ros.networks.feat_net import FeatNet
from defeat_ros.networks.pose_net import PoseNet

__all__ = ["DeFeatNet", "DepthNet", "FeatNet", "PoseNet", "check_size", "make_untrained"]
