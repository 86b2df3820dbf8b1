"""A gate says how much each slot contributes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from plora.adapters import Route


class Gate(ABC):
    """Turns the slots that exist, and the task when it is known, into the route of one forward pass.

    Attributes:
        needs_task: the route depends on the task id, so the gate has no meaning where none is given.
        constant: while a task trains, every committed slot on the route counts 1, so those slots can be folded into
            an effective weight and cost nothing.
        merges: older slots take part through the newest one, which is made of them when a task is committed.
    """

    needs_task: bool
    constant: bool
    merges: bool = False

    @abstractmethod
    def route(self, slots: Sequence[str], task: str | None) -> Route:
        """Return the route.

        Args:
            slots: names of all slots, in the order in which they were opened.
            task: the task's name, or None when it is not known.

        Raises:
            UnknownTaskError: the gate needs the task and there is no slot for it.
        """
