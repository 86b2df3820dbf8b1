"""Gates: how much each slot contributes. A new gate is one file here and one line in the table."""

from plora.gates.all_ones import AllOnes
from plora.gates.base import Gate
from plora.gates.newest import Newest
from plora.gates.one_hot import OneHot

GATES: dict[str, type[Gate]] = {"all_ones": AllOnes, "one_hot": OneHot, "newest": Newest}

__all__ = ["GATES", "AllOnes", "Gate", "Newest", "OneHot"]
