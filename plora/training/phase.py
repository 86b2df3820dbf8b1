"""One phase of one stage: epochs of optimizer steps, validation that looks or chooses, a checkpoint now and then."""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from plora.batches.ahead import Ahead
from plora.batches.evaluate import measure
from plora.batches.features import out_of_memory
from plora.batches.plan import Indices, plan_epoch
from plora.build import Parts
from plora.config.training import TrainingConfig
from plora.errors import NonFiniteLossError, TrainingError, did_you_mean
from plora.failpoints import reached
from plora.lesson import Lesson
from plora.methods import PARTS
from plora.model import ContinualModel
from plora.moment import Moment
from plora.optimizers import make_optimizer, rate, restore_training, set_rates, training_tensors
from plora.processes import Processes
from plora.results import Point, Score
from plora.run_folder.step_checkpoint import Position
from plora.training.course import PhasePlan, StagePlan, one_seed
from plora.training.meter import peak_memory
from plora.training.session import Training, temperature_of, terms_of
from plora.training.statistics import StepStatistics
from plora.training.step import Backward, coming

Saved = tuple[Position, dict[str, Tensor]]
"""A checkpoint inside a stage."""


def train_phase(
    session: Training, plan: StagePlan, phase: PhasePlan, lesson: Lesson, saved: Saved | None
) -> list[float]:
    """Train one phase of one stage, from its start or from a checkpoint inside it.

    Returns:
        The mean loss over the steps of each epoch; of those that were taken here, where it began inside the phase.

    Raises:
        NonFiniteLossError: before the optimizer could do harm.
        TrainingError: memory ran out with a single example, or nothing of a step counts.
    """
    with Ahead(plan.stage.train) as ahead:
        return _train(session, plan, phase, lesson, saved, ahead)


