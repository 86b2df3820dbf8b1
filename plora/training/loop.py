"""THE loop: every problem and every method is trained here, and nowhere else.

Learning a stream: open → train the phases → commit → save → score → record, task after task.
"""

import time

import numpy as np
import torch
from torch import Tensor, nn

from plora.build import Parts
from plora.errors import NonFiniteLossError, TrainingError
from plora.fingerprint import hash_frozen
from plora.heads import ClosedFormHead
from plora.methods import Phase
from plora.model import ContinualModel
from plora.problems import masked_cross_entropy
from plora.results import Point, RunRecord, TaskCost, write_predictions, write_record
from plora.strategies import Progress
from plora.training.checkpoint import save_checkpoint
from plora.training.console import Console
from plora.training.data import Stage
from plora.training.evaluate import block_generator, score
from plora.training.features import autocast
from plora.training.folder import RunFolder, size_on_disk
from plora.training.meter import Meter, peak_memory
from plora.training.optim import make_optimizer, rate
from plora.training.plan import Indices, micro_batches, plan_epoch
from plora.training.recording import make_record, to_predictions


def learn_stream(parts: Parts, folder: RunFolder, console: Console) -> RunRecord:
    """Learn every task of the stream and return the record, which is also in the run folder.

    Raises:
        NonFiniteLossError: before the optimizer could do harm.
        TrainingError: something that is declared frozen has changed.
    """
    config, model = parts.config, parts.model
    names = [task.name for task in parts.tasks]
    matrix = np.full((len(names) + 1, len(names)), np.nan)
    scorer = parts.scorer()
    meter = Meter(sum(planned_steps(parts, position) for position in range(len(parts.stages))))
    costs: list[TaskCost] = []
    seen: list[str] = []

    # ------------------------------------------------------------------ row 0: before training
    rows = {task.name: scorer.unseen(task) for task in parts.tasks}
    matrix[0] = [rows[name].accuracy for name in names]
    write_predictions(folder.predictions(0), to_predictions(rows, parts.space.names))

    for position, stage in enumerate(parts.stages):
        # ------------------------------------------------------------------ learn one stage
        meter.new_stage()
        console.event(
            "task_start",
            task=stage.name,
            number=f"{position + 1}/{len(parts.stages)}",
            texts=len(stage.train),
        )
        open_stage(parts, stage, position, seen)
        frozen = hash_frozen(model)
        for number, phase in enumerate(config.resolved_phases()):
            if isinstance(model.head, ClosedFormHead):
                _solve(parts, model.head, stage, meter)
            else:
                _train(parts, stage, position, number, phase, seen, folder, console, meter)
        if hash_frozen(model) != frozen:
            raise TrainingError(f"task '{stage.name}': something that is declared frozen changed while it was learned")
        model.commit()
        seconds = time.perf_counter() - meter.started
        meter.training_seconds += seconds

        # ------------------------------------------------------------------ keep it
        seen += [task.name for task in stage.tasks]
        before = size_on_disk(folder.path)
        save_checkpoint(
            folder, len(seen), parts.learner, seen, {task.name: list(task.label_names) for task in parts.stream.tasks}
        )
        costs.append(meter.cost(stage.name, seconds, size_on_disk(folder.path) - before, model.device))

        # ------------------------------------------------------------------ score it
        rows = {task.name: scorer.seen(task, seen) for task in parts.tasks if task.name in seen}
        if config.evaluation.tasks == "all":
            rows |= {task.name: scorer.unseen(task) for task in parts.tasks if task.name not in seen}
        matrix[len(seen)] = [rows[name].accuracy if name in rows else np.nan for name in names]
        write_predictions(folder.predictions(len(seen)), to_predictions(rows, parts.space.names))
        record = make_record(parts, matrix, costs, seen)
        write_record(folder.path, record)
        done = matrix[len(seen), : len(seen)]
        console.event(
            "task_done",
            task=stage.name,
            accuracy=float(done[-1]),
            mean_seen=float(done.mean()),
            seconds=seconds,
        )
    return record


# ---------------------------------------------------------------------- one stage


def open_stage(parts: Parts, stage: Stage, position: int, seen: list[str]) -> None:
    """Open (or take back) the slot and the head rows that this stage trains."""
    config, model, space = parts.config, parts.model, parts.space
    torch.manual_seed(_seed(config.seed, position, 0, 0))
    if model.adapters is not None:
        if config.row.slots == "one" and model.adapters.names:
            model.adapters.reopen(model.adapters.names[0], config.lora.dropout)
        else:
            model.adapters.open_task(stage.name if config.row.slots == "per_task" else "shared", config.lora)
    retrained = seen if space.scenario == "class" and _loss_rows(parts) == "seen" else []
    for task in [*(task for task in parts.tasks if task.name in retrained), *stage.tasks]:
        block = space.blocks[task.name]
        model.head.open(block, task.classes, block_generator(config.seed, block))
    model.fold(stage.name if model.gate is not None and model.gate.needs_task else None)


