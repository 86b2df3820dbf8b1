"""One optimizer step: micro-batches forward and backward, each term divided by what it weighs in the whole step."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from plora.batches.ahead import Ahead, Job
from plora.batches.features import autocast
from plora.batches.plan import Indices, micro_batches
from plora.build import Parts
from plora.errors import TrainingError
from plora.failpoints import reached
from plora.lesson import Lesson
from plora.moment import Moment
from plora.problems import Batch, Examples
from plora.processes import Processes
from plora.strategies import Seen
from plora.training.course import StagePlan
from plora.training.statistics import StepStatistics


@dataclass
class Backward:
    """Accumulates this process's part of the gradient of one optimizer step.

    Each loss is divided by its weights in the whole step (examples, tokens, pixels), so that the sum over micro-batches
    and processes is the mean over all that counts; so are losses of examples that a strategy rehearses, by themselves.
    Of a penalty each process has an even part, so that it is added once. So neither accumulation nor the number of
    processes changes the strength of a term.

    Args:
        parts: of the run.
        plan: of the stage.
        lesson: what strategies are told of it.
        micro: most examples in one forward pass.
        timed: makes the context in which strategies work.
        ahead: makes the batches of the training split; None: they are made when they are needed.
        statistics: of BatchNorm layers that train.
        rehearsed: examples that strategies trained on.
        terms: of the loss by name, this process's part.
        right: `[2]` of this process's examples of the batch, how many were answered rightly, and of how many that can
            be said.
    """

    parts: Parts
    plan: StagePlan
    lesson: Lesson
    micro: int
    timed: Callable[[], AbstractContextManager[None]] = nullcontext
    ahead: Ahead | None = None
    statistics: StepStatistics = field(default_factory=lambda: StepStatistics({}))
    rehearsed: int = 0
    terms: dict[str, Tensor] = field(default_factory=dict)
    right: Tensor = field(default_factory=lambda: torch.zeros(2))

    def run(self, indices: Indices, at: Moment, draw: int) -> dict[str, Tensor]:
        """Propagate back the loss of one step.

        Args:
            indices: of the examples of the step, in the training split.
            at: where training stands.
            draw: decides what is random about the examples.

        Returns:
            This process's part of each term of the loss.

        Raises:
            TrainingError: nothing of the step counts in a loss.
        """
        strategies, model = self.parts.strategies, self.parts.model
        share = _own(self.parts.learner.processes, indices)[1]

        def own_losses(seen: Seen) -> dict[str, Tensor]:
            losses = dict(self.lesson.losses(seen.outputs, seen.batch))
            right = self.lesson.right(seen.outputs, seen.batch)
            if right is not None:
                answered = torch.full_like(right, True)
                self.right = self.right.to(right.device) + share * torch.stack([right, answered]).sum(1)
            with self.timed():
                for strategy in strategies:
                    losses |= strategy.on_batch(self.lesson, seen)
            return losses

        train = self.plan.stage.train
        with self.statistics.step():
            self._examples(train, indices, own_losses, at, draw, ahead=self.ahead)
            with self.timed():
                for strategy in strategies:
                    for old in strategy.rehearse(self.lesson, at):
                        self._examples(old.examples, old.indices, old.losses, at, at.seed, old.name)
                        self.rehearsed += len(old.indices)
                for strategy in strategies:
                    self._penalty(strategy.penalty(model, at))
        if model.gate is not None and model.adapters is not None:
            self._penalty(model.gate.penalty(model.route(self.plan.task, at), at))
        return self.terms

    def _examples(
        self,
        examples: Examples,
        indices: Indices,
        losses_of: Callable[[Seen], Mapping[str, Tensor]],
        at: Moment,
        draw: int,
        name: str | None = None,
        ahead: Ahead | None = None,
    ) -> None:
        """Propagate back the losses of some examples, under a name of their own where they have one."""
        settings, model = self.parts.config.training, self.parts.model
        parts, share = _cut(self.parts, examples, indices, self.micro)
        collate = examples.collate if ahead is None else ahead.collate

        def learned(part: Indices) -> Batch:
            return model.problem.augmented(collate(part, draw).to(model.device), draw)

        several = len(parts) > 1 or self.parts.learner.processes.count > 1
        # What a step weighs is known before its first pass; batches wait in memory until then.
        batches = [learned(part) for part in parts] if several else []
        totals = self._totals(batches, share) if several else {}
        for position, part in enumerate(parts):
            batch = batches[position] if several else learned(part)
            totals = totals or dict(batch.weights)
            given = self.parts.learner.extractor.given(examples, part) if examples.fixed else nullcontext()
            with autocast(model.device, settings.precision), given:
                outputs = model.outputs(batch, self.plan.task, at)
            self.statistics.passed(len(part))
            found = losses_of(Seen(batch, outputs))
            scaled = {}
            for loss, value in found.items():
                total = totals.get(loss, len(indices))
                if not total:
                    raise TrainingError(
                        f"task '{self.plan.name}', step {at.step}: nothing in the batch counts in the loss '{loss}' "
                        "(its weight is 0); leave such examples out, or use a larger training.batch_size"
                    )
                shown = loss if name is None else name if len(found) == 1 else f"{name}/{loss}"
                scaled[shown] = share * value / total
            self._add(scaled)
            self.statistics.restart()

    def _totals(self, batches: Sequence[Batch], share: float) -> dict[str, float]:
        """What each loss weighs in the whole step, over micro-batches and processes."""
        names = list(batches[0].weights)
        sums = torch.tensor([[share * batch.weights[name] for name in names] for batch in batches], dtype=torch.float64)
        total = sums.sum(0)
        self.parts.learner.processes.sum([total])
        return dict(zip(names, total.tolist(), strict=True))

    def _add(self, losses: Mapping[str, Tensor]) -> None:
        for name, loss in losses.items():
            self.terms[name] = self.terms.get(name, 0) + loss.detach()
        self.parts.learner.accelerator.backward(torch.stack([*losses.values()]).sum())
        reached("micro_batch")

    def _penalty(self, values: Mapping[str, Tensor]) -> None:
        if not values:
            return
        penalties = {name: value / self.parts.learner.processes.count for name, value in values.items()}
        penalty = torch.stack([*penalties.values()]).sum()
        if penalty.requires_grad:  # not in a phase that trains none of what the penalty sees
            self.parts.learner.accelerator.backward(penalty)
        self.terms |= {name: value.detach() for name, value in penalties.items()}


def coming(parts: Parts, train: Examples, steps: Iterable[tuple[Indices, int]], micro: int) -> Iterator[Job]:
    """Yield what `Backward` will collate of the training split, this process's micro-batches of some steps.

    Args:
        parts: of the run.
        train: the split.
        steps: examples and draw of each.
        micro: most examples in one forward pass.
    """
    for indices, draw in steps:
        for part in _cut(parts, train, indices, micro)[0]:
            yield part, draw


def _cut(parts: Parts, examples: Examples, indices: Indices, micro: int) -> tuple[list[Indices], float]:
    """Return this process's micro-batches of a step, and how much each example counts."""
    own, share = _own(parts.learner.processes, indices)
    most = parts.config.training.tokens_per_batch
    return micro_batches(own, examples.costs, micro, most, examples.packed), share


def _own(processes: Processes, indices: Indices) -> tuple[Indices, float]:
    """Return the examples of this process, and how much each counts.

    Where there are too few for all, some take one along that counts nothing: every process has the same terms.
    """
    own = indices[processes.share]
    return (own, 1.0) if len(own) else (indices[:1], 0.0)
