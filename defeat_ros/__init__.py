"""Depth, odometry and dense features from one camera, day and night."""
