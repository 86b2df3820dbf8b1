"""What the settings mean for each stage, worked out once: slot, phases, rates, rows that compete, seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from plora.batches.data import EncodedTask, Stage
from plora.build import Parts
from plora.gates import ChoosingGate
from plora.heads import ClosedFormHead
from plora.methods import LossRows
from plora.streams.incremental import LabelSpace


@dataclass(frozen=True)
class PhasePlan:
    """One stretch of training inside a stage.

    Args:
        number: position among the phases of the stage.
        train: what trains: parts, or patterns of parameter names.
        epochs: passes over the training split.
        learning_rate: the peak.
    """

    number: int
    train: tuple[str, ...]
    epochs: int
    learning_rate: float


@dataclass(frozen=True)
class StagePlan:
    """One stage.

    Args:
        stage: its tasks and their training examples.
        position: in the stream, from 0.
        seen: names of the tasks that were learned before.
        task: its name where the gate needs it, else None.
        slot: name of the slot that trains; None where none does.
        reopened: that slot was committed before, and goes on training.
        start_from: name of the slot whose values the new one starts from, or None.
        trains_rows: tasks whose head rows train, in the stream's order.
        phases: what trains, in order; none where nothing but a head that is solved would.
        solved: the head is solved from features when training is over, and another stands in for it while it lasts.
        old: rows of the head that older tasks are classified among, a softmax each.
        space: which rows are whose.
        loss_rows: an example is classified, while it is learned, among the rows of its own task alone (`local`), of the
            tasks `seen` so far, or of `all`.
        seed: of the run.
    """

    stage: Stage
    position: int
    seen: tuple[str, ...]
    task: str | None
    slot: str | None
    reopened: bool
    start_from: str | None
    trains_rows: tuple[EncodedTask, ...]
    phases: tuple[PhasePlan, ...]
    solved: bool
    old: tuple[slice, ...]
    space: LabelSpace
    loss_rows: LossRows
    seed: int

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.stage.name

    @property
    def learned(self) -> tuple[str, ...]:
        """Names of all tasks that are learned when the stage is over."""
        return (*self.seen, *(task.name for task in self.stage.tasks))

    def competing(self) -> Tensor:
        """Return the rows that compete in the loss of an example, for each true row: `[rows, rows]` bool.

        Made when it is asked for: all stages together would be the cube of the number of tasks.
        """
        learned, rows_of = self.learned, self.space.rows_of
        among = tuple(self.space.blocks) if self.loss_rows == "all" else learned
        rows = max(rows_of(name).stop for name in among)
        masks = np.zeros((rows, rows), dtype=np.bool_)
        every = None if self.loss_rows == "local" else self.space.visible(None, among)[:rows]
        for name in learned:
            masks[rows_of(name)] = self.space.visible(name, [name])[:rows] if every is None else every
        return torch.from_numpy(masks)

    def steps(self, batch_size: int) -> int:
        """Return the optimizer steps of the stage."""
        per_epoch = -(-len(self.stage.train) // batch_size)
        return sum(per_epoch * phase.epochs for phase in self.phases)

    def step_seed(self, phase: int, step: int) -> int:
        """Return the seed of the random numbers of one step; phase 0 is what comes before training."""
        return one_seed(self.seed, self.position, phase, step)


def one_seed(*numbers: int) -> int:
    """Return one seed of some numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def plan_course(parts: Parts) -> list[StagePlan]:
    """Return the plan of every stage of a run."""
    plans: list[StagePlan] = []
    seen: tuple[str, ...] = ()
    for position, stage in enumerate(parts.stages):
        plans.append(_plan(parts, stage, position, seen))
        seen = plans[-1].learned
    return plans


def _plan(parts: Parts, stage: Stage, position: int, seen: tuple[str, ...]) -> StagePlan:
    config, row, space = parts.config, parts.config.row, parts.space
    gate, solved = parts.model.gate, isinstance(parts.model.head, ClosedFormHead)
    trains_slot = parts.model.adapters is not None and (row.slots != "first" or position == 0)
    slot = (stage.name if row.slots == "per_task" else "shared") if trains_slot else None
    trains = trains_slot or not solved
    loss_rows = config.resolved_loss_rows() if space.scenario == "class" else "local"
    own = {task.name for task in stage.tasks}
    training = {"local": own, "seen": {*seen, *own}, "all": {*space.blocks}}[loss_rows]
    named = gate is not None and (gate.needs_task or gate.asks_each or isinstance(gate, ChoosingGate))
    return StagePlan(
        stage=stage,
        position=position,
        seen=seen,
        task=stage.name if named else None,
        slot=slot,
        reopened=row.slots == "one" and position > 0,
        start_from=seen[-1] if row.merging == "magmax" and seen else None,
        trains_rows=tuple(task for task in parts.tasks if task.name in training),
        phases=_phases(parts, position) if trains else (),
        solved=solved,
        old=_old(parts, seen),
        space=space,
        loss_rows=loss_rows,
        seed=config.seed,
    )


def _phases(parts: Parts, position: int) -> tuple[PhasePlan, ...]:
    training = parts.config.training
    first = training.first_task if position == 0 else None
    return tuple(
        PhasePlan(
            number,
            phase.train,
            (first and first.epochs) or phase.epochs or training.epochs,
            (first and first.learning_rate) or phase.learning_rate or training.learning_rate,
        )
        for number, phase in enumerate(parts.config.resolved_phases())
    )


def _old(parts: Parts, seen: Sequence[str]) -> tuple[slice, ...]:
    """The rows that older tasks are classified among: a group for each, or one for all of them."""
    rows_of = parts.space.rows_of
    if parts.space.scenario == "task":
        return tuple(rows_of(name) for name in seen)
    return (slice(0, max(rows_of(name).stop for name in seen)),) if seen else ()
