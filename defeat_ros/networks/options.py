"""The arguments of the model, which checkpoints carry: their names and what they may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from defeat_ros.errors import ConfigError
from defeat_ros.networks.blocks import ACTIVATIONS, RESNET_LAYERS
from defeat_ros.networks.depth_net import check_scales

# Far above what anyone trains; a file must not make us build what no memory holds.
MAX_DIMS = 1024
MAX_BRANCHES = 16
MAX_PIXELS = 1024  # of a pooling window or the padding
OPTIONS = (
    "num_layers",
    "preres",
    "scales",
    "use_skips",
    "n_dims",
    "spp_branches",
    "activation",
    "im_pad",
    "norm",
)


def check_options(options: Mapping[str, Any]) -> None:
    """Hold all the model's arguments against what a network can be built with.

    Raises:
        ConfigError: one has the wrong type or is out of range.
    """
    for name in ("preres", "use_skips", "norm"):
        if not isinstance(options[name], bool):
            _refuse(name, options[name], "true or false")
    if not _is_count(options["num_layers"], max(RESNET_LAYERS)) or options["num_layers"] not in RESNET_LAYERS:
        _refuse("num_layers", options["num_layers"], "one of " + ", ".join(map(str, RESNET_LAYERS)))
    if not isinstance(options["scales"], (list, tuple, range)):
        _refuse("scales", options["scales"], "a list of numbers")
    check_scales(options["scales"])
    if not _is_count(options["n_dims"], MAX_DIMS):
        _refuse("n_dims", options["n_dims"], f"1 to {MAX_DIMS}")
    branches = options["spp_branches"]
    listed = isinstance(branches, (list, tuple)) and len(branches) <= MAX_BRANCHES
    if branches is not None and not (listed and all(_is_count(b, MAX_PIXELS) for b in branches)):
        _refuse("spp_branches", branches, f"none or up to {MAX_BRANCHES} numbers from 1 to {MAX_PIXELS}")
    if not isinstance(options["activation"], str) or options["activation"] not in ACTIVATIONS:
        _refuse("activation", options["activation"], "one of " + ", ".join(ACTIVATIONS))
    if options["im_pad"] not in (None, 0) and not _is_count(options["im_pad"], MAX_PIXELS):
        _refuse("im_pad", options["im_pad"], f"none or 0 to {MAX_PIXELS}")


def _is_count(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _refuse(name: str, value: Any, expected: str) -> NoReturn:
    raise ConfigError(f"{name} is {value!r:.80}, expected {expected}")
