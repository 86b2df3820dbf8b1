"""Every slot contributes fully: one shared slot, or the sum of all (O-LoRA, IncLoRA)."""

from collections.abc import Sequence

from plora.adapters import Route
from plora.gates.base import Gate
from plora.gates.settings import AllOnesSettings
from plora.moment import Moment


class AllOnes(Gate):
    """c_k = 1 for every slot: y = W x + Σ_k s_k B_k A_k x."""

    settings = AllOnesSettings()

    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        """Return the route through all slots."""
        return Route(tuple(slots))
