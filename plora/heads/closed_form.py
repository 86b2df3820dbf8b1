"""Heads that are solved, not trained: nearest class mean, ridge regression, and RanPAC.

All keep sums only: no example is stored, and the order of the tasks does not matter. Blocks that are predicted
against each other are solved together (`pooled`); where the task id is given, each block is solved alone.
"""

from abc import abstractmethod
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from plora.errors import RunError
from plora.fingerprint import hash_tensors
from plora.heads.base import Head

RIDGE_GRID = tuple(10.0**exponent for exponent in range(-8, 9))
"""Values of λ tried on validation data (RanPAC's grid)."""
RANDOM_FEATURES = 2000
"""Columns of RanPAC's random projection."""
_PROJECTION = "projection:matrix"
_TEMPERATURES = torch.logspace(-3, 1, 41, dtype=torch.float64)


class ClosedFormHead(Head):
    """Sums over features, and the weights that follow from them: score = W φ(f) / temperature.

    A group is a set of blocks that compete: one for all (`pooled`), else one per block. Each group keeps, in fp64:
    `cross` Σ onehot(y) φᵀ `[rows, k]`, `weight` W `[rows, k]`, `temperature`, and what a subclass adds.
    """

    def __init__(self, features: int, pooled: bool) -> None:
        super().__init__(features, pooled)
        self.columns = features  # k, length of φ(f)
        self._groups: list[dict[str, Tensor]] = []

    def open(self, block: str, classes: int, generator: torch.Generator) -> None:
        """Add a block; nothing is drawn from `generator`."""
        if block not in self.blocks:
            self.blocks[block] = classes
            if not self.pooled or not self._groups:
                self._groups.append({})

    def commit(self) -> None:
        """Do nothing: `fit` leaves the head solved, and no row is ever open."""

    def fit(self, block: str, features: Tensor, labels: Tensor, val_features: Tensor, val_labels: Tensor) -> None:
        """Add a task's examples to the sums, and solve.

        Args:
            block: the block that the labels belong to.
            features: `[N, d]`, of the training split.
            labels: `[N]`, local to the block.
            val_features: `[M, d]`, of the validation split, which chooses ridge strength and temperature.
            val_labels: `[M]`, local to the block.
        """
        index, offset, rows = self._group(block)
        group = self._groups[index]
        onehot = F.one_hot(labels + offset, rows).double()
        self._observe(group, features.double(), onehot)
        group["weight"] = self._solve(group, val_features.double(), F.one_hot(val_labels + offset, rows).double())
        scores = self._design(val_features.double()) @ group["weight"].T
        nll = torch.stack([F.cross_entropy(scores / t, val_labels + offset) for t in _TEMPERATURES])
        group["temperature"] = _TEMPERATURES[nll.argmin()].clone()

    def forward(self, features: Tensor) -> Tensor:
        """Return scores `[N, rows]`, divided by a temperature chosen on validation data; 0 where not fitted yet."""
        design = self._design(features.double())
        parts = []
        for index, rows in enumerate([self.rows] if self.pooled else self.blocks.values()):
            group = self._groups[index]
            scores = design.new_zeros(len(features), rows)
            if "weight" in group:
                fitted = group["weight"].to(design)
                scores[:, : len(fitted)] = design @ fitted.T / group["temperature"].to(design)
            parts.append(scores)
        return torch.cat(parts, dim=1).float()

    def block_hash(self, block: str) -> str:
        """Return the sha256 of the weights and temperature of the block's group."""
        group = self._groups[self._group(block)[0]]
        return hash_tensors([(key, group[key]) for key in ("weight", "temperature") if key in group])

    def tensors(self) -> dict[str, Tensor]:
        """Return `<group>:<name>` for each tensor of each group."""
        return {f"{i}:{name}": tensor for i, group in enumerate(self._groups) for name, tensor in group.items()}

    def restore(self, blocks: Mapping[str, int], tensors: Mapping[str, Tensor]) -> None:
        """Restore sums and weights."""
        self.blocks = dict(blocks)
        self._groups = [{} for _ in range(1 if self.pooled else len(blocks))]
        held = {key.partition(":")[0] for key in tensors}
        self.forgotten = {block for block in blocks if str(self._group(block)[0]) not in held}
        for key, tensor in tensors.items():
            index, _, name = key.partition(":")
            if not index.isdecimal() or int(index) >= len(self._groups):
                raise RunError(f"the stored head has an unknown tensor '{key}'")
            self._groups[int(index)][name] = tensor
        for number, (group, rows) in enumerate(
            zip(self._groups, [self.rows] if self.pooled else self.blocks.values(), strict=True)
        ):
            for name, wanted in self._shapes(rows).items() if group else ():
                shape = tuple(group[name].shape) if name in group else None
                if name in ("cross", "weight") and shape is not None and len(shape) == 2 and shape[0] < rows:
                    wanted = (shape[0], self.columns)  # a block was opened that is not fitted yet
                if shape != wanted:
                    raise RunError(f"the stored head's tensor '{number}:{name}' is {shape}, expected {wanted}")

    def _shapes(self, rows: int) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor of a fitted group."""
        return {"cross": (rows, self.columns), "weight": (rows, self.columns), "temperature": ()}

    def _group(self, block: str) -> tuple[int, int, int]:
        """Return the block's group, its first row there, and the rows of the group."""
        if self.pooled:
            return 0, self.slice_of(block).start, self.rows
        return list(self.blocks).index(block), 0, self.blocks[block]

    def _observe(self, group: dict[str, Tensor], features: Tensor, onehot: Tensor) -> None:
        """Add `[N, d]` examples to the sums; new classes widen them."""
        _add(group, "cross", onehot.T @ self._sample(features))

    def _sample(self, features: Tensor) -> Tensor:
        """What is summed per class, `[N, k]`."""
        return features

    @abstractmethod
    def _design(self, features: Tensor) -> Tensor:
        """φ(f), `[N, k]`."""

    @abstractmethod
    def _solve(self, group: dict[str, Tensor], val_features: Tensor, val_onehot: Tensor) -> Tensor:
        """W, `[rows, k]`."""


