"""QoS of topics as users may override it, with words for overrides that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSPolicyKind, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from defeat_ros.errors import ConfigError

T = TypeVar("T")
PREFIX = "qos_overrides."
_POLICIES = {"history": HistoryPolicy, "durability": DurabilityPolicy, "reliability": ReliabilityPolicy}


def qos_overrides(with_reliability: bool = True) -> QoSOverridingOptions:
    """Users may override these policies of every topic through `qos_overrides.*` parameters."""
    kinds = [QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.DURABILITY]
    return QoSOverridingOptions(policy_kinds=[*kinds, *([QoSPolicyKind.RELIABILITY] if with_reliability else [])])


def with_overrides(node: Any, topic: str, make: Callable[[], T]) -> T:
    """Make a publisher or subscription of a topic, given by its full name.

    Raises:
        ConfigError: an override of the topic cannot be used. rclpy raises whatever comes up, without the name.
    """
    try:
        return make()
    except Exception as error:
        given = {n: p.value for n, p in node._parameter_overrides.items() if n.startswith(f"{PREFIX}{topic}.")}
        for name, value in sorted(given.items()):
            if expected := _misfit(name.rpartition(".")[2], value):
                raise ConfigError(f"parameter {name!r} is {value!r}, expected {expected}") from error
        if given:  # each may be right by itself
            listed = ", ".join(f"{name!r} is {value!r}" for name, value in sorted(given.items()))
            raise ConfigError(f"parameter {listed}: {' '.join(str(error).split())}") from error
        raise


def offers_best_effort(node: Any, topic: str) -> bool:
    """Whether a publisher of the topic has no more to offer."""
    offers = (info.qos_profile.reliability for info in node.get_publishers_info_by_topic(topic))
    return any(offer == ReliabilityPolicy.BEST_EFFORT for offer in offers)


def _misfit(policy: str, value: Any) -> str:
    """What the value of a policy should have been, '' where it is right."""
    if policy == "depth":
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        return "" if fits else "a whole number from 0"
    choices = [kind.lower() for kind in getattr(_POLICIES.get(policy), "__members__", {}) if kind != "UNKNOWN"]
    return "" if not choices or str(value).lower() in choices else f"one of {', '.join(choices)}"
