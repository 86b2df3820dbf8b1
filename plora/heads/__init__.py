"""Heads: what turns features into one score per class. A new head is one file here and one line in the table."""

from collections.abc import Callable

from plora.heads.base import Head
from plora.heads.closed_form import ClosedFormHead, NCMHead, RanPACHead, RidgeHead
from plora.heads.linear import LinearHead
from plora.heads.own import OwnHead

HEADS: dict[str, Callable[[int, bool], Head]] = {
    "linear": lambda features, pooled: LinearHead(features),
    "ncm": NCMHead,
    "ridge": RidgeHead,
    "ranpac": RanPACHead,
    "own": lambda features, pooled: OwnHead(features),
}
"""Name → head for d features; `pooled`: whether its blocks compete for a prediction."""

__all__ = ["HEADS", "ClosedFormHead", "Head", "LinearHead", "NCMHead", "OwnHead", "RanPACHead", "RidgeHead"]
