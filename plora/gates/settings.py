"""How much each slot contributes, as settings: what can be said of a gate before anything is loaded."""

from typing import ClassVar, Literal

from plora.settings import PartSettings


class GateSettings(PartSettings):
    """The settings of a gate, and what it declares."""

    needs_task: ClassVar[bool]
    """The route depends on the task id, so the gate has no meaning where none is given."""
    constant: ClassVar[bool]
    """While a task trains, every committed slot on the route counts 1, so those slots can be folded into an effective
    weight and cost nothing."""
    merges: ClassVar[bool] = False
    """Older slots take part through the newest one, which is made of them when a task is committed."""
    chooses: ClassVar[bool] = False
    """Where no task is named it chooses one slot for each input: it is a `ChoosingGate`."""


class AllOnesSettings(GateSettings):
    """Of `AllOnes`."""

    part = "plora.gates.all_ones:AllOnes"
    needs_task = False
    constant = True

    kind: Literal["all_ones"] = "all_ones"


class OneHotSettings(GateSettings):
    """Of `OneHot`."""

    part = "plora.gates.one_hot:OneHot"
    needs_task = True
    constant = True

    kind: Literal["one_hot"] = "one_hot"


class NewestSettings(GateSettings):
    """Of `Newest`."""

    part = "plora.gates.newest:Newest"
    needs_task = False
    constant = True
    merges = True

    kind: Literal["newest"] = "newest"


class RouterSettings(GateSettings):
    """Of `Router`."""

    part = "plora.gates.router:Router"
    needs_task = False
    constant = False
    chooses = True

    kind: Literal["router"] = "router"


GATES: dict[str, type[GateSettings]] = {
    "all_ones": AllOnesSettings,
    "one_hot": OneHotSettings,
    "newest": NewestSettings,
    "router": RouterSettings,
}
"""Name of a gate in the table of methods → its settings, which name the class that does the work."""
