"""Learning depth, motion and features from recordings."""
