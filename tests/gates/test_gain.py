"""The gate that reads inputs: open for its own task's, silent for older ones', whatever is learned."""

import numpy as np
import pytest
import torch
from reference.gain import gates, remembered, start
from torch import Tensor

from plora.adapters import Route
from plora.errors import AdapterError, RunError
from plora.gates import Gain, GainSettings
from plora.gates.gain import START
from plora.model import ContinualModel
from plora.projection_memory import ProjectionMemory
from plora.strategies.fisher import fisher
from plora.testing.tiny import TASKS, open_filled, tiny_inputs, tiny_lesson, tiny_model, tiny_texts

WIDTH, DEPTHS = 24, 2


def features(task: int, number: int = 200) -> Tensor:
    """Bare features of a task `[N, D, d]`: four directions of its own beside one that all tasks have, and noise."""
    directions = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(0)))[0]
    generator = torch.Generator().manual_seed(task + 1)
    own = directions[1 + 4 * task : 5 + 4 * task]
    strengths = torch.randn(number, 1, 4, generator=generator) + torch.tensor([3.0, 0, 0, 0])
    return 5 * directions[0] + strengths @ own + 0.02 * torch.randn(number, DEPTHS, WIDTH, generator=generator)


def learned(tasks: int, share: float = 0.999) -> Gain:
    """A gate of so many tasks, of which the last still trains."""
    gate = Gain(GainSettings(remember=share))
    gate.begin(2, 2)
    gate.begin_reading(WIDTH)
    for task in range(tasks):
        gate.opened(TASKS[task])
        gate.learn(task, features(task), torch.zeros(200, dtype=torch.long))
    return gate


def trained(gate: Gain) -> Gain:
    """What an optimizer may make of the open gate: its weight stands anywhere."""
    assert gate.weight is not None
    with torch.no_grad():
        gate.weight += torch.randn(WIDTH, generator=torch.Generator().manual_seed(9))
    return gate


def mean_gates(gate: Gain, task: int) -> list[float]:
    """Of new inputs of a task."""
    with torch.no_grad():
        return gate.weigh(features(task, 50), TASKS).mean(0).tolist()


def test_equals_the_gates_of_the_loop() -> None:
    share = 0.99
    gate, tasks = learned(3, share), [features(task).double().mean(1).numpy() for task in range(3)]
    vectors = [start(tasks[:task], tasks[task], share, START) for task in range(3)]
    points = torch.randn(20, DEPTHS, WIDTH, generator=torch.Generator().manual_seed(5))
    expected = [gates(vectors, x) for x in points.double().mean(1).numpy()]
    with torch.no_grad():
        np.testing.assert_allclose(gate.weigh(points, TASKS).numpy(), expected, atol=1e-4)
    basis, state = remembered(tasks, share), gate.state()
    kept = state["memory"].double().numpy() if "memory" in state else state["complement"].double().numpy()
    found = kept @ kept.T if "memory" in state else np.eye(WIDTH) - kept @ kept.T
    np.testing.assert_allclose(found, basis @ basis.T, atol=1e-5)


def test_a_new_gate_is_open_for_its_task_and_silent_for_older_ones_whatever_it_learned() -> None:
    gate = trained(learned(3))
    assert mean_gates(gate, 2)[2] > 0.6
    for old in (0, 1):
        assert mean_gates(gate, old)[2] < 0.05
    assert mean_gates(gate, 1)[1] > 0.7
    assert mean_gates(gate, 0)[1] < 0.05


def test_without_a_memory_it_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProjectionMemory, "grown", lambda self, gram, share: self)
    gate = trained(learned(3))
    assert min(mean_gates(gate, old)[2] for old in (0, 1)) > 0.3


def test_the_gradient_reaches_the_open_gate_alone() -> None:
    gate = learned(2)
    assert [name for name, _ in gate.named_parameters()] == ["weight"]
    before = gate.state()
    gate.weigh(features(1, 20), TASKS[:2])[:, 1].sum().backward()  # type: ignore[no-untyped-call]
    assert gate.weight is not None
    assert gate.weight.grad is not None
    assert gate.weight.grad.norm() > 1e-3
    basis = torch.from_numpy(remembered([features(0).double().mean(1).numpy()], 0.999)).float()
    assert (basis.T @ gate.weight.grad).abs().max() < 1e-5 * gate.weight.grad.norm()  # of what is remembered nothing
    trained(gate)
    assert torch.equal(gate.state()["gate of first"], before["gate of first"])
    assert not torch.equal(gate.state()["gate of second"], before["gate of second"])


