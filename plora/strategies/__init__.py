"""Strategies: what protects old knowledge. A new one is one file here and one line in the table."""

from plora.strategies.base import Progress, Strategy
from plora.strategies.orthogonal import Orthogonality

STRATEGIES: dict[str, type[Strategy]] = {"orthogonality": Orthogonality}

__all__ = ["STRATEGIES", "Orthogonality", "Progress", "Strategy"]