def _train(
    session: Training, plan: StagePlan, phase: PhasePlan, lesson: Lesson, saved: Saved | None, ahead: Ahead
) -> list[float]:
    parts, meter, console = session.parts, session.meter, session.console
    config, model, accelerator = parts.config, parts.model, parts.learner.accelerator
    settings, processes = config.training, parts.learner.processes
    train = plan.stage.train
    epochs = [
        plan_epoch(
            train.costs,
            settings.batch_size,
            plan.seed,
            plan.position,
            phase.number,
            epoch,
            train.packed,
            train.chances,
        )
        for epoch in range(phase.epochs)
    ]
    draws = [one_seed(plan.seed, plan.position, phase.number + 1, epoch, 1) for epoch in range(phase.epochs)]
    drawn = [(indices, draw) for steps, draw in zip(epochs, draws, strict=True) for indices in steps]
    total = len(drawn)
    validated = _validated_steps(epochs, config.evaluation.validations, settings.early_stop is not None)
    opened = model.trainable()
    parameters, moving = trained_by(model, phase.train), model.moving()
    meter.trainable = max(meter.trainable, sum(p.numel() for p in parameters.values()))
    optimizer = optimizer_of(settings, model, opened, parameters, phase.learning_rate)
    micro = min(settings.micro_batch_size or settings.batch_size, settings.batch_size)
    timed = meter.strategies.running if parts.strategies else nullcontext
    statistics = StepStatistics(moving)
    best, patience, step, first = _Best(model.problem.score), settings.early_stop, 0, 0
    if saved is not None:
        at, tensors = saved
        restore_training(tensors, opened, parameters, optimizer, best.kept, moving)
        best.value, best.epochs_without = at.best, at.epochs_without
        first, micro = at.step, at.micro_batch_size
        console.event("resumed", task=plan.name, phase=phase.number, step=first, of=total)
    _prepare_rehearsals(session, plan, phase, lesson, total, len(epochs[0][0]))
    ahead.expect(coming(parts, train, drawn[first:], micro))
    logged = time.perf_counter(), meter.tokens, meter.samples
    validation: float | None = None
    means = list[float]()

    for epoch, steps in enumerate(epochs):
        if step + len(steps) < first:  # over before the checkpoint was written, its validation too
            step += len(steps)
            continue
        model.train()
        here = _Epoch()
        for indices in steps:
            if step < first:
                step += 1
                continue
            # ---------------------------------------------------------- forward and backward, in micro-batches
            tokens = int(train.costs[indices].sum())
            shape = settings.schedule, settings.schedule_floor, settings.schedule_power
            factor = rate(step, total, settings.warmup, *shape)
            set_rates(optimizer, factor)
            while True:
                seed = plan.step_seed(phase.number + 1, step)
                _seed(seed + processes.rank, model.device)  # dropout: from seed and step, of its own in each process
                now = Moment(plan.position, step, total, epoch, seed, len(indices), phase.epochs)
                backward = Backward(parts, plan, lesson, micro, timed, ahead, statistics)
                full = False
                try:
                    with meter.operations(tokens, first=step == 0):
                        terms = backward.run(indices, now, draws[epoch])
                except RuntimeError as error:
                    if not out_of_memory(error):
                        raise
                    full = True
                if not processes.any(full):
                    break
                if micro == 1:
                    smaller = f"lower {model.problem.size_key}, or " if model.problem.size_key else ""
                    raise TrainingError(
                        f"task '{plan.name}', step {step}: memory ran out with a single example; {smaller}"
                        "set training.activation_checkpointing=true"
                    )
                optimizer.zero_grad()
                micro = micro // 2  # same step, same result, less memory
                ahead.expect(coming(parts, train, drawn[step:], micro))
                console.event("memory_full", task=plan.name, step=step, micro_batch_size=micro)
            meter.rehearsed += backward.rehearsed

            # ---------------------------------------------------------- look before stepping
            summed = torch.stack([*terms.values()])
            processes.sum_gradients(parameters.values(), summed)
            norm = accelerator.clip_grad_norm_(list(parameters.values()), settings.clip_norm or float("inf"))
            values = dict(zip(terms, summed.tolist(), strict=True))
            if not np.isfinite([*values.values(), float(norm)]).all():
                raise NonFiniteLossError(_non_finite(plan.name, step, indices, values, float(norm)))
            optimizer.step()
            optimizer.zero_grad()
            _agree(processes, moving)
            here.add(values, backward.right)
            step += 1
            meter.steps, meter.all_steps = meter.steps + 1, meter.all_steps + 1
            meter.samples += len(indices)
            meter.tokens += tokens
            reached("step")

            # ---------------------------------------------------------- validation looks
            validation = None
            if step in validated:
                validation = validation_score(parts, plan)
                model.train()

            # ---------------------------------------------------------- say how it goes
            if processes.main and (step % settings.log_every == 0 or step == total or validation is not None):
                at_last = time.perf_counter()
                elapsed = max(at_last - logged[0], 1e-9)
                point = Point(
                    task=plan.name,
                    step=meter.steps,
                    epoch=step / total * phase.epochs,
                    loss=here.losses[-1],
                    terms=values,
                    learning_rate=phase.learning_rate * factor,
                    tokens_per_second=(meter.tokens - logged[1]) / elapsed,
                    examples_per_second=(meter.samples - logged[2]) / elapsed,
                    seconds=at_last - meter.started,
                    memory_bytes=peak_memory(model.device),
                    diagnostics=_diagnostics(parts),
                    validation=validation,
                )
                session.log(point, step, total)
                logged = at_last, meter.tokens, meter.samples

            # ---------------------------------------------------------- keep it against a kill
            if session.due():
                session.keep(
                    training_tensors(opened, parameters, optimizer, best.kept, moving),
                    stage=plan.position,
                    phase=phase.number,
                    step=step,
                    micro_batch_size=micro,
                    best=best.value,
                    epochs_without=best.epochs_without,
                    meter=meter.state(),
                )
        means += [float(np.mean(here.losses))] if here.losses else []
        meter.epochs += 1
        asked = patience is not None and validation is None  # just resumed
        result = validation_score(parts, plan) if asked else validation

        # -------------------------------------------------------------- say how it went
        of = {"phase": f"{phase.number + 1}/{len(plan.phases)}"} if len(plan.phases) > 1 else {}
        tau = {} if model.gate is None else temperature_of(model.gate.diagnostics())
        scored = {} if result is None else {f"validation_{best.score.name}": result}
        told = here.loss() | tau | here.accuracy(processes) | scored
        session.epoch_done(task=plan.name, **of, epoch=f"{epoch + 1}/{phase.epochs}", **told)

        # -------------------------------------------------------------- validation chooses
        if patience is not None and result is not None:
            best.offer(result, {**parameters, **moving})
            if best.epochs_without >= patience:
                console.event("early_stop", task=plan.name, epoch=epoch + 1, best=best.value)
                meter.all_steps += total - step
                break
        reached("epoch")
    best.restore({**parameters, **moving})
    for parameter in opened.values():
        parameter.requires_grad_(True)
    return means


