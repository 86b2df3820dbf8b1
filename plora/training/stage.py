"""One stage: open a slot and head rows, train the phases, commit, solve what is solved."""

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from plora import atomic
from plora.adapters import Route
from plora.batches.data import EncodedTask, Stage
from plora.batches.evaluate import block_generator, open_rows, scores_of
from plora.batches.features import autocast
from plora.build import Parts
from plora.errors import RunError, TrainingError
from plora.events.console import Console
from plora.failpoints import reached
from plora.fingerprint import hash_tensors
from plora.gates import ReadingGate, Verdict
from plora.heads import ClosedFormHead
from plora.heads.drift import linear_drift
from plora.lesson import Lesson
from plora.methods import PARTS
from plora.model import ContinualModel
from plora.problems import Batch, Examples
from plora.results.record.manifest import curve_lines
from plora.training.course import StagePlan
from plora.training.phase import Saved, train_phase, validation_score
from plora.training.practice import practise
from plora.training.session import Session


def learn_stage(session: Session, plan: StagePlan) -> tuple[float, Verdict]:
    """Train and commit one stage, from the checkpoint inside it where there is one.

    Returns:
        The seconds it took, and what the gate decided about its slot.

    Raises:
        TrainingError: something that is declared frozen has changed, or processes have learned different things.
    """
    parts, model, stage = session.parts, session.parts.model, plan.stage
    before = _before_drift(session, plan)
    open_stage(parts, plan)
    show_gate(parts, plan)
    with trainable_head(parts, plan):
        lesson = replace(
            begin_lesson(parts, plan),
            warn=lambda text: session.console.event("warning", text=text),
            tell=lambda text: session.console.event("strategy", text=text),
            progress=session.console.progress,
            keep=partial(_keep_for_readers, session),
            practise=partial(practise, parts, session.console),
        )
        design_slot(parts, lesson, session.meter.strategies.running)
        frozen = hash_tensors(model.frozen())
        if stage.train.fixed:
            parts.learner.extractor.prepare(stage.train)
        for strategy in parts.strategies:
            with session.meter.strategies.running():
                strategy.before_task(model, lesson)
        _require_all_train(parts, plan)
        reached("opened")
        saved = _saved_inside(session, plan)
        if parts.learner.processes.main:
            session.folder.cut_curves(saved[0].curve_lines if saved else curve_lines(session.folder.path))
        for phase in plan.phases:
            if saved is None or saved[0].phase <= phase.number:
                here = saved if saved and saved[0].phase == phase.number else None
                train_phase(session, plan, phase, lesson, here)
        if hash_tensors(model.frozen()) != frozen:
            raise TrainingError(f"task '{plan.name}': something that is declared frozen changed while it was learned")
        reached("trained")
        for strategy in parts.strategies:
            with session.meter.strategies.running():
                strategy.after_task(model, lesson)
        verdict = _commit(session, plan)
    if isinstance(model.head, ClosedFormHead):
        _solve(session, model.head, stage, before)
    _settle(parts, stage)
    _require_one_model(parts, plan)
    reached("committed")
    seconds = time.perf_counter() - session.meter.started
    session.meter.training_seconds += seconds
    return seconds, verdict


def _require_all_train(parts: Parts, plan: StagePlan) -> None:
    """Refuse phases that leave a gate or modules as they were made: who asked for them would wait for nothing."""
    part_of, names = parts.model.parts(), parts.model.trainable()
    for part in ("gate", "modules"):
        own = [name for name in names if part_of[name] == part]
        entries = [entry for phase in plan.phases for entry in phase.train]
        patterns = [re.compile(entry) for entry in entries if entry not in PARTS]
        trained = part in entries or any(pattern.search(name) for name in own for pattern in patterns)
        if own and plan.phases and not trained:
            raise TrainingError(
                f"phases: {len(own)} parameters belong to the {part}, such as '{own[0]}', and no phase trains them; "
                f"add '{part}' to what a phase trains"
            )


def design_slot(
    parts: Parts, lesson: Lesson, timed: Callable[[], AbstractContextManager[object]] = nullcontext
) -> None:
    """Let strategies fix parts of the open slot, which are then frozen like all else."""
    model = parts.model
    for strategy in parts.strategies:
        with timed():
            fixed = strategy.design(model, lesson)
        trainable = model.trainable()
        for name in fixed:
            trainable[name].requires_grad_(False)


