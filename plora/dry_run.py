"""What a run would cost, from a few measured steps; nothing is written."""

import itertools
import math
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np

from plora.build import Parts, build
from plora.config import RunConfig
from plora.gates import Gate, ReadingGate
from plora.heads import ClosedFormHead
from plora.model import ContinualModel, Part
from plora.strategies import Strategy
from plora.training.course import plan_course
from plora.training.meter import peak_memory
from plora.training.phase import step_seconds
from plora.training.stage import begin_lesson, design_slot, open_stage, show_gate, trainable_head

_SHOWN = 64
"""Texts of the first task that a gate which reads inputs sees, and a strategy that designs."""


@dataclass(frozen=True)
class Estimate:
    """What was measured, and what follows for the whole run.

    Args:
        seconds: measured in the first task, where strategies have nothing to protect yet.
        disk_bytes: of slots, head and predictions.
        trainable: numbers that train in the first stage, without what a strategy fixes there.
        remembers: whether a gate or a strategy keeps more than that, which grows with the tasks.
        strategies: kinds of those that the method has.
        example: of the first task, with what is learned of it in brackets; None where that is all of it.
    """

    label: str
    tasks: int
    steps: int
    warmup_steps: int
    trainable: int
    frozen: int
    truncated_share: float
    seconds: float
    peak_memory_bytes: int
    disk_bytes: int
    remembers: bool
    strategies: tuple[str, ...]
    example: str | None

    def describe(self) -> str:
        """Return the estimate in words."""
        more = "; what the method remembers of old tasks comes on top of that" if self.remembers else ""
        later = f"what strategies ({', '.join(self.strategies)}) rehearse, measure or write is not in the time"
        return "\n".join(
            [
                f"{self.label}: {self.tasks} tasks, {self.steps:,} optimizer steps ({self.warmup_steps:,} warm-up)",
                f"trains {self.trainable:,} parameters in the first stage; {self.frozen:,} stay frozen",
                f"inputs cut to the length limit: {self.truncated_share:.1%}",
                f"expect about {self.seconds / 60:.1f} minutes, {self.peak_memory_bytes / 2**30:.1f} GiB of memory and "
                f"{self.disk_bytes / 2**20:.1f} MiB on disk (from a few measured steps; nothing was written){more}",
                *([later] if self.strategies else []),
                *([f"an example, with what is learned in brackets: {self.example!r}"] if self.example else []),
            ]
        )


def dry_run(config: RunConfig, steps: int = 3) -> Estimate:
    """Measure `steps` optimizer steps of the first stage and one scoring pass, and extrapolate.

    Every block computes every time, for what enters the first adapted one is not written: a run is faster than this
    where `lora.layers` leaves blocks frozen.

    Raises:
        PloraError: as the run would, before it starts.
    """
    parts = build(config)
    parts.begin()
    extractor = replace(parts.learner.extractor, prefix=None)
    parts = replace(parts, learner=replace(parts.learner, extractor=extractor))
    course = plan_course(parts)
    first, total = course[0], [plan.steps(config.training.batch_size) for plan in course]
    open_stage(parts, first)
    show_gate(parts, first, most=_SHOWN)
    lesson = begin_lesson(parts, first)
    opened = _open(parts.model)
    shown = lesson.train.subset(np.arange(min(_SHOWN, len(lesson.train))))
    design_slot(parts, replace(lesson, train=shown))
    fixed = opened - _open(parts.model)  # they do not train, and are a part of the slot on disk
    frozen = sum(p.numel() for p in parts.model.parameters() if not p.requires_grad)
    with trainable_head(parts, first) if total[0] else nullcontext():
        trainable = _open(parts.model)
        of_gate = _open(parts.model, "gate")
        per_step = step_seconds(parts, first, lesson, steps) if total[0] else 0.0
    per_text = _scoring_seconds(parts)
    train_texts = sum(len(stage.train) for stage in parts.stages)
    reads_all = isinstance(parts.model.head, ClosedFormHead) or isinstance(parts.model.gate, ReadingGate)
    again = config.drift == "linear"  # what a solved head follows is read before a task, too
    scored = _scored_texts(parts)
    warmup = config.training.warmup
    return Estimate(
        label=config.label,
        tasks=len(parts.tasks),
        steps=sum(total),
        warmup_steps=sum(math.ceil(warmup * count) for count in total),
        trainable=trainable,
        frozen=frozen,
        truncated_share=sum(task.truncated_share() for task in parts.tasks) / len(parts.tasks),
        seconds=per_step * sum(total) + per_text * (_scoring_passes(parts) + train_texts * (reads_all + again)),
        peak_memory_bytes=peak_memory(parts.model.device),
        remembers=(parts.model.gate is not None and type(parts.model.gate).state is not Gate.state)
        or any(type(s).state is not Strategy.state for s in parts.strategies),
        strategies=tuple(dict.fromkeys(s.kind for s in parts.strategies)),
        example=parts.model.problem.shown(parts.tasks[0].splits["train"]),
        disk_bytes=int(4 * (trainable + fixed - of_gate) * _stored_slots(config, len(parts.stages))) + 16 * scored,
    )


def _open(model: ContinualModel, part: Part | None = None) -> int:
    """Numbers that train, of the whole model or of a part."""
    part_of = model.parts()
    return sum(p.numel() for name, p in model.trainable().items() if part in (None, part_of[name]))


def _stored_slots(config: RunConfig, stages: int) -> float:
    """Slots on disk in the end; what is merged after each task counts by its rank."""
    if config.row.slots != "per_task":
        return 1
    if config.lora is None:
        return stages
    ranks = [config.lora.at(stage).rank for stage in range(stages)]
    merged = itertools.accumulate(ranks) if config.row.merging is not None else ()
    return (sum(ranks) + sum(config.merging.rank or together for together in merged)) / ranks[0]


def _scoring_seconds(parts: Parts) -> float:
    """Seconds to score one text."""
    scorer = parts.scorer()
    started = time.perf_counter()
    scorer.unseen(parts.tasks[0])
    return (time.perf_counter() - started) / len(parts.tasks[0].splits[parts.config.evaluation.split])


def _scored_texts(parts: Parts) -> int:
    """Texts that the run will score: row 0, then every row, cells that cannot change once."""
    counts = [len(task.splits[parts.config.evaluation.split]) for task in parts.tasks]
    if parts.config.row.at_once:
        return 2 * sum(counts)
    return sum(counts) + sum(_rows(parts, counts))


def _rows(parts: Parts, counts: list[int]) -> list[int]:
    """Texts that are scored after each task."""
    isolated = parts.model.gate is not None and parts.model.gate.needs_task
    return [counts[i] if isolated else sum(counts[: i + 1]) for i in range(len(counts))]


def _scoring_passes(parts: Parts) -> int:
    """Passes of one text through the network: as many as texts, but where each slot reads them alone."""
    gate, config = parts.model.gate, parts.config
    if gate is None or not gate.asks_each or config.scenario == "task":
        return _scored_texts(parts)
    counts = [len(task.splits[config.evaluation.split]) for task in parts.tasks]
    return sum(counts) + sum(slots * texts for slots, texts in enumerate(_rows(parts, counts), 1))
