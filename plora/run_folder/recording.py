"""From the live parts of a run to its record."""

from collections.abc import Sequence

import numpy as np

from plora.build import Parts
from plora.results import RunRecord, StreamInfo, TaskCost, TaskData, TaskStatus
from plora.results.record.matrix import Matrix


def make_record(
    parts: Parts,
    run: str,
    matrix: Matrix,
    costs: list[TaskCost],
    gates: list[dict[str, float]],
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
        seen: names of the tasks learned.
        forgotten: those of them that were forgotten.
        predictions: sha256 of the predictions of each row, None where there are none.
    """
    config = parts.config
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
        run=run,
    )
