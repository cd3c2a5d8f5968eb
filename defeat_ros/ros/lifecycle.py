"""A lifecycle node whose transitions say what went wrong; rclpy swallows the exceptions of its callbacks."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

from defeat_ros.errors import DefeatError


class GuardedLifecycleNode(LifecycleNode):
    """Each transition runs a method that may raise: the transition then fails and its reason is in the log.

    A declared error is one line, any other comes with its traceback.

    Attributes:
        configure_problem: why the node could not configure the last time, None where it could or has not tried.
    """

    configure_problem: str | None = None

    @property
    def state(self) -> str:
        """Lifecycle state, such as 'active'."""
        return str(self._state_machine.current_state[1])

    def on_configure(self, state: Any) -> TransitionCallbackReturn:
        """Read the parameters, load the engine, create the publishers."""
        return self._guarded("configure", self._configure, state)

    def on_activate(self, state: Any) -> TransitionCallbackReturn:
        """Subscribe and start to work."""
        return self._guarded("activate", self._activate, state)

    def on_deactivate(self, state: Any) -> TransitionCallbackReturn:
        """Finish the frame in hand and unsubscribe."""
        return self._guarded("deactivate", self._deactivate, state)

    def on_cleanup(self, state: Any) -> TransitionCallbackReturn:
        """Let go of the engine and the publishers."""
        return self._guarded("clean up", self._cleanup, state)

    def on_shutdown(self, state: Any) -> TransitionCallbackReturn:
        """Stop whatever runs."""
        return self._guarded("shut down", self._shut_down, state)

    def on_error(self, state: Any) -> TransitionCallbackReturn:
        """Go back to unconfigured."""
        return self._guarded("recover", self._shut_down, state)

    def _guarded(self, name: str, step: Callable[[Any], None], state: Any) -> TransitionCallbackReturn:
        try:
            step(state)
        except DefeatError as error:
            problem = str(error)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
        else:
            if name == "configure":
                self.configure_problem = None
            return TransitionCallbackReturn.SUCCESS
        if not self.context.ok():
            return TransitionCallbackReturn.FAILURE  # a signal came while the transition ran: not a mistake
        self.get_logger().error(f"cannot {name}: {problem}")
        if name == "configure":
            self.configure_problem = problem.partition("\n")[0]
        return TransitionCallbackReturn.FAILURE

    # What happens in each transition; `super()` of rclpy takes the publishers along.

    def _configure(self, state: Any) -> None:
        super().on_configure(state)

    def _activate(self, state: Any) -> None:
        super().on_activate(state)

    def _deactivate(self, state: Any) -> None:
        super().on_deactivate(state)

    def _cleanup(self, state: Any) -> None:
        super().on_cleanup(state)

    def _shut_down(self, state: Any) -> None:
        super().on_shutdown(state)
