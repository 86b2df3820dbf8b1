from dataclasses import replace

import numpy as np
import pytest
import torch
from lessons import a_model

from plora.strategies import Distillation
from plora.testing.tiny import tiny_lesson


def by_hand(old: torch.Tensor, new: torch.Tensor, tau: float) -> float:
    """τ² Σ_n KL(p_old ‖ p_new), as a loop over numbers."""
    total = 0.0
    for before, now in zip(old.double().tolist(), new.double().tolist(), strict=True):
        p, q = (np.exp(np.array(z) / tau) / np.exp(np.array(z) / tau).sum() for z in (before, now))
        total += float((p * np.log(p / q)).sum())
    return tau**2 * total


@pytest.mark.parametrize("groups", [(slice(0, 4),), (slice(0, 2), slice(2, 4))])
def test_the_term_is_the_formula_summed_over_groups(groups: tuple[slice, ...]) -> None:
    model = a_model("first", "second", "third")
    lesson = replace(tiny_lesson(model, first_row=4), old=groups)
    lwf = Distillation(weight=1.5, temperature=2.0)
    lwf.before_task(model, lesson)
    indices = np.array([5, 0, 7])
    before = lesson.scores(lesson.train.inputs)[torch.from_numpy(indices)]
    assert lwf.on_batch(before, indices)["distillation"].item() == pytest.approx(0, abs=1e-6)  # student is teacher
    now = before + torch.randn(3, 6)
    expected = 1.5 * sum(by_hand(before[:, rows], now[:, rows], 2.0) for rows in groups)
    assert lwf.on_batch(now, indices)["distillation"].item() == pytest.approx(expected, rel=1e-4)


def test_the_teacher_does_not_move_with_the_student() -> None:
    model = a_model("first", "second")
    lesson = tiny_lesson(model, first_row=2)
    lwf = Distillation()
    lwf.before_task(model, lesson)
    before = lesson.scores(lesson.train.inputs)
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter += 1
    indices = np.arange(12)
    assert lwf.on_batch(before, indices)["distillation"].item() == pytest.approx(0, abs=1e-5)
    assert lwf.on_batch(lesson.scores(lesson.train.inputs), indices)["distillation"].item() > 0.01


def test_the_first_task_and_weight_0_ask_nobody() -> None:
    model = a_model("first")

    def nobody(_: object) -> torch.Tensor:
        raise AssertionError("the old model was asked")

    for lwf, old in ((Distillation(), ()), (Distillation(weight=0.0), (slice(0, 2),))):
        lwf.before_task(model, replace(tiny_lesson(model), old=old, scores=nobody))
        assert lwf.on_batch(torch.zeros(2, 2), np.arange(2)) == {}
