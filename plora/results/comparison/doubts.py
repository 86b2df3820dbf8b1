"""What a reader should doubt about a run, or about a comparison: one line each, with the number behind it."""

from collections.abc import Sequence

from plora.results.comparison.comparable import series
from plora.results.record.found_runs import unfinished_line
from plora.results.record.run_record import RunRecord
from plora.results.record.score import ACCURACY

TRUNCATED_SHARE = 0.05
DISCRIMINATES = 0.05
"""Of a percentage: 5 points. Of a score without a natural span, the same share of the better of the two."""
SEEDS_FOR_A_CLAIM = 3


def run_doubts(record: RunRecord) -> list[str]:
    """Return the doubts that one record raises: warnings, another score, no validation, cut inputs, an early end."""
    doubts = []
    if not record.complete:
        doubts.append(f"This run is {unfinished_line(record)}.")
    doubts += record.warnings
    doubts += split_doubts([record])
    if record.score != ACCURACY:
        score = record.score
        doubts.append(
            f"A cell of the matrix is '{score.title}' here, not accuracy, and so is every number made of them: "
            f"{score.better} is better."
        )
    blind = [data.task for data in record.data if not data.validation]
    if blind:
        which = "No task has a" if len(blind) == len(record.data) else f"{_names(blind)} no"
        doubts.append(
            f"{which} validation split: learning rate, epochs and the like were chosen without looking, "
            "or by looking at test."
        )
    for data in record.data:
        if data.truncated_share > TRUNCATED_SHARE:
            doubts.append(
                f"Task '{data.task}': {data.truncated_share:.0%} of the training inputs were cut to the "
                "length limit; what was cut cannot be learned."
            )
        if data.test_duplicates:
            doubts.append(
                f"Task '{data.task}': {data.test_duplicates} of {data.test} test inputs also stand in train "
                "or validation; its accuracy may be too high."
            )
    return doubts


def split_doubts(records: Sequence[RunRecord]) -> list[str]:
    """Return that another split than test was scored, for runs that were all scored on one; nothing for test."""
    return [
        f"The {split} split was scored, not test: these numbers choose settings, they are not results."
        for split in dict.fromkeys(record.split for record in records)
        if split != "test"
    ]


def group_doubts(records: Sequence[RunRecord]) -> list[str]:
    """Return the doubts that a comparison raises: another split, few seeds, a stream that does not tell methods apart.

    A stream discriminates where `joint` is at least 5 points above `frozen` and `sequential` at least 5 below
    `joint`, each by the mean ACC over its seeds; of several runs of such a method, the best counts. Of scores that are
    no percentages, 5 % of what joint training reaches is meant, and "above" is better.

    Args:
        records: complete runs that are comparable.
    """
    doubts = split_doubts(records)
    runs_of = series(records)
    few = [label for label, runs in runs_of.items() if len({run.seed for run in runs}) < SEEDS_FOR_A_CLAIM]
    if few and len(records) == 1:
        doubts.append("One seed: nothing is known about how much these numbers vary.")
    elif few:
        doubts.append(
            f"Fewer than {SEEDS_FOR_A_CLAIM} seeds ({', '.join(few)}): "
            "no claim can be made about small differences between methods."
        )
    joint, frozen, sequential = (_best(records, method) for method in ("joint", "frozen", "sequential"))
    if joint is None:
        return doubts
    score = records[0].score
    step, needed = (DISCRIMINATES, "5 points") if score.percent else (DISCRIMINATES * abs(joint), "5 %")
    above, below = ("above", "below") if score.percent else ("better than", "worse than")
    if frozen is not None and round(score.improvement(joint, frozen) - step, 6) < 0:
        doubts.append(
            f"This stream does not discriminate: joint training ({score.with_unit(joint)}) is not {needed} {above} a "
            f"frozen backbone ({score.with_unit(frozen)}), so there is little to learn."
        )
    if sequential is not None and round(score.improvement(joint, sequential) - step, 6) < 0:
        doubts.append(
            f"This stream does not discriminate: sequential training ({score.with_unit(sequential)}) is not {needed} "
            f"{below} joint training ({score.with_unit(joint)}), so there is little to forget."
        )
    return doubts


def _names(tasks: Sequence[str]) -> str:
    """Return "Task 'a' has", "Tasks 'a', 'b' have", the first five by name."""
    if len(tasks) == 1:
        return f"Task '{tasks[0]}' has"
    shown = ", ".join(f"'{task}'" for task in tasks[:5])
    more = f" and {len(tasks) - 5} more" if len(tasks) > 5 else ""
    return f"Tasks {shown}{more} have"


def _best(records: Sequence[RunRecord], method: str) -> float | None:
    """Return the best mean ACC of the series of one method, whatever its head (`frozen`, `frozen-ridge`)."""
    means: list[float] = []
    for runs in series([record for record in records if record.method.partition("-")[0] == method]).values():
        values = [value for run in runs if (value := run.metrics["accuracy"].value) is not None]
        if values:
            means.append(sum(values) / len(values))
    return records[0].score.best(means) if means else None
