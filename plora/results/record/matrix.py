"""The accuracy matrix: what it is, and what it must hold.

`R`, float64 `[T + 1, T]`, for T tasks in the order in which they were learned. `R[0, j]` was measured before any
training and `R[i, j]` is the test accuracy on task j after learning task i. The formulas of metrics count tasks from
1, as the papers do; the rows of the array agree with them because of row 0, its columns are one off (`R[i, j]` of a
formula is `R[i, j - 1]` of the array). A cell that was never evaluated is NaN. No metric replaces a NaN, skips one that
its formula needs, or orders tasks by name.
"""

import numpy as np
from numpy.typing import NDArray

from plora.errors import PloraError

Matrix = NDArray[np.float64]


class MetricError(PloraError):
    """A metric that this matrix cannot give; says which cell is missing, or why the metric has no meaning.

    Args:
        reason: without the name of the metric, so that metrics missing for one reason can be named together.
        symbol: of the metric; empty when the matrix itself is wrong.
    """

    def __init__(self, reason: str, symbol: str = "") -> None:
        self.reason = reason
        super().__init__(f"{symbol} {reason}" if symbol else reason)


def checked(R: Matrix) -> Matrix:
    """Return `R` as float64, or say why it is not an accuracy matrix.

    Raises:
        MetricError: not `[T + 1, T]` with T ≥ 1, or a cell is infinite.
    """
    R = np.asarray(R, dtype=np.float64)
    if R.ndim != 2 or R.shape[1] < 1 or R.shape[0] != R.shape[1] + 1:
        raise MetricError(
            f"got an array of shape {list(R.shape)}; an accuracy matrix of T tasks is [T + 1, T], "
            "row 0 being measured before training (NaN where it was not)"
        )
    if np.isinf(R).any():
        raise MetricError("the accuracy matrix contains an infinite cell; use NaN for not evaluated")
    return R


def diagonal(T: int) -> NDArray[np.bool_]:
    """Return `[T + 1, T]`: true where the formulas write R[j, j]."""
    return np.eye(T + 1, T, k=-1, dtype=bool)


def at_least_two(symbol: str, R: Matrix) -> int:
    """Return T, or raise a MetricError when there is one task only."""
    T = int(R.shape[1])
    if T < 2:
        raise MetricError("compares tasks with each other, and there is only one", symbol)
    return T


def require(symbol: str, R: Matrix, needed: NDArray[np.bool_]) -> None:
    """Raise a MetricError that names the first NaN among the cells `needed` (`[T + 1, T]`), if there is one."""
    missing = np.argwhere(needed & np.isnan(R))
    if not len(missing):
        return
    measured = ~np.isnan(R)
    if measured[-1].all() and not measured[1:-1].any() and (missing[:, 0] > 0).all():
        raise MetricError("needs the rows of earlier tasks, and only the last row was measured", symbol)
    if not measured[-1].any() and (missing[:, 0] == len(R) - 1).all():
        raise MetricError("needs the row after the last task, which was not measured", symbol)
    row, column = missing[0].tolist()
    when = "before training" if row == 0 else f"after task {row}"
    others = f" (and {len(missing) - 1} more cells)" if len(missing) > 1 else ""
    raise MetricError(
        f"needs R[{row},{column + 1}], the accuracy on task {column + 1} {when}, which was not measured{others}",
        symbol,
    )
