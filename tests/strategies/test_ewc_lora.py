from dataclasses import replace

import pytest
import torch
from lessons import a_model
from reference import fisher as reference

import plora.strategies.fisher as fast
from plora.errors import RunError
from plora.model import ContinualModel
from plora.moment import Moment
from plora.strategies import EWCLoRA, EWCLoRASettings
from plora.strategies.ewc_lora import _largest_curvature
from plora.strategies.fisher import Estimator, fisher, fisher_of_updates
from plora.testing.tiny import open_filled, tiny_lesson

START = Moment(task=1, step=0, total=10, epoch=0)


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert value.any(), f"{name} has no information: the test says nothing"
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6 * float(value.max()), msg=name)


def test_it_equals_a_loop_over_examples_and_classes_with_every_entry_a_parameter() -> None:
    for tasks, first_row in ((("first",), 0), (("first", "second", "third"), 4)):
        model = a_model(*tasks)
        lesson = tiny_lesson(model, first_row=first_row)
        found = fisher_of_updates(model, lesson)
        head = {name: found.pop(name) for name in [*found] if name.startswith("head.")}
        assert_equal(found, reference.exact_of_updates(model, lesson, list(range(12))))
        of_factors = fisher(model, lesson)
        assert_equal(head, {name: of_factors[name] for name in of_factors if name.startswith("head.")})


@pytest.mark.parametrize("estimator", ["exact", "sample", "empirical"])
def test_it_does_not_depend_on_how_examples_are_cut(estimator: Estimator, monkeypatch: pytest.MonkeyPatch) -> None:
    model = a_model("first")
    whole = fisher_of_updates(model, tiny_lesson(model), estimator)
    monkeypatch.setattr(fast, "MEMORY_BYTES", 1)  # one example at a time
    assert_equal(fisher_of_updates(model, tiny_lesson(model), estimator), whole)


def test_passes_are_as_small_as_dense_gradients_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one pass holds stays below the bound, or is one example's: 2 classes · O · I numbers of 4 bytes, twice."""
    model = a_model("first")
    largest = max(bank.in_features * bank.out_features for bank in model.adapters.banks.values())
    monkeypatch.setattr(fast, "MEMORY_BYTES", 3 * 4 * 2 * (2 * largest + 400))
    sizes: list[int] = []
    squared = fast._squared
    monkeypatch.setattr(fast, "_squared", lambda *args: sizes.append(len(args[2])) or squared(*args))
    fisher_of_updates(model, tiny_lesson(model))
    assert sum(sizes) == 12
    assert max(sizes) <= 3


def _turned(model: ContinualModel) -> None:
    """(B, A) → (B M, M⁻¹ A) in every layer: the same product."""
    for bank in model.adapters.banks.values():
        M = torch.tensor([[2.0, 1.0], [-0.5, 3.0]])
        with torch.no_grad():
            bank.A.copy_(torch.linalg.solve(M, bank.A))
            bank.B.copy_((bank.B.T @ M).T)


def test_information_and_term_are_the_same_for_other_factors_of_the_same_update() -> None:
    model = a_model("first", "second")
    lesson = tiny_lesson(model, first_row=2)
    strategy = EWCLoRA(EWCLoRASettings(weight=2.0))
    strategy.after_task(model, lesson)
    of_factors, term = fisher(model, lesson), strategy.penalty(model, START)["ewc_lora"].item()
    F_W = fisher_of_updates(model, lesson)
    _turned(model)
    for name, value in fisher_of_updates(model, lesson).items():
        torch.testing.assert_close(value, F_W[name], rtol=1e-3, atol=1e-5 * float(value.max()))
    assert strategy.penalty(model, START)["ewc_lora"].item() == pytest.approx(term, rel=1e-4)
    changed = [
        name
        for name, value in fisher(model, lesson).items()
        if "banks" in name and not torch.allclose(value, of_factors[name], rtol=0.1)
    ]
    assert changed  # what EWC holds does change


def test_the_term_is_the_formula_for_the_new_slot_and_a_shared_head() -> None:
    model = a_model("first")
    strategy = EWCLoRA(EWCLoRASettings(weight=3.0, decay=0.5))
    assert strategy.penalty(model, START) == {}
    F = []
    for seed in (0, 1):
        lesson = tiny_lesson(model, seed=seed, shift=seed)
        F.append(fisher_of_updates(model, lesson))
        anchor = {name: p.detach().clone() for name, p in model.trainable().items() if name.startswith("head.")}
        strategy.after_task(model, lesson)
        with torch.no_grad():
            for parameter in model.head.parameters():
                parameter.add_(0.1)
    w = {name: 0.5 * F[0][name] + F[1][name] for name in F[0]}
    trained = model.trainable()
    expected = sum((w[name] * (trained[name] - anchor[name]) ** 2).sum().item() for name in anchor)
    expected += sum((w[path] * delta**2).sum().item() for path, delta in model.adapters["first"].delta().items())
    term = strategy.penalty(model, START)["ewc_lora"]
    assert term.item() == pytest.approx(1.5 * expected, rel=1e-5)
    assert all(g.any() for g in torch.autograd.grad(term, [*trained.values()]))
    strategy.settings = EWCLoRASettings(weight=0.0)
    assert strategy.penalty(model, START) == {}


