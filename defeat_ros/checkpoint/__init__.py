"""Weight files: what they say (content), reading them safely (reading, pickles), writing them (writing)."""
