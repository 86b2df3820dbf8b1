"""A gate says how much each slot contributes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

from plora.adapters import Directions, Route
from plora.errors import RunError, UnknownTaskError, did_you_mean
from plora.gates.settings import GateSettings
from plora.moment import Moment

Trial = Callable[[Route], float]
"""The score of the validation split of what is being learned, under a route; negative where lower is better."""


@dataclass(frozen=True)
class Verdict:
    """What a gate decides about a slot when it is committed.

    Args:
        rescale: by layer path, what the slot's ΔW there is multiplied with; layers that are not named stay.
        drop: the slot goes, from compute and from disk.
        reason: in words, for log and record; empty where nothing was decided.
    """

    rescale: Mapping[str, float] = field(default_factory=dict)
    drop: bool = False
    reason: str = ""


class Gate(nn.Module, ABC):
    """Turns the slots that exist, and the task when it is known, into the route of one forward pass.

    It may have parameters: they train in the phases that train the part `gate`. A route is a pure function of
    parameters, buffers and the moment: noise is drawn from the moment's seed, so that it is the same in each
    micro-batch, in every process and when a block is computed again; and schedules are functions of its share. Buffers
    may change in `penalty`, which is asked once per step: they stand in a checkpoint inside a task, as parameters do.

    Args:
        settings: with what the gate declares; None takes those of its class.

    Attributes:
        layers: of the network, each with coefficients of its own in a route per `layer`; 0 until `begin`.
        sites: the same of a route per `site`.
    """

    settings: GateSettings
    layers: int = 0
    sites: int = 0

    def __init__(self, settings: GateSettings | None = None) -> None:
        super().__init__()
        if settings is not None:
            self.settings = settings

    @property
    def needs_task(self) -> bool:
        """Whether the route depends on the task id; see `GateSettings`."""
        return self.settings.needs_task

    @property
    def constant(self) -> bool:
        """Whether committed slots may be folded while a task trains; see `GateSettings`."""
        return self.settings.constant

    @property
    def settles(self) -> bool:
        """Whether committed slots may be folded for evaluation; see `GateSettings`."""
        return self.settings.settles

    @property
    def by_likelihood(self) -> bool:
        """Whether what each slot alone finds to be likely counts where no task is named; see `GateSettings`."""
        return self.settings.by_likelihood

    @property
    def by_class(self) -> bool:
        """Whether each slot alone answers for its own classes where no task is named; see `GateSettings`."""
        return self.settings.by_class

    @property
    def asks_each(self) -> bool:
        """Whether each slot reads an input alone where no task is named; see `GateSettings`."""
        return self.settings.asks_each

    @property
    def merges(self) -> bool:
        """Whether older slots take part through the newest one; see `GateSettings`."""
        return self.settings.merges

    @abstractmethod
    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        """Return the route.

        Args:
            slots: names of all slots, in the order in which they were opened.
            task: the task's name, or None when it is not known.
            at: where training stands; None when the model is evaluated.

        Raises:
            UnknownTaskError: the gate needs the task and there is no slot for it.
        """

    def fresh(self) -> Self:
        """Return a gate of this kind and these settings, for the same network, that has learned nothing."""
        gate = type(self)(self.settings)
        gate.begin(self.layers, self.sites)
        return gate

    def begin(self, layers: int, sites: int) -> None:
        """Learn what network it is for; asked once, by the model that it becomes a part of, before any slot is opened.

        Args:
            layers: how many coefficients a route per `layer` has for each slot.
            sites: how many a route per `site` has.
        """
        self.layers, self.sites = layers, sites

    def opened(self, slot: str) -> None:
        """Get ready for a slot that was opened: make the parameters that it needs."""

    def deleted(self, slot: str) -> None:
        """Leave a slot out that is no longer there."""

    def penalty(self, route: Route, at: Moment) -> dict[str, Tensor]:
        """Return scalars to add to the loss once per optimizer step, by name, already weighted."""
        return {}

    def diagnostics(self) -> dict[str, float]:
        """Return numbers worth logging that are not part of the loss."""
        return {}

    def vectors(self, slots: Sequence[str]) -> dict[str, Tensor]:
        """Return what a person may want to see of it after a task, by name, each `[slots]`, or of each layer or site.

        Args:
            slots: names, in the order of the entries.
        """
        return {}

    def commit(self, slot: str, norms: Directions, trial: Trial) -> Verdict:
        """Decide about the slot that has just been trained, before it is committed.

        Args:
            slot: its name.
            norms: ‖ΔW‖_F of the slot by layer path; and how its low-rank ΔW lies to those of other slots.
            trial: scores the validation split under a route.
        """
        return Verdict()

    def state(self) -> dict[str, Tensor]:
        """Return what it has learned, by name: a checkpoint keeps it."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` returned; `{}` is the state of a gate that has learned nothing.

        Raises:
            RunError: a tensor is missing or does not fit.
        """
        if state:
            raise RunError(f"the gate {type(self).__name__} keeps nothing, and {', '.join(state)} was stored for it")


class ReadingGate(Gate):
    """A gate that weighs slots for each input by the bare backbone's features of it.

    Its route names the slots that it weighs, and the model puts their coefficients in, per sample.

    Attributes:
        width: d of the features; 0 until `begin_reading`.
    """

    width: int = 0

    def begin_reading(self, width: int) -> None:
        """Learn how wide features are; asked once, by the model that it becomes a part of, after `begin`."""
        self.width = width

    def fresh(self) -> Self:
        """Return a gate of this kind and these settings, for the same network, that has learned nothing."""
        gate = super().fresh()
        gate.begin_reading(self.width)
        return gate

    def reads(self, task: str | None) -> bool:
        """Say whether it reads inputs of a task, or of an unknown one; else its route says all."""
        return True

    @abstractmethod
    def learn(self, position: int, features: Tensor, rows: Tensor) -> None:
        """See a task before it trains.

        Args:
            position: of its slot.
            features: `[N, D, d]` of the bare backbone at D depths, the last those of its output.
            rows: `[N]` the examples' rows in the head.
        """

    @abstractmethod
    def weigh(self, bare: Tensor, slots: Sequence[str]) -> Tensor:
        """Return how much each slot contributes to each input, `[B, slots]` fp32, with the graph of its parameters.

        An input's coefficients do not depend on the others in the batch.

        Args:
            bare: features of the bare backbone, `[B, D, d]`, without graph.
            slots: on the route.
        """


class ChoosingGate(ReadingGate):
    """A gate that chooses one slot for each input, by the bare backbone's features of it, where no task is named.

    While a task trains it is named. Without a name the gate's route names all slots that may be chosen.
    """

    def reads(self, task: str | None) -> bool:
        """Say whether no task is named."""
        return task is None

    def weigh(self, bare: Tensor, slots: Sequence[str]) -> Tensor:
        """Return 1 for the slot that is chosen for each input, and 0 for all others, `[B, slots]`."""
        return F.one_hot(self.choose(bare), len(slots)).float()

    @abstractmethod
    def choose(self, bare: Tensor) -> Tensor:
        """Return the position of the slot for each input, `[B]`, from its bare features `[B, D, d]`."""


def own_or_all(slots: Sequence[str], task: str | None) -> Route:
    """Return the route through the slot of a named task alone; without a task all slots.

    Raises:
        UnknownTaskError: there is no such slot, and there are others.
    """
    if task is None or not slots:
        return Route(tuple(slots))
    if task not in slots:
        raise UnknownTaskError(f"no slot '{task}'{did_you_mean(task, slots)}; slots: {', '.join(slots)}")
    return Route((task,))
