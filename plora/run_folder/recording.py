"""From the live parts of a run to its record."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plora.batches.evaluate import Scores
from plora.build import Parts
from plora.results import RANKS, ClassRankings, RunRecord, StreamInfo, TaskCost, TaskData, TaskStatus
from plora.results.record.matrix import Matrix

_SAID_ELSEWHERE = {"name", "seed", "stream", "added", "order", "output", "scenario", "method"}
"""Keys of a config that a record has under its own keys, or as the fingerprint of the stream."""


def to_predictions(rows: dict[str, Scores], class_names: tuple[str, ...]) -> ClassRankings:
    """Return the sufficient record of one row of the matrix: every example of every task scored."""

    def column(parts: Iterable[NDArray[Any]], kind: type[np.generic]) -> NDArray[Any]:
        return np.concatenate([np.empty(0, kind), *parts])  # typed where every task was forgotten

    return ClassRankings(
        task=column((np.full(len(scores.rows), name) for name, scores in rows.items()), np.str_),
        example=column((np.arange(len(scores.rows), dtype=np.int32) for scores in rows.values()), np.int32),
        label=column((scores.rows.astype(np.int32) for scores in rows.values()), np.int32),
        ranking=np.concatenate([np.empty((0, RANKS), np.int32), *(s.ranking.astype(np.int32) for s in rows.values())]),
        probabilities=np.concatenate([np.empty((0, RANKS), np.float32), *(s.probabilities for s in rows.values())]),
        class_names=class_names,
    )


def from_predictions(predictions: ClassRankings) -> dict[str, Scores]:
    """Return the scores of each task that a row of the matrix holds."""
    rows = {}
    for name in dict.fromkeys(predictions.task.tolist()):
        chosen = predictions.task == name
        rows[str(name)] = Scores(
            predictions.label[chosen].astype(np.int64),
            predictions.ranking[chosen].astype(np.int64),
            predictions.probabilities[chosen],
        )
    return rows


def make_record(
    parts: Parts,
    matrix: Matrix,
    costs: list[TaskCost],
    gates: list[dict[str, float]],
    seen: list[str],
    forgotten: list[str],
) -> RunRecord:
    """Return the record of a run so far.

    Args:
        parts: of the run.
        matrix: `[T + 1, T]`, NaN where not measured.
        costs: one per stage learned.
        gates: how much each slot contributed, one per stage learned.
        seen: names of the tasks learned.
        forgotten: those of them that were forgotten.
    """
    config = parts.config
    names = tuple(task.name for task in parts.tasks)
    status: list[TaskStatus] = []
    for number, name in enumerate(names, start=1):
        measured = not np.isnan(matrix[number]).all()
        status.append("evaluated" if measured else "trained" if name in seen else "pending")
    return RunRecord(
        name=config.name,
        method=config.label,
        method_summary=config.row.summary,
        scenario=config.scenario,
        stream=StreamInfo(parts.stream.name, parts.stream.fingerprint()),
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
        gates=tuple(gates),
        settings=config.model_dump(mode="json", exclude=_SAID_ELSEWHERE),
    )
