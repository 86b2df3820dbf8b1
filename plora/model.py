"""A backbone that learns task after task: adapters, a gate over them, and a head that grows."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plora.adapters import Adapters, Merging, Route, find_blocks
from plora.adapters.merging import MERGED, Way, merge
from plora.adapters.prefix import Prefix
from plora.fingerprint import hash_tensors
from plora.gates import ChoosingGate, Gate
from plora.heads import Head
from plora.problems import Problem


class ContinualModel(nn.Module):
    """logits = head(features(backbone under the gate's route)).

    A frozen backbone stays in eval mode whatever `train()` is called with: no dropout, no moving statistics.

    Args:
        backbone: returns `last_hidden_state` `[B, T, d]`.
        problem: turns hidden states into features `[B, d]`.
        head: scores.
        adapters: the backbone's slots, or None.
        gate: how much each slot contributes; needed with adapters.
        trains_backbone: the backbone itself trains (the method `full`).

    Attributes:
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
    ) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.problem, self.adapters, self.gate = problem, adapters, gate
        self.trains_backbone = trains_backbone
        backbone.requires_grad_(trains_backbone)
        self.slot_hashes: dict[str, str] = {}
        self.folded = False
        self.blocks = len(find_blocks(backbone))
        self.unadapted_blocks = len(Prefix.of(backbone) or ())

    def train(self, mode: bool = True) -> "ContinualModel":
        """Switch head and open slot to training; the backbone only when it trains itself."""
        super().train(mode)
        if not self.trains_backbone:
            self.backbone.eval()
            for bank in self.adapters.banks.values() if self.adapters else ():
                bank.train(mode)
        return self

    def features(self, inputs: Mapping[str, Tensor], task: str | None = None, chosen: Tensor | None = None) -> Tensor:
        """Return features `[B, d]` of one batch.

        Args:
            inputs: what the backbone takes.
            task: the task's name where the gate needs it.
            chosen: `[B]` what `choose` returned, where it did.
        """
        route = Route() if self.adapters is None else self.route(task)
        if chosen is not None:
            shares = F.one_hot(chosen.to(self.device), len(route.slots)).float()
            route = Route(route.slots, shares, "sample")
        states: Tensor = self._output(route, inputs).last_hidden_state
        return self.problem.features(states.float(), inputs)

    def forward(self, inputs: Mapping[str, Tensor], task: str | None = None) -> Tensor:
        """Return scores `[B, rows]` over all rows of the head; −∞ for rows of tasks that the gate did not choose."""
        chosen = self.choose(self.bare_features(inputs)) if self.chooses(task) else None
        scores: Tensor = self.head(self.features(inputs, task, chosen))
        return scores if chosen is None else self.confined(scores, chosen)

    def bare_features(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return features of the backbone without any slot, `[B, D, d]`: at D depths, the last those of its output.

        The other depths are what enters each block from the first adapted one on: those below it do not run where their
        work is kept. A network that does not say what enters its blocks, one after the other, has its output alone.
        """
        found = self._output(Route(), inputs, output_hidden_states=True)
        entered, last = getattr(found, "hidden_states", None) or (), found.last_hidden_state
        upper = entered[self.unadapted_blocks : -1] if len(entered) == self.blocks + 1 else ()
        depths = [*(states for states in upper if states.shape == last.shape), last]
        return torch.stack([self.problem.features(states.float(), inputs) for states in depths], 1)

    def chooses(self, task: str | None) -> bool:
        """Say whether the gate chooses a slot for each input by itself: it can, and the task is not named."""
        return isinstance(self.gate, ChoosingGate) and task is None and bool(self.route(None).slots)

    def choose(self, bare: Tensor) -> Tensor:
        """Return the position `[B]` of the slot that the gate chooses for bare features `[B, D, d]`."""
        assert isinstance(self.gate, ChoosingGate)
        return self.gate.choose(bare)

    def confined(self, scores: Tensor, chosen: Tensor) -> Tensor:
        """Return scores `[B, rows]` with −∞ in the rows of tasks that were not chosen, where tasks have their own.

        Args:
            scores: `[B, rows]`.
            chosen: `[B]` positions of slots.
        """
        slots = self.route(None).slots
        if not self.head.blocks.keys() >= set(slots):  # domain-incremental: all tasks share the rows
            return scores
        owners = scores.new_full((scores.shape[1],), -1, dtype=torch.long)
        for position, slot in enumerate(slots):
            owners[self.head.slice_of(slot)] = position
        return scores.masked_fill(owners != chosen.to(scores.device)[:, None], float("-inf"))

    def _output(self, route: Route, inputs: Mapping[str, Tensor], **asked: bool) -> Any:  # noqa: ANN401
        with nullcontext() if self.adapters is None else self.adapters.switch.using(route):
            return self.backbone(**inputs, **asked)  # of `transformers`, which has a class of output per network

    def route(self, task: str | None) -> Route:
        """Return the gate's route for a task (or for an unknown one)."""
        assert self.adapters is not None
        assert self.gate is not None
        route = self.gate.route(self.adapters.names, task)
        if self.folded:
            route = Route(route.slots, route.coefficients, route.per, route.mixing, folded=True)
        return route

    def coefficients(self, task: str | None) -> dict[str, float]:
        """Return how much each slot on the route of a task contributes, mean over the layers.

        Empty without adapters, and where the gate decides for each sample or token.
        """
        if self.adapters is None or self.chooses(task):
            return {}
        route = self.route(task)
        if route.coefficients is None:
            return dict.fromkeys(route.slots, 1.0)
        if route.per not in ("slot", "layer"):
            return {}
        found = route.coefficients.detach().double()
        means = found.mean(0) if route.per == "layer" else found
        return dict(zip(route.slots, means.tolist(), strict=True))

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
        return self._route_hash(route) if route.slots else ""

    # ------------------------------------------------------------------ committing

    def reset(self) -> None:
        """Forget every slot and every row of the head; a backbone that trains keeps its weights."""
        if self.adapters is not None:
            self.adapters.unfold()
            for name in self.adapters.names:
                self.adapters.delete(name)
        self.slot_hashes, self.folded = {}, False
        self.head.restore({}, {})
        if self.gate is not None:
            self.gate.restore({})

    def fold(self, task: str | None) -> None:
        """Put the committed slots that are on the route of `task` into effective weights while it trains."""
        if self.adapters is None or self.gate is None or not self.gate.constant:
            return
        committed = [name for name in self.route(task).slots if name != self.adapters.open_name]
        if committed:
            self.adapters.fold(dict.fromkeys(committed, 1.0))
            self.folded = True

    def commit(self) -> None:
        """Freeze the open slot and the open rows of the head."""
        if self.folded and self.adapters is not None:
            self.adapters.unfold()
            self.folded = False
        if self.adapters is not None and self.adapters.open_name is not None:
            name = self.adapters.open_name
            self.slot_hashes[name] = self.adapters.commit()
        self.head.commit()

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

    @property
    def device(self) -> torch.device:
        """Where the backbone lives."""
        return next(self.backbone.parameters()).device
