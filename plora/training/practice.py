"""Another model than the run's learns beside it, in the one loop: what that needs of a stage of its own.

What it learns is a strategy's, and is kept as the strategy's memory. A kill lets it begin anew with its task, and the
same seed gives the same bits.
"""

from dataclasses import dataclass, replace

import torch

from plora.backbones import Backbone
from plora.batches.data import Stage
from plora.batches.features import Extractor, FeatureCache
from plora.build import Learner, Parts
from plora.config.training import EvaluationConfig, TrainingConfig
from plora.events.console import Console, Field
from plora.lesson import Lesson, Practice
from plora.results import Point
from plora.training.course import PhasePlan, StagePlan
from plora.training.energy import EnergyMeter
from plora.training.meter import Meter
from plora.training.phase import train_phase
from plora.training.session import Training
from plora.training.stopwatch import Stopwatch


@dataclass
class _Beside(Training):
    """Nothing of it is on the run's curve, or told to trackers."""

    what: str

    def log(self, point: Point, step: int, total: int) -> None:
        """Say how far it is."""
        self.console.progress(self.what, step, total)

    def epoch_done(self, **fields: Field) -> None:
        """Say nothing more."""


def practise(parts: Parts, console: Console, practice: Practice, lesson: Lesson) -> list[float]:
    """Train, and return the mean loss of each epoch, dropout on.

    AdamW without weight decay; the rate falls in a line to 0. Precision, clipping, limits of a forward pass and
    processes are the run's.

    Args:
        parts: of the run.
        console: where progress is shown.
        practice: what learns, and from what.
        lesson: what the run learns meanwhile; decides the seed.

    Raises:
        NonFiniteLossError: before the optimizer could do harm.
        TrainingError: memory ran out with a single example.
    """
    model, none = practice.model, torch.zeros(0, 0, dtype=torch.bool)
    plan = StagePlan(
        stage=Stage(practice.task, (), practice.examples),
        position=lesson.position,
        seen=(),
        task=practice.task,
        slot=practice.task,
        reopened=False,
        start_from=None,
        trains_rows=(),
        phases=(PhasePlan(0, ("adapter",), practice.epochs, practice.learning_rate),),
        solved=False,
        old=(),
        space=parts.space,
        loss_rows="local",
        seed=lesson.seed,
    )
    its_own = replace(
        lesson,
        task=practice.task,
        train=practice.examples,
        validation=practice.examples,
        names=(),
        competing=none,
        losses=lambda outputs, batch: model.problem.losses(outputs, batch, none),
        right=lambda *_: None,
        old=(),
        learning_rate=practice.learning_rate,
    )
    beside = _parts(parts, practice, plan.stage)
    processes = parts.learner.processes
    meter = Meter(plan.steps(practice.batch_size), EnergyMeter(model.device), Stopwatch(model.device), processes.count)
    (phase,) = plan.phases
    return train_phase(_Beside(beside, console, meter, practice.what), plan, phase, its_own, None)


def _parts(parts: Parts, practice: Practice, stage: Stage) -> Parts:
    """Return the parts of a run with another model in the place of its own, and nothing that protects old knowledge."""
    run, model, processes = parts.config.training, practice.model, parts.learner.processes
    training = TrainingConfig(
        learning_rate=practice.learning_rate,
        weight_decay=0,
        warmup=0,
        batch_size=practice.batch_size,
        clip_norm=run.clip_norm,
        micro_batch_size=run.micro_batch_size,
        tokens_per_batch=run.tokens_per_batch,
        precision=run.precision,
        log_every=1,
    )
    backbone = Backbone(model.backbone, 0, "", practice.what)
    extractor = Extractor(model, "", run.precision, run.tokens_per_batch, FeatureCache(), processes)
    return replace(
        parts,
        config=parts.config.model_copy(update={"training": training, "evaluation": EvaluationConfig()}),
        learner=Learner(backbone, model, extractor, parts.learner.accelerator, processes),
        strategies=(),
        tasks=[],
        stages=[stage],
    )
