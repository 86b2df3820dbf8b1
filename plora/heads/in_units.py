"""Rows whose scores are told in a unit: numbers that are fixed and not trained, kept with the rows."""

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from plora.errors import RunError
from plora.fingerprint import hash_tensors
from plora.heads.base import Head
from plora.heads.closed_form import ClosedFormHead
from plora.heads.linear import LinearHead


class InUnits(Head):
    """z ← scale · z + shift − threshold, of each row of another head.

    Stands before the class of that head among the bases of a class; see `in_units`.

    Attributes:
        units: by block `[3, rows]` fp64, scale, shift and threshold of each row; 1, 0 and 0 until somebody says
            otherwise. A head that is solved is solved for what scale and shift leave of the targets.
    """

    def __init__(self, features: int, pooled: bool = False) -> None:
        super().__init__(features, pooled)
        self.units: dict[str, Tensor] = {}

    def open(self, block: str, classes: int, generator: torch.Generator) -> None:
        """Add a block whose unit is 1, or take an existing one back into training."""
        super().open(block, classes, generator)  # type: ignore[safe-super]
        self.units.setdefault(block, _plain(classes))

    def forward(self, features: Tensor) -> Tensor:
        """Return scores `[N, rows]` in their units, fp32."""
        return _in_unit(super().forward(features), self._whole())  # type: ignore[safe-super]

    def block_scores(self, features: Tensor, block: str) -> Tensor:
        """Return scores `[N, rows of the block]` in their units."""
        return _in_unit(super().block_scores(features, block), self.units[block])

    def block_hash(self, block: str) -> str:
        """Return the sha256 of what the scores depend on, units included."""
        return hash_tensors([(super().block_hash(block), self.units[block])])  # type: ignore[safe-super]

    def tensors(self) -> dict[str, Tensor]:
        """Return those of the head, and `<i>:unit` of each block that was not forgotten."""
        units = {
            f"{position}:unit": self.units[block]
            for position, block in enumerate(self.blocks)
            if block not in self.forgotten
        }
        return {**super().tensors(), **units}  # type: ignore[safe-super]

    def restore(self, blocks: Mapping[str, int], tensors: Mapping[str, Tensor]) -> None:
        """Restore the head and its units."""
        own = {key: tensor for key, tensor in tensors.items() if key.endswith(":unit")}
        super().restore(blocks, {key: tensor for key, tensor in tensors.items() if key not in own})  # type: ignore[safe-super]
        self.units = {}
        for position, (block, rows) in enumerate(blocks.items()):
            unit = own.get(f"{position}:unit")
            if unit is None and block in self.forgotten:
                unit = _plain(rows)
            if unit is None or unit.shape != (3, rows):
                raise RunError(f"the stored head has no unit of the {rows} rows for '{block}'")
            self.units[block] = unit.cpu().clone()

    def fit(self, block: str, features: Tensor, labels: Tensor, val_features: Tensor, val_labels: Tensor) -> None:
        """Solve the rows for targets without their units, so that the same ridge strengths suit all."""
        assert isinstance(self, ClosedFormHead)
        scale, shift, _ = self.units[block]
        plain = [(targets.double() - shift) / scale for targets in (labels, val_labels)]
        super().fit(block, features, plain[0], val_features, plain[1])  # type: ignore[misc]  # of the head after it

    def stand_in(self) -> Head:
        """Return a linear head with the same units."""
        found = in_units(LinearHead)(self.features)
        found.units = dict(self.units)
        return found

    def _whole(self) -> Tensor:
        return torch.cat([self.units[block] for block in self.blocks], 1) if self.blocks else _plain(0)


@cache
def in_units(head: type[Head]) -> type[InUnits]:
    """Return the class of a head whose rows have units."""
    return type(f"{head.__name__}InUnits", (InUnits, head), {"__doc__": head.__doc__})


def _plain(rows: int) -> Tensor:
    plain = torch.zeros(3, rows, dtype=torch.float64)
    plain[0] = 1
    return plain


def _in_unit(scores: Tensor, unit: Tensor) -> Tensor:
    scale, shift, threshold = unit.to(scores.device)
    told: Tensor = scores * scale + shift - threshold
    return told.float()
