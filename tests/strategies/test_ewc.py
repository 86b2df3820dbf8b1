from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from lessons import a_model
from reference import fisher as reference

import plora.strategies.fisher as fast
from plora.adapters import Route
from plora.errors import AdapterError, RunError
from plora.gates import AllOnes
from plora.moment import Moment
from plora.strategies import EWC, EWCSettings
from plora.strategies.fisher import Estimator, fisher, fisher_of_updates
from plora.testing.tiny import WIDTH, tiny_lesson

START = Moment(task=1, step=0, total=10, epoch=0)


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


@pytest.mark.parametrize("of", [fisher, fisher_of_updates])
@pytest.mark.parametrize("classes", [1, 2.5])
def test_classes_are_cut_where_one_example_needs_too_much(
    of: Callable[..., dict[str, torch.Tensor]], classes: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory for so many of the six classes of the longest example: all that a pass holds stays below it."""
    model = a_model("first", "second", "third")
    lesson = tiny_lesson(model, first_row=4)
    whole = of(model, lesson)
    at_outputs: list[int] = []
    held: list[int] = []
    together: set[int] = set()
    of_outputs, total = fast._of_outputs, fast._total

    def counted(picked: torch.Tensor, outputs: Sequence[torch.Tensor], group: range) -> list[torch.Tensor]:
        found = of_outputs(picked, outputs, group)
        together.add(len(group))
        at_outputs.append(4 * sum(gradient.numel() for gradient in found))
        return found

    def counted_total(terms: Iterable[torch.Tensor]) -> torch.Tensor:
        found = total(terms)
        held.append(at_outputs[-1] + 2 * 4 * found.numel())  # and its square
        return found

    monkeypatch.setattr(fast, "_of_outputs", counted)
    monkeypatch.setattr(fast, "_total", counted_total)
    longest = int(lesson.train.inputs.lengths.max())
    banks = model.adapters.banks.values()
    numbers = longest * sum(bank.in_features + bank.out_features for bank in banks) + 2 * WIDTH**2
    monkeypatch.setattr(fast, "MEMORY_BYTES", int(4 * numbers * classes))
    assert_equal(of(model, lesson), whole)
    assert max(held) <= fast.MEMORY_BYTES
    assert min(together) < 6
    monkeypatch.setattr(fast, "MEMORY_BYTES", 1)
    together.clear()
    assert_equal(of(model, lesson), whole)
    assert together == {1}


def test_classes_that_fit_are_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    model = a_model("first", "second", "third")
    passes: list[int] = []
    of_outputs = fast._of_outputs
    monkeypatch.setattr(fast, "_of_outputs", lambda *args: passes.append(len(args[0])) or of_outputs(*args))
    fisher(model, tiny_lesson(model, first_row=4))
    assert passes == [6]


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
    p = lesson.scores(lesson.train)[3].softmax(0)
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
    ewc = EWC(EWCSettings(weight=3.0))
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
    assert EWC(EWCSettings(weight=0.0)).penalty(model, START) == {}


@pytest.mark.parametrize(("anchors", "decay"), [("single", 1.0), ("single", 0.5), ("multi", 1.0)])
def test_two_tasks(anchors: str, decay: float) -> None:
    model = a_model("first")
    ewc = EWC(EWCSettings(weight=2.0, anchors=anchors, decay=decay))  # type: ignore[arg-type]
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
    again = EWC(EWCSettings(weight=2.0, anchors=anchors, decay=decay))  # type: ignore[arg-type]
    again.restore(ewc.state(), model)
    assert again.penalty(model, START)["ewc"].item() == ewc.penalty(model, START)["ewc"].item()


def test_a_damaged_memory_is_named() -> None:
    model = a_model("first")
    ewc = EWC(EWCSettings())
    ewc.after_task(model, tiny_lesson(model))
    state = ewc.state()
    with pytest.raises(RunError, match="unknown tensor 'x'"):
        EWC(EWCSettings()).restore({**state, "x": torch.zeros(1)}, model)
    state.pop(next(key for key in state if "/anchor/" in key))
    with pytest.raises(RunError, match="lacks an anchor"):
        EWC(EWCSettings()).restore(state, model)


@pytest.mark.parametrize("anchors", ["single", "multi"])
def test_a_weight_that_overshoots_is_said(anchors: Literal["single", "multi"]) -> None:
    """From η λ Σ_anchors F = 2 on, and not a little below: two anchors with the same F count twice."""
    model = a_model("first")
    lesson = tiny_lesson(model)
    largest = max(float(F.max()) for F in fisher(model, lesson).values())

    def told(weight: float, anchored: int) -> list[str]:
        lines: list[str] = []
        ewc = EWC(EWCSettings(weight=weight, anchors=anchors))
        ewc.before_task(model, replace(lesson, warn=lines.append))
        for _ in range(anchored):
            ewc.after_task(model, lesson)
        ewc.before_task(model, replace(lesson, warn=lines.append))
        return lines

    critical = 2 / (lesson.learning_rate * largest)
    (line,) = told(1.01 * critical, 1)
    assert "try a smaller weight" in line
    assert told(0.99 * critical, 1) == []
    (line,) = told(1.01 * critical / 2, 2)
    assert " 2.02;" in line
    assert told(0.99 * critical / 2, 2) == []
    assert told(1.01 * critical, 0) == []


@pytest.mark.parametrize("anchors", ["single", "multi"])
def test_rows_that_no_longer_train_cannot_overshoot(anchors: Literal["single", "multi"]) -> None:
    """Class-incremental with local loss: the rows of older tasks are committed, the slot goes on."""
    model = a_model("first")
    ewc = EWC(EWCSettings(weight=1.0, anchors=anchors))
    lesson = tiny_lesson(model)
    ewc.after_task(model, lesson)
    F = fisher(model, lesson)
    in_slot, in_head = (max(float(F[n].max()) for n in F if n.startswith("head.") == head) for head in (False, True))
    assert in_head > 1.1 * in_slot  # otherwise the test says nothing
    weight = 2 / (lesson.learning_rate * (in_slot * in_head) ** 0.5)
    ewc.settings = ewc.settings.model_copy(update={"weight": weight})
    told: list[str] = []
    ewc.before_task(model, replace(lesson, warn=told.append))
    assert len(told) == 1
    model.head.commit()
    model.head.open("second", 2, torch.Generator().manual_seed(1))
    ewc.before_task(model, replace(lesson, warn=told.append))
    assert len(told) == 1
    model.head.open("first", 2, torch.Generator())
    ewc.before_task(model, replace(lesson, warn=told.append))
    assert len(told) == 2


def test_a_gate_that_weighs_slots_is_refused() -> None:
    class Half(AllOnes):
        def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
            return Route(tuple(slots), torch.full((len(slots),), 0.5))

    model = a_model("first")
    model.gate = Half()
    with pytest.raises(AdapterError, match="slots that count 1"):
        fisher(model, tiny_lesson(model))
