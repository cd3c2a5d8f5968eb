"""What this machine makes of the networks, the engine and the node; see `cli/bench.py`."""
