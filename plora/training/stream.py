"""THE loop: every problem and every method is trained here, and nowhere else.

Learning a stream: open → train the phases → commit → save → score → record, task after task. Each of these can be
the last thing that a process does; the next one goes on from what is on disk.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from plora import atomic
from plora.batches.data import Stage
from plora.batches.evaluate import Scorer, Scores, block_generator, score
from plora.batches.features import autocast, lacks_bf16, out_of_memory
from plora.batches.plan import Indices, micro_batches, plan_epoch
from plora.build import Parts
from plora.errors import NonFiniteLossError, RunError, TrainingError
from plora.events.console import Console
from plora.events.tracking import Tracking
from plora.failpoints import reached
from plora.fingerprint import hash_frozen, hash_tensors
from plora.gates import ChoosingGate
from plora.heads import ClosedFormHead, LinearHead
from plora.methods import Phase
from plora.model import ContinualModel
from plora.optimizers.optim import make_optimizer, rate, restore_training, training_tensors
from plora.problems import EncodedInputs, EncodedSplit, masked_cross_entropy
from plora.processes import Processes
from plora.results import (
    RESULTS_FILE,
    Point,
    RunRecord,
    TaskCost,
    read_predictions,
    write_predictions,
    write_record,
)
from plora.run_folder.checkpoint import load_checkpoint, load_strategies, read_manifest, save_checkpoint
from plora.run_folder.folder import RunFolder
from plora.run_folder.recording import from_predictions, make_record, to_predictions
from plora.run_folder.step_checkpoint import Position, StepCheckpoint, finite
from plora.strategies import Lesson, Progress
from plora.training.energy import EnergyMeter
from plora.training.meter import Meter, peak_memory
from plora.training.stopwatch import Stopwatch


@dataclass
class Session:
    """One process working on one run: its parts and where it writes.

    Args:
        parts: of the run.
        folder: of the run, locked.
        console: where progress is shown.
        meter: what learning costs.
        inside: the checkpoint inside a task.
        tracking: who is told beside our own files.
    """

    parts: Parts
    folder: RunFolder
    console: Console
    meter: Meter
    inside: StepCheckpoint
    tracking: Tracking


def learn_stream(parts: Parts, folder: RunFolder, console: Console) -> RunRecord:
    """Learn every task of the stream that the run folder does not hold yet, and return the record.

    What is on disk is taken from there: a run that was killed goes on with the same bits, and a run whose stream got
    one task more learns that task alone.

    Raises:
        NonFiniteLossError: before the optimizer could do harm.
        TrainingError: something that is declared frozen has changed.
        RunError: what is on disk was changed or damaged.
    """
    names = [task.name for task in parts.tasks]
    matrix = np.full((len(names) + 1, len(names)), np.nan)
    planned = sum(planned_steps(parts, position) for position in range(len(parts.stages)))
    processes = parts.learner.processes
    device = parts.model.device
    meter = Meter(planned, EnergyMeter(device), Stopwatch(device), processes.count)
    inside = StepCheckpoint(folder.step, parts.config.training.checkpoint_seconds if processes.main else None)
    tracking = Tracking(
        parts.config.trackers if processes.main else (),
        f"{parts.config.name}-{parts.config.label}-seed-{parts.config.seed}",
        folder.path / "trackers",
        lambda name, error: console.event("tracker_failed", tracker=name, reason=f"{type(error).__name__}: {error}"),
    )
    tracking.configuration(parts.config.model_dump(mode="json"))
    if parts.config.training.precision == "bf16" and lacks_bf16(device):
        console.event(
            "warning",
            text="this CPU has no instructions for bf16 and computes it by detours, which is slower than fp32; set "
            "training.precision=fp32",
        )
    session = Session(parts, folder, console, meter, inside, tracking)
    if parts.learner.extractor.prefix is not None:
        parts.learner.extractor.prefix.console = console
    scorer = parts.scorer()
    costs: list[TaskCost] = []
    gates: list[dict[str, float]] = []
    seen: list[str] = []
    held = 0  # the checkpoint whose state the model is in; 0: nothing learned

    def hold(number: int) -> None:
        nonlocal held
        if held != number:
            load_checkpoint(folder, number, parts.learner)
            held = number

    # ------------------------------------------------------------------ row 0: before training
    rows = _row(session, scorer, 0, [], [])
    matrix[0] = _accuracies(rows, names)
    scorer.untrained = rows
    reached("untrained")
    complete = folder.complete()
    forgotten = list(read_manifest(folder, complete[-1]).forgotten) if complete else []

    for position, stage in enumerate(parts.stages):
        former, number = len(seen), len(seen) + len(stage.tasks)
        if number not in complete:
            # -------------------------------------------------------------- learn one stage
            hold(former)
            load_strategies(folder, former, parts.learner, parts.strategies)
            for task in parts.tasks:
                if task.name in seen and task.name in rows and task.name not in forgotten:
                    scorer.recall(task, seen, rows[task.name])
            meter.new_stage()
            console.event(
                "task_start",
                task=stage.name,
                number=f"{position + 1}/{len(parts.stages)}",
                texts=len(stage.train),
            )
            seconds = _learn(session, stage, position, seen)

            # -------------------------------------------------------------- keep it
            processes.lead(partial(_keep, session, stage, [*seen, *(t.name for t in stage.tasks)], forgotten, seconds))
            held = number
            reached("checkpointed")
        manifest = read_manifest(folder, number)
        if number in complete:
            meter.all_steps += manifest.cost.steps
            meter.training_seconds += manifest.cost.seconds
        costs.append(manifest.cost)
        gates.append(manifest.gate)
        seen += [task.name for task in stage.tasks]

        # ------------------------------------------------------------------ score it
        gone = [task for task in forgotten if task in seen]
        rows = _row(session, scorer, number, seen, gone, partial(hold, number))
        matrix[number] = _accuracies(rows, names)
        reached("predicted")
        if number >= max(complete, default=0) and processes.main:
            write_record(folder.path, make_record(parts, matrix, costs, gates, seen, gone))
            reached("recorded")
        if number not in complete:
            done = matrix[number, : len(seen)]
            accuracies = zip(names, matrix[number].tolist(), strict=True)
            told = {f"accuracy/{name}": value for name, value in accuracies if not np.isnan(value)}
            tracking.log(told, meter.all_steps)
            console.event(
                "task_done",
                task=stage.name,
                accuracy=float(done[-1]),
                mean_seen=float(np.nanmean(done)),
                seconds=manifest.cost.seconds,
            )
    processes.lead(session.inside.clear)  # a kill between the last manifest and its own clearing left it
    record = make_record(parts, matrix, costs, gates, seen, forgotten)
    final = {f"final/{name}": metric.value for name, metric in record.metrics.items() if metric.value is not None}
    tracking.log(final, meter.all_steps)
    tracking.finish([folder.config, folder.path / RESULTS_FILE])
    return record


def _row(
    session: Session,
    scorer: Scorer,
    number: int,
    seen: list[str],
    forgotten: list[str],
    hold: Callable[[], None] = lambda: None,
) -> dict[str, Scores]:
    """Return the scores after `number` tasks: those on disk, and what they lack measured now and written.

    A run that was extended has rows of a shorter stream. What was seen then is as it was; scores of unseen tasks
    compete, in the class-incremental scenario, with classes that are new, and are measured again.

    Args:
        number: tasks learned.
        seen: their names.
        forgotten: those of them that were forgotten.
        hold: brings the model into the state after `number` tasks.
    """
    parts, path = session.parts, session.folder.predictions(number)
    everything = number == 0 or parts.config.evaluation.tasks == "all"
    wanted = [task for task in parts.tasks if task.name in seen or everything]
    kept: dict[str, Scores] = {}
    same_classes = False
    if path.exists():
        stored = read_predictions(path)
        same_classes = stored.class_names == parts.space.names
        kept = from_predictions(stored)
        if not same_classes and parts.space.scenario == "class":
            kept = {name: scores for name, scores in kept.items() if name in seen}
    missing = [task for task in wanted if task.name not in kept and task.name not in forgotten]
    if same_classes and not missing:
        return kept
    if missing:
        hold()
    for task in missing:
        session.console.progress(f"score {task.name}", missing.index(task), len(missing))
        kept[task.name] = scorer.seen(task, seen) if task.name in seen else scorer.unseen(task)
    reached("scored")
    rows = {task.name: kept[task.name] for task in wanted if task.name in kept}
    parts.learner.processes.lead(lambda: write_predictions(path, to_predictions(rows, parts.space.names)))
    return rows


def _keep(session: Session, stage: Stage, learned: list[str], forgotten: list[str], seconds: float) -> None:
    """Write the checkpoint after a stage; the one inside it goes.

    Args:
        stage: just committed.
        learned: names of all tasks by now, forgotten ones included.
        forgotten: those of them that were forgotten.
        seconds: that the stage took.
    """
    parts = session.parts
    save_checkpoint(
        session.folder,
        parts.learner,
        learned,
        forgotten,
        {task.name: task.label_names for task in parts.stream.tasks},
        partial(session.meter.cost, stage.name, seconds, parts.model.device),
        (_gate_task(parts, stage), stage.train.inputs.collate(np.arange(min(16, len(stage.train))))),
        parts.strategies,
    )
    reached("manifested")
    session.inside.clear()


def _accuracies(rows: dict[str, Scores], names: list[str]) -> list[float]:
    return [rows[name].accuracy if name in rows else float("nan") for name in names]


# ---------------------------------------------------------------------- one stage


def _learn(session: Session, stage: Stage, position: int, seen: list[str]) -> float:
    """Train and commit one stage, from the checkpoint inside it where there is one; returns the seconds it took."""
    parts, model = session.parts, session.parts.model
    open_stage(parts, stage, position, seen)
    show_gate(parts, stage, position)
    frozen = hash_frozen(model)
    lesson = replace(
        begin_lesson(parts, stage, position, seen),
        warn=lambda text: session.console.event("warning", text=text),
        tell=lambda text: session.console.event("strategy", text=text),
        progress=session.console.progress,
        keep=partial(_keep_for_readers, session),
    )
    parts.learner.extractor.prepare(stage.train.inputs)
    for strategy in parts.strategies:
        with session.meter.strategies.running():
            strategy.before_task(model, lesson)
    reached("opened")
    saved = _saved_inside(session, position)
    if parts.learner.processes.main:
        session.folder.cut_curves(saved[0].curve_lines if saved else _curve_lines(session.folder))
    phases = parts.config.resolved_phases() if _trains(parts, position) else ()
    with trainable_head(parts, stage):
        for number, phase in enumerate(phases):
            if saved is None or saved[0].phase <= number:
                here = saved if saved and saved[0].phase == number else None
                _train(session, stage, position, number, phase, seen, lesson, here)
    if hash_frozen(model) != frozen:
        raise TrainingError(f"task '{stage.name}': something that is declared frozen changed while it was learned")
    reached("trained")
    for strategy in parts.strategies:
        with session.meter.strategies.running():
            strategy.after_task(model, lesson)
    model.commit()
    if parts.config.row.merging is not None:
        lost = model.merge(parts.config.row.merging, parts.config.merging)
        session.console.event("merged", task=stage.name, slots=len(seen) + 1, share_lost=lost)
    if isinstance(model.head, ClosedFormHead):
        _solve(parts, model.head, stage, session.meter)
    _require_one_model(parts, stage)
    reached("committed")
    seconds = time.perf_counter() - session.meter.started
    session.meter.training_seconds += seconds
    return seconds


def _keep_for_readers(session: Session, name: str, content: bytes) -> None:
    if session.parts.learner.processes.main:
        atomic.write_bytes(session.folder.path / name, content)


def _require_one_model(parts: Parts, stage: Stage) -> None:
    """Refuse to go on when what was learned is not the same, bit for bit, in every process."""
    model = parts.model
    tensors = {**model.trainable(), **model.head.tensors(), **(model.gate.state() if model.gate else {})}
    for strategy in parts.strategies:
        tensors |= {f"{strategy.kind}/{name}": tensor for name, tensor in strategy.state().items()}
    learned = f"{hash_tensors(sorted(tensors.items()))} {sorted(model.slot_hashes.items())}"
    if not parts.learner.processes.agree(hashlib.sha256(learned.encode()).hexdigest()):
        raise TrainingError(
            f"task '{stage.name}': the processes no longer have the same weights, so nothing of it was kept; use "
            "machines of one kind with the same versions, or a single process"
        )


def _saved_inside(session: Session, position: int) -> tuple[Position, dict[str, Tensor]] | None:
    """The checkpoint inside this stage, with which the meter goes on; one that is damaged, or that an older version
    wrote, is named and left aside, for the stage gives the same bits without it."""
    try:
        saved = session.inside.load()
        if saved is None or saved[0].stage != position:
            return None
        session.meter.restore(saved[0].meter)
    except RunError as error:
        session.console.event("checkpoint_left_aside", reason=str(error))
        return None
    return saved


def _curve_lines(folder: RunFolder) -> int:
    complete = folder.complete()
    return read_manifest(folder, complete[-1]).curve_lines if complete else 0


def open_stage(parts: Parts, stage: Stage, position: int, seen: list[str]) -> None:
    """Open (or take back) the slot and the head rows that this stage trains."""
    config, model, space = parts.config, parts.model, parts.space
    torch.manual_seed(_seed(config.seed, position, 0, 0))
    if model.adapters is not None and (config.row.slots != "first" or position == 0):
        if config.row.slots == "one" and model.adapters.names:
            model.adapters.reopen(model.adapters.names[0], config.lora.dropout)
        else:
            name = stage.name if config.row.slots == "per_task" else "shared"
            slot = model.adapters.open_task(name, config.lora, config.row.lateral)
            if config.row.merging == "magmax" and seen:
                slot.start_from(model.adapters[seen[-1]])
    retrained = seen if space.scenario == "class" and parts.config.resolved_loss_rows() == "seen" else []
    for task in [*(task for task in parts.tasks if task.name in retrained), *stage.tasks]:
        block = space.blocks[task.name]
        model.head.open(block, task.classes, block_generator(config.seed, block))
    if model.adapters is not None and model.adapters.open_name is not None:
        model.fold(_gate_task(parts, stage))


def show_gate(parts: Parts, stage: Stage, position: int, most: int | None = None) -> None:
    """Let a gate that chooses see the training examples of a stage, or the first `most` of each task."""
    gate = parts.model.gate
    if not isinstance(gate, ChoosingGate):
        return
    for task in stage.tasks:
        train = task.splits["train"]
        if most is not None:
            train = EncodedSplit(train.inputs.subset(np.arange(min(most, len(train)))), train.rows[:most])
        gate.learn(position, parts.learner.extractor.bare_features(train), torch.from_numpy(train.rows))


@contextmanager
def trainable_head(parts: Parts, stage: Stage) -> Iterator[None]:
    """Inside the `with` block a head that is solved gives its place to a linear one, which is not kept."""
    model, solved = parts.model, parts.model.head
    if isinstance(solved, ClosedFormHead):
        model.head = LinearHead(solved.features)
        model.head.device = solved.device
        for task in stage.tasks:
            block = parts.space.blocks[task.name]
            model.head.open(block, task.classes, block_generator(parts.config.seed, block))
    try:
        yield
    finally:
        model.head = solved


def _solve(parts: Parts, head: ClosedFormHead, stage: Stage, meter: Meter) -> None:
    """Fit a closed-form head on frozen features."""
    for task in stage.tasks:
        rows = parts.space.rows_of(task.name)
        gathered: list[Tensor] = []
        for split in (task.splits["train"], task.splits["validation"]):
            tokens = int(split.inputs.lengths.sum())
            with meter.operations(tokens, first=True):
                features = parts.learner.extractor.features(split, task.name)
            gathered += [features, torch.from_numpy(split.rows - rows.start)]
            meter.samples += len(split)
            meter.tokens += tokens
        head.fit(parts.space.blocks[task.name], *gathered)
    meter.epochs = max(meter.epochs, 1)


def _train(
    session: Session,
    stage: Stage,
    position: int,
    number: int,
    phase: Phase,
    seen: list[str],
    lesson: Lesson,
    saved: tuple[Position, dict[str, Tensor]] | None,
) -> None:
    """Train one phase of one stage, from its start or from a checkpoint inside it."""
    parts, meter, console = session.parts, session.meter, session.console
    config, model, accelerator = parts.config, parts.model, parts.learner.accelerator
    settings, processes = config.training, parts.learner.processes
    epochs, peak = _epochs(parts, phase, position), _learning_rate(parts, phase, position)
    lengths = stage.train.inputs.lengths
    plan = [plan_epoch(lengths, settings.batch_size, config.seed, position, number, e) for e in range(epochs)]
    total = sum(len(steps) for steps in plan)
    validated = _validated_steps(plan, config.evaluation.validations, settings.early_stop is not None)
    opened = model.trainable()
    parameters = _trained_parts(model, phase)
    meter.trainable = max(meter.trainable, sum(p.numel() for p in parameters.values()))
    optimizer = make_optimizer(parameters, peak, settings.weight_decay)
    micro = min(settings.micro_batch_size or settings.batch_size, settings.batch_size)
    best, patience, step, first = _Best(), settings.early_stop, 0, 0
    if saved is not None:
        at, tensors = saved
        restore_training(tensors, opened, parameters, optimizer, best.kept)
        best.value, best.epochs_without = float("-inf") if at.best is None else at.best, at.epochs_without
        first, micro = at.step, at.micro_batch_size
        console.event("resumed", task=stage.name, phase=number, step=first, of=total)
    begun = Progress(position, 0, total, 0, _seed(config.seed, position, number + 1, 0), len(plan[0][0]))
    for strategy in parts.strategies:
        with meter.strategies.running():
            for old in strategy.rehearse(lesson, begun):
                if total * len(old.indices) >= len(old.inputs):  # else some would be computed and never read
                    parts.learner.extractor.prepare(old.inputs)
    logged = time.perf_counter(), meter.tokens, meter.samples
    validation: float | None = None

    for epoch, steps in enumerate(plan):
        if step + len(steps) < first:  # over before the checkpoint was written, its validation too
            step += len(steps)
            continue
        model.train()
        for indices in steps:
            if step < first:
                step += 1
                continue
            # ---------------------------------------------------------- forward and backward, in micro-batches
            tokens = int(lengths[indices].sum())
            factor = rate(step, total, settings.warmup, settings.schedule)
            for group in optimizer.param_groups:
                group["lr"] = peak * factor
            rehearsed = meter.rehearsed
            while True:
                seed = _seed(config.seed, position, number + 1, step)
                torch.manual_seed(seed + processes.rank)  # dropout: from seed and step, of its own in each process
                progress = Progress(position, step, total, epoch, seed, len(indices))
                full = False
                try:
                    with meter.operations(tokens, first=step == 0):
                        terms = _backward(parts, stage, indices, micro, lesson, progress, meter)
                except RuntimeError as error:
                    if not out_of_memory(error):
                        raise
                    full = True
                if not processes.any(full):
                    break
                if micro == 1:
                    raise TrainingError(
                        f"task '{stage.name}', step {step}: memory ran out with a single example; lower "
                        "backbone.max_length, or set training.activation_checkpointing=true"
                    )
                optimizer.zero_grad()
                meter.rehearsed = rehearsed
                micro = micro // 2  # same step, same result, less memory
                console.event("memory_full", task=stage.name, step=step, micro_batch_size=micro)

            # ---------------------------------------------------------- look before stepping
            summed = torch.stack([*terms.values()])
            processes.sum_gradients(parameters.values(), summed)
            norm = accelerator.clip_grad_norm_(list(parameters.values()), settings.clip_norm or float("inf"))
            values = dict(zip(terms, summed.tolist(), strict=True))
            if not np.isfinite([*values.values(), float(norm)]).all():
                raise NonFiniteLossError(_non_finite(stage, step, indices, values, float(norm)))
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            meter.steps, meter.all_steps = meter.steps + 1, meter.all_steps + 1
            meter.samples += len(indices)
            meter.tokens += tokens
            reached("step")

            # ---------------------------------------------------------- validation looks
            validation = None
            if step in validated:
                validation = _validation(parts, stage, seen)
                model.train()

            # ---------------------------------------------------------- say how it goes
            if processes.main and (step % settings.log_every == 0 or step == total or validation is not None):
                now = time.perf_counter()
                elapsed = max(now - logged[0], 1e-9)
                point = Point(
                    task=stage.name,
                    step=meter.steps,
                    epoch=step / total * epochs,
                    loss=sum(values.values()),
                    terms=values,
                    learning_rate=peak * factor,
                    tokens_per_second=(meter.tokens - logged[1]) / elapsed,
                    examples_per_second=(meter.samples - logged[2]) / elapsed,
                    seconds=now - meter.started,
                    memory_bytes=peak_memory(model.device),
                    diagnostics={k: v for s in parts.strategies for k, v in s.diagnostics(model).items()},
                    validation=validation,
                )
                session.folder.append_curve(point)
                told = {"loss": point.loss, "learning_rate": point.learning_rate, **point.diagnostics}
                told |= {} if validation is None else {"validation": validation}
                told |= {f"loss/{name}": value for name, value in values.items()}
                session.tracking.log(told, meter.all_steps)
                console.progress(
                    f"train {stage.name}",
                    step,
                    total,
                    meter.seconds_left(),
                    loss=point.loss,
                    texts_per_second=point.examples_per_second,
                )
                logged = now, meter.tokens, meter.samples

            # ---------------------------------------------------------- keep it against a kill
            if session.inside.due():
                session.inside.save(
                    training_tensors(opened, parameters, optimizer, best.kept),
                    stage=position,
                    phase=number,
                    step=step,
                    micro_batch_size=micro,
                    best=finite(best.value),
                    epochs_without=best.epochs_without,
                    meter=meter.state(),
                    curve_lines=session.folder.curve_lines(),
                )
        meter.epochs += 1

        # -------------------------------------------------------------- validation chooses
        if patience is not None:
            result = _validation(parts, stage, seen) if validation is None else validation  # None: just resumed
            console.event("epoch_done", task=stage.name, epoch=epoch + 1, validation_accuracy=result)
            best.offer(result, parameters)
            if best.epochs_without >= patience:
                console.event("early_stop", task=stage.name, epoch=epoch + 1, best=best.value)
                meter.all_steps += total - step
                break
        reached("epoch")
    best.restore(parameters)
    for parameter in opened.values():
        parameter.requires_grad_(True)


def _backward(
    parts: Parts,
    stage: Stage,
    indices: Indices,
    micro: int,
    lesson: Lesson,
    progress: Progress,
    meter: Meter | None = None,
) -> dict[str, Tensor]:
    """Accumulate this process's part of the gradient of one optimizer step, and return its part of the loss terms.

    Each micro-batch counts by its examples, so that the sum over all processes is the mean over the whole batch; so
    do examples that a strategy rehearses, by themselves. Of a penalty each process has an even part, so that it is
    added once. So neither accumulation nor the number of processes changes the strength of a term.

    Where there is a meter, it is told what strategies take of this.
    """
    model, accelerator, processes = parts.model, parts.learner.accelerator, parts.learner.processes
    timed = nullcontext if meter is None or not parts.strategies else meter.strategies.running
    terms: dict[str, Tensor] = {}

    def add(losses: Mapping[str, Tensor]) -> None:
        for name, loss in losses.items():
            terms[name] = terms.get(name, 0) + loss.detach()
        accelerator.backward(torch.stack([*losses.values()]).sum())
        reached("micro_batch")

    own, weight = _own(processes, indices)
    for part, scores in _forward(parts, stage, stage.train.inputs, own, micro):
        rows = torch.from_numpy(stage.train.rows[part])
        competing = lesson.competing[rows].to(model.device)
        losses = {"cross_entropy": masked_cross_entropy(scores, rows.to(model.device), competing).sum()}
        with timed():
            for strategy in parts.strategies:
                losses |= strategy.on_batch(scores, part)
        add({name: weight * loss / len(indices) for name, loss in losses.items()})
    with timed():
        for strategy in parts.strategies:
            for old in strategy.rehearse(lesson, progress):
                own, weight = _own(processes, old.indices)
                for part, scores in _forward(parts, stage, old.inputs, own, micro):
                    add({old.name: weight * old.loss(scores, part).sum() / len(old.indices)})
                if meter is not None:
                    meter.rehearsed += len(old.indices)
        for strategy in parts.strategies:
            penalties = {name: value / processes.count for name, value in strategy.penalty(model, progress).items()}
            if penalties:
                penalty = torch.stack([*penalties.values()]).sum()
                if penalty.requires_grad:  # not in a phase that trains none of what the penalty sees
                    accelerator.backward(penalty)
                terms |= {name: value.detach() for name, value in penalties.items()}
    return terms


def _own(processes: Processes, indices: Indices) -> tuple[Indices, float]:
    """Return the examples of this process, and how much each counts.

    Where there are too few for all, some take one along that counts nothing: every process has the same terms.
    """
    own = indices[processes.share]
    return (own, 1.0) if len(own) else (indices[:1], 0.0)


def _forward(
    parts: Parts, stage: Stage, inputs: EncodedInputs, indices: Indices, micro: int
) -> Iterator[tuple[Indices, Tensor]]:
    """Yield each micro-batch of some inputs, and its scores."""
    config, model, task = parts.config, parts.model, _gate_task(parts, stage)
    for part in micro_batches(indices, inputs.lengths, micro, config.training.tokens_per_batch):
        batch = {name: t.to(model.device, non_blocking=True) for name, t in inputs.collate(part).items()}
        with autocast(model.device, config.training.precision), parts.learner.extractor.given(inputs, part):
            scores = model(batch, task)
        yield part, scores


def begin_lesson(parts: Parts, stage: Stage, position: int, seen: list[str]) -> Lesson:
    """Return what strategies are told of a stage; its slot and its rows of the head are open."""
    config, model, space = parts.config, parts.model, parts.space
    task = _gate_task(parts, stage)

    def scores(inputs: EncodedInputs) -> Tensor:
        features = parts.learner.extractor.features(EncodedSplit(inputs, np.zeros(len(inputs), np.int64)), task)
        with torch.no_grad():
            found = [model.head(part.to(model.device)).float().cpu() for part in torch.split(features, 4096)]
        return torch.cat(found)

    if space.scenario == "task":
        old = [space.rows_of(name) for name in seen]
    else:
        old = [slice(0, max(space.rows_of(name).stop for name in seen))] if seen else []
    validations = [other.splits["validation"].inputs for other in stage.tasks]
    return Lesson(
        position=position,
        task=task,
        train=stage.train,
        validation=validations[0].followed_by(validations[1:]),
        names=space.names,
        competing=_competing(parts, stage, seen),
        old=tuple(old),
        scores=scores,
        autocast=partial(autocast, model.device, config.training.precision),
        learning_rate=max(_learning_rate(parts, phase, position) for phase in config.resolved_phases()),
        seed=_seed(config.seed, position, 0, 1),
        processes=parts.learner.processes,
    )


def rehearse(parts: Parts, steps: int) -> float:
    """Return the seconds of one optimizer step of the first stage, the median of `steps` after one that warms up."""
    stage, settings = parts.stages[0], parts.config.training
    phase = parts.config.resolved_phases()[0]
    parameters = _trained_parts(parts.model, phase)
    optimizer = make_optimizer(parameters, settings.learning_rate, settings.weight_decay)
    lesson = begin_lesson(parts, stage, 0, [])
    plan = plan_epoch(stage.train.inputs.lengths, settings.batch_size, parts.config.seed, 0, 0, 0)
    parts.model.train()
    seconds = []
    for step, indices in enumerate(plan[: steps + 1]):
        started = time.perf_counter()
        terms = _backward(parts, stage, indices, settings.batch_size, lesson, Progress(0, step, steps, 0))
        parts.learner.processes.sum_gradients(parameters.values(), torch.stack([*terms.values()]))
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[1:] or seconds))


# ---------------------------------------------------------------------- what the settings mean for a stage


def _epochs(parts: Parts, phase: Phase, position: int) -> int:
    first = parts.config.training.first_task.epochs if position == 0 else None
    return first or phase.epochs or parts.config.training.epochs


def _learning_rate(parts: Parts, phase: Phase, position: int) -> float:
    first = parts.config.training.first_task.learning_rate if position == 0 else None
    return first or phase.learning_rate or parts.config.training.learning_rate


def planned_steps(parts: Parts, position: int) -> int:
    """Return the optimizer steps of one stage; 0 where the head is solved."""
    if not _trains(parts, position):
        return 0
    per_epoch = -(-len(parts.stages[position].train) // parts.config.training.batch_size)
    return sum(per_epoch * _epochs(parts, phase, position) for phase in parts.config.resolved_phases())


def _trains(parts: Parts, position: int) -> bool:
    """Whether a stage has optimizer steps; where nothing but a closed-form head learns, it is solved."""
    if not isinstance(parts.model.head, ClosedFormHead):
        return True
    return parts.config.row.slots == "first" and position == 0


def _gate_task(parts: Parts, stage: Stage) -> str | None:
    gate = parts.model.gate
    return stage.name if gate is not None and (gate.needs_task or isinstance(gate, ChoosingGate)) else None


def _competing(parts: Parts, stage: Stage, seen: list[str]) -> Tensor:
    """The rows that compete in the loss of an example, for each true row: `[rows, rows]` of the head."""
    learned = [*seen, *(task.name for task in stage.tasks)]
    local = parts.space.scenario != "class" or parts.config.resolved_loss_rows() == "local"
    masks = np.zeros((len(parts.space.names), len(parts.space.names)), dtype=np.bool_)
    for name in learned:
        masks[parts.space.rows_of(name)] = parts.space.visible(name, [name] if local else learned)
    return torch.from_numpy(masks[: parts.model.head.rows, : parts.model.head.rows])


def _trained_parts(model: ContinualModel, phase: Phase) -> dict[str, nn.Parameter]:
    """The parameters that a phase trains; the other open ones get no gradient until the phase ends."""
    chosen: dict[str, nn.Parameter] = {}
    for name, parameter in model.trainable().items():
        part = "head" if name.startswith("head.") else "adapter" if ".banks." in name else "backbone"
        parameter.requires_grad_(part in phase.train)
        if part in phase.train:
            chosen[name] = parameter
    return chosen


def _validated_steps(plan: list[list[Indices]], times: int | None, at_epochs: bool) -> set[int]:
    """The steps of a phase after which the validation split is scored: `times` evenly spaced, and ends of epochs."""
    ends = np.cumsum([len(steps) for steps in plan])
    chosen = set(ends.tolist()) if at_epochs else set()
    if times is not None:
        chosen |= {int(step) for step in np.ceil(np.arange(1, times + 1) * ends[-1] / times)}
    return chosen


def _validation(parts: Parts, stage: Stage, seen: list[str]) -> float:
    """Mean accuracy over the validation splits of the stage's tasks, among the classes seen by now."""
    learned = [*seen, *(task.name for task in stage.tasks)]
    results = [
        score(
            parts.learner.extractor,
            task.splits["validation"],
            task.name if parts.space.scenario == "task" else None,
            parts.space.visible(task.name, learned),
        ).accuracy
        for task in stage.tasks
    ]
    return float(np.mean(results))