def _solve(parts: Parts, head: ClosedFormHead, stage: Stage, meter: Meter) -> None:
    """Fit a closed-form head on frozen features."""
    for task in stage.tasks:
        rows = parts.space.rows_of(task.name)
        gathered: list[Tensor] = []
        for split in (task.splits["train"], task.splits["validation"]):
            gathered += [parts.learner.extractor.features(split, task.name), torch.from_numpy(split.rows - rows.start)]
            meter.samples += len(split)
            meter.tokens += int(split.inputs.lengths.sum())
        head.fit(parts.space.blocks[task.name], *gathered)
    meter.epochs = 1


def _train(
    parts: Parts,
    stage: Stage,
    position: int,
    number: int,
    phase: Phase,
    seen: list[str],
    folder: RunFolder,
    console: Console,
    meter: Meter,
) -> None:
    """Train one phase of one stage."""
    config, model, accelerator = parts.config, parts.model, parts.learner.accelerator
    settings = config.training
    epochs, peak = _epochs(parts, phase, position), _learning_rate(parts, phase, position)
    lengths = stage.train.inputs.lengths
    plan = [plan_epoch(lengths, settings.batch_size, config.seed, position, number, e) for e in range(epochs)]
    total = sum(len(steps) for steps in plan)
    opened = model.trainable()
    parameters = _trained_parts(model, phase)
    meter.trainable = max(meter.trainable, sum(p.numel() for p in parameters.values()))
    optimizer = make_optimizer(parameters, peak, settings.weight_decay)
    visible = _visible_rows(parts, stage, seen).to(model.device)
    micro = min(settings.micro_batch_size or settings.batch_size, settings.batch_size)
    best, patience, step = _Best(), settings.early_stop, 0
    logged = time.perf_counter(), meter.tokens, meter.samples

    for epoch, steps in enumerate(plan):
        model.train()
        for indices in steps:
            # ---------------------------------------------------------- forward and backward, in micro-batches
            factor = rate(step, total, settings.warmup, settings.schedule)
            for group in optimizer.param_groups:
                group["lr"] = peak * factor
            while True:
                torch.manual_seed(_seed(config.seed, position, number + 1, step))  # dropout: from seed and step
                try:
                    terms = _backward(parts, stage, indices, micro, visible, Progress(position, step, total, epoch))
                    break
                except RuntimeError as error:
                    if not _out_of_memory(error) or micro == 1:
                        raise
                optimizer.zero_grad()
                micro = micro // 2  # same step, same result, less memory
                console.event("memory_full", task=stage.name, step=step, micro_batch_size=micro)

            # ---------------------------------------------------------- look before stepping
            norm = accelerator.clip_grad_norm_(list(parameters.values()), settings.clip_norm or float("inf"))
            values = dict(zip(terms, torch.stack([*terms.values()]).tolist(), strict=True))
            if not np.isfinite([*values.values(), float(norm)]).all():
                raise NonFiniteLossError(_non_finite(stage, step, indices, values, float(norm)))
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            meter.steps, meter.all_steps = meter.steps + 1, meter.all_steps + 1
            meter.samples += len(indices)
            meter.tokens += int(lengths[indices].sum())

            # ---------------------------------------------------------- say how it goes
            if step % settings.log_every == 0 or step == total:
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
                )
                folder.append_curve(point)
                console.progress(
                    f"train {stage.name}",
                    step,
                    total,
                    meter.seconds_left(),
                    loss=point.loss,
                    texts_per_second=point.examples_per_second,
                )
                logged = now, meter.tokens, meter.samples
        meter.epochs += 1

        # -------------------------------------------------------------- validation chooses
        if patience is not None:
            result = _validation(parts, stage, seen)
            console.event("epoch_done", task=stage.name, epoch=epoch + 1, validation_accuracy=result)
            best.offer(result, parameters)
            if best.epochs_without >= patience:
                console.event("early_stop", task=stage.name, epoch=epoch + 1, best=best.value)
                meter.all_steps += total - step
                break
    best.restore(parameters)
    for parameter in opened.values():
        parameter.requires_grad_(True)


def _backward(
    parts: Parts, stage: Stage, indices: Indices, micro: int, visible: Tensor, progress: Progress
) -> dict[str, Tensor]:
    """Accumulate the gradient of one optimizer step and return its loss terms.

    Each micro-batch counts by its examples, so that the sum is the mean over the whole batch; penalties are added
    once, so that accumulation does not change their strength.
    """
    config, model, accelerator = parts.config, parts.model, parts.learner.accelerator
    task = stage.name if model.gate is not None and model.gate.needs_task else None
    cross_entropy = torch.zeros((), device=model.device)
    for part in micro_batches(indices, stage.train.inputs.lengths, micro, config.training.tokens_per_batch):
        inputs = stage.train.inputs.collate(part)
        inputs = {name: tensor.to(model.device, non_blocking=True) for name, tensor in inputs.items()}
        rows = torch.from_numpy(stage.train.rows[part]).to(model.device)
        with autocast(model.device, config.training.precision):
            logits = model(inputs, task)
        competing = visible[torch.from_numpy(stage.task_of[part]).to(model.device)]
        loss = masked_cross_entropy(logits, rows, competing).sum() / len(indices)
        accelerator.backward(loss)
        cross_entropy += loss.detach()
    terms = {"cross_entropy": cross_entropy}
    for strategy in parts.strategies:
        penalties = strategy.penalty(model, progress)
        if penalties:
            accelerator.backward(torch.stack([*penalties.values()]).sum())
            terms |= {name: value.detach() for name, value in penalties.items()}
    return terms


