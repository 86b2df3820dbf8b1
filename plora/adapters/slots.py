"""The adapters of a whole network seen as slots: open, train, commit, use, delete."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
from torch import Tensor, nn

from plora.adapters.adapted_block import AdaptedBlock
from plora.adapters.bank import Bank
from plora.adapters.inject import find_targets, inject, refuse_adapted
from plora.adapters.linear import AdaptedLinear
from plora.adapters.module_place import ModulePlace
from plora.adapters.module_slot import ModuleSlot
from plora.adapters.place import Ability, Place
from plora.adapters.route import Route
from plora.adapters.settings import Bottleneck, LoRA, Pointwise, SlotShape, Targets
from plora.adapters.switch import Switch
from plora.errors import AdapterError, UnknownTaskError, did_you_mean


class Slot:
    """One task's share of the adapters, across all places.

    Mappings go from the place's path to its tensor. `A` and `B`, of the banks, are live as all tensors are: for the
    open slot they are the parameters.
    """

    def __init__(self, name: str, places: Mapping[str, Place]) -> None:
        self.name = name
        self._places = places
        self._banks = {path: place for path, place in places.items() if isinstance(place, Bank)}

    @property
    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Everything that the slot owns, by place and name; a bank's B as rows `[r, O]`."""
        return {path: place.tensors(self.name) for path, place in self._places.items()}

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
        theirs = other.tensors
        for path, mine in self.tensors.items():
            for name, tensor in mine.items():
                tensor.copy_(theirs[path][name])

    def content_hash(self) -> str:
        """Return the sha256 (hex) of every A, B, rank and scale, and of what other places hold: its name on disk."""
        digest = hashlib.sha256()
        for place in self._places.values():
            for part in place.content(self.name):
                digest.update(part)
        return digest.hexdigest()

    def __repr__(self) -> str:
        parts = []
        if ranks := sorted({shape.rank for shape in self.shapes.values()}):
            parts.append(f"{len(self._banks)} layers, rank {'/'.join(map(str, ranks))}")
        if others := len(self._places) - len(self._banks):
            parts.append(f"{others} other places")
        return f"Slot({self.name!r}, {', '.join(parts)})"


