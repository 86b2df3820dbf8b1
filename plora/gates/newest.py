"""Only the newest slot contributes: a task's own while it trains, the one that merging made of all afterwards."""

from collections.abc import Sequence

from plora.adapters import Route
from plora.gates.base import Gate
from plora.gates.settings import NewestSettings
from plora.moment import Moment


class Newest(Gate):
    """c_k = [k = last]: what older slots know is in the merged slot, which is made anew when a task is committed."""

    settings = NewestSettings()

    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        """Return the route through the last slot; the bare network before any slot exists."""
        return Route(tuple(slots[-1:]))
