"""One spot of a network where slots live: what all kinds of places have in common, and what each of them can do."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from plora.adapters.route import Route

Ability = Literal["additive", "foldable", "per_sample", "soft", "export"]


@dataclass(frozen=True)
class Can:
    """What a kind of place can do; what cannot be combined with it is refused from this alone.

    Args:
        additive: several slots take part at once, each adding its share.
        foldable: a slot can be put into the weights of the plain network.
        per_sample: every sample, or token, has coefficients of its own.
        soft: coefficients other than 0 and 1, and such as train.
        export: PEFT can load it.
        reasons: why not, for everything that is False.
    """

    additive: bool = True
    foldable: bool = True
    per_sample: bool = True
    soft: bool = True
    export: bool = True
    reasons: Mapping[Ability, str] = field(default_factory=dict)

    def cannot(self, ability: Ability) -> str | None:
        """Return why a kind of place lacks an ability; None where it has it."""
        return None if getattr(self, ability) else self.reasons[ability]


class Place(nn.Module, ABC):
    """The slots of one spot: committed ones as buffers, at most one open as parameters.

    How a slot is opened and appended differs between kinds, because what it is made of does; all else is the same.

    Args:
        path: the spot's path in the network as it was before it was adapted; unlike that of any other place.
        index: position among all adapted layers, for coefficients per layer.
        site: position among all places, for coefficients per site.
    """

    kind: ClassVar[str]
    can: ClassVar[Can]

    def __init__(self, path: str, index: int, site: int) -> None:
        super().__init__()
        self.path, self.index, self.site = path, index, site
        self.open_name: str | None = None

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Names of the committed slots, in the order in which they were committed."""

    @abstractmethod
    def commit(self) -> None:
        """Turn the open slot's parameters into buffers, which no optimizer can reach."""

    @abstractmethod
    def reopen(self, name: str, dropout: float) -> None:
        """Take a committed slot back into training, with its values.

        Args:
            name: of the slot.
            dropout: of a low-rank slot's inputs; the other kinds have it from their settings.
        """

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove a slot, committed or open."""

    def clear(self) -> None:
        """Remove every slot."""
        for name in (self.open_name, *self.names):
            if name is not None:
                self.delete(name)

    def leave_out(self, memo: dict[int, object]) -> None:
        """Have a deep copy with this memo begin without the committed slots, which are read into it anew."""

    @abstractmethod
    def tensors(self, name: str) -> dict[str, Tensor]:
        """Return everything that a slot owns here, buffers that moved included; live, for the open slot."""

    @abstractmethod
    def content(self, name: str) -> Iterator[bytes]:
        """Yield what this place adds to the hash of a slot."""

    @abstractmethod
    def trained(self) -> list[nn.Parameter]:
        """Return the parameters of the open slot."""

    def moving(self) -> list[str]:
        """Return names of this module's buffers that may change while the open slot trains."""
        return []

    def refusal(self, route: Route) -> str | None:
        """Return why this place cannot do what a route asks for; None where it can."""
        if route.folded and (reason := self.can.cannot("foldable")):
            return reason
        if route.per in ("sample", "token") and (reason := self.can.cannot("per_sample")):
            return reason
        if self.can.soft and self.can.additive:  # coefficients need not be looked at, which waits for the device
            return None
        c = route.coefficients_of(self.index, self.site)
        hard = c is None or (not c.requires_grad and bool(((c == 0) | (c == 1)).all()))
        if not hard and (reason := self.can.cannot("soft")):
            return reason
        number = len(route.slots) if c is None else int(torch.count_nonzero(c))
        return self.can.cannot("additive") if number > 1 else None

    def __str__(self) -> str:
        return f"{self.kind} '{self.path}'"
