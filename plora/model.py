"""A backbone that learns task after task: adapters, a gate over them, and a head that grows."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plora.adapters import Adapters, Directions, Merging, Route, Switch, checkpoint_blocks, find_blocks
from plora.adapters.merging import MERGED, merge
from plora.adapters.module_place import ModulePlace
from plora.adapters.module_slot import ModuleSlot
from plora.adapters.prefix import Prefix
from plora.adapters.settings import Way
from plora.adapters.statistics import hold_statistics
from plora.fingerprint import hash_tensors
from plora.gates import ChoosingGate, Gate, ReadingGate, Verdict
from plora.heads import Head
from plora.moment import Moment
from plora.problems import Batch, Problem

Part = Literal["head", "adapter", "gate", "modules", "backbone"]
"""Whose a parameter is."""


class ContinualModel(nn.Module):
    """outputs = problem(backbone under the gate's route, head(features)).

    A frozen backbone stays in eval mode whatever `train()` is called with: no dropout, no moving statistics.

    Args:
        backbone: any network.
        problem: turns what the backbone returns into features `[B, d]`, and into named outputs.
        head: makes scores of features.
        adapters: the backbone's slots, or None.
        gate: how much each slot contributes; needed with adapters.
        trains_backbone: the backbone itself trains (the method `full`).
        head_dropout: probability with which features are dropped on their way into the head, in training.

    Attributes:
        forced: a route that stands in for the gate's own, while one is tried.
        blocks: of the backbone.
        unadapted_blocks: below the first adapted one.
    """

    def __init__(
        self,
        backbone: nn.Module,
        problem: Problem,
        head: Head,
        adapters: Adapters | None = None,
        gate: Gate | None = None,
        trains_backbone: bool = False,
        head_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.problem, self.adapters, self.gate = problem, adapters, gate
        self.trains_backbone, self.head_dropout = trains_backbone, head_dropout
        if gate is not None and adapters is not None:
            counts = adapters.counts()
            gate.begin(counts["layer"], counts["site"])
            if isinstance(gate, ReadingGate):
                gate.begin_reading(head.features)
        backbone.requires_grad_(trains_backbone)
        if trains_backbone:
            hold_statistics(backbone)  # of layers that a phase does not train
        self.slot_hashes: dict[str, str] = {}
        self.folded = False
        self.forced: Route | None = None
        self.blocks = len(find_blocks(backbone))
        self.unadapted_blocks = len(Prefix.of(backbone) or ())

    def train(self, mode: bool = True) -> "ContinualModel":
        """Switch head and open slot to training; the backbone only when it trains itself."""
        super().train(mode)
        if not self.trains_backbone:
            self.backbone.eval()
            for place in self.adapters.places.values() if self.adapters else ():
                place.train(mode)
        return self

    def outputs(self, batch: Batch, task: str | None = None, at: Moment | None = None) -> dict[str, Tensor]:
        """Return the named outputs for one batch.

        Args:
            batch: on the model's device; a head may read its targets while it trains.
            task: the task's name where the gate needs it.
            at: where training stands; None evaluates.
        """
        assert len(self.alternatives(task)) < 2, "each slot answers alone here; ask for one task after the other"
        if alone := self._alone(task, self.gate is not None and self.gate.by_class):
            each = [self.outputs(batch, slot, at) for slot in alone]
            return self.problem.united(each, [self.head.slice_of(slot) for slot in alone])
        weights = self._weights_of(batch.inputs, task)
        found = self._output(self._routed(task, weights, at), batch.inputs, at)
        features = self.problem.features(found, batch.inputs)
        if features is not None and self.head_dropout:
            features = F.dropout(features, self.head_dropout, self.training)
        scores = None if features is None else self.head(features)
        if scores is not None and weights is not None:
            scores = self.confined(scores, weights)
        return self.problem.outputs(found, scores)

    def forward(self, inputs: Mapping[str, Tensor], task: str | None = None, labels: Tensor | None = None) -> Tensor:
        """Return the head's scores `[B, rows]` over all rows; −∞ for rows of tasks that the gate did not choose.

        Args:
            inputs: what the backbone takes.
            task: the task's name where the gate needs it.
            labels: not read. `transformers.Trainer` looks for this name: with it, it evaluates batches that have labels
                by its `compute_loss`, and without it, it would call the model with their columns.
        """
        return self.outputs(Batch(inputs), task)["scores"]

    def features(self, inputs: Mapping[str, Tensor], task: str | None = None, weights: Tensor | None = None) -> Tensor:
        """Return features `[B, d]` of one batch.

        Args:
            inputs: what the backbone takes.
            task: the task's name where the gate needs it.
            weights: `[B, slots]` what `weights` returned for these inputs, where that is known already.
        """
        if weights is None:
            weights = self._weights_of(inputs, task)
        features = self.problem.features(self._output(self._routed(task, weights), inputs), inputs)
        assert features is not None
        return features

    def _routed(self, task: str | None, weights: Tensor | None, at: Moment | None = None) -> Route:
        if self.adapters is None:
            return Route()
        route = self.route(task, at)
        if weights is not None:
            return Route(route.slots, weights.to(self.device), "sample")
        return self._settled(route) if at is None and self._settles(route) else route

    def _settles(self, route: Route) -> bool:
        """Whether the slots of a route are folded for evaluation: where nothing trains, and no gradient is wanted."""
        assert self.adapters is not None
        if self.gate is None or not self.gate.settles or self.forced is not None or torch.is_grad_enabled():
            return False
        return self.adapters.open_name is None and bool(route.slots) and self.adapters.cannot("foldable") is None

    def _settled(self, route: Route) -> Route:
        """The route with its slots in effective weights, which are made anew where it is another one."""
        assert self.adapters is not None
        folded = self.adapters.folded
        if folded is None or not folded.same_as(route):
            self.adapters.fold(route)
        return replace(route, folded=True)

    def _weights_of(self, inputs: Mapping[str, Tensor], task: str | None) -> Tensor | None:
        """The coefficients of one batch, where the gate reads inputs: two passes through the backbone then."""
        if not self.weighs(task):
            return None
        with torch.no_grad():  # what it reads is no part of what is learned
            bare = self.bare_features(inputs)
        return self.weights(bare, task)

    def bare_features(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return features of the backbone without any slot, `[B, D, d]`: at D depths, the last those of its output."""
        found = self._output(Route(), inputs, output_hidden_states=True)
        return self.problem.depths(found, inputs, self.blocks, self.unadapted_blocks)

    def weighs(self, task: str | None) -> bool:
        """Say whether the gate weighs slots for each input by itself; not where a route stands in for its own."""
        reads = isinstance(self.gate, ReadingGate) and self.gate.reads(task)
        return reads and self.forced is None and bool(self.route(task).slots)

    def weights(self, bare: Tensor, task: str | None) -> Tensor:
        """Return how much each slot on the route of a task contributes, `[B, slots]`, by bare features `[B, D, d]`."""
        assert isinstance(self.gate, ReadingGate)
        return self.gate.weigh(bare, self.route(task).slots)

    def alternatives(self, task: str | None) -> tuple[str, ...]:
        """Return the slots that read inputs each alone, where no task is named and the gate goes by likelihood."""
        return self._alone(task, self.gate is not None and self.gate.by_likelihood)

    def _alone(self, task: str | None, asked: bool) -> tuple[str, ...]:
        """The slots on the route of no named task, where the gate asks each of them."""
        if self.adapters is None or not asked or task is not None or self.forced is not None:
            return ()
        return self.route(task).slots

    def confined(self, scores: Tensor, weights: Tensor) -> Tensor:
        """Return scores `[B, rows]` with −∞ in the rows of tasks that were not chosen, where tasks have their own.

        The same scores where the gate does not choose one slot.

        Args:
            scores: `[B, rows]`.
            weights: `[B, slots]` of the slots.
        """
        slots = self.route(None).slots
        # Domain-incremental, all tasks share the rows.
        if not isinstance(self.gate, ChoosingGate) or not self.head.blocks.keys() >= set(slots):
            return scores
        chosen = weights.argmax(1)
        owners = scores.new_full((scores.shape[1],), -1, dtype=torch.long)
        for position, slot in enumerate(slots):
            owners[self.head.slice_of(slot)] = position
        return scores.masked_fill(owners != chosen.to(scores.device)[:, None], float("-inf"))

    def _output(  # `transformers` has a class of output per network
        self, route: Route, inputs: Mapping[str, Tensor], at: Moment | None = None, **asked: bool
    ) -> Any:  # noqa: ANN401
        with self.under(route):
            return self.problem.run(self.backbone, inputs, asked, at)

    def route(self, task: str | None, at: Moment | None = None) -> Route:
        """Return the gate's route for a task (or for an unknown one), at a moment of training or for evaluation."""
        assert self.adapters is not None
        assert self.gate is not None
        if self.forced is not None:
            return self.forced
        route = self.gate.route(self.adapters.names, task, at)
        return replace(route, folded=True) if self.folded else route

    def coefficients(self, task: str | None) -> dict[str, float]:
        """Return how much each slot on the route of a task contributes, mean over the layers.

        Empty without adapters, and where the gate decides for each sample or token.
        """
        if self.adapters is None or self.weighs(task):
            return {}
        route = self.route(task)
        if route.coefficients is None:
            return dict.fromkeys(route.slots, 1.0)
        if route.per not in ("slot", "layer", "site"):
            return {}
        found = route.coefficients.detach().double()
        means = found if route.per == "slot" else found.mean(0)
        return dict(zip(route.slots, means.tolist(), strict=True))

    def vectors(self) -> dict[str, dict[str, float]]:
        """Return what the gate lets people see of every slot, by name and slot, mean over the layers."""
        if self.adapters is None or self.gate is None:
            return {}
        slots = self.adapters.names
        found = {name: vector.detach().double().cpu() for name, vector in self.gate.vectors(slots).items()}
        means = {name: vector if vector.dim() == 1 else vector.mean(0) for name, vector in found.items()}
        return {name: dict(zip(slots, mean.tolist(), strict=True)) for name, mean in means.items()}

    def features_signature(self, task: str | None) -> str | None:
        """Return what decides the features for a task beside backbone and inputs; None while some of it trains.

        Empty for the bare pretrained backbone.
        """
        if self.trains_backbone:
            return None
        if self.adapters is None:
            return ""
        route = self.route(task)
        if self.adapters.open_name in route.slots:
            return None
        if not route.slots:
            return ""
        return f"{self._route_hash(route)}{' folded' if self._settles(route) else ''}"

    @contextmanager
    def routing(self, route: Route) -> Iterator[None]:
        """Let a route stand in for the gate's own inside the `with` block."""
        former, self.forced = self.forced, route
        try:
            yield
        finally:
            self.forced = former

    def under(self, route: Route) -> AbstractContextManager[None]:
        """Put a route in force for the backbone inside the `with` block, whoever calls it there."""
        return nullcontext() if self.adapters is None else self.adapters.switch.using(route)

    def activation_checkpointing_enable(self, **_: object) -> None:
        """Let the backbone's blocks drop their activations and recompute them during backward, under the same route.

        What `transformers.Trainer` calls for `gradient_checkpointing=True`; its keywords, which are for blocks of
        `transformers` in train mode, say nothing here, see `plora.adapters.checkpoint_blocks`.
        """
        switch = Switch() if self.adapters is None else self.adapters.switch
        checkpoint_blocks([block for _, block in find_blocks(self.backbone)], switch)

    gradient_checkpointing_enable = activation_checkpointing_enable  # as older versions of `transformers` call it

    # ------------------------------------------------------------------ committing

    def reset(self) -> None:
        """Forget every slot and every row of the head; a backbone that trains keeps its weights."""
        if self.adapters is not None:
            self.adapters.clear()
        self.slot_hashes, self.folded = {}, False
        self.head.restore({}, {})
        if self.gate is not None:
            self.gate.restore({})

    def fold(self, task: str | None) -> None:
        """Put the committed slots that are on the route of `task` into effective weights while it trains."""
        if self.adapters is None or self.gate is None:
            return
        self.adapters.unfold()  # what was folded for evaluation
        if not self.gate.constant or self.adapters.cannot("foldable"):
            return
        committed = [name for name in self.route(task).slots if name != self.adapters.open_name]
        if committed:
            self.adapters.fold(dict.fromkeys(committed, 1.0))
            self.folded = True

    def commit(self, trial: Callable[[Route], float] | None = None) -> Verdict:
        """Freeze the open slot and the open rows of the head, as the gate decides.

        Args:
            trial: scores the validation split under a route; None does not ask the gate.

        Returns:
            What the gate decided.
        """
        if self.folded and self.adapters is not None:
            self.adapters.unfold()
            self.folded = False
        verdict = Verdict()
        if self.adapters is not None and self.adapters.open_name is not None:
            name = self.adapters.open_name
            if self.gate is not None and trial is not None:
                verdict = self.gate.commit(name, Directions(self.adapters.banks, name), trial)
            if verdict.drop:
                self.adapters.delete(name)
                if self.gate is not None:
                    self.gate.deleted(name)
            else:
                self.adapters.rescale(name, verdict.rescale)
                self.slot_hashes[name] = self.adapters.commit()
        self.head.commit()
        return verdict

    def merge(self, way: Way, settings: Merging) -> float:
        """Make one committed slot of all tasks' slots, in place of the one before; returns the share that it lacks."""
        assert self.adapters is not None
        if MERGED in self.adapters:
            self.adapters.delete(MERGED)
        merged, lost = merge(self.adapters.banks, self.adapters.names, way, settings)
        self.slot_hashes[MERGED] = self.adapters.append(MERGED, merged).content_hash()
        return lost

    def signature(self, task: str | None, blocks: Sequence[str]) -> str:
        """Return the hash of all that decides the predictions for a task: equal signatures, equal predictions.

        Args:
            task: its name, where it is known at test time.
            blocks: head blocks that compete in the prediction.
        """
        content: dict[str, str | list[str]] = {"head": [self.head.block_hash(block) for block in blocks]}
        if self.adapters is not None:
            content["route"] = self._route_hash(self.route(task))
        if self.trains_backbone:
            content["backbone"] = hash_tensors(self.backbone.state_dict().items())
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def _route_hash(self, route: Route) -> str:
        """Return the hash of the slots of a route, in their order, and of their coefficients."""
        assert self.adapters is not None
        content = [self.slot_hashes.get(name) or self.adapters[name].content_hash() for name in route.slots]
        decided = dict(route.mixing) if route.coefficients is None else {"": route.coefficients, **route.mixing}
        if self.gate is not None:
            decided |= {f"gate {name}": tensor for name, tensor in self.gate.state().items()}
        if decided:
            content.append(f"{route.per} {hash_tensors(sorted(decided.items()))}")
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    # ------------------------------------------------------------------ counting

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return every parameter that the optimizer gets, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def parts(self) -> dict[str, Part]:
        """Return the part that each parameter belongs to, by name, as its owner says.

        `head` and `gate` are those modules', `modules` the open slot's copies of modules, `adapter` the rest of it.
        """
        owners: dict[int, Part] = {id(parameter): "head" for parameter in self.head.parameters()}
        if self.gate is not None:
            owners |= {id(parameter): "gate" for parameter in self.gate.parameters()}
        if self.adapters is not None:
            for place in self.adapters.places.values():
                part: Part = "modules" if isinstance(place, ModuleSlot) else "adapter"
                owners |= {id(parameter): part for parameter in place.trained()}
        return {name: owners.get(id(parameter), "backbone") for name, parameter in self.named_parameters()}

    def pretrained(self) -> Iterator[Tensor]:
        """Yield the tensors of the backbone that no slot owns and nothing may change."""
        owned = set[int]()
        for place in self.adapters.places.values() if self.adapters else ():
            for module in (place.opened, place.closed) if isinstance(place, ModulePlace) else (place,):
                if module is not None:
                    owned |= {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
        moving = self._moving()
        for name, tensor in (*self.backbone.named_parameters(), *self.backbone.named_buffers()):
            if id(tensor) not in owned and not moving.search(name):
                yield tensor

    def _moving(self) -> re.Pattern[str]:
        """What is found in the names of buffers that may change."""
        return re.compile("|".join(f"(?:{pattern})" for pattern in self.problem.moving) or "(?!)")

    def frozen(self) -> Iterator[tuple[str, Tensor]]:
        """Yield all that may not change while a task is learned, by name: what does not train, buffers included.

        Buffers that may move are left out.
        """
        moving = self.moving()
        yield from ((name, parameter) for name, parameter in self.named_parameters() if not parameter.requires_grad)
        yield from ((name, buffer) for name, buffer in self.named_buffers() if name not in moving)

    def moving(self) -> dict[str, Tensor]:
        """Return the buffers that may change while a task is learned, by name.

        Those that the problem declares, those of the open slot and of the gate, and where the backbone trains all of
        its own: the statistics of BatchNorm.
        """
        declared = self._moving()
        of_slot = {id(buffer) for buffer in self.adapters.named_moving().values()} if self.adapters else set[int]()
        return {
            name: buffer
            for name, buffer in self.named_buffers()
            if (self.trains_backbone and name.startswith("backbone."))
            or name.startswith("gate.")
            or id(buffer) in of_slot
            or declared.search(name)
        }

    @property
    def device(self) -> torch.device:
        """Where the backbone lives."""
        return next(self.backbone.parameters()).device
