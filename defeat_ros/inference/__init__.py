"""From frames to predictions: backends, engine, odometry and offline processing."""
