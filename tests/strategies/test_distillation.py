from dataclasses import replace

import numpy as np
import pytest
import torch
from lessons import a_model, seen
from numpy.typing import NDArray
from reference.distillation import without_forgetting

from plora.lesson import Lesson
from plora.strategies import Distillation, DistillationSettings
from plora.testing.tiny import tiny_lesson


def distance(lwf: Distillation, lesson: Lesson, indices: NDArray[np.int64], scores: torch.Tensor) -> torch.Tensor:
    """The term for a batch for which the student has these scores."""
    return lwf.on_batch(lesson, seen(lesson.train, indices, scores))["distillation"]


@pytest.mark.parametrize("seed", range(8))
def test_against_the_loop_over_examples_and_groups(seed: int) -> None:
    """Groups of one to four rows each, side by side or all as one; rows of the new task are in none of them."""
    rng = np.random.default_rng(seed)
    sizes, examples = rng.integers(1, 5, size=3), int(rng.integers(3, 12))
    ends = np.cumsum(sizes).tolist()
    starts = [0, *ends[:-1]] if seed % 2 else [0]
    groups = [range(*pair) for pair in zip(starts, ends if seed % 2 else ends[-1:], strict=True)]
    before = torch.from_numpy(rng.normal(0, 3, (12, ends[-1] + 2))).float()
    weight, temperature = rng.uniform(0.2, 3), (0.5, 1.7, 2.0, 4.0)[seed // 2]
    lesson = replace(
        tiny_lesson(a_model("first"), first_row=1),
        old=tuple(slice(group.start, group.stop) for group in groups),
        scores=lambda _: before,
    )
    lwf = Distillation(DistillationSettings(weight=weight, temperature=temperature))
    lwf.before_task(a_model("first"), lesson)
    indices = rng.permutation(12)[:examples]
    now = before[torch.from_numpy(indices)] + torch.from_numpy(rng.normal(0, 2, (examples, ends[-1] + 2))).float()
    now[:, ends[-1] :] = -torch.inf
    expected = weight * without_forgetting(
        before[indices].double().tolist(), now.double().tolist(), groups, temperature
    )
    found = lwf.on_batch(lesson, seen(lesson.train, indices, now))
    assert found.keys() == {"distillation"}
    assert found["distillation"].item() / examples == pytest.approx(expected, rel=1e-4)  # it is the sum


@pytest.mark.parametrize("groups", [(slice(0, 4),), (slice(0, 2), slice(2, 4))])
def test_the_term_is_the_formula_summed_over_groups(groups: tuple[slice, ...]) -> None:
    model = a_model("first", "second", "third")
    lesson = replace(tiny_lesson(model, first_row=4), old=groups)
    lwf = Distillation(DistillationSettings(weight=1.5, temperature=2.0))
    lwf.before_task(model, lesson)
    indices = np.array([5, 0, 7])
    before = lesson.scores(lesson.train)[torch.from_numpy(indices)]
    assert distance(lwf, lesson, indices, before).item() == pytest.approx(0, abs=1e-6)  # student is teacher
    now = before + torch.randn(3, 6)
    own = [range(rows.start, rows.stop) for rows in groups]
    expected = 1.5 * 3 * without_forgetting(before.double().tolist(), now.double().tolist(), own, 2.0)
    assert distance(lwf, lesson, indices, now).item() == pytest.approx(expected, rel=1e-4)


def test_the_teacher_does_not_move_with_the_student() -> None:
    model = a_model("first", "second")
    lesson = tiny_lesson(model, first_row=2)
    lwf = Distillation(DistillationSettings())
    lwf.before_task(model, lesson)
    before = lesson.scores(lesson.train)
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter += 1
    indices = np.arange(12)
    assert distance(lwf, lesson, indices, before).item() == pytest.approx(0, abs=1e-5)
    assert distance(lwf, lesson, indices, lesson.scores(lesson.train)).item() > 0.01


def test_the_first_task_and_weight_0_ask_nobody() -> None:
    model = a_model("first")

    def nobody(_: object) -> torch.Tensor:
        raise AssertionError("the old model was asked")

    for lwf, old in (
        (Distillation(DistillationSettings()), ()),
        (Distillation(DistillationSettings(weight=0.0)), (slice(0, 2),)),
    ):
        lesson = replace(tiny_lesson(model), old=old, scores=nobody, teacher=nobody)
        lwf.before_task(model, lesson)
        assert lwf.on_batch(lesson, seen(lesson.train, np.arange(2), torch.zeros(2, 2))) == {}
