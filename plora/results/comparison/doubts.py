"""What a reader should doubt about a run, or about a comparison: one line each, with the number behind it."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from plora.results.comparison.comparable import series
from plora.results.comparison.paired_examples import PairedExamples
from plora.results.record.class_rankings import ClassRankings
from plora.results.record.found_runs import unfinished_line
from plora.results.record.run_record import RunRecord, TaskData
from plora.results.record.score import ACCURACY, Score
from plora.streams.overlap import GRAM, NEAR, Overlap

TRUNCATED_SHARE = 0.05
OVERLAP_SHARE = 0.01
"""Of the test texts: so many that a point of accuracy may come from texts that were seen in training, or almost."""
DISCRIMINATES = 0.05
"""Of a percentage: 5 points. Of a score without a natural span, the same share of the better of the two."""
SEEDS_FOR_A_CLAIM = 3
FEW_PER_CLASS = 20
"""Training examples: of fewer, a class is seldom learned, and what is learned depends on which they are."""
FEW_TESTED = 10
CONFIDENCE = 0.95
NAMED_UP_TO = 5  # classes or methods of one line


def run_doubts(record: RunRecord) -> list[str]:
    """Return the doubts that one record raises: warnings, another score, no validation, few or cut inputs."""
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
    small = [
        (count, data.task, name)
        for data in record.data
        for name, count in (data.train_by_class or {}).items()
        if count < FEW_PER_CLASS
    ]
    if small:
        told = [f"'{name}' of {task} ({count})" for count, task, name in sorted(small)[:NAMED_UP_TO]]
        more = f" and {len(small) - NAMED_UP_TO} more" if len(small) > NAMED_UP_TO else ""
        doubts.append(
            f"Fewer than {FEW_PER_CLASS} training examples: {', '.join(told)}{more}; other examples may give quite "
            "another network."
        )
    for data in record.data:
        if data.train_by_class is None and data.classes and data.train < FEW_PER_CLASS * data.classes:
            doubts.append(
                f"Task '{data.task}' has {data.train / data.classes:.3g} training examples per class in the mean, "
                f"fewer than {FEW_PER_CLASS}; other examples may give quite another network."
            )
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
        if data.overlaps is not None and (line := _overlap_line(data, data.overlaps.test)):
            doubts.append(line)
    return doubts


def prediction_doubts(measured: ClassRankings) -> list[str]:
    """Return which classes were never predicted, and which have too few test examples to say anything of.

    Args:
        measured: the predictions after the last task.
    """
    classes = len(measured.class_names)
    labelled = np.bincount(measured.label, minlength=classes)
    predicted = np.bincount(measured.prediction, minlength=classes)
    tasks = {int(label): str(task) for label, task in zip(measured.label, measured.task, strict=True)}
    several = len(set(tasks.values())) > 1

    def named(ids: NDArray[np.int64]) -> str:
        names = [
            f"'{measured.class_names[c]}'{f' of {tasks[int(c)]}' if several else ''} ({labelled[c]} test examples)"
            for c in ids[:NAMED_UP_TO]
        ]
        return ", ".join(names) + (f" and {len(ids) - NAMED_UP_TO} more" if len(ids) > NAMED_UP_TO else "")

    never = np.flatnonzero((labelled > 0) & (predicted == 0))
    few = np.flatnonzero((labelled > 0) & (labelled < FEW_TESTED))
    doubts = []
    if len(never):
        doubts.append(f"Never predicted: {named(never)}. All their test examples count as wrong.")
    if len(few):
        doubts.append(f"Fewer than {FEW_TESTED} test examples: {named(few)}. Their own accuracy says nothing.")
    return doubts


def undecided_doubts(compared: Sequence[PairedExamples]) -> list[str]:
    """Return which methods differ from the best one by less than their test examples can tell.

    Args:
        compared: the best method with each other one, see `against_best`.
    """
    undecided = [pair for pair in compared if pair.p >= 1 - CONFIDENCE]
    if not undecided:
        return []
    told = [
        f"{pair.second} ({100 * pair.difference:+.1f} points, p = {pair.p:.2g})" for pair in undecided[:NAMED_UP_TO]
    ]
    more = f" and {len(undecided) - NAMED_UP_TO} more" if len(undecided) > NAMED_UP_TO else ""
    return [
        f"Less than {undecided[0].examples:,} test examples can tell (McNemar's test, seed by seed): "
        f"{undecided[0].first} against {', '.join(told)}{more}."
    ]


def split_doubts(records: Sequence[RunRecord]) -> list[str]:
    """Return that another split than test was scored, for runs that were all scored on one; nothing for test."""
    return [
        f"The {split} split was scored, not test: these numbers choose settings, they are not results."
        for split in dict.fromkeys(record.split for record in records)
        if split != "test"
    ]


def group_doubts(records: Sequence[RunRecord]) -> list[str]:
    """Return the doubts that a comparison raises: another split, few seeds, a stream that does not tell methods apart.

    What can be reached is the mean ACC of the best of all methods, `joint` one among them. A stream discriminates where
    that is at least 5 points above `frozen`, and `sequential` at least 5 below it; of several runs of a method, the
    best counts. Where it does not, these numbers cannot say whether the methods trained too little or there is nothing
    to learn, and the line names both. Of scores that are no percentages, 5 % of the best is meant, and "above" is
    better. Without `joint` or `per_task` nothing is said: the others may be low because they forget.

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
    if not records:
        return doubts
    score, means = records[0].score, _means(runs_of)
    joint, frozen, sequential = (_best(means, score, method) for method in ("joint", "frozen", "sequential"))
    best = _best(means, score)
    if best is None or (joint is None and _best(means, score, "per_task") is None):
        return doubts
    reached = means[best]
    step, needed = (DISCRIMINATES, "5 points") if score.percent else (DISCRIMINATES * abs(reached), "5 %")
    above, below = ("above", "below") if score.percent else ("better than", "worse than")

    def told(label: str) -> str:
        return f"{label} ({score.with_unit(means[label])})"

    if joint is not None and score.text(means[joint]) != score.text(reached):
        doubts.append(
            f"{told(joint)} is no ceiling here: {told(best)} is {above} it. It may need more steps or another learning "
            "rate; what is measured against it (such as a gap to joint) is too kind until then."
        )
    if frozen is not None and round(score.improvement(reached, means[frozen]) - step, 6) < 0:
        doubts.append(
            f"This stream does not discriminate: the best of all methods, {told(best)}, is not {needed} {above} a "
            f"frozen backbone, {told(frozen)}. Either training is too short or its learning rate is wrong (train "
            "twice as long: does it rise?), or there is little to learn that the frozen backbone does not know."
        )
    if sequential is not None and round(score.improvement(reached, means[sequential]) - step, 6) < 0:
        doubts.append(
            f"This stream does not discriminate: sequential training, {told(sequential)}, is not {needed} {below} the "
            f"best of all methods, {told(best)}. Either there is little to forget, or the methods have learned too "
            "little to lose any."
        )
    return doubts