class NCMHead(ClosedFormHead):
    """Nearest class mean: score_c = cos(f, μ_c) with μ_c the mean feature of class c.

    Source: SimpleCIL (arXiv 2303.07338).
    """

    def _design(self, features: Tensor) -> Tensor:
        return F.normalize(features, dim=1)

    def _solve(self, group: dict[str, Tensor], val_features: Tensor, val_onehot: Tensor) -> Tensor:
        return F.normalize(group["cross"], dim=1)  # cos does not see the division by n_c


class RidgeHead(ClosedFormHead):
    """Ridge regression on one-hot labels: W = Q (G + λ I)⁻¹, G = Σ φ φᵀ, Q = Σ onehot(y) φᵀ, φ = (f, 1).

    λ is the value of `RIDGE_GRID` with the smallest squared error on the current task's validation split.
    Source: RanPAC (arXiv 2307.02251) without its random projection.
    """

    def __init__(self, features: int, pooled: bool) -> None:
        super().__init__(features, pooled)
        self.columns = features + 1

    def _shapes(self, rows: int) -> dict[str, tuple[int, ...]]:
        return {**super()._shapes(rows), "gram": (self.columns, self.columns)}

    def _observe(self, group: dict[str, Tensor], features: Tensor, onehot: Tensor) -> None:
        super()._observe(group, features, onehot)
        design = self._design(features)
        _add(group, "gram", design.T @ design)

    def _sample(self, features: Tensor) -> Tensor:
        return self._design(features)

    def _design(self, features: Tensor) -> Tensor:
        return F.pad(features, (0, 1), value=1.0)

    def _solve(self, group: dict[str, Tensor], val_features: Tensor, val_onehot: Tensor) -> Tensor:
        eigenvalues, basis = torch.linalg.eigh(group["gram"])  # one decomposition serves the whole grid
        projected = group["cross"] @ basis
        design = self._design(val_features) @ basis
        errors = [
            (design @ (projected / (eigenvalues.clamp_min(0) + λ)).T - val_onehot).square().mean() for λ in RIDGE_GRID
        ]
        best = RIDGE_GRID[int(torch.stack(errors).argmin())]
        weight: Tensor = (projected / (eigenvalues.clamp_min(0) + best)) @ basis.T
        return weight


class RanPACHead(RidgeHead):
    """Ridge regression on random features: φ(f) = relu(P f), P `[k, d]` ~ N(0, 1), drawn once and never trained.

    A fixed random layer lets a linear solution separate what is not linearly separable in f. It keeps what ridge
    regression has: sums alone, no example, and the same weights whatever the order of the tasks.

    Source: McDonnell et al. 2023 (RanPAC, arXiv 2307.02251), without the adapter of its first phase. It projects to
    10,000 columns; here 2,000, whose 32 MB of sums per group and eigenvalues in seconds suit a CPU.
    """

    def __init__(self, features: int, pooled: bool) -> None:
        super().__init__(features, pooled)
        self.columns = RANDOM_FEATURES
        generator = torch.Generator().manual_seed(0)
        self.projection = torch.randn(RANDOM_FEATURES, features, generator=generator)

    def tensors(self) -> dict[str, Tensor]:
        """Return `<group>:<name>` for each tensor of each group, and the projection."""
        return {**super().tensors(), _PROJECTION: self.projection}

    def restore(self, blocks: Mapping[str, int], tensors: Mapping[str, Tensor]) -> None:
        """Restore the projection, sums and weights."""
        stored = tensors.get(_PROJECTION)
        if tensors:
            shape, wanted = None if stored is None else tuple(stored.shape), tuple(self.projection.shape)
            if stored is None or shape != wanted:
                raise RunError(f"the stored head's tensor '{_PROJECTION}' is {shape}, expected {wanted}")
            self.projection = stored
        super().restore(blocks, {name: tensor for name, tensor in tensors.items() if name != _PROJECTION})

    def _design(self, features: Tensor) -> Tensor:
        return F.relu(features @ self.projection.to(features).T)


def _add(group: dict[str, Tensor], name: str, value: Tensor) -> None:
    """Add to a sum whose first dimension may have grown."""
    former = group.get(name)
    if former is not None:
        value = value.clone()
        value[: len(former)] += former.to(value)
    group[name] = value
