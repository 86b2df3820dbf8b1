"""The adapters of a whole network seen as slots: open, train, commit, use, delete."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from plora.adapters.bank import Bank
from plora.adapters.inject import find_targets, inject, refuse_adapted
from plora.adapters.linear import AdaptedLinear
from plora.adapters.route import Route, Switch
from plora.adapters.settings import LoRA, SlotShape, Targets
from plora.errors import AdapterError, UnknownTaskError, did_you_mean


class Slot:
    """One task's share of the adapters, across all layers.

    Mappings go from the layer's path to its tensor. `A` and `B` are live: for the open slot they are the parameters.
    """

    def __init__(self, name: str, banks: Mapping[str, Bank]) -> None:
        self.name = name
        self._banks = banks

    @property
    def A(self) -> dict[str, Tensor]:  # noqa: N802
        """A of each layer, `[r, I]`."""
        return {path: bank.rows(self.name)[0] for path, bank in self._banks.items()}

    @property
    def B(self) -> dict[str, Tensor]:  # noqa: N802
        """B of each layer, `[O, r]`."""
        return {path: bank.rows(self.name)[1].T for path, bank in self._banks.items()}

    @property
    def shapes(self) -> dict[str, SlotShape]:
        """Rank and scale in each layer."""
        return {path: bank.shape(self.name) for path, bank in self._banks.items()}

    def delta(self) -> dict[str, Tensor]:
        """ΔW = s · B A of each layer, `[O, I]`."""
        return {path: bank.delta(self.name) for path, bank in self._banks.items()}

    @torch.no_grad()
    def start_from(self, other: "Slot") -> None:
        """Take over the values of another slot of the same rank: training goes on from there."""
        for mine, its in ((self.A, other.A), (self.B, other.B)):
            for path, matrix in mine.items():
                matrix.copy_(its[path])

    def content_hash(self) -> str:
        """Return the sha256 (hex) of every A, B, rank and scale: the slot's name on disk."""
        digest = hashlib.sha256()
        for path, bank in self._banks.items():
            shape = bank.shape(self.name)
            digest.update(f"{path}:{shape.rank}:{shape.scale!r}".encode())
            for matrix in bank.rows(self.name):
                digest.update(matrix.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def __repr__(self) -> str:
        ranks = sorted({shape.rank for shape in self.shapes.values()})
        return f"Slot({self.name!r}, {len(self._banks)} layers, rank {'/'.join(map(str, ranks))})"


class Adapters:
    """All slots of one network.

        model = plora.apply_lora(network, rank=8, targets="attention")
        adapters = Adapters.of(model)
        adapters.commit()                 # the first slot is frozen from here on
        adapters.open_task("reviews")     # the second one trains; both take part
        adapters.use("reviews")           # only this one takes part

    Args:
        layers: the wrapped layers, all sharing one switch.
    """

    def __init__(self, layers: Sequence[AdaptedLinear]) -> None:
        if not layers:
            raise AdapterError("this network has no adapters; call plora.apply_lora(network) first")
        self.layers = tuple(layers)
        self.banks: dict[str, Bank] = {bank.path: bank for layer in self.layers for bank in layer.all_banks}
        self.switch: Switch = self.layers[0].switch
        self._first = next(iter(self.banks.values()))

    @property
    def open_name(self) -> str | None:
        """Name of the slot that trains."""
        return self._first.open_name

    @property
    def names(self) -> list[str]:
        """Names of all slots, the open one last. Read from the banks: two handles to one network agree."""
        return [*self._first.committed, *([self.open_name] if self.open_name is not None else [])]

    @classmethod
    def of(cls, model: nn.Module) -> "Adapters":
        """Return the adapters that `apply_lora` put into a network."""
        return cls([module for module in model.modules() if isinstance(module, AdaptedLinear)])

    @classmethod
    def inject(cls, model: nn.Module, targets: Targets, layers: str = "all") -> "Adapters":
        """Freeze `model`, wrap its target layers in place, and return their (still empty) adapters.

        Args:
            model: the network.
            targets: which layers; see `LoRA`.
            layers: in which blocks.
        """
        refuse_adapted(model)
        found = find_targets(model, targets, layers)
        model.requires_grad_(False)
        return cls(inject(model, found))

    # ------------------------------------------------------------------ the life of a slot

    def open_task(self, name: str, lora: LoRA, lateral: bool = False) -> Slot:
        """Open a slot that trains from ΔW = 0, and let every slot take part.

        Args:
            name: of the slot.
            lora: rank, scaling, dropout and initialisation.
            lateral: it learns to read what the committed slots read, too: ΔW = s · B (A + C A_old), C from 0. When it
                is committed, A becomes A + C A_old. Progressive networks (Rusu et al. 2016, arXiv 1606.04671) in the
                low-rank form that needs one forward pass.

        Raises:
            AdapterError: another slot is open, the name is taken, or the rank does not fit a layer.
        """
        if self.open_name is not None:
            raise AdapterError(f"slot '{self.open_name}' is still open; commit or delete it before opening '{name}'")
        if name in self.names:
            raise AdapterError(f"slot '{name}' exists already; choose another name, or delete it first")
        shape = lora.shape()
        for bank in self.banks.values():  # all or none: a refusal must not leave half a slot behind
            bank.require_rank(shape.rank)
        for bank in self.banks.values():
            bank.open(name, shape, lora.dropout, lora.init, lateral)
        self.use(self.names)
        return self[name]

    def commit(self) -> str:
        """Freeze the open slot into buffers and return the hash of its content."""
        if self.open_name is None:
            raise AdapterError("no slot is open; call open_task first")
        slot = self[self.open_name]
        self.unfold()
        for bank in self.banks.values():
            bank.commit()
        return slot.content_hash()

    def reopen(self, name: str, dropout: float) -> Slot:
        """Take a committed slot back into training, with its values."""
        self._require(name)
        if self.open_name is not None:
            raise AdapterError(f"slot '{self.open_name}' is still open; commit it before reopening '{name}'")
        self.unfold()
        for bank in self.banks.values():
            bank.reopen(name, dropout)
        return self[name]

    def rescale(self, name: str, factors: Mapping[str, float]) -> None:
        """Multiply ΔW of a slot, by layer path; layers that are not named stay as they are."""
        for path, factor in factors.items():
            self.banks[path].rescale(name, factor)

    def append(self, name: str, lora: Mapping[str, tuple[SlotShape, Tensor, Tensor]]) -> Slot:
        """Add a committed slot from its tensors: by layer path (shape, A `[r, I]`, B `[O, r]`)."""
        if name in self.names:
            raise AdapterError(f"slot '{name}' exists already; choose another name, or delete it first")
        if set(lora) != set(self.banks):
            missing, extra = sorted(set(self.banks) - set(lora)), sorted(set(lora) - set(self.banks))
            raise AdapterError(
                f"slot '{name}' does not fit this network: it lacks layers {missing[:3]} and has unknown layers "
                f"{extra[:3]}; inject the targets that it was trained with"
            )
        for path, (shape, A, B) in lora.items():
            bank = self.banks[path]
            if A.shape != (shape.rank, bank.in_features) or B.shape != (bank.out_features, shape.rank):
                raise AdapterError(
                    f"slot '{name}', layer '{path}': A {list(A.shape)} and B {list(B.shape)} do not fit "
                    f"[{shape.rank}, {bank.in_features}] and [{bank.out_features}, {shape.rank}]"
                )
        for path, (shape, A, B) in lora.items():
            self.banks[path].append(name, shape, A, B.T)
        return self[name]

    def delete(self, name: str) -> None:
        """Remove a slot from every layer; the route in force loses it too."""
        self._require(name)
        if name != self.open_name and self._first.C is not None:
            raise AdapterError(
                f"the open slot '{self.open_name}' reads slot '{name}'; commit it before deleting '{name}'"
            )
        if name in self.switch.route.slots:
            self.switch.route = self._without(self.switch.route, name)
        if name != self.open_name:
            self.unfold()
        for bank in self.banks.values():
            bank.delete(name)

    # ------------------------------------------------------------------ which slots take part

    def use(self, route: "Route | str | Sequence[str]") -> None:
        """Let only these slots take part: a name, several names (their sum; `[]` is the bare network), or a Route.

        Raises:
            UnknownTaskError: a slot that does not exist.
        """
        self.switch.route = self._checked(route)

    def using(self, route: "Route | str | Sequence[str]") -> AbstractContextManager[None]:
        """As `use`, inside a `with` block."""
        return self.switch.using(self._checked(route))

    def fold(self, coefficients: Mapping[str, float]) -> None:
        """Make the effective weight W + Σ c_k ΔW_k of every layer, so that these slots cost nothing.

        The base weight is not touched. Routes with `folded=True` use the effective weight, until it is made anew
        or a slot is committed, reopened or deleted.

        Raises:
            AdapterError: the open slot, which has to stay beside the weight to train.
        """
        for name in coefficients:
            self._require(name)
            if name == self.open_name:
                raise AdapterError(f"slot '{name}' is open and cannot be folded; commit it first")
        for layer in self.layers:
            layer.folded_weight = layer.effective_weight(coefficients)
            layer.folded_slots = frozenset(coefficients)

    def unfold(self) -> None:
        """Drop the effective weights."""
        for layer in self.layers:
            layer.folded_weight, layer.folded_slots = None, frozenset()

    # ------------------------------------------------------------------ looking

    def __getitem__(self, name: str) -> Slot:
        self._require(name)
        return Slot(name, self.banks)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[Slot]:
        return (self[name] for name in self.names)

    def __len__(self) -> int:
        return len(self.names)

    def parameters(self) -> list[nn.Parameter]:
        """Return A, B and lateral C of the open slot in every layer: all that trains."""
        return [matrix for bank in self.banks.values() for matrix in (bank.A, bank.B, bank.C) if matrix is not None]

    @torch.no_grad()
    def stored_parameters(self) -> int:
        """Return how many numbers all slots hold together."""
        return sum(A.numel() + B.numel() for bank in self.banks.values() for A, B in map(bank.rows, self.names))

    def _checked(self, route: "Route | str | Sequence[str]") -> Route:
        if isinstance(route, str):
            route = Route((route,))
        elif not isinstance(route, Route):
            route = Route(tuple(route))
        for name in route.slots:
            self._require(name)
        c = route.coefficients
        if c is not None and route.per == "layer" and len(c) != len(self.layers):
            raise AdapterError(f"coefficients per layer are for {len(c)} layers, the network has {len(self.layers)}")
        if unknown := [path for path in route.mixing if path not in self.banks]:
            raise AdapterError(f"mixing names '{unknown[0]}', which is not adapted; layers: {', '.join(self.banks)}")
        return route

    def _without(self, route: Route, name: str) -> Route:
        """The route with one slot, its coefficients and its rows and columns of the mixing matrices taken out."""
        kept = [i for i, other in enumerate(route.slots) if other != name]
        mixing = {}
        for path, matrix in route.mixing.items():
            owners = [other for other in route.slots for _ in range(self.banks[path].shape(other).rank)]
            rows = [i for i, owner in enumerate(owners) if owner != name]
            mixing[path] = matrix[rows][:, rows]
        c = None if route.coefficients is None else route.coefficients[..., kept]
        return Route(tuple(route.slots[i] for i in kept), c, route.per, mixing, route.folded)

    def _require(self, name: str) -> None:
        if name not in self.names:
            raise UnknownTaskError(
                f"no slot '{name}'{did_you_mean(name, self.names)}; slots: {', '.join(self.names) or 'none'}"
            )