def _overlap_line(data: TaskData, found: Overlap) -> str:
    """Return that test texts stand nearly in earlier splits, or in another task's; nothing where they are few."""
    counts = {
        "nearly in its own train or validation": found.near,
        "in those of another task": found.same_elsewhere,
        "nearly in those of another task": found.near_elsewhere,
    }
    if sum(counts.values()) < OVERLAP_SHARE * data.test:
        return ""
    told = ", ".join(f"{count} {where}" for where, count in counts.items() if count)
    return (
        f"Task '{data.task}': of {data.test} test texts {told} (Jaccard similarity of {GRAM}-grams at least {NEAR}); "
        "its accuracy may be too high for texts that are new."
    )


def _names(tasks: Sequence[str]) -> str:
    """Return "Task 'a' has", "Tasks 'a', 'b' have", the first five by name."""
    if len(tasks) == 1:
        return f"Task '{tasks[0]}' has"
    shown = ", ".join(f"'{task}'" for task in tasks[:5])
    more = f" and {len(tasks) - 5} more" if len(tasks) > 5 else ""
    return f"Tasks {shown}{more} have"


def _means(runs_of: Mapping[str, Sequence[RunRecord]]) -> dict[str, float]:
    """Return the mean ACC of each series that has one."""
    values_of = {label: [run.metrics["accuracy"].value for run in runs] for label, runs in runs_of.items()}
    measured = {label: [value for value in values if value is not None] for label, values in values_of.items()}
    return {label: sum(values) / len(values) for label, values in measured.items() if values}


def _best(means: Mapping[str, float], score: Score, method: str | None = None) -> str | None:
    """Return the label with the best mean; of one method, whatever its head (`frozen`, `frozen-ridge`), or of all."""
    labels = [label for label in means if method is None or re.split(r"[-, (]", label, maxsplit=1)[0] == method]
    return max(labels, key=lambda label: score.sign * means[label], default=None)
