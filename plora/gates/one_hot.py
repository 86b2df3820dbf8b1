"""Only the task's own slot contributes (P-LoRA)."""

from collections.abc import Sequence

from plora.adapters import Route
from plora.errors import UnknownTaskError, did_you_mean
from plora.gates.base import Gate
from plora.gates.settings import OneHotSettings
from plora.moment import Moment


class OneHot(Gate):
    """c_k = [k = task]: the bank slices one slot, the others cost nothing.

    Forgetting is 0 by construction: nothing that a later task trains is on an earlier task's route.
    """

    settings = OneHotSettings()

    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        """Return the route through the slot named `task`; the bare network before any slot exists."""
        if task is None or (slots and task not in slots):
            hint = did_you_mean(task, slots) if task else ""
            raise UnknownTaskError(
                f"this method keeps one slot per task and needs the task's name, got {task!r}{hint}; "
                f"tasks: {', '.join(slots)}"
            )
        return Route((task,) if slots else ())