def rehearse(parts: Parts, steps: int) -> float:
    """Return the seconds of one optimizer step of the first stage, the median of `steps` after one that warms up."""
    stage, settings = parts.stages[0], parts.config.training
    phase = parts.config.resolved_phases()[0]
    parameters = _trained_parts(parts.model, phase)
    optimizer = make_optimizer(parameters, settings.learning_rate, settings.weight_decay)
    visible = _visible_rows(parts, stage, []).to(parts.model.device)
    plan = plan_epoch(stage.train.inputs.lengths, settings.batch_size, parts.config.seed, 0, 0, 0)
    parts.model.train()
    seconds = []
    for step, indices in enumerate(plan[: steps + 1]):
        started = time.perf_counter()
        _backward(parts, stage, indices, settings.batch_size, visible, Progress(0, step, steps, 0))
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
    if isinstance(parts.model.head, ClosedFormHead):
        return 0
    per_epoch = -(-len(parts.stages[position].train) // parts.config.training.batch_size)
    return sum(per_epoch * _epochs(parts, phase, position) for phase in parts.config.resolved_phases())


def _loss_rows(parts: Parts) -> str:
    return parts.config.loss_rows or parts.config.row.loss_rows


def _visible_rows(parts: Parts, stage: Stage, seen: list[str]) -> Tensor:
    """The rows that compete in the loss, for each task of the stage: `[tasks, rows of the head]`."""
    learned = [*seen, *(task.name for task in stage.tasks)]
    local = parts.space.scenario != "class" or _loss_rows(parts) == "local"
    masks = [parts.space.visible(task.name, [task.name] if local else learned) for task in stage.tasks]
    return torch.from_numpy(np.stack(masks)[:, : parts.model.head.rows])


def _trained_parts(model: ContinualModel, phase: Phase) -> dict[str, nn.Parameter]:
    """The parameters that a phase trains; the other open ones get no gradient until the phase ends."""
    chosen: dict[str, nn.Parameter] = {}
    for name, parameter in model.trainable().items():
        part = "head" if name.startswith("head.") else "adapter" if ".banks." in name else "backbone"
        parameter.requires_grad_(part in phase.train)
        if part in phase.train:
            chosen[name] = parameter
    return chosen


def _validation(parts: Parts, stage: Stage, seen: list[str]) -> float:
    """Mean accuracy over the validation splits of the stage's tasks, among the classes seen by now."""
    learned = [*seen, *(task.name for task in stage.tasks)]
    results = [
        score(
            parts.learner.extractor, task.splits["validation"], task.name, parts.space.visible(task.name, learned)
        ).accuracy
        for task in stage.tasks
    ]
    return float(np.mean(results))


class _Best:
    """The best validation score of a phase and the parameters that gave it."""

    def __init__(self) -> None:
        self.value = float("-inf")
        self.epochs_without = 0
        self._kept: dict[str, Tensor] = {}

    def offer(self, value: float, parameters: dict[str, nn.Parameter]) -> None:
        if value > self.value:
            self.value, self.epochs_without = value, 0
            self._kept = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        else:
            self.epochs_without += 1

    @torch.no_grad()
    def restore(self, parameters: dict[str, nn.Parameter]) -> None:
        for name, tensor in self._kept.items():
            parameters[name].copy_(tensor)


def _seed(seed: int, stage: int, phase: int, step: int) -> int:
    """One seed for the random numbers of one step."""
    return int(np.random.SeedSequence([seed, stage, phase, step]).generate_state(1, np.uint64)[0] >> 1)


def _out_of_memory(error: RuntimeError) -> bool:
    return (
        isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error) or "out of memory" in str(error)
    )


def _non_finite(stage: Stage, step: int, indices: Indices, terms: dict[str, float], norm: float) -> str:
    shown = ", ".join(map(str, indices[:8].tolist())) + (", …" if len(indices) > 8 else "")
    values = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
    return (
        f"task '{stage.name}', step {step}: the loss is not finite ({values}; gradient norm {norm:.4g}). "
        f"The batch holds training examples {shown}; nothing was changed by this step. "
        "Try a lower training.learning_rate or "
        "training.precision=fp32"
    )
