import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pytest
import torch
from reference import inf_lora as reference
from torch import Tensor, nn

from plora.adapters import Adapters, Bottleneck, LoRA
from plora.errors import AdapterError, RunError
from plora.gates import AllOnes
from plora.heads import LinearHead
from plora.lesson import Lesson
from plora.model import ContinualModel
from plora.problems import Batch, Examples, TextClassification
from plora.problems.base import Indices
from plora.processes import Processes
from plora.projection_memory import ProjectionMemory
from plora.strategies import InfLoRA, InfLoRASettings, covariance
from plora.strategies.covariance import input_covariances
from plora.testing.tiny import TASKS, WIDTH, open_filled, tiny_lesson, tiny_model, tiny_network, tiny_stream

ATTENTION = [f"transformer.layer.{number}.attention." for number in range(2)]


def opened(model: ContinualModel, task: str, rank: int = 2) -> None:
    """As a task begins: A is drawn, and B is 0."""
    assert model.adapters is not None
    open_filled(model, task)
    model.adapters.delete(task)
    torch.manual_seed(len(model.adapters))
    model.adapters.open_task(task, LoRA(rank=rank, alpha=rank, dropout=0.0))


def learned(model: ContinualModel) -> None:
    """As a task ends: B is random."""
    assert model.adapters is not None
    with torch.no_grad():
        for number, bank in enumerate(model.adapters.banks.values()):
            bank.B.copy_(torch.randn(bank.B.shape, generator=torch.Generator().manual_seed(number)))


def begun(model: ContinualModel, settings: InfLoRASettings | None = None) -> InfLoRA:
    strategy = InfLoRA(settings or InfLoRASettings())
    strategy.begin(model, tiny_stream(), ())
    return strategy


# ---------------------------------------------------------------------- what goes in


def test_covariances_are_those_of_the_inputs_whatever_is_padded_and_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(AllOnes()).train()
    opened(model, "first")
    lesson = tiny_lesson(model)
    X = reference.features(model, lesson)
    model.train()
    for tokens in (2048, 1):
        monkeypatch.setattr(covariance, "TOKENS", tokens)
        found = input_covariances(model, lesson)
        assert [*found] == [
            group
            for layer in ATTENTION
            for group in (tuple(f"{layer}{name}_lin" for name in "qkv"), (f"{layer}out_lin",))
        ]
        for paths, gram in found.items():
            for path in paths:
                torch.testing.assert_close(gram, X[path] @ X[path].T, rtol=1e-5, atol=1e-5)
        assert model.training


def test_an_input_that_layers_share_is_multiplied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(AllOnes())
    opened(model, "first")
    inputs: list[torch.Size] = []
    see = covariance._Products.add
    monkeypatch.setattr(covariance._Products, "add", lambda self: inputs.extend([0] * bool(self._readers)) or see(self))
    input_covariances(model, tiny_lesson(model))
    assert len(inputs) == 4  # of eight layers, in one batch


