from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from lessons import a_model
from reference import fisher as reference

import plora.strategies.fisher as fast
from plora.adapters import Route
from plora.errors import AdapterError, RunError
from plora.gates import AllOnes
from plora.strategies import EWC, Progress
from plora.strategies.fisher import Estimator, fisher
from plora.testing.tiny import tiny_lesson

START = Progress(task=1, step=0, total=10, epoch=0)


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert value.any(), f"{name} has no information: the test says nothing"
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6 * float(value.max()), msg=name)


def test_exact_equals_a_loop_over_examples_and_classes() -> None:
    model = a_model("first")
    lesson = tiny_lesson(model)
    assert_equal(fisher(model, lesson), reference.exact(model, lesson, list(range(12))))


def test_it_equals_the_loop_where_older_rows_compete_and_some_do_not() -> None:
    model = a_model("first", "second", "third")
    lesson = tiny_lesson(model, first_row=4)
    lesson.competing[:, :2] = False  # rows of the first task are out
    assert_equal(fisher(model, lesson), reference.exact(model, lesson, list(range(12))))
    assert_equal(fisher(model, lesson, "empirical"), reference.empirical(model, lesson, list(range(12))))


@pytest.mark.parametrize("estimator", ["exact", "sample", "empirical"])
def test_it_does_not_depend_on_how_examples_are_cut(estimator: Estimator, monkeypatch: pytest.MonkeyPatch) -> None:
    model = a_model("first")
    whole = fisher(model, tiny_lesson(model), estimator)
    monkeypatch.setattr(fast, "MEMORY_BYTES", 1)  # one example at a time
    assert_equal(fisher(model, tiny_lesson(model), estimator), whole)


def test_samples_are_unbiased_and_batched_is_something_else() -> None:
    model = a_model("first")
    exact = fisher(model, tiny_lesson(model))
    drawn = [fisher(model, tiny_lesson(model, seed=seed), "sample") for seed in range(400)]
    for name, value in exact.items():
        mean = torch.stack([one[name] for one in drawn]).mean(0)
        assert float((mean - value).norm() / value.norm()) < 0.1, name
    batched = fisher(model, tiny_lesson(model), "batched")
    empirical = fisher(model, tiny_lesson(model), "empirical")
    name = max(exact, key=lambda name: float(exact[name].sum()))
    assert float(batched[name].sum()) < 0.5 * float(empirical[name].sum())


def test_batched_is_the_square_of_the_mean_gradient() -> None:
    model = a_model("first")
    lesson = tiny_lesson(model)
    means = [reference.gradient(model.eval(), lesson, i, int(lesson.train.rows[i])) for i in range(12)]
    expected = {name: torch.stack([one[name] for one in means]).mean(0).square() for name in means[0]}
    assert_equal(fisher(model, lesson, "batched"), expected)


def test_the_score_has_mean_zero() -> None:
    """Σ_c p(c | x) ∇ log p(c | x) = 0: what makes the Fisher information a variance."""
    model = a_model("first").eval()
    lesson = tiny_lesson(model)
    p = lesson.scores(lesson.train.inputs)[3].softmax(0)
    gradients = [reference.gradient(model, lesson, 3, row) for row in (0, 1)]
    for name in gradients[0]:
        mean = sum(w * g[name] for w, g in zip(p, gradients, strict=True))
        assert float(torch.as_tensor(mean).abs().max()) < 1e-5


def test_the_examples_are_balanced_over_the_classes() -> None:
    rows = np.array([0] * 90 + [1] * 10 + [2] * 3)
    chosen = fast._balanced(rows, 24, seed=1)
    assert len(set(chosen.tolist())) == 24
    assert np.bincount(rows[chosen]).tolist() == [11, 10, 3]
    assert sorted(fast._balanced(rows, 500, seed=1).tolist()) == list(range(103))


def test_the_penalty_is_the_formula_and_its_gradient() -> None:
    model = a_model("first")
    ewc = EWC(weight=3.0)
    assert ewc.penalty(model, START) == {}
    lesson = tiny_lesson(model)
    ewc.after_task(model, lesson)
    F = fisher(model, lesson)
    anchor = {name: p.detach().clone() for name, p in model.trainable().items()}
    assert ewc.penalty(model, START)["ewc"].item() == 0  # at the anchor
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter += torch.randn_like(parameter)
    term = ewc.penalty(model, START)["ewc"]
    trained = model.trainable()
    expected = 1.5 * sum((F[n] * (trained[n] - anchor[n]) ** 2).sum().item() for n in trained)
    assert term.item() == pytest.approx(expected, rel=1e-5)
    for (name, parameter), g in zip(trained.items(), torch.autograd.grad(term, [*trained.values()]), strict=True):
        torch.testing.assert_close(g, 3.0 * F[name] * (parameter - anchor[name]))
    assert EWC(weight=0.0).penalty(model, START) == {}


@pytest.mark.parametrize(("anchors", "decay"), [("single", 1.0), ("single", 0.5), ("multi", 1.0)])
def test_two_tasks(anchors: str, decay: float) -> None:
    model = a_model("first")
    ewc = EWC(weight=2.0, anchors=anchors, decay=decay)  # type: ignore[arg-type]
    name = next(iter(model.trainable()))
    F, places = [], []
    for seed in (0, 1):
        lesson = tiny_lesson(model, seed=seed, shift=seed)
        F.append(fisher(model, lesson)[name])
        places.append(model.trainable()[name].detach().clone())
        ewc.after_task(model, lesson)
        with torch.no_grad():
            model.trainable()[name].add_(0.1)
    at = model.trainable()[name].detach()
    if anchors == "multi":
        expected = sum((f * (at - place) ** 2).sum() for f, place in zip(F, places, strict=True))
    else:
        expected = ((decay * F[0] + F[1]) * (at - places[1]) ** 2).sum()
    assert ewc.penalty(model, START)["ewc"].item() == pytest.approx(float(expected), rel=1e-5)
    again = EWC(weight=2.0, anchors=anchors, decay=decay)  # type: ignore[arg-type]
    again.restore(ewc.state(), model)
    assert again.penalty(model, START)["ewc"].item() == ewc.penalty(model, START)["ewc"].item()


def test_a_damaged_memory_is_named() -> None:
    model = a_model("first")
    ewc = EWC()
    ewc.after_task(model, tiny_lesson(model))
    state = ewc.state()
    with pytest.raises(RunError, match="unknown tensor 'x'"):
        EWC().restore({**state, "x": torch.zeros(1)}, model)
    state.pop(next(key for key in state if "/anchor/" in key))
    with pytest.raises(RunError, match="lacks an anchor"):
        EWC().restore(state, model)


def test_a_weight_that_overshoots_is_said() -> None:
    model = a_model("first")
    told: list[str] = []
    ewc = EWC(weight=1e9)
    lesson = tiny_lesson(model)
    ewc.before_task(model, lesson)
    ewc.after_task(model, lesson)
    ewc.before_task(model, replace(lesson, warn=told.append))
    assert len(told) == 1
    assert "try a smaller weight" in told[0]


def test_a_gate_that_weighs_slots_is_refused() -> None:
    class Half(AllOnes):
        def route(self, slots: Sequence[str], task: str | None) -> Route:
            return Route(tuple(slots), torch.full((len(slots),), 0.5))

    model = a_model("first")
    model.gate = Half()
    with pytest.raises(AdapterError, match="slots that count 1"):
        fisher(model, tiny_lesson(model))