def test_a_task_whose_inputs_are_spanned_is_silent_and_its_slot_goes() -> None:
    model = tiny_model(Gain(GainSettings(remember=1)))
    inputs = tiny_inputs(model)
    for number in range(2):  # the same inputs twice
        _open(model, number, inputs)
        if number:
            with torch.no_grad():
                assert not model.weights(model.bare_features(inputs), None)[:, 1].any()
        verdict = model.commit(lambda _: 0.0)
        assert verdict.drop == bool(number)
    assert "older tasks span all" in verdict.reason
    assert model.adapters is not None
    assert model.adapters.names == [*model.route(None).slots] == ["first"]


def _open(model: ContinualModel, number: int, inputs: dict[str, Tensor]) -> None:
    open_filled(model, TASKS[number])
    assert isinstance(model.gate, Gain)
    model.gate.opened(TASKS[number])
    with torch.no_grad():
        model.gate.learn(number, model.bare_features(inputs), torch.zeros(8, dtype=torch.long))


def filled() -> ContinualModel:
    """A network of two slots that read their inputs, the second open."""
    model = tiny_model(Gain(GainSettings(remember=0.9)))
    _open(model, 0, tiny_inputs(model))
    model.commit(lambda _: 0.0)
    _open(model, 1, tiny_inputs(model, 3))
    return model


@torch.no_grad()
@pytest.mark.parametrize("size", [1, 7, 32])
def test_an_input_is_answered_alike_in_every_batch(size: int) -> None:
    model = filled()
    texts = [text for text, _ in tiny_texts(32)]

    def answers(order: list[int], size: int) -> Tensor:
        found = torch.empty(32, 4)
        for at in range(0, 32, size):
            part = order[at : at + size]
            batch = model.problem.tokenizer([texts[i] for i in part], padding=True, return_tensors="pt")
            found[part] = model(dict(batch))
        return found

    whole = answers([*range(32)], 32)
    weights = model.weights(model.bare_features(tiny_inputs(model)), None)
    assert weights.std(0).min() > 1e-3  # inputs are told apart
    shuffled = torch.randperm(32, generator=torch.Generator().manual_seed(0)).tolist()
    torch.testing.assert_close(answers(shuffled, size), whole, rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_network_has_the_sum_of_slots_that_the_gates_weigh() -> None:
    model = filled()
    inputs = tiny_inputs(model)
    weights = model.weights(model.bare_features(inputs), None)
    assert model.adapters is not None
    for row, found in enumerate(model.features(inputs)):
        with model.adapters.using(Route(TASKS[:2], weights[row])):
            alone = model.backbone(**{name: tensor[row : row + 1] for name, tensor in inputs.items()})
        expected = model.problem.features(alone, {name: tensor[row : row + 1] for name, tensor in inputs.items()})
        assert expected is not None
        torch.testing.assert_close(found, expected[0], rtol=1e-4, atol=1e-5)


def test_fisher_information_is_refused_where_coefficients_depend_on_the_input() -> None:
    model = filled()
    with pytest.raises(AdapterError, match="slots that count 1"):
        fisher(model, tiny_lesson(model))


def test_a_slot_whose_task_it_has_not_seen_is_named() -> None:
    gate = learned(1)
    gate.opened("second")
    with pytest.raises(RunError, match=r"has seen no inputs of 'second'.*\(seen: first\)"):
        gate.weigh(features(1, 2), TASKS[:2])
    assert [*gate.state()] == ["gate of first", "memory"]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda s: s.pop("memory"), "0 memories"),
        (lambda s: s.update(complement=s["memory"]), "2 memories"),
        (lambda s: s.update({"gate of first": torch.zeros(3)}), r"'gate of first' of shape \[3\]; expected"),
        (lambda s: s.update(strange=torch.zeros(WIDTH)), "'strange'"),
    ],
)
def test_what_is_no_state_of_it_is_refused(damage: object, says: str) -> None:
    state = learned(1).state()
    damage(state)  # type: ignore[operator]
    with pytest.raises(RunError, match=says):
        learned(1).restore(state)
