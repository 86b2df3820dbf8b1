"""Heads: what turns features into one score per class. A new head is one file here and one line in the table."""

from plora.heads.base import Head
from plora.heads.closed_form import ClosedFormHead
from plora.heads.cosine import CosineHead
from plora.heads.in_units import InUnits, in_units
from plora.heads.klda import KLDAHead
from plora.heads.linear import LinearHead
from plora.heads.ncm import NCMHead
from plora.heads.own import OwnHead
from plora.heads.ranpac import RanPACHead
from plora.heads.ridge import RidgeHead
from plora.heads.spread import SpreadHead
from plora.heads.stepped import SteppedHead
from plora.kinds import is_own
from plora.settings import named

HEADS: dict[str, type[Head]] = {
    "linear": LinearHead,
    "cosine": CosineHead,
    "ncm": NCMHead,
    "ridge": RidgeHead,
    "ranpac": RanPACHead,
    "klda": KLDAHead,
    "spread": SpreadHead,
    "own": OwnHead,
}
"""Name → class, made for d features and with `pooled`: whether its blocks compete for a prediction."""

__all__ = [
    "HEADS",
    "ClosedFormHead",
    "CosineHead",
    "Head",
    "InUnits",
    "KLDAHead",
    "LinearHead",
    "NCMHead",
    "OwnHead",
    "RanPACHead",
    "RidgeHead",
    "SpreadHead",
    "SteppedHead",
    "head_class",
    "in_units",
]


def head_class(name: str) -> type[Head]:
    """Return the class of a head that is named as in the table, or as `package.module:Class`.

    Raises:
        ConfigError: there is no such module or class, or it is no head.
    """
    return named(name, Head) if is_own(name) else HEADS[name]
