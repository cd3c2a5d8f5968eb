"""The node's parameters: `DepthConfig` declared to ROS, read back, and written as `config/depth.yaml`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from defeat_ros.errors import ConfigError
from defeat_ros.inference.config import DepthConfig
from defeat_ros.settings import Entry, Option, build, check, entries, yaml_lines

AUTOSTART = Entry("autostart", bool, True, Option("configure and activate by itself after the start", read_only=True))
ROS_PREFIXES = ("qos_overrides.",)
HEADER = """\
# Parameters of depth_node with their defaults: ros2 run defeat_ros depth_node --ros-args --params-file THIS_FILE
# Unknown names are refused when the node configures. Written by defeat_ros.ros.params.parameters_yaml().
"""


def node_entries() -> list[Entry]:
    """Every parameter of the node besides those that each ROS node has."""
    return [*entries(DepthConfig), AUTOSTART]


class Parameters:
    """Declares the parameters on a node and reads them as a `DepthConfig`.

    rclpy ignores overrides that nobody declares and refuses an integer for a float inside the constructor. Here
    both wait until `read`, so that a mistake fails the configure transition with its reason and the node lives on;
    a value of the wrong kind can then be mended by setting the parameter.

    Args:
        node: declares them.
        settable: whether a change would have an effect now; changes are refused while it would not.
    """

    def __init__(self, node: Any, settable: Callable[[], bool] = lambda: True) -> None:
        self._node = node
        self._settable = settable
        self._unknown: ConfigError | None = None
        self._refused: dict[str, tuple[ConfigError, Any]] = {}
        given = {name: parameter.value for name, parameter in node._parameter_overrides.items()}
        for entry in node_entries():
            self._declare(entry, given.get(entry.name))
        self._refuse_unknown(given)
        node.add_on_set_parameters_callback(self._on_set)

    def read(self) -> DepthConfig:
        """The parameters as they stand now.

        Raises:
            ConfigError: one is unknown, has the wrong type or is out of range.
        """
        if self._unknown is not None:
            raise self._unknown
        for name, (error, declared) in self._refused.items():
            if self._node._parameters[name] is declared:  # each setting puts a new object there
                raise error
        values = {entry.name: self._value(entry) for entry in entries(DepthConfig)}
        return build(DepthConfig, values)

    @property
    def autostart(self) -> bool:
        """Whether the node brings itself up."""
        return bool(self._value(AUTOSTART))

    def unused_qos_overrides(self) -> list[str]:
        """QoS overrides that name no topic of this node, to be asked once all topics exist."""
        names = (name for name in self._node._parameter_overrides if name.startswith(ROS_PREFIXES))
        return sorted(name for name in names if not self._node.has_parameter(name))

    def _on_set(self, parameters: Sequence[Any]) -> Any:
        """Take changes while they can have an effect, that is before the node configures."""
        from rcl_interfaces.msg import SetParametersResult

        known = {entry.name: entry for entry in node_entries()}
        for parameter in parameters:
            if parameter.name in known and parameter.value is not None:
                if not self._settable():
                    reason = f"parameter {parameter.name!r} is read when the node configures: clean it up first"
                    return SetParametersResult(successful=False, reason=reason)
                try:
                    check(known[parameter.name], parameter.value)
                except ConfigError as error:
                    return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _declare(self, entry: Entry, given: Any) -> None:
        value, error = entry.default, None
        if given is not None:  # None is an empty list or a null in YAML: the default
            try:
                value = check(entry, given)
            except ConfigError as misfit:
                error = misfit
        ros_value = list(value) if isinstance(value, tuple) else value
        if ros_value != []:
            self._node.declare_parameter(entry.name, ros_value, _descriptor(entry), ignore_override=True)
        else:
            self._declare_empty(entry)
        if error is not None:
            self._refused[entry.name] = error, self._node._parameters[entry.name]

    def _declare_empty(self, entry: Entry) -> None:
        """An empty array of floats, which rclpy takes for bytes where nothing tells its type.

        Left unset instead, it would make rclpy answer a request for all parameters (`ros2 param dump`) with none.
        """
        from rclpy.parameter import Parameter

        kind = Parameter.Type.DOUBLE_ARRAY
        self._node.declare_parameter(entry.name, kind, _descriptor(entry), ignore_override=True)
        self._node.set_parameters([Parameter(entry.name, kind, [])])

    def _refuse_unknown(self, given: Mapping[str, Any]) -> None:
        for name in sorted(given):
            if not self._node.has_parameter(name) and not name.startswith(ROS_PREFIXES):
                try:
                    build(DepthConfig, {name: given[name]})
                except ConfigError as error:
                    self._unknown = self._unknown or error

    def _value(self, entry: Entry) -> Any:
        from rclpy.exceptions import ParameterUninitializedException

        try:
            value = self._node.get_parameter(entry.name).value
        except ParameterUninitializedException:
            value = None
        return entry.default if value is None else value


def _descriptor(entry: Entry) -> Any:
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    limits = entry.option
    descriptor = ParameterDescriptor(description=limits.help, read_only=limits.read_only)
    notes = []
    if limits.choices:
        notes.append(f"one of {', '.join(limits.choices)}")
    low, high = limits.minimum, limits.maximum
    if low is not None or high is not None:
        low = -sys.float_info.max if low is None else low
        high = sys.float_info.max if high is None else high
        if entry.type is float:
            descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
        elif entry.type is int:
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
        else:
            notes.append(f"each {low:g} to {high:g}")  # ROS ranges are for single numbers
    descriptor.additional_constraints = "; ".join(notes)
    return descriptor


def parameters_yaml() -> str:
    """All parameters with their defaults and what they mean, in the layout of a ROS parameter file."""
    lines = [HEADER + "/**:", "  ros__parameters:", *yaml_lines(node_entries(), "    ")]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(parameters_yaml(), end="")
