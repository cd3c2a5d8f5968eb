"""The command `defeat-ros`: parsing, printing and exit codes; the work is done below."""

from defeat_ros.cli.main import main

__all__ = ["main"]
