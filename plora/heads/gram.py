"""Heads that know how the columns of φ go together, and not only their sums per class."""

from torch import Tensor

from plora.heads.closed_form import ClosedFormHead, add_to


class GramHead(ClosedFormHead):
    """Beside `cross` Σ onehot(y) φᵀ `[rows, k]` each group keeps `gram` Σ φ φᵀ `[k, k]`."""

    sums = ("cross", "gram")

    def _shapes(self, rows: int) -> dict[str, tuple[int, ...]]:
        return {**super()._shapes(rows), "gram": (self.columns, self.columns)}

    def _observe(self, group: dict[str, Tensor], features: Tensor, onehot: Tensor) -> None:
        design = self._design(features, group)
        add_to(group, "cross", onehot.T @ design)
        add_to(group, "gram", design.T @ design)