def _commit(session: Session, plan: StagePlan) -> Verdict:
    """Commit slot and head rows as the gate decides, and merge slots."""
    parts, model = session.parts, session.parts.model

    def trial(route: Route) -> float:
        with model.routing(route):
            return model.problem.score.sign * validation_score(parts, plan)

    verdict = model.commit(trial)
    if verdict.reason:
        session.console.event("gate", task=plan.name, dropped=str(verdict.drop).lower(), reason=verdict.reason)
    if parts.config.row.merging is not None:
        lost = model.merge(parts.config.row.merging, parts.config.merging)
        session.console.event("merged", task=plan.name, slots=len(plan.learned), share_lost=lost)
    return verdict


def _keep_for_readers(session: Session, name: str, content: bytes) -> None:
    if session.parts.learner.processes.main:
        atomic.write_bytes(session.folder.path / name, content)


def _require_one_model(parts: Parts, plan: StagePlan) -> None:
    """Refuse to go on when what was learned is not the same, bit for bit, in every process."""
    model = parts.model
    tensors = {**model.trainable(), **model.head.tensors(), **(model.gate.state() if model.gate else {})}
    for strategy in parts.strategies:
        tensors |= {f"{strategy.kind}/{name}": tensor for name, tensor in strategy.state().items()}
    learned = f"{hash_tensors(sorted(tensors.items()))} {sorted(model.slot_hashes.items())}"
    if not parts.learner.processes.agree(hashlib.sha256(learned.encode()).hexdigest()):
        raise TrainingError(
            f"task '{plan.name}': the processes no longer have the same weights, so nothing of it was kept; use "
            "machines of one kind with the same versions, or a single process"
        )


def _saved_inside(session: Session, plan: StagePlan) -> Saved | None:
    """The checkpoint inside this stage, with which the meter goes on; one that is damaged, or that an older version
    wrote, is named and left aside, for the stage gives the same bits without it."""
    try:
        saved = session.inside.load()
        if saved is None or saved[0].stage != plan.position:
            return None
        session.meter.restore(saved[0].meter)
    except RunError as error:
        session.console.event("checkpoint_left_aside", reason=str(error))
        return None
    return saved


def open_stage(parts: Parts, plan: StagePlan) -> None:
    """Open (or take back) the slot and the head rows that this stage trains."""
    config, model = parts.config, parts.model
    torch.manual_seed(plan.step_seed(0, 0))
    if plan.slot is not None:
        assert model.adapters is not None
        if plan.reopened and plan.slot in model.adapters:  # a gate may have dropped it
            model.adapters.reopen(plan.slot, 0.0 if config.lora is None else config.lora.dropout)
        else:
            lora = None if config.lora is None else config.lora.at(plan.position)
            slot = model.adapters.open_task(plan.slot, lora, config.row.lateral)
            if plan.start_from is not None:
                slot.start_from(model.adapters[plan.start_from])
            if model.gate is not None:
                model.gate.opened(plan.slot)
                model.gate.to(model.device)
    for task in plan.trains_rows:
        block = parts.space.blocks[task.name]
        open_rows(model.head, model.problem, block, task, plan.seed)
    if plan.slot is not None:
        model.fold(plan.task)


def show_gate(parts: Parts, plan: StagePlan, most: int | None = None) -> None:
    """Let a gate that reads inputs see the training examples of a stage, or the first `most` of each task."""
    gate = parts.model.gate
    if not isinstance(gate, ReadingGate):
        return
    for task in plan.stage.tasks:
        train = task.splits["train"]
        if most is not None:
            train = train.subset(np.arange(min(most, len(train))))
        gate.learn(plan.position, parts.learner.extractor.bare_features(train), torch.from_numpy(train.rows))


@contextmanager
def trainable_head(parts: Parts, plan: StagePlan) -> Iterator[None]:
    """Inside the `with` block a head that is solved gives its place to a linear one, which is not kept.

    Rows of older blocks stand in it for the places of those that train, and neither compete nor train.
    """
    model, solved = parts.model, parts.model.head
    if isinstance(solved, ClosedFormHead) and plan.phases:
        model.head = solved.stand_in()
        model.head.device = solved.device
        for block, classes in solved.blocks.items():
            model.head.open(block, classes, block_generator(plan.seed, block))
        model.head.commit()
        for task in plan.stage.tasks:
            block = parts.space.blocks[task.name]
            model.head.open(block, task.classes, block_generator(plan.seed, block))
    try:
        yield
    finally:
        model.head = solved


def _before_drift(session: Session, plan: StagePlan) -> tuple[Tensor, Tensor] | None:
    """Features that the stage's inputs have before it, where a head that is solved follows them; None where not."""
    follows = isinstance(session.parts.model.head, ClosedFormHead) and session.parts.config.drift == "linear"
    if not follows or not plan.seen:
        return None
    (task,) = plan.stage.tasks
    train, validation = _features(session, task)
    return train, validation


