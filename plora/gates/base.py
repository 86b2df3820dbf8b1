"""A gate says how much each slot contributes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor

from plora.adapters import Route
from plora.errors import RunError


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

    def state(self) -> dict[str, Tensor]:
        """Return what it has learned, by name: a checkpoint keeps it."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` returned.

        Raises:
            RunError: a tensor is missing or does not fit.
        """
        if state:
            raise RunError(f"the gate {type(self).__name__} keeps nothing, and {', '.join(state)} was stored for it")


class ChoosingGate(Gate):
    """A gate that chooses one slot for each input, by the bare backbone's features of it, where no task is named.

    While a task trains it is named. Without a name the gate's route names all slots that may be chosen.
    """

    needs_task = False
    constant = False

    @abstractmethod
    def learn(self, position: int, features: Tensor, rows: Tensor) -> None:
        """See a task before it trains.

        Args:
            position: of its slot.
            features: `[N, D, d]` of the bare backbone at D depths, the last those of its output.
            rows: `[N]` the examples' rows in the head.
        """

    @abstractmethod
    def choose(self, bare: Tensor) -> Tensor:
        """Return the position of the slot for each input, `[B]`, from its bare features `[B, D, d]`."""