def test_processes_add_up_what_they_find(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two shares of the batches, and one without any: as one process would."""
    model = tiny_model(AllOnes())
    opened(model, "first")
    lesson = tiny_lesson(model)
    monkeypatch.setattr(covariance, "TOKENS", 16)
    whole = input_covariances(model, lesson)
    monkeypatch.setattr(Processes, "agree", lambda self, found: True)
    monkeypatch.setattr(Processes, "sum", lambda self, tensors: None)
    shares = [input_covariances(model, replace(lesson, processes=Processes(rank, 50))) for rank in range(50)]
    assert not any(gram.any() for gram in shares[-1].values())
    assert all(share.keys() == whole.keys() for share in shares)
    for paths, gram in whole.items():
        torch.testing.assert_close(torch.stack([share[paths] for share in shares]).sum(0), gram)


def test_processes_that_reach_other_layers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(AllOnes())
    opened(model, "first")
    monkeypatch.setattr(Processes, "agree", lambda self, found: False)
    with pytest.raises(AdapterError, match="learn it in a single process"):
        input_covariances(model, tiny_lesson(model))


# ---------------------------------------------------------------------- what is designed and remembered


@pytest.mark.parametrize("compat", ["paper", "repo"])
def test_slots_and_memory_are_those_of_decomposed_inputs(compat: str) -> None:
    """`repo` decomposes the covariance instead, whose singular values are the squares of the inputs'."""
    model = tiny_model(AllOnes())
    strategy = begun(model, InfLoRASettings(lamb=0.7, lame=0.9, compat=compat))
    bases: dict[str, Tensor] = {}
    for position, task in enumerate(TASKS):
        opened(model, task)
        lesson = tiny_lesson(model, position=position, first_row=2 * position, shift=position)
        of_task = reference.features(model, lesson)
        if compat == "repo":
            of_task = {path: X @ X.T for path, X in of_task.items()}
        fixed = strategy.design(model, lesson)
        assert sorted(fixed) == sorted(name for name in model.trainable() if name.endswith(".A"))
        for path, X in of_task.items():
            basis = bases.setdefault(path, torch.empty(WIDTH, 0, dtype=torch.double))
            A, expected = (
                model.adapters.banks[path].A.detach().double(),
                reference.directions(basis, X, 2) / math.sqrt(3),
            )
            signs = (A * expected).sum(1, keepdim=True).sign()
            torch.testing.assert_close(A, signs * expected, rtol=0, atol=2e-4)
        learned(model)
        of_task = reference.features(model, lesson)
        strategy.after_task(model, lesson)
        for path, X in of_task.items():
            X = X if compat == "paper" else X @ X.T
            bases[path] = reference.grown(bases[path], X, 0.7 + 0.2 * position / 3)
            free = strategy._memory[path].free()
            assert free.shape[1] == WIDTH - bases[path].shape[1]
            assert (free.T @ bases[path]).abs().max() < 1e-3
        model.commit()


def test_what_is_remembered_does_not_reach_a_new_slot() -> None:
    model = tiny_model(AllOnes())
    strategy = begun(model)
    opened(model, "first")
    strategy.design(model, tiny_lesson(model))
    learned(model)
    strategy.after_task(model, tiny_lesson(model))
    model.commit()
    opened(model, "second")
    undesigned = {path: bank.A.detach().clone() for path, bank in model.adapters.banks.items()}
    strategy.design(model, tiny_lesson(model, position=1, first_row=2, shift=1))
    learned(model)
    for path, bank in model.adapters.banks.items():
        free = strategy._memory[path].free()
        X_old = torch.randn(WIDTH, 20, dtype=torch.double)
        X_old = (X_old - free @ (free.T @ X_old)).float()
        assert X_old.norm() > 1
        assert (bank.delta("second") @ X_old).norm() <= 1e-5
        assert (bank.B.T @ (undesigned[path] @ X_old)).norm() > 0.1


def test_surplus_rows_are_random_outside_of_the_memory() -> None:
    """Inputs of three directions, two of them remembered, and four rows."""
    gram = torch.zeros(8, 8, dtype=torch.double)
    gram[range(3), range(3)] = torch.tensor([4.0, 2.0, 1.0], dtype=torch.double)
    strategy, model, lesson = _toy(nn.Linear(8, 8), gram.sqrt())
    strategy._memory = {"layer": ProjectionMemory(torch.eye(8)[:, :2])}
    model.adapters.open_task("new", LoRA(rank=4, dropout=0.0))
    assert strategy.design(model, lesson) == ("backbone.layer.banks.whole.A",)
    A = math.sqrt(3) * model.adapters["new"].A["layer"].detach()
    torch.testing.assert_close(A.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(A[0].abs(), torch.eye(8)[2])
    assert A[:, :2].abs().max() < 1e-6
    assert torch.linalg.matrix_rank(A) == 4
    again = A.clone()
    model.adapters["new"].A["layer"].data.zero_()
    strategy.design(model, lesson)
    assert torch.equal(math.sqrt(3) * model.adapters["new"].A["layer"].detach(), again)


def test_a_layer_that_has_nothing_left_is_said() -> None:
    told: list[str] = []
    strategy, model, lesson = _toy(nn.Linear(8, 8), torch.eye(8, dtype=torch.double))
    strategy._memory = {"layer": ProjectionMemory(torch.empty(8, 0), complement=True)}
    model.adapters.open_task("new", LoRA(rank=4))
    strategy.design(model, replace(lesson, warn=told.append))
    assert not model.adapters["new"].A["layer"].any()
    (line,) = told
    assert "all that 1 layers can read, such as 'layer'" in line


@pytest.mark.parametrize("layer", [nn.Linear(8, 6), nn.Conv2d(2, 3, 2, padding=1)], ids=["linear", "convolution"])
def test_answers_for_old_inputs_are_as_they_were(layer: nn.Module) -> None:
    """One layer whose old inputs span three of eight directions: with ε = 1 no new slot changes their outputs."""
    torch.manual_seed(0)
    old, new = torch.randn(20, 3) @ torch.randn(3, 8), torch.randn(20, 8)
    if isinstance(layer, nn.Conv2d):  # windows of such images: only the first channel, and constant
        old = torch.cat([torch.randn(20, 1).expand(20, 4), torch.zeros(20, 4)], 1)
        old, new = old.view(20, 2, 2, 2), new.view(20, 2, 2, 2)
    strategy, model, lesson = _toy(layer, old.double(), lamb=1.0)
    open_ = LoRA(rank=2, targets="all_linear" if isinstance(layer, nn.Linear) else "all_conv", dropout=0.0)
    model.adapters.open_task("first", open_)
    strategy.design(model, lesson)
    learned(model)
    strategy.after_task(model, lesson)
    model.commit()
    before = model({"x": old.float()}), model({"x": new})
    model.adapters.open_task("second", open_)
    strategy.design(model, replace(lesson, train=Vectors(new), position=1))
    learned(model)
    after = model({"x": old.float()}), model({"x": new})
    torch.testing.assert_close(after[0], before[0], rtol=0, atol=1e-5)
    assert (after[1] - before[1]).abs().max() > 0.1


# ---------------------------------------------------------------------- state, and what does not fit


def test_memory_that_is_given_back_goes_on_with_the_same_bits() -> None:
    model = tiny_model(AllOnes())
    strategy = begun(model)
    lessons = [tiny_lesson(model, position=number, first_row=2 * number, shift=number) for number in range(2)]
    opened(model, "first")
    strategy.after_task(model, lessons[0])
    model.commit()
    again = begun(model)
    again.restore({name: tensor.clone() for name, tensor in strategy.state().items()}, model)
    assert len(again.state()) == 4  # of eight layers
    opened(model, "second")
    for one in (strategy, again):
        one.design(model, tiny_lesson(model, position=1, first_row=2, shift=1))
    first = {path: bank.A.detach().clone() for path, bank in model.adapters.banks.items()}
    again.design(model, tiny_lesson(model, position=1, first_row=2, shift=1))
    assert all(torch.equal(bank.A, first[path]) for path, bank in model.adapters.banks.items())
    for one in (strategy, again):
        one.after_task(model, tiny_lesson(model, position=1, first_row=2, shift=1))
    assert strategy.state().keys() == again.state().keys()
    assert all(torch.equal(tensor, again.state()[name]) for name, tensor in strategy.state().items())


def test_layers_that_once_read_other_inputs_have_memories_of_their_own() -> None:
    model = tiny_model(AllOnes())
    strategy = begun(model)
    q, k, v = (f"{ATTENTION[0]}{name}_lin" for name in "qkv")
    basis = torch.eye(WIDTH)
    strategy._memory = {path: ProjectionMemory(basis[:, :2]) for path in model.adapters.banks}
    strategy._memory |= {q: ProjectionMemory(basis[:, 2:5])}
    opened(model, "first")
    strategy.design(model, tiny_lesson(model))
    assert model.adapters.banks[q].A[:, 2:5].abs().max() < 1e-6
    assert model.adapters.banks[k].A[:, :2].abs().max() < 1e-6
    assert model.adapters.banks[k].A[:, 2:5].abs().max() > 1e-3
    assert torch.equal(model.adapters.banks[k].A, model.adapters.banks[v].A)


def test_a_damaged_memory_is_named() -> None:
    model = tiny_model(AllOnes())
    strategy = begun(model)
    opened(model, "first")
    strategy.after_task(model, tiny_lesson(model))
    state = strategy.state()
    with pytest.raises(RunError, match="unknown tensor 'x'"):
        begun(model).restore({**state, "x": torch.zeros(1)}, model)
    name = next(iter(state))
    with pytest.raises(RunError, match="lacks the memory of a layer"):
        begun(model).restore({key: tensor for key, tensor in state.items() if key != name}, model)
    for damaged in (torch.zeros(3), torch.zeros(3, 2), torch.zeros(WIDTH, WIDTH + 1)):
        with pytest.raises(RunError, match=r"a memory of shape \[.*which reads 16 numbers"):
            begun(model).restore({**state, name: damaged}, model)


def test_slots_of_another_kind_are_refused_before_a_run_begins() -> None:
    network = tiny_network()
    adapters = Adapters.inject(network, "attention", bottleneck=Bottleneck(width=2))
    problem = tiny_model(AllOnes()).problem
    assert isinstance(problem, TextClassification)
    model = ContinualModel(network, problem, LinearHead(WIDTH), adapters, AllOnes())
    with pytest.raises(AdapterError, match=r"designs what low-rank slots read, and bottleneck '.*' is none"):
        begun(model)


# ---------------------------------------------------------------------- a network of one layer


class Vectors(Examples):
    """Inputs as they are."""

    def __init__(self, x: Tensor) -> None:
        self.x, self.rows = x, np.zeros(len(x), np.int64)

    @property
    def costs(self) -> Indices:
        return np.ones(len(self.x), np.int64)

    def collate(self, indices: Indices, draw: int | None = None) -> Batch:
        return Batch({"x": self.x[torch.from_numpy(indices)].float()})

    def subset(self, indices: Indices) -> Self:
        raise NotImplementedError

    def followed_by(self, others: Sequence[Self]) -> Self:
        raise NotImplementedError

    def tensors(self) -> dict[str, Tensor]:
        raise NotImplementedError


class OneLayer(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x)
        return found


class OfOneLayer(TextClassification):
    """Its outputs are the features."""

    def __init__(self) -> None:
        pass

    def features(self, found: Any, inputs: Mapping[str, Tensor]) -> Tensor:  # noqa: ANN401  (a class per network)
        assert isinstance(found, Tensor)
        return found.flatten(1)


def _toy(layer: nn.Module, x: Tensor, lamb: float = 0.98) -> tuple[InfLoRA, ContinualModel, Lesson]:
    """A strategy, a network of one layer named `layer` with a head, and a lesson of the inputs x."""
    network = OneLayer(layer)
    adapters = Adapters.inject(network, "all_linear" if isinstance(layer, nn.Linear) else "all_conv")
    with torch.no_grad():
        width = layer(x[:1].float()).numel()
    model = ContinualModel(network, OfOneLayer(), LinearHead(width), adapters, AllOnes()).eval()
    model.head.open("first", 2, torch.Generator().manual_seed(0))
    lesson = replace(tiny_lesson(tiny_model(AllOnes())), train=Vectors(x))
    return begun(model, InfLoRASettings(lamb=lamb)), model, lesson
