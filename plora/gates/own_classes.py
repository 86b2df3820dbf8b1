"""Each slot says where the classes of its own task are, and none is asked about those of another."""

from collections.abc import Sequence

from plora.adapters import Route
from plora.gates.base import Gate, own_or_all
from plora.gates.settings import OwnClassesSettings
from plora.moment import Moment


class OwnClasses(Gate):
    """Where no task is named, T slots read an image, each alone, in T passes, and all classes are told from these.

    What the answers of all slots together are, says the problem. While a task trains, its own slot is the route; so is
    that of a task that is named: nothing that a later task trains is on an earlier task's route.

    Source: Kim et al. 2024 (ECLIPSE, arXiv 2403.20126), whose queries of one step do not see those of another either.
    """

    settings = OwnClassesSettings()

    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        """Return the route through the slot of a named task; without a task all slots, each of which reads alone."""
        return own_or_all(slots, task)