def test_a_new_slot_starts_without_a_term_and_older_slots_have_none() -> None:
    model = a_model("first")
    strategy = EWCLoRA(EWCLoRASettings())
    strategy.after_task(model, tiny_lesson(model))
    model.commit()
    open_filled(model, "second")
    before = strategy.penalty(model, START)["ewc_lora"]
    assert before > 0
    for bank in model.adapters.banks.values():
        torch.nn.init.zeros_(bank.B)
    assert strategy.penalty(model, START)["ewc_lora"].item() == 0  # though the first slot's ΔW is not


def test_a_weight_that_overshoots_is_said() -> None:
    """From η κ = 2 on, κ the largest eigenvalue of the term's Hessian in all that trains, by autograd."""
    model = a_model("first")
    strategy = EWCLoRA(EWCLoRASettings(weight=1.0))
    lesson = tiny_lesson(model)
    told: list[str] = []
    warning = replace(lesson, warn=told.append)
    strategy.before_task(model, warning)
    strategy.after_task(model, lesson)
    model.commit()
    open_filled(model, "second")
    for bank in model.adapters.banks.values():
        torch.nn.init.zeros_(bank.B)  # as a task starts
    trained = [p for name, p in model.trainable().items() if not name.startswith("head.")]  # new rows are not held
    term = strategy.penalty(model, START)["ewc_lora"]
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(term, trained, create_graph=True)])
    rows = [torch.autograd.grad(one, trained, retain_graph=True, materialize_grads=True) for one in gradient]
    hessian = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
    largest = float(torch.linalg.eigvalsh(hessian)[-1])
    strategy.settings = EWCLoRASettings(weight=0.97 * 2 / (lesson.learning_rate * largest))
    strategy.before_task(model, warning)
    assert told == []
    strategy.settings = EWCLoRASettings(weight=1.03 * 2 / (lesson.learning_rate * largest))
    strategy.before_task(model, warning)
    (line,) = told
    assert "EWC-LoRA" in line
    assert "try a smaller weight" in line


def test_the_largest_curvature_is_that_of_the_worst_output() -> None:
    torch.manual_seed(0)
    for shape in ((12, 4, 40), (5, 8, 8), (7, 1, 3)):
        outputs, rank, inputs = shape
        A = torch.randn(rank, inputs) + 1  # rows that are alike: no entry of the diagonal is near the eigenvalue
        w = torch.rand(outputs, inputs) ** 8 * 1e-9
        w[0] = 0
        expected = max(float(torch.linalg.eigvalsh(A.double() * one.double() @ A.double().T)[-1]) for one in w)
        assert 0.97 * expected <= _largest_curvature(w, A) <= 1.0001 * expected
    assert _largest_curvature(torch.zeros(3, 8), torch.randn(2, 8)) == 0


def test_shared_rows_of_the_head_can_overshoot_too() -> None:
    model = a_model("first")
    strategy = EWCLoRA(EWCLoRASettings())
    lesson = tiny_lesson(model)
    strategy.after_task(model, lesson)
    for bank in model.adapters.banks.values():
        torch.nn.init.zeros_(bank.A)
    F = fisher(model, lesson)
    largest = max(float(strategy._fisher[name].max()) for name in F if name.startswith("head."))
    told: list[str] = []
    for factor in (0.99, 1.01):
        strategy.settings = EWCLoRASettings(weight=factor * 2 / (lesson.learning_rate * largest))
        strategy.before_task(model, replace(lesson, warn=told.append))
    assert len(told) == 1
    model.head.commit()
    strategy.before_task(model, replace(lesson, warn=told.append))
    assert len(told) == 1


def test_folding_older_slots_changes_nothing() -> None:
    model = a_model("first", "second")
    lesson = tiny_lesson(model, first_row=2)
    plain = fisher_of_updates(model, lesson)
    model.fold(None)
    for name, value in fisher_of_updates(model, lesson).items():
        torch.testing.assert_close(value, plain[name], rtol=1e-3, atol=1e-5 * float(value.max()))


def test_a_damaged_memory_is_named() -> None:
    model = a_model("first")
    strategy = EWCLoRA(EWCLoRASettings())
    strategy.after_task(model, tiny_lesson(model))
    state = strategy.state()
    with pytest.raises(RunError, match="unknown tensor 'x'"):
        EWCLoRA(EWCLoRASettings()).restore({**state, "x": torch.zeros(1)}, model)
    for key in (next(iter(state)), next(key for key in state if key.startswith("anchor/"))):
        with pytest.raises(RunError, match="lacks an anchor or the Fisher information"):
            EWCLoRA(EWCLoRASettings()).restore({name: value for name, value in state.items() if name != key}, model)