def trained_by(model: ContinualModel, train: Sequence[str]) -> dict[str, nn.Parameter]:
    """Return the parameters that a phase trains; the other open ones get no gradient until the phase ends.

    Args:
        model: with all that may train open.
        train: parts, or patterns of which one must be found in a parameter's name.

    Raises:
        TrainingError: a pattern matches none.
    """
    trainable, part_of = model.trainable(), model.parts()
    patterns = {entry: re.compile(entry) for entry in train if entry not in PARTS}
    for entry, pattern in patterns.items():
        if not any(pattern.search(name) for name in trainable):
            raise TrainingError(
                f"phases: no parameter that is open has '{entry}' in its name{did_you_mean(entry, PARTS)}; parts are "
                f"{', '.join(PARTS)}, and parameters such as {', '.join([*trainable][:3])}"
            )
    chosen: dict[str, nn.Parameter] = {}
    for name, parameter in trainable.items():
        trains = part_of[name] in train or any(pattern.search(name) for pattern in patterns.values())
        parameter.requires_grad_(trains)
        if trains:
            chosen[name] = parameter
    return chosen


def optimizer_of(
    settings: TrainingConfig,
    model: ContinualModel,
    opened: Iterable[str],
    trained: Mapping[str, nn.Parameter],
    learning_rate: float,
) -> Optimizer:
    """Return the optimizer of a phase.

    Args:
        settings: of the run.
        model: whose parameters they are.
        opened: names of all that are open in the stage.
        trained: those that the phase trains.
        learning_rate: the peak rate where no group says another.
    """
    parts = model.parts()
    part_of = {name: parts[name] for name in opened}
    return make_optimizer(trained, part_of, settings.optimizer, settings.groups, learning_rate, settings.weight_decay)


def step_seconds(parts: Parts, plan: StagePlan, lesson: Lesson, steps: int) -> float:
    """Return the seconds of one optimizer step of a stage's first phase, the median of `steps` after one that warms up.

    What trains moves: the model is no longer one that a run starts from.

    Args:
        parts: of the run.
        plan: of the stage, which is open.
        lesson: what strategies are told of it.
        steps: that are measured.
    """
    model, settings, train = parts.model, parts.config.training, plan.stage.train
    opened = model.trainable()
    parameters = trained_by(model, plan.phases[0].train)
    optimizer = optimizer_of(settings, model, opened, parameters, settings.learning_rate)
    model.train()
    seconds = []
    planned = plan_epoch(train.costs, settings.batch_size, plan.seed, 0, 0, 0, train.packed)
    for step, indices in enumerate(planned[: steps + 1]):
        started = time.perf_counter()
        at = Moment(0, step, steps, 0, plan.step_seed(1, step), len(indices))
        terms = Backward(parts, plan, lesson, settings.batch_size).run(indices, at, draw=0)
        parts.learner.processes.sum_gradients(parameters.values(), torch.stack([*terms.values()]))
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[1:] or seconds))


def validation_score(parts: Parts, plan: StagePlan) -> float:
    """Return the mean score over the validation splits of the stage's tasks, among the classes seen by now.

    Where the head is solved later, the one that stands in for it knows the classes of the stage alone.
    """
    known = [task.name for task in plan.stage.tasks] if plan.solved else plan.learned
    results = [
        measure(
            parts.learner.extractor,
            task,
            "validation",
            task.name if parts.space.scenario == "task" else None,
            parts.space,
            known,
        ).value(parts.model.problem.score)
        for task in plan.stage.tasks
    ]
    return float(np.mean(results))


