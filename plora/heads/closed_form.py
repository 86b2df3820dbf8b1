"""Heads that are solved, not trained: sums over features, and the weights that follow from them.

All keep sums only: no example is stored, and the order of the tasks does not matter where a head does not say so.
Blocks that are predicted against each other are solved together (`pooled`); where the task id is given, each block is
solved alone.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from plora.errors import RunError
from plora.fingerprint import hash_tensors
from plora.heads.base import Head
from plora.heads.linear import LinearHead
from plora.heads.pseudo_features import Gaussians

_TEMPERATURES = torch.logspace(-3, 1, 41, dtype=torch.float64)
_HELD_OUT = 50
"""Pseudo-features per class on which a block chooses anew, whose validation split is gone."""


class ClosedFormHead(Head):
    """Sums over features, and the weights that follow from them: score = W φ(f) / temperature.

    A group is a set of blocks that compete: one for all (`pooled`), else one per block. Each group keeps, in fp64:
    `cross` Σ onehot(y) φᵀ `[rows, k]`, `weight` W `[rows, k]`, `temperature`, and what a subclass adds.

    Attributes:
        columns: k, length of φ(f).
        keeps_statistics: each group also keeps `class_sums` Σ onehot(y) (f, 1)ᵀ `[rows, d + 1]` and `moments`
            Σ (f, 1) (f, 1)ᵀ `[d + 1, d + 1]`, from which `carry` and pseudo-features of old classes are made.
    """

    solved = True
    sums: ClassVar[tuple[str, ...]] = ("cross",)
    """Names of what `_observe` adds to."""
    keeps_statistics: bool = False

    def __init__(self, features: int, pooled: bool) -> None:
        super().__init__(features, pooled)
        self.columns = features
        self._groups: list[dict[str, Tensor]] = []

    def open(self, block: str, classes: int, generator: torch.Generator) -> None:
        """Add a block; nothing is drawn from `generator`."""
        if block not in self.blocks:
            self.blocks[block] = classes
            if not self.pooled or not self._groups:
                self._groups.append({})

    def commit(self) -> None:
        """Do nothing: `fit` leaves the head solved, and no row is ever open."""

    def stand_in(self) -> Head:
        """Return the head that is trained in the place of this one, until it is solved."""
        return LinearHead(self.features)

    def fit(self, block: str, features: Tensor, labels: Tensor, val_features: Tensor, val_labels: Tensor) -> None:
        """Add a task's examples to the sums, and solve.

        Args:
            block: the block that the labels belong to.
            features: `[N, d]`, of the training split.
            labels: `[N]`, local to the block; or `[N, rows of the block]` a number for each row, which takes the place
                of onehot(y), of a head that `regresses` and is not pooled.
            val_features: `[M, d]`, of the validation split, which chooses ridge strength and temperature; that is 1
                where there are no classes.
            val_labels: `[M]`, local to the block, or `[M, rows of the block]`.
        """
        index, offset, rows = self._group(block)
        group = self._groups[index]
        onehot = labels.double() if labels.dim() == 2 else F.one_hot(labels + offset, rows).double()
        if self.keeps_statistics:
            whole = F.pad(features.double(), (0, 1), value=1.0)
            add_to(group, "class_sums", onehot.T @ whole)
            add_to(group, "moments", whole.T @ whole)
        self._observe(group, features.double(), onehot)
        wanted = val_labels.double() if labels.dim() == 2 else F.one_hot(val_labels + offset, rows).double()
        group["weight"] = self._solve(group, val_features.double(), wanted)
        if labels.dim() == 2:
            group["temperature"] = torch.ones((), dtype=torch.float64)
            return
        scores = self._scored(val_features.double(), group) @ group["weight"].T
        nll = torch.stack([F.cross_entropy(scores / t, val_labels + offset) for t in _TEMPERATURES])
        group["temperature"] = _TEMPERATURES[nll.argmin()].clone()

    def carry(self, drift: Tensor) -> None:
        """Take the sums of all tasks so far from the features that they were taken of to those of a changed model.

        class_sums ← class_sums Tᵀ, moments ← T moments Tᵀ: exact where (f, 1) ← T (f, 1). Sums of a φ that is not
        linear are made anew, of pseudo-features: as many for each class as it had examples, drawn from a Gaussian
        with its mean and a covariance that the classes of the group share. Groups that are solved together are solved
        by the next `fit`; a block that is solved alone is solved here.

        Args:
            drift: T `[d + 1, d + 1]`, fp64; see `plora.heads.drift`.
        """
        for group in self._groups:
            if "class_sums" not in group:
                continue  # nothing was fitted yet, or it was forgotten
            group["class_sums"] = group["class_sums"] @ drift.T
            group["moments"] = drift @ group["moments"] @ drift.T
            self._recount(group)
            if not self.pooled:
                held_out = self._gaussians(group).draw_all(_HELD_OUT, seed=1)
                group["weight"] = self._solve(group, *held_out)

    def forward(self, features: Tensor) -> Tensor:
        """Return scores `[N, rows]`, divided by a temperature chosen on validation data; 0 where not fitted yet."""
        sizes = [self.rows] if self.pooled else self.blocks.values()
        parts = [self._scores(features, group, rows) for group, rows in zip(self._groups, sizes, strict=True)]
        return torch.cat(parts, dim=1)

    def block_scores(self, features: Tensor, block: str) -> Tensor:
        """Return scores `[N, rows of the block]`; no other group is computed."""
        if self.pooled:
            return super().block_scores(features, block)
        index, _, rows = self._group(block)
        return self._scores(features, self._groups[index], rows)

    def block_hash(self, block: str) -> str:
        """Return the sha256 of all that the scores of the block's group depend on."""
        group = self._groups[self._group(block)[0]]
        return hash_tensors([(key, group[key]) for key in self._decisive() if key in group])

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
            # Tensors of a file stand at any address, and the last bit of a product depends on how memory is aligned.
            self._groups[int(index)][name] = tensor.clone()
        for number, (group, rows) in enumerate(
            zip(self._groups, [self.rows] if self.pooled else self.blocks.values(), strict=True)
        ):
            wanted_shapes = self._shapes(rows)
            if self.keeps_statistics:
                size = self.features + 1
                wanted_shapes |= {"class_sums": (rows, size), "moments": (size, size)}
            for name, wanted in wanted_shapes.items() if group else ():
                shape = tuple(group[name].shape) if name in group else None
                if name in ("cross", "weight", "class_sums") and shape is not None and len(shape) == 2:
                    wanted = (min(shape[0], rows), *wanted[1:])  # a block was opened that is not fitted yet
                if shape != wanted:
                    raise RunError(f"the stored head's tensor '{number}:{name}' is {shape}, expected {wanted}")

    def _shapes(self, rows: int) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor of a fitted group, but for the statistics."""
        return {"cross": (rows, self.columns), "weight": (rows, self.columns), "temperature": ()}

    def _decisive(self) -> tuple[str, ...]:
        """Names of the tensors of a group that its scores depend on."""
        return ("weight", "temperature")

    def _group(self, block: str) -> tuple[int, int, int]:
        """Return the block's group, its first row there, and the rows of the group."""
        if self.pooled:
            return 0, self.slice_of(block).start, self.rows
        return list(self.blocks).index(block), 0, self.blocks[block]

    def _scores(self, features: Tensor, group: dict[str, Tensor], rows: int) -> Tensor:
        """Scores `[N, rows]` of one group; 0 in rows that are not fitted yet."""
        scores = features.new_zeros(len(features), rows, dtype=torch.float64)
        if "weight" in group:
            fitted = group["weight"].to(scores)
            scored = self._scored(features.double(), group)
            scores[:, : len(fitted)] = scored @ fitted.T / group["temperature"].to(scores)
        return scores.float()

    def _gaussians(self, group: dict[str, Tensor]) -> Gaussians:
        """What is known of the features of each class."""
        return Gaussians(group["class_sums"], group["moments"])

    def _recount(self, group: dict[str, Tensor]) -> None:
        """Make the sums anew that are not linear in the statistics."""
        for name in self.sums:
            del group[name]
        gaussians = self._gaussians(group)
        for label in gaussians.met:  # class by class: all at once may not fit into memory
            self._observe(group, *gaussians.draw(label, int(gaussians.counts[label].round()), seed=0))

    def _observe(self, group: dict[str, Tensor], features: Tensor, onehot: Tensor) -> None:
        """Add `[N, d]` examples to the sums; new classes widen them."""
        add_to(group, "cross", onehot.T @ features)

    @abstractmethod
    def _design(self, features: Tensor, group: dict[str, Tensor]) -> Tensor:
        """φ(f), `[N, k]`, of a group that was fitted."""

    def _scored(self, features: Tensor, group: dict[str, Tensor]) -> Tensor:
        """What W is multiplied with, `[N, columns of W]`: φ(f), where nothing stands between the two."""
        return self._design(features, group)

    @abstractmethod
    def _solve(self, group: dict[str, Tensor], val_features: Tensor, val_onehot: Tensor) -> Tensor:
        """W, `[rows, k]`."""


def add_to(group: dict[str, Tensor], name: str, value: Tensor) -> None:
    """Add to a sum of a group, whose first dimension may have grown."""
    former = group.get(name)
    if former is not None:
        value = value.clone()
        value[: len(former)] += former.to(value)
    group[name] = value
