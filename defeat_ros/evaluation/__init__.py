"""Measures depth and odometry against truth."""
