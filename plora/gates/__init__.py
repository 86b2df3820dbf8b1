"""Gates: how much each slot contributes. A new gate is its settings, a line in their table, and one file here."""

from typing import TYPE_CHECKING

from plora.gates.settings import (
    GATES,
    AllOnesSettings,
    GainSettings,
    GateSettings,
    GumbelSparsemaxSettings,
    LikelihoodSettings,
    MagnitudesSettings,
    NewestSettings,
    OneHotSettings,
    OwnClassesSettings,
    RouterSettings,
)
from plora.lazy import names_from

if TYPE_CHECKING:
    from plora.gates.all_ones import AllOnes
    from plora.gates.base import ChoosingGate, Gate, ReadingGate, Trial, Verdict
    from plora.gates.gain import Gain
    from plora.gates.gumbel_sparsemax import GumbelSparsemax
    from plora.gates.likelihood import Likelihood
    from plora.gates.magnitudes import Magnitudes
    from plora.gates.newest import Newest
    from plora.gates.one_hot import OneHot
    from plora.gates.own_classes import OwnClasses
    from plora.gates.router import Router

__all__ = [
    "GATES",
    "AllOnes",
    "AllOnesSettings",
    "ChoosingGate",
    "Gain",
    "GainSettings",
    "Gate",
    "GateSettings",
    "GumbelSparsemax",
    "GumbelSparsemaxSettings",
    "Likelihood",
    "LikelihoodSettings",
    "Magnitudes",
    "MagnitudesSettings",
    "Newest",
    "NewestSettings",
    "OneHot",
    "OneHotSettings",
    "OwnClasses",
    "OwnClassesSettings",
    "ReadingGate",
    "Router",
    "RouterSettings",
    "Trial",
    "Verdict",
]

__getattr__, _ = names_from(
    __name__,
    {
        "all_ones": ["AllOnes"],
        "base": ["ChoosingGate", "Gate", "ReadingGate", "Trial", "Verdict"],
        "gain": ["Gain"],
        "gumbel_sparsemax": ["GumbelSparsemax"],
        "likelihood": ["Likelihood"],
        "magnitudes": ["Magnitudes"],
        "newest": ["Newest"],
        "one_hot": ["OneHot"],
        "own_classes": ["OwnClasses"],
        "router": ["Router"],
    },
)