def _solve(session: Session, head: ClosedFormHead, stage: Stage, before: tuple[Tensor, Tensor] | None) -> None:
    """Fit a closed-form head on features that no step changes any more.

    Args:
        session: of the run.
        head: to fit.
        stage: that was committed.
        before: features of its training and validation split under the model before it, where the sums of older tasks
            are to follow.
    """
    for task in stage.tasks:
        train, validation = _features(session, task)
        if before is not None:
            head.carry(linear_drift(before[0], train, before[1], validation))
        start = session.parts.space.rows_of(task.name).start
        problem, splits = session.parts.model.problem, (task.splits["train"], task.splits["validation"])
        labels, val_labels = (problem.solved_for(split, start) for split in splits)
        head.fit(session.parts.space.blocks[task.name], train, labels, validation, val_labels)
    session.meter.epochs = max(session.meter.epochs, 1)


def _settle(parts: Parts, stage: Stage) -> None:
    """Let the problem fix what validation decides of the rows that were learned."""
    of_block: dict[str, dict[str, Examples]] = {}
    for task in stage.tasks:
        of_block.setdefault(parts.space.blocks[task.name], {})[task.name] = task.splits["validation"]
    for block, splits in of_block.items():
        first, *others = splits.values()
        together = first.followed_by(others) if others else first
        parts.model.problem.settled(parts.model.head, block, partial(_validated, parts, block, splits), together)


def _validated(parts: Parts, block: str, splits: Mapping[str, Examples]) -> Tensor:
    """Scores `[N, rows]` of the splits of some tasks, whose rows are of one block, one after the other."""
    extractor = parts.learner.extractor
    if parts.space.scenario == "task":
        return torch.cat([scores_of(extractor, split, name, block) for name, split in splits.items()])
    return torch.cat([scores_of(extractor, split, None) for split in splits.values()])


def _features(session: Session, task: EncodedTask) -> tuple[Tensor, Tensor]:
    """Features of a task's training and validation split, as the model is."""
    meter, found = session.meter, []
    for split in (task.splits["train"], task.splits["validation"]):
        tokens = int(split.costs.sum())
        with meter.operations(tokens, first=True):
            found.append(session.parts.learner.extractor.features(split, task.name))
        meter.samples += len(split)
        meter.tokens += tokens
    return found[0], found[1]


class _Teacher:
    """The model as it was when a task began: a copy of what may change since, put in its place for a batch."""

    def __init__(self, model: ContinualModel, task: str | None, asked: bool) -> None:
        self.model, self.task = model, task
        trained = model.trainable() if asked else {}  # a copy costs memory, and without strategies nobody asks
        self.kept = {f"model.{name}": parameter.detach().clone() for name, parameter in trained.items()}

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Mapping[str, Tensor]:
        training = self.model.training
        self.model.eval()
        found: dict[str, Tensor] = functional_call(_Outputs(self.model), self.kept, (batch, self.task))
        self.model.train(training)
        return found


class _Outputs(torch.nn.Module):
    """The named outputs of a model, as the forward pass of a module that has the model's parameters by their names."""

    def __init__(self, model: ContinualModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, task: str | None) -> dict[str, Tensor]:
        """Return the outputs."""
        return self.model.outputs(batch, task)


def begin_lesson(parts: Parts, plan: StagePlan) -> Lesson:
    """Return what strategies are told of a stage; its slot and its rows of the head are open."""
    config, model = parts.config, parts.model

    def scores(examples: Examples) -> Tensor:
        features = parts.learner.extractor.features(examples, plan.task)
        with torch.no_grad():
            found = [model.head(part.to(model.device)).float().cpu() for part in torch.split(features, 4096)]
        return torch.cat(found)

    validations = [other.splits["validation"] for other in plan.stage.tasks]
    competing = plan.competing()
    on_device = competing.to(model.device)
    return Lesson(
        position=plan.position,
        task=plan.task,
        train=plan.stage.train,
        validation=validations[0].followed_by(validations[1:]) if len(validations) > 1 else validations[0],
        names=parts.space.names,
        competing=competing,
        losses=lambda outputs, batch: model.problem.losses(outputs, batch, on_device),
        right=lambda outputs, batch: model.problem.right(outputs, batch, on_device),
        old=plan.old,
        scores=scores,
        teacher=_Teacher(model, plan.task, asked=bool(parts.strategies)),
        autocast=partial(autocast, model.device, config.training.precision),
        practise=partial(practise, parts, Console(silent=True)),
        learning_rate=max((phase.learning_rate for phase in plan.phases), default=config.training.learning_rate),
        seed=plan.step_seed(0, 1),
        processes=parts.learner.processes,
    )
