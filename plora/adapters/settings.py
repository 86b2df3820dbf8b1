"""Geometry of slots and how they are merged, as settings. Imports no torch."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

Init = Literal["kaiming", "gauss"]
Targets = str | Sequence[str]
"""`attention` (q, k, v and output), `attention:qv` (any of q, k, v, o), `mlp`, `all_linear`, `all_conv` (every
convolution without groups), a list of module names (the last part of a path, or more of it), or one regular expression
that must match the whole path. Names and expressions find linear layers and convolutions, the other keywords linear
layers."""

Way = Literal["average", "ties", "magmax"]


@dataclass(frozen=True)
class SlotShape:
    """Rank and scaling of one slot in one bank.

    Args:
        rank: rows of A and B, ≥ 1.
        scale: s, what B A is multiplied with (alpha / rank, or alpha / √rank for rsLoRA).
    """

    rank: int
    scale: float


def _layers(text: str) -> str:
    if not re.fullmatch(r"all|last [1-9][0-9]{0,5}", text):
        raise PydanticCustomError("layers", "expected 'all', or 'last N' with N of 1 or more, such as 'last 3'")
    return text


class LoRA(BaseModel):
    """Low-rank adaptation: y = W x + b + s · B A dropout(x), A `[r, I]`, B `[O, r]`; B starts at 0.

    Source: Hu et al. 2021 (arXiv 2106.09685); rank-stabilised scaling: Kalajdzievski 2023 (arXiv 2312.03732).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    rank: int = Field(default=8, ge=1)
    """r, rows of A and columns of B; at most the smaller side of each adapted layer."""
    alpha: float = Field(default=16.0, gt=0)
    """Scaling numerator: s = alpha / rank."""
    dropout: float = Field(default=0.05, ge=0, lt=1)
    """Probability with which inputs of the open slot are dropped in training; committed slots are never touched."""
    targets: str | tuple[str, ...] = "attention"
    """Which layers: `attention`, `attention:qkv`, `mlp`, `all_linear`, `all_conv`, a list of names, or a regular
    expression."""
    layers: Annotated[str, AfterValidator(_layers)] = "all"
    """In which blocks: `all`, or `last N`, the last N of the repeated ones; what enters the first of them is then
    computed once per text and kept on disk."""
    init: Init = "kaiming"
    """A ~ U(±1/√I) (`kaiming`, as loralib and PEFT) or N(0, 0.01²) (`gauss`)."""
    rslora: bool = False
    """Scale by alpha / √rank instead."""
    ranks: dict[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = {}
    """From which task on (counted from 0) new slots have another rank, such as `{4: 8, 8: 6}`; s stays as it is."""

    def at(self, task: int) -> "LoRA":
        """Return the settings of the slot of the task at a position, counted from 0."""
        begun = [start for start in self.ranks if start <= task]
        if not begun:
            return self
        rank = self.ranks[max(begun)]
        share = rank / self.rank
        return self.model_copy(update={"rank": rank, "alpha": self.alpha * (share**0.5 if self.rslora else share)})

    @property
    def largest_rank(self) -> int:
        """Of the ranks that slots may have."""
        return max(self.rank, *self.ranks.values()) if self.ranks else self.rank

    def shape(self) -> SlotShape:
        """Return rank and scale of a slot with these settings."""
        return SlotShape(self.rank, self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank))


def _rising(stages: tuple[int, ...]) -> tuple[int, ...]:
    if not stages or min(stages) < 1 or list(stages) != sorted(set(stages)):
        raise PydanticCustomError("stages", "expected numbers of stages in order, counted from 1, such as [3, 4]")
    return stages


Stages = Annotated[tuple[int, ...], AfterValidator(_rising)]


class Bottleneck(BaseModel):
    """Residual adapters after blocks: y + U act(D norm(y)), U from 0."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    width: int = Field(default=64, ge=1)
    """w, rows of D and columns of U."""
    after: str | tuple[str, ...] = "block"
    """After which modules: `block` (each of the repeated ones), `stage` (each group of blocks, as a convolutional
    network has them), `sublayer` (the attention and the MLP of each block, before their residual sums), a list of
    names, or a regular expression for the whole path."""
    stages: Stages | None = None
    """In which stages, counted from 1, such as `[3, 4]`; None: in all of the network."""
    activation: Literal["relu", "gelu"] = "relu"
    """Between D and U."""
    form: Literal["residual", "pooled"] = "residual"
    """At every token or position by itself, or `pooled`: from the mean over a map, added to all of it."""
    norm: Literal["none", "layer", "batch"] = "none"
    """What y is normalized with, on its way into D; the statistics of `batch` are each slot's own."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Probability with which inputs of D are dropped while the slot trains."""
    init: Literal["identity", "near_zero"] = "identity"
    """How a slot begins: D as a linear layer's and U = 0, which changes no bit; or `near_zero`, D and U from
    N(0, 0.001²), as Houlsby et al. do, which changes outputs a little."""


class Pointwise(BaseModel):
    """Residual adapters beside convolutions: u + K x, K 1 × 1, from 0; with each slot its own BatchNorm layers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    form: Literal["parallel", "series"] = "parallel"
    """K reads what the convolution reads, or in `series` what it returns, normalized: u + K BN(u)."""
    beside: str | tuple[str, ...] = "block"
    """Beside which convolutions: `block` (those of the repeated blocks that are larger than 1 × 1), a list of names, or
    a regular expression for the whole path."""
    stages: Stages | None = None
    """In which stages, counted from 1, such as `[3, 4]`, BatchNorm layers too; None: in all of the network."""


class Merging(BaseModel):
    """How slots are merged, in the methods that do so."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    scale: float | None = Field(default=None, gt=0)
    """λ; None takes 1 for the average and TIES and 0.5 for MagMax."""
    keep: float = Field(default=0.2, gt=0, le=1)
    """TIES: the share of each slot's entries that is kept, the largest ones."""
    rank: int | None = Field(default=None, ge=1)
    """Of the merged slot; None takes the sum of the slots' ranks, with which an average loses nothing. In no layer
    more than its smaller side."""
