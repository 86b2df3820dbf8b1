"""Gates: how much each slot contributes. A new gate is one file here and one line in the table."""

from plora.gates.all_ones import AllOnes
from plora.gates.base import ChoosingGate, Gate, Trial, Verdict
from plora.gates.newest import Newest
from plora.gates.one_hot import OneHot
from plora.gates.router import Router

GATES: dict[str, type[Gate]] = {"all_ones": AllOnes, "one_hot": OneHot, "newest": Newest, "router": Router}

__all__ = ["GATES", "AllOnes", "ChoosingGate", "Gate", "Newest", "OneHot", "Router", "Trial", "Verdict"]
