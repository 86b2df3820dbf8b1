"""Which optimizer steps the parameters, and which of them have a rate or decay of their own. Imports no torch."""

import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

if TYPE_CHECKING:
    from torch.optim import Optimizer

OptimizedPart = Literal["head", "adapter", "gate", "modules", "backbone"]
"""Whose parameters a group takes."""


ParameterGroups = list[dict[str, object]]
"""What an optimizer of torch takes: of each group `params`, `lr`, `weight_decay`, and as `peak` the rate that a
schedule starts from."""


class OptimizerSettings(BaseModel, ABC):
    """An optimizer: its settings as fields, and how it is made of groups of parameters.

    A class of your own needs no line in the table: `kind: package.module:Class` names it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: str

    @abstractmethod
    def make(self, groups: ParameterGroups) -> "Optimizer":
        """Return the optimizer, new.

        Args:
            groups: each with a rate and decay of its own. What it keeps of a parameter stands in `state[parameter]` as
                tensors and numbers, so that a checkpoint inside a task can hold it.
        """


class AdamW(OptimizerSettings):
    """θ ← θ − η (m̂ / (√v̂ + ε) + λ θ), with m and v the running means of the gradient and of its square.

    Source: Loshchilov & Hutter 2019 (arXiv 1711.05101).
    """

    kind: Literal["adamw"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    """How much of m and v is kept at each step."""
    eps: float = Field(default=1e-8, gt=0)
    """ε."""

    @field_validator("betas")
    @classmethod
    def _below_one(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError("two numbers from 0 to below 1 were expected")
        return betas

    def make(self, groups: ParameterGroups) -> "Optimizer":
        """Return torch's AdamW, in its fused form."""
        import torch

        return torch.optim.AdamW(groups, betas=self.betas, eps=self.eps, fused=True)


class SGD(OptimizerSettings):
    """v ← μ v + g + λ θ, θ ← θ − η v; with Nesterov's look ahead θ ← θ − η (g + λ θ + μ v).

    The decay λ is part of the gradient, so that momentum carries it too. The first v is g + λ θ.

    Source: Sutskever et al. 2013, in the form of torch, whose rate η is outside v.
    """

    kind: Literal["sgd"] = "sgd"
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """μ; 0 keeps nothing."""
    nesterov: bool = False
    """Look ahead along v."""

    @model_validator(mode="after")
    def _looks_ahead_along_something(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov looks ahead along the momentum, and momentum is 0")
        return self

    def make(self, groups: ParameterGroups) -> "Optimizer":
        """Return torch's SGD."""
        import torch

        return torch.optim.SGD(groups, momentum=self.momentum, nesterov=self.nesterov)


OPTIMIZERS: dict[str, type[OptimizerSettings]] = {"adamw": AdamW, "sgd": SGD}
"""`kind:` of an optimizer in a config → its settings."""


class Group(BaseModel):
    """Parameters with a rate or decay of their own: those of a part of the model, or those whose names fit a pattern.

    - {part: backbone, learning_rate: 1e-5, layer_decay: 0.8}
    - {pattern: "layer_norm", weight_decay: 0}
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    part: OptimizedPart | None = None
    """All parameters of the `head`, of the slots (`adapter`), the `gate`, trained `modules`, or the `backbone`."""
    pattern: str | None = None
    """A regular expression that is found in the parameter's name."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Peak rate, in every phase; None takes the common one."""
    weight_decay: float | None = Field(default=None, ge=0)
    """None takes the common one; of biases and scales it is 0 in any case."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """The rate is multiplied by this once for each block of the network above the parameter's; embeddings are below
    all of them."""

    @field_validator("pattern")
    @classmethod
    def _is_an_expression(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"a regular expression was expected: {error}") from None
        return pattern

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if (self.part is None) == (not self.pattern):
            raise ValueError("a group names its parameters by part: or by pattern:, one of the two")
        return self

    def takes(self, name: str, part: str) -> bool:
        """Say whether a parameter belongs to it.

        Args:
            name: of the parameter.
            part: of the model that it belongs to.
        """
        return part == self.part if self.pattern is None else re.search(self.pattern, name) is not None

    def __str__(self) -> str:
        return f"part '{self.part}'" if self.pattern is None else f"pattern '{self.pattern}'"
