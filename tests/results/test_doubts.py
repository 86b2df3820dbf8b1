from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from made_up_runs import record

from plora.results import SCORES, RunRecord, group_doubts, run_doubts
from plora.streams.overlap import Overlap, Overlaps


def flat(method: str, accuracy: float, seed: int = 0, name: str = "skills") -> RunRecord:
    R = np.full((3, 2), np.nan)
    R[1, 0] = R[2, 0] = R[2, 1] = accuracy
    return record(method, tasks=["a", "b"], R=R, seed=seed, name=name)


def test_a_run_reports_its_warnings_truncation_duplicates_and_an_early_end() -> None:
    assert run_doubts(record(warnings=("from the run",))) == [
        "from the run",
        "Task 'kind': 7% of the training inputs were cut to the length limit; what was cut cannot be learned.",
        "Task 'parameters': 3 of 480 test inputs also stand in train or validation; its accuracy may be too high.",
    ]
    assert run_doubts(record(complete=False))[0] == "This run is unfinished: 4 of 5 tasks learned."
    assert run_doubts(record(tasks=["only"])) == []


def test_a_run_without_validation_and_one_with_another_score_say_so() -> None:
    run = record(tasks=["a", "b", "c"])
    none = replace(run, data=tuple(replace(data, validation=0) for data in run.data), score=SCORES["mean_iou"])
    score, blind = run_doubts(none)[:2]
    assert score.startswith("A cell of the matrix is 'mean IoU' here, not accuracy")
    assert blind.startswith("No task has a validation split")
    some = replace(run, data=(replace(run.data[0], validation=0), *run.data[1:]))
    assert run_doubts(some)[0].startswith("Task 'a' has no validation split")
    two = replace(run, data=(*(replace(data, validation=0) for data in run.data[:2]), run.data[2]))
    assert run_doubts(two)[0].startswith("Tasks 'a', 'b' have no validation split")


def test_classes_with_few_training_examples_are_named_the_smallest_first() -> None:
    run = record(tasks=["a", "b"])

    def counted(*counts: Mapping[str, int] | None) -> list[str]:
        data = zip(run.data, counts, strict=True)
        return run_doubts(
            replace(run, data=tuple(replace(d, train_by_class=count, truncated_share=0) for d, count in data))
        )

    assert counted({"x": 20, "y": 1900}, {}) == []
    assert counted({"x": 19, "y": 1901}, {"x": 3, "y": 1917}) == [
        "Fewer than 20 training examples: 'x' of b (3), 'x' of a (19); other examples may give quite another network."
    ]
    (line,) = counted({f"c{at}": at for at in range(9)}, {"z": 1920})
    assert "'c0' of a (0), 'c1' of a (1), 'c2' of a (2), 'c3' of a (3), 'c4' of a (4) and 4 more;" in line
    few = replace(run.data[0], classes=192)  # an older version did not count: the mean is all that is known
    assert run_doubts(replace(run, data=(few,)))[0].startswith(
        "Task 'a' has 10 training examples per class in the mean"
    )


def test_test_texts_that_stand_nearly_or_elsewhere_in_train_are_a_doubt_from_one_percent_on() -> None:
    run, none = record(tasks=["a"]), Overlap(0, 0, 0, 0)

    def found(test: Overlap) -> list[str]:
        return run_doubts(replace(run, data=(replace(run.data[0], overlaps=Overlaps(none, test)),)))

    assert found(none) == found(Overlap(same=0, same_elsewhere=1, near=2, near_elsewhere=1)) == []  # 4 of 480
    assert found(Overlap(same=0, same_elsewhere=1, near=4, near_elsewhere=0)) == [
        "Task 'a': of 480 test texts 4 nearly in its own train or validation, 1 in those of another task (Jaccard "
        "similarity of 8-grams at least 0.6); its accuracy may be too high for texts that are new."
    ]


def test_one_seed_and_few_seeds() -> None:
    assert group_doubts([flat("ewc", 0.5)]) == ["One seed: nothing is known about how much these numbers vary."]
    runs = [flat("ewc", 0.5, seed) for seed in range(3)] + [flat("lwf", 0.5, seed) for seed in (1, 2)]
    assert group_doubts(runs)[0].startswith("Fewer than 3 seeds (lwf)")
    runs.append(flat("lwf", 0.5, 3))
    assert group_doubts(runs) == []
    runs[-1] = flat("lwf", 0.5, 2)  # the same seed again says nothing new
    assert group_doubts(runs)[0].startswith("Fewer than 3 seeds (lwf)")


def discriminates(frozen: float, sequential: float, joint: float) -> list[str]:
    runs = [
        flat(method, accuracy, seed)
        for seed in range(3)
        for method, accuracy in (("frozen", frozen), ("sequential", sequential), ("joint", joint))
    ]
    return group_doubts(runs)


def test_a_stream_that_does_not_discriminate() -> None:
    assert discriminates(0.6, 0.4, 0.8) == []
    assert discriminates(0.80, 0.80, 0.85) == []  # exactly 5 points are enough, though 0.85 − 0.8 < 0.05
    (little_to_learn,) = discriminates(0.77, 0.4, 0.8)
    assert "the best of all methods, joint (80.0%), is not 5 points above a frozen backbone, frozen (77.0%)" in (
        little_to_learn
    )
    assert "Either training is too short" in little_to_learn
    assert "or there is little to learn" in little_to_learn
    (little_to_forget,) = discriminates(0.6, 0.79, 0.8)
    assert "sequential (79.0%), is not 5 points below the best of all methods, joint (80.0%)" in little_to_forget
    assert "Either there is little to forget, or" in little_to_forget


def three(method: str, accuracy: float, name: str = "skills") -> list[RunRecord]:
    return [flat(method, accuracy, seed, name) for seed in range(3)]


def test_the_best_of_all_methods_is_what_can_be_learned_not_joint() -> None:
    """`joint` 1.4 points above `frozen` says nothing beside a method that is 5.8 above it."""
    (line,) = group_doubts([*three("frozen", 0.58), *three("joint", 0.594), *three("per_task", 0.638)])
    assert line.startswith("joint (59.4%) is no ceiling here: per_task (63.8%) is above it.")
    assert "more steps or another learning rate" in line
    assert group_doubts([*three("frozen", 0.58), *three("joint", 0.638), *three("per_task", 0.6379)]) == []
    (line,) = group_doubts([*three("frozen", 0.62), *three("per_task", 0.638)])  # no joint run is needed
    assert "per_task (63.8%), is not 5 points above" in line
    assert group_doubts([*three("frozen", 0.62), *three("ewc", 0.638)]) == []  # it may be low because it forgets


def test_a_frozen_backbone_may_be_the_best_of_all() -> None:
    (ceiling, little) = group_doubts([*three("frozen-ridge", 0.7), *three("joint", 0.6)])
    assert ceiling.startswith("joint (60.0%) is no ceiling here: frozen-ridge (70.0%) is above it")
    assert "frozen-ridge (70.0%), is not 5 points above a frozen backbone" in little


def test_without_the_reference_runs_nothing_is_claimed_and_the_best_frozen_counts() -> None:
    runs = [*three("frozen", 0.5), *three("joint", 0.8)]
    assert group_doubts(runs[:3]) == []
    assert group_doubts(runs) == []
    assert group_doubts([]) == []
    runs += three("frozen", 0.79, name="ridge")
    assert "frozen (ridge) (79.0%)" in group_doubts(runs)[0]