class Adapters:
    """All slots of one network.

        model = plora.apply_lora(network, rank=8, targets="attention")
        adapters = Adapters.of(model)
        adapters.commit()                 # the first slot is frozen from here on
        adapters.open_task("reviews")     # the second one trains; both take part
        adapters.use("reviews")           # only this one takes part

    Args:
        network: that has places for slots, all sharing one switch.

    Attributes:
        layers: those with banks beside them, in the order of `Route`'s coefficients per layer; after them come the
            other places.
        places: by their paths, in the order of coefficients per site.
        banks, others: the low-rank ones among them, and those whose slots are modules.

    Raises:
        AdapterError: it has none.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        layers = [module for module in network.modules() if isinstance(module, AdaptedLinear)]
        self.layers = tuple(sorted(layers, key=lambda layer: layer.index))
        places = [module for module in network.modules() if isinstance(module, Place)]
        self.places: dict[str, Place] = {place.path: place for place in sorted(places, key=lambda place: place.site)}
        if not self.places:
            raise AdapterError("this network has no adapters; call plora.apply_lora(network) first")
        self.banks: dict[str, Bank] = {path: place for path, place in self.places.items() if isinstance(place, Bank)}
        self.others: dict[str, ModulePlace] = {
            path: place for path, place in self.places.items() if isinstance(place, ModulePlace)
        }
        holders = (AdaptedLinear, AdaptedBlock, ModuleSlot)
        self.switch: Switch = next(module.switch for module in network.modules() if isinstance(module, holders))
        self._first = next(iter(self.places.values()))

    @property
    def open_name(self) -> str | None:
        """Name of the slot that trains."""
        return self._first.open_name

    @property
    def names(self) -> list[str]:
        """Names of all slots, the open one last. Read from the places: two handles to one network agree."""
        return [*self._first.names, *([self.open_name] if self.open_name is not None else [])]

    @classmethod
    def of(cls, model: nn.Module) -> "Adapters":
        """Return the adapters that `apply_lora` or `inject` put into a network."""
        return cls(model)

    @classmethod
    def inject(
        cls,
        model: nn.Module,
        targets: Targets | None = None,
        layers: str = "all",
        bottleneck: Bottleneck | None = None,
        modules: Sequence[str] = (),
        pointwise: Pointwise | None = None,
    ) -> "Adapters":
        """Freeze `model`, give it places for slots, and return its (still empty) adapters.

        Args:
            model: the network, changed in place.
            targets: beside which layers there are low-rank banks, see `LoRA`; None for no banks.
            layers: in which blocks those are.
            bottleneck: residual adapters after blocks; None for none.
            modules: names of the modules of which every slot owns a copy: the last parts of a path, or a regular
                expression for all of it.
            pointwise: residual adapters beside convolutions; None for none.

        Raises:
            AdapterError: nothing matches, places would lie in each other, or the network is adapted already.
        """
        refuse_adapted(model)
        found = [] if targets is None else find_targets(model, targets, layers)
        inject(model, found, bottleneck, modules, pointwise)
        model.requires_grad_(False)
        return cls(model)

    # ------------------------------------------------------------------ the life of a slot

    def open_task(self, name: str, lora: LoRA | None = None, lateral: bool = False) -> Slot:
        """Open a slot that trains from ΔW = 0, and let every slot take part that can do so with it.

        Args:
            name: of the slot.
            lora: rank, scaling, dropout and initialisation; needed where there are banks.
            lateral: it learns to read what the committed slots read, too: ΔW = s · B (A + C A_old), C from 0. When it
                is committed, A becomes A + C A_old. Progressive networks (Rusu et al. 2016, arXiv 1606.04671) in the
                low-rank form that needs one forward pass.

        Raises:
            AdapterError: another slot is open, the name is taken, or the rank does not fit a layer.
        """
        if self.open_name is not None:
            raise AdapterError(f"slot '{self.open_name}' is still open; commit or delete it before opening '{name}'")
        self._require_new(name)
        if self.banks:
            if lora is None:
                raise AdapterError(f"slot '{name}' needs a rank: this network has low-rank banks; give a LoRA")
            shape = lora.shape()
            for bank in self.banks.values():  # all or none: a refusal must not leave half a slot behind
                bank.require_rank(shape.rank)
            for bank in self.banks.values():
                bank.open(name, shape, lora.dropout, lora.init, lateral)
        for place in self.others.values():
            place.open(name)
        self.use_newest()
        return self[name]

    def use_newest(self) -> None:
        """Let all slots take part; where one of the places runs one slot at a time, the newest alone."""
        self.use(self.names if self.cannot("additive") is None else self.names[-1:])

    def commit(self) -> str:
        """Freeze the open slot into buffers and return the hash of its content."""
        if self.open_name is None:
            raise AdapterError("no slot is open; call open_task first")
        slot = self[self.open_name]
        self.unfold()
        for place in self.places.values():
            place.commit()
        return slot.content_hash()

    def reopen(self, name: str, dropout: float) -> Slot:
        """Take a committed slot back into training, with its values; `dropout` is that of low-rank slots."""
        self._require(name)
        if self.open_name is not None:
            raise AdapterError(f"slot '{self.open_name}' is still open; commit it before reopening '{name}'")
        self.unfold()
        for place in self.places.values():
            place.reopen(name, dropout)
        return self[name]

    def rescale(self, name: str, factors: Mapping[str, float]) -> None:
        """Multiply ΔW of a slot, by layer path; layers that are not named stay as they are."""
        if name != self.open_name:
            self.unfold()
        for path, factor in factors.items():
            self.banks[path].rescale(name, factor)

    def append(
        self,
        name: str,
        lora: Mapping[str, tuple[SlotShape, Tensor, Tensor]],
        others: Mapping[str, Mapping[str, Tensor]] | None = None,
    ) -> Slot:
        """Add a committed slot from its tensors.

        Args:
            name: of the slot.
            lora: by the path of each bank its shape, A `[r, I]` and B `[O, r]`.
            others: by the path of each other place its tensors.

        Raises:
            AdapterError: the name is taken, or the tensors are not those of a slot of this network.
        """
        self._require_new(name)
        given = others or {}
        if given.keys() != self.others.keys():
            missing, extra = sorted(self.others.keys() - given.keys()), sorted(given.keys() - self.others.keys())
            raise AdapterError(
                f"slot '{name}' does not fit this network: it lacks places {missing[:3]} and has unknown places "
                f"{extra[:3]}; inject the bottlenecks, modules and 1 × 1 convolutions that it was trained with"
            )
        for path, tensors in given.items():
            if wrong := self.others[path].misfit(tensors):
                raise AdapterError(f"slot '{name}' does not fit {self.others[path]}: {wrong}")
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
        for path, tensors in given.items():
            self.others[path].append(name, tensors)
        return self[name]

    def delete(self, name: str) -> None:
        """Remove a slot from every place; the route in force loses it too."""
        self._require(name)
        if name != self.open_name and any(bank.C is not None for bank in self.banks.values()):
            raise AdapterError(
                f"the open slot '{self.open_name}' reads slot '{name}'; commit it before deleting '{name}'"
            )
        if name in self.switch.route.slots:
            self.switch.route = self._without(self.switch.route, name)
        if name != self.open_name:
            self.unfold()
        for place in self.places.values():
            place.delete(name)

    def clear(self) -> None:
        """Remove every slot from every place, at once: one by one they would be moved as often as there are some."""
        self.unfold()
        self.switch.route = Route()
        for place in self.places.values():
            place.clear()

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

    def fold(self, coefficients: Mapping[str, float] | Route) -> None:
        """Make the effective weight W + Σ c_k ΔW_k of every layer, so that these slots cost nothing.

        The base weight is not touched. Routes with `folded=True` use the effective weight, until it is made anew
        or a slot is rescaled, committed, reopened or deleted.

        Args:
            coefficients: c_k by the slot's name; or a route, whose coefficients may be those of each layer or site.

        Raises:
            AdapterError: the open slot, which has to stay beside the weight to train; a place that cannot do this; or a
                route whose ΔW is not the same for every input.
        """
        if not isinstance(coefficients, Route):
            numbers = torch.tensor([*coefficients.values()], dtype=torch.float64)
            coefficients = Route(tuple(coefficients), numbers)
        for name in coefficients.slots:
            self._require(name)
            if name == self.open_name:
                raise AdapterError(f"slot '{name}' is open and cannot be folded; commit it first")
        fixed = [layer.fixed_coefficients(coefficients, "effective weight") for layer in self.layers]
        c = None if coefficients.coefficients is None else coefficients.coefficients.detach().clone()
        kept = Route(coefficients.slots, c, coefficients.per)
        self.require(replace(kept, folded=True))
        # In full precision whatever the pass computes in that asks for it, and usable when gradients are wanted.
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(self._device_type(), enabled=False):
            for layer, own in zip(self.layers, fixed, strict=True):
                layer.folded_weight, layer.folded_route = layer.effective_weight(own), kept

    @property
    def folded(self) -> Route | None:
        """What is folded, with its coefficients; None where there are no effective weights."""
        return self.layers[0].folded_route if self.layers else None

    def unfold(self) -> None:
        """Drop the effective weights."""
        for layer in self.layers:
            layer.folded_weight, layer.folded_route = None, None

    # ------------------------------------------------------------------ looking

    def __getitem__(self, name: str) -> Slot:
        self._require(name)
        return Slot(name, self.places)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[Slot]:
        return (self[name] for name in self.names)

    def __len__(self) -> int:
        return len(self.names)

    def parameters(self) -> list[nn.Parameter]:
        """Return all that trains of the open slot: A, B and lateral C of banks, the parameters of its modules."""
        return [parameter for place in self.places.values() for parameter in place.trained()]

    def named_open(self) -> dict[str, nn.Parameter]:
        """Return what trains of the open slot, by its name in `network.named_parameters()`."""
        trained = set(self.parameters())
        return {name: parameter for name, parameter in self.network.named_parameters() if parameter in trained}

    def named_moving(self) -> dict[str, Tensor]:
        """Return the buffers that may move while the open slot trains, by their name in `network.named_buffers()`."""
        moving = {
            f"{path}.{name}"
            for path, module in self.network.named_modules()
            if isinstance(module, Place)
            for name in module.moving()
        }
        return {name: buffer for name, buffer in self.network.named_buffers() if name in moving}

    @torch.no_grad()
    def stored_parameters(self) -> int:
        """Return how many numbers all slots hold together."""
        return sum(
            tensor.numel()
            for place in self.places.values()
            for name in self.names
            for tensor in place.tensors(name).values()
        )

    # ------------------------------------------------------------------ what the places can do

    def cannot(self, ability: Ability) -> str | None:
        """Return which place lacks an ability, and why; None where all have it."""
        if ability == "foldable" and (reason := self._why_not_folded()):
            return reason
        for place in self.places.values():
            if reason := place.can.cannot(ability):
                return f"{place} cannot do this: {reason}"
        return None

    def require(self, route: Route) -> None:
        """Refuse a route that one of the places cannot do.

        Raises:
            AdapterError: names the place, its kind and the reason.
        """
        for place in self.places.values():
            if reason := place.refusal(route):
                raise AdapterError(f"{place} cannot do this route: {reason}")
        if route.folded and (reason := self._why_not_folded()):
            raise AdapterError(reason)

    def _device_type(self) -> str:
        return next((layer.weight.device.type for layer in self.layers), "cpu")

    def _why_not_folded(self) -> str | None:
        return next((reason for layer in self.layers if (reason := layer.why_not_folded())), None)

    def counts(self) -> dict[str, int]:
        """Return how many coefficients a route per `layer` or per `site` has for each slot."""
        return {"layer": len(self.layers) + len(self.others), "site": len(self.places)}

    def _checked(self, route: "Route | str | Sequence[str]") -> Route:
        if isinstance(route, str):
            route = Route((route,))
        elif not isinstance(route, Route):
            route = Route(tuple(route))
        for name in route.slots:
            self._require(name)
        c = route.coefficients
        for per, number in self.counts().items():
            if c is not None and route.per == per and len(c) != number:
                raise AdapterError(f"coefficients per {per} are for {len(c)} {per}s, the network has {number}")
        if unknown := [path for path in route.mixing if path not in self.banks]:
            raise AdapterError(f"mixing names '{unknown[0]}', which is not adapted; layers: {', '.join(self.banks)}")
        self.require(route)
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

    def _require_new(self, name: str) -> None:
        if name in self.names:
            raise AdapterError(f"slot '{name}' exists already; choose another name, or delete it first")

    def _require(self, name: str) -> None:
        if name not in self.names:
            raise UnknownTaskError(
                f"no slot '{name}'{did_you_mean(name, self.names)}; slots: {', '.join(self.names) or 'none'}"
            )
