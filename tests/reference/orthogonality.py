"""The O-LoRA penalty as two loops over rows."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def orthogonality(olds: Sequence[Array], new: Array, form: Literal["l1", "sq"]) -> float:
    """Σ_i Σ_jk φ(⟨row j of A_i, row k of A_t⟩)."""
    total = 0.0
    for old in olds:
        for a in old:
            for b in new:
                total += abs(a @ b) if form == "l1" else (a @ b) ** 2
    return float(total)


def mean_abs_cosine(olds: Sequence[Array], new: Array) -> float:
    cosines = [abs(a @ b) / (np.linalg.norm(a) * np.linalg.norm(b)) for old in olds for a in old for b in new]
    return float(np.mean(cosines))
