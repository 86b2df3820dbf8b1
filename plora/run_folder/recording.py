"""From the live parts of a run to its record."""

from collections.abc import Sequence

import numpy as np

from plora.adapters.merging import MERGED
from plora.build import Parts
from plora.gates import Verdict
from plora.results import RunRecord, SlotState, StreamInfo, TaskCost, TaskData, TaskStatus
from plora.results.record.matrix import Matrix


def make_record(
    parts: Parts,
    run: str,
    matrix: Matrix,
    costs: list[TaskCost],
    gates: list[dict[str, float]],
    slot_states: list[SlotState | None],
    seen: Sequence[str],
    forgotten: Sequence[str],
    predictions: Sequence[str | None],
) -> RunRecord:
    """Return the record of a run so far.

    Args:
        parts: of the run.
        run: what its files call it.
        matrix: `[T + 1, T]`, NaN where not measured.
        costs: one per stage learned.
        gates: how much each slot contributed, one per stage learned.
        slot_states: what became of the slots, one per stage learned.
        seen: names of the tasks learned.
        forgotten: those of them that were forgotten.
        predictions: sha256 of the predictions of each row, None where there are none.
    """
    config, overlaps = parts.config, parts.stream.overlaps()
    gate = config.resolved_gate()
    names = tuple(task.name for task in parts.tasks)
    learned, status = set(seen), list[TaskStatus]()
    for number, name in enumerate(names, start=1):
        measured = not np.isnan(matrix[number]).all()
        status.append("evaluated" if measured else "trained" if name in learned else "pending")
    return RunRecord(
        name=config.name,
        method=config.label,
        method_summary=config.row.summary,
        scenario=config.scenario,
        stream=StreamInfo(parts.stream.name, parts.stream.fingerprint(), parts.stream.notes),
        seed=config.seed,
        tasks=names,
        matrix=matrix,
        status=tuple(status),
        cost=tuple(costs),
        data=tuple(
            TaskData(
                task=task.name,
                classes=encoded.classes,
                train=len(task.train),
                validation=len(task.validation),
                test=len(task.test),
                truncated_share=encoded.truncated_share(),
                test_duplicates=task.test_duplicates(),
                fingerprints=task.fingerprints(),
                train_by_class=task.train_by_class(),
                overlaps=None if overlaps is None else overlaps[task.name],
            )
            for task, encoded in zip(parts.stream.tasks, parts.tasks, strict=True)
        ),
        warnings=tuple(f"task '{name}' was learned and forgotten (plora forget)" for name in forgotten),
        complete=len(seen) == len(names),
        split=config.evaluation.split,
        problem=config.problem.kind,
        score=parts.model.problem.score,
        gates=tuple(gates),
        settings=config.settings(),
        predictions=tuple(predictions),
        slot_states=tuple(slot_states),
        passes=len(seen) if gate is not None and gate.asks_each and config.scenario != "task" else config.passes,
        run=run,
    )


def slot_state(parts: Parts, tasks: Sequence[str], verdict: Verdict) -> SlotState:
    """Return what became of the slots, when a stage was committed.

    Args:
        parts: of the run.
        tasks: learned by now and not forgotten.
        verdict: what the gate decided about the slot that was just learned.
    """
    model, gate = parts.model, parts.config.resolved_gate()
    names = [] if model.adapters is None else [name for name in model.adapters.names if name != MERGED]
    gone = sum(task not in names for task in tasks) if parts.config.row.slots == "per_task" else int(verdict.drop)
    used = len(names)
    if gate is not None and not gate.needs_task and not gate.reads:
        used = sum(share != 0 for share in model.coefficients(None).values())
    return SlotState(len(names) + gone, used, gone, verdict.drop, verdict.reason, model.vectors())