class _Best:
    """The best validation score of a phase and the parameters that gave it."""

    def __init__(self) -> None:
        self.value = float("-inf")
        self.epochs_without = 0
        self.kept: dict[str, Tensor] = {}

    def offer(self, value: float, parameters: dict[str, nn.Parameter]) -> None:
        if value > self.value:
            self.value, self.epochs_without = value, 0
            self.kept = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        else:
            self.epochs_without += 1

    @torch.no_grad()
    def restore(self, parameters: dict[str, nn.Parameter]) -> None:
        for name, tensor in self.kept.items():
            parameters[name].copy_(tensor)


def _seed(seed: int, stage: int, phase: int, step: int) -> int:
    """One seed for the random numbers of one step."""
    return int(np.random.SeedSequence([seed, stage, phase, step]).generate_state(1, np.uint64)[0] >> 1)


def _non_finite(stage: Stage, step: int, indices: Indices, terms: dict[str, float], norm: float) -> str:
    shown = ", ".join(map(str, indices[:8].tolist())) + (", …" if len(indices) > 8 else "")
    values = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
    return (
        f"task '{stage.name}', step {step}: the loss is not finite ({values}; gradient norm {norm:.4g}). "
        f"The batch holds training examples {shown}; nothing was changed by this step. "
        "Try a lower training.learning_rate or "
        "training.precision=fp32"
    )