@torch.no_grad()
def _agree(processes: Processes, moving: Mapping[str, Tensor]) -> None:
    """Give all processes the mean of the statistics that each has seen."""
    means = [buffer for buffer in moving.values() if buffer.is_floating_point()]
    if processes.count > 1 and means:  # most networks have nothing that moves
        processes.sum(means)
        for buffer in means:
            buffer /= processes.count


def _prepare_rehearsals(
    session: Training, plan: StagePlan, phase: PhasePlan, lesson: Lesson, total: int, examples: int
) -> None:
    """Have at hand what enters the first adapted block for the examples that strategies will rehearse."""
    parts = session.parts
    begun = Moment(plan.position, 0, total, 0, plan.step_seed(phase.number + 1, 0), examples)
    for strategy in parts.strategies:
        with session.meter.strategies.running():
            for old in strategy.rehearse(lesson, begun):
                # Else some would be computed and never read, or all.
                if old.examples.fixed and total * len(old.indices) >= len(old.examples):
                    parts.learner.extractor.prepare(old.examples)


def _diagnostics(parts: Parts) -> dict[str, float]:
    found = {key: value for strategy in parts.strategies for key, value in strategy.diagnostics(parts.model).items()}
    return found if parts.model.gate is None else found | parts.model.gate.diagnostics()


def _seed(seed: int, device: torch.device) -> None:
    """Seed what chance draws on a device; `torch.manual_seed` seeds all kinds, for milliseconds of each step."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def _validated_steps(epochs: Sequence[Sequence[Indices]], times: int | None, at_epochs: bool) -> set[int]:
    """The steps of a phase after which the validation split is scored: `times` evenly spaced, and ends of epochs."""
    ends = np.cumsum([len(steps) for steps in epochs])
    chosen = set(ends.tolist()) if at_epochs else set()
    if times is not None:
        chosen |= {int(step) for step in np.ceil(np.arange(1, times + 1) * ends[-1] / times)}
    return chosen


@dataclass
class _Epoch:
    """How the steps of an epoch went; those that were taken here, where it began inside the epoch.

    Args:
        losses: of each step.
        terms: of the loss by name, their sums over the steps.
        right: `[2]` of the batches' examples, as they were learned, how many were answered rightly, and of how many.
    """

    losses: list[float] = field(default_factory=list)
    terms: dict[str, float] = field(default_factory=dict)
    right: Tensor = field(default_factory=lambda: torch.zeros(2))

    def add(self, terms: Mapping[str, float], right: Tensor) -> None:
        self.losses.append(sum(terms.values()))
        for name, value in terms.items():
            self.terms[name] = self.terms.get(name, 0.0) + value
        self.right = self.right.to(right.device) + right

    def loss(self) -> dict[str, float]:
        """Its mean over the steps, and what that is the sum of."""
        if not (steps := len(self.losses)):
            return {}
        terms = {name: value / steps for name, value in self.terms.items()}
        return {"loss": float(np.mean(self.losses)), **terms_of(terms)}

    def accuracy(self, processes: Processes) -> dict[str, float]:
        """Of the batches of all processes, each answered by the network as it then was."""
        processes.sum([self.right])
        right, answered = self.right.tolist()
        return {"train_accuracy_while_learning": right / answered} if answered else {}


@dataclass
class _Best:
    """The best validation score of a phase, and the parameters and buffers that gave it."""

    score: Score
    value: float | None = None
    epochs_without: int = 0
    kept: dict[str, Tensor] = field(default_factory=dict)

    def offer(self, value: float, tensors: Mapping[str, Tensor]) -> None:
        if self.value is None or self.score.improvement(value, self.value) > 0:
            self.value, self.epochs_without = value, 0
            self.kept = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        else:
            self.epochs_without += 1

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        for name, kept in self.kept.items():
            tensors[name].copy_(kept)


def _non_finite(task: str, step: int, indices: Indices, terms: Mapping[str, float], norm: float) -> str:
    shown = ", ".join(map(str, indices[:8].tolist())) + (", …" if len(indices) > 8 else "")
    values = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
    return (
        f"task '{task}', step {step}: the loss is not finite ({values}; gradient norm {norm:.4g}). "
        f"The batch holds training examples {shown}; nothing was changed by this step. "
        "Try a lower training.learning_rate or "
        "training.precision=fp32"
    )
