"""The conformance suite: all of ours keep their promises, and each promise can be broken."""

import itertools
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import ClassVar, Literal

import numpy as np
import pytest
import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import AutoTokenizer
from transformers.modeling_outputs import BaseModelOutput

from plora.adapters import Directions, Route
from plora.errors import ConfigError, ConformanceError, PloraError, UnknownTaskError
from plora.gates import GATES, AllOnes, Gate, GateSettings, OneHot, OneHotSettings, Trial, Verdict
from plora.heads import HEADS, Head, LinearHead, NCMHead
from plora.lesson import Lesson
from plora.methods import METHODS, Phase
from plora.model import ContinualModel
from plora.moment import Moment
from plora.optimizers import Group, OptimizerSettings, make_optimizer
from plora.problems import LabelledExamples, TextClassification, TokenizedTexts
from plora.problems.text_classification import Pooling, texts_of
from plora.settings import named
from plora.strategies import STRATEGIES, OrthogonalitySettings, Strategy, StrategySettings
from plora.streams.base import Split
from plora.testing import check_gate, check_head, check_method, check_problem, check_strategy

TEXTS = ("the apple", "rye loaf bun of the old good train", "plum", "wave and reef")
PAIRS = (("the apple", "rye loaf bun"), ("", "pear"), ("plum", "tree"), ("wave and reef", "the old train"))


@pytest.fixture(scope="module")
def problem(tiny_backbone: Path) -> TextClassification:
    return TextClassification(AutoTokenizer.from_pretrained(tiny_backbone), 16, "mean")


def fails(says: str) -> object:
    """Expect one line that says what was tested and what it broke."""
    return pytest.raises(ConformanceError, match=f"^[^\n]*{re.escape(says)}[^\n]*$")


# ---------------------------------------------------------------------- all of ours


@pytest.mark.parametrize("name", GATES)
def test_our_gates_conform(name: str) -> None:
    check_gate(named(GATES[name].part, Gate))


@pytest.mark.parametrize("name", STRATEGIES)
def test_our_strategies_conform(name: str) -> None:
    check_strategy(STRATEGIES[name]())


def test_settings_of_our_strategies_conform() -> None:
    check_strategy(OrthogonalitySettings(weight=2, penalty_form="sq", norm_weight=0.1))


@pytest.mark.parametrize("name", sorted(HEADS.keys() - {"own"}))  # `own` has no scores: tests/heads/test_own_head.py
def test_our_heads_conform(name: str) -> None:
    check_head(HEADS[name])


@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("texts", [TEXTS, PAIRS])
def test_our_problem_conforms(tiny_backbone: Path, pooling: Pooling, texts: Sequence[str | tuple[str, str]]) -> None:
    check_problem(TextClassification(AutoTokenizer.from_pretrained(tiny_backbone), 12, pooling), texts)


_QUICK_METHODS = ("per_task", "routed", "replay", "merged_ties")
_SLOW_METHODS = ("joint", "frozen", "full", "first_session", "ewc", "inf_lora", "gumbel_cl_lora", "gain_lora")
"""One of each kind; that every method learns, reloads and resumes is asked elsewhere."""


@pytest.mark.parametrize(
    "name", [*_QUICK_METHODS, *(pytest.param(name, marks=pytest.mark.slow) for name in _SLOW_METHODS)]
)
def test_our_methods_conform(name: str) -> None:
    check_method(name)


def test_checking_leaves_the_random_numbers_alone(problem: TextClassification) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    check_gate(OneHot)
    check_strategy(OrthogonalitySettings())
    check_head(HEADS["linear"])
    check_problem(problem, TEXTS)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_error_is_in_the_tree_and_fails_a_test() -> None:
    assert issubclass(ConformanceError, PloraError)
    assert issubclass(ConformanceError, AssertionError)


# ---------------------------------------------------------------------- gates that break a promise


class Undeclared(Gate):
    needs_task = False

    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        return Route(tuple(slots))


class NeedsSettings(AllOnes):
    def __init__(self, temperature: float) -> None: ...


class Counts(AllOnes):
    """Reads global state: how often any gate of the class was asked."""

    asked: ClassVar[itertools.count] = itertools.count()
    constant = False

    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        return Route(tuple(slots), torch.full((len(slots),), 1.0 + next(self.asked)))


class Noisy(AllOnes):
    constant = False

    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        return Route(tuple(slots), 1 + torch.rand(len(slots)))


class Remembers(AllOnes):
    """Answers with the slots of its first question."""

    def __init__(self) -> None:
        super().__init__()
        self.first: str | None = None

    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        self.first = self.first or task
        return Route(tuple(slots), torch.full((len(slots),), 2.0 if self.first == "second" else 1.0))


class Invents(AllOnes):
    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        return Route((*slots, "another"))


class NoRoute(AllOnes):
    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        return tuple(slots)  # type: ignore[return-value]


class WrongShape(AllOnes):
    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        return Route(tuple(slots), torch.ones(len(slots) + 1))


class WrongLayers(AllOnes):
    constant = False

    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        return Route(tuple(slots), torch.ones(99, len(slots)), per="layer")


class ForgetsTheFirst(AllOnes):
    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        return Route(tuple(slots[1:] if len(slots) > 1 else slots))


class ForgetsTheOpenOne(OneHot):
    """Gives the second task the slot of the third, and the other way round."""

    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        swapped = {"second": "third", "third": "second"} if len(slots) == 3 else {}
        return super().route(slots, swapped.get(task or "", task))


class Silences(AllOnes):
    constant = False

    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        return Route(tuple(slots), torch.zeros(len(slots)))


class TaskBlind(AllOnes):
    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        return Route((task,)) if task in slots else Route(tuple(slots))


class Guesses(OneHot):
    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        return super().route(slots, task if task in slots or not slots else slots[-1])


class RefusesVaguely(OneHot):
    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        try:
            return super().route(slots, task)
        except UnknownTaskError:
            raise ValueError("which task?") from None


class RescalesNothing(AllOnes):
    def commit(self, slot: str, norms: Directions, trial: Trial) -> Verdict:
        return Verdict({"a layer that is not there": 0.5})


class HalvesInSecret(AllOnes):
    """Doubles what it halved, and does not say so to a checkpoint."""

    constant = False

    def __init__(self, settings: GateSettings | None = None) -> None:
        super().__init__(settings)
        self.halved: set[str] = set()

    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        return Route(tuple(slots), torch.tensor([1.0 + (slot in self.halved) for slot in slots]))

    def commit(self, slot: str, norms: Directions, trial: Trial) -> Verdict:
        self.halved.add(slot)
        return Verdict(dict.fromkeys(norms, 0.5))


class MeanCalledConstant(AllOnes):
    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        return Route(tuple(slots), torch.full((len(slots),), 1 / max(1, len(slots))))


class ShowsTooFew(AllOnes):
    def vectors(self, slots: Sequence[str]) -> dict[str, torch.Tensor]:
        return {"share": torch.ones(2)}


@pytest.mark.parametrize(
    ("gate", "says"),
    [
        (Undeclared, "gate Undeclared: it declares constant: got None, expected True or False"),
        (NeedsSettings, "gate NeedsSettings: it is made without arguments: got TypeError"),
        (Counts, "gate Counts: with 1 slot, the same question has the same answer"),
        (Noisy, "gate Noisy: a route draws no random numbers"),
        (Remembers, "the same question has the same answer"),
        (Invents, "with 0 slots, its route names slots that exist: got ['another'], expected []"),
        (NoRoute, "it returns a route: got tuple, expected Route"),
        (WrongShape, "got AdapterError (coefficients per slot must be [slots] with 0 slots, got [1])"),
        (WrongLayers, "coefficients per layer are as many as the network has: got 99, expected 8"),
        (ForgetsTheFirst, "with 2 slots, each is on some task's route: got none with ['first']"),
        (ForgetsTheOpenOne, "the open slot 'third' is on its own route: got no gradient"),
        (Silences, "the open slot 'first' trains in every layer: got no gradient for ['A of"),
        (TaskBlind, "needs_task = False gives every task the same route: got ['first'] for 'first'"),
        (Guesses, "it refuses the task None: got ['third'], expected UnknownTaskError"),
        (RefusesVaguely, "it refuses the task None: got ValueError, expected UnknownTaskError"),
        (ShowsTooFew, "'share' has a number for each slot: got (2,), expected one of ((1,), (8, 1), (8, 1))"),
        (RescalesNothing, "it decides about the slot 'first' when that is committed: got KeyError"),
        (HalvesInSecret, "its state is all that decides its routes: got ['first'] × [1.0] per slot"),
        (MeanCalledConstant, "constant = True lets committed slots be folded with coefficient 1"),
    ],
)
def test_a_gate_that_breaks_a_promise(gate: type[Gate], says: str) -> None:
    with fails(says):
        check_gate(gate)


# ---------------------------------------------------------------------- strategies that break a promise


class ShrinkSettings(StrategySettings):
    kind: Literal["shrink"] = "shrink"
    weight: float = Field(default=0.5, ge=0)


class Shrink(Strategy):
    """A strategy that conforms: it shrinks the open slot. The broken ones differ in one thing."""

    settings: ShrinkSettings

    def penalty(self, model: ContinualModel, at: Moment) -> dict[str, Tensor]:
        assert model.adapters is not None
        return {
            "shrink": self.settings.weight * torch.stack([A.square().sum() for A in model.adapters.parameters()]).sum()
        }


def parameters(model: ContinualModel) -> list[torch.nn.Parameter]:
    assert model.adapters is not None
    return model.adapters.parameters()


class Detached(Shrink):
    """As in published code that penalises `.weight.data`."""

    def penalty(self, model: ContinualModel, at: Moment) -> dict[str, Tensor]:
        return {name: term.detach() for name, term in super().penalty(model, at).items()}


class OnFrozenOnes(Shrink):
    """Has a gradient, but on nothing that trains."""

    def penalty(self, model: ContinualModel, at: Moment) -> dict[str, Tensor]:
        return {"shrink": self.settings.weight * torch.ones((), requires_grad=True)}


class WeightedWrongly(Shrink):
    def penalty(self, model: ContinualModel, at: Moment) -> dict[str, Tensor]:
        return {"shrink": super().penalty(model, at)["shrink"] + 1e-3 * parameters(model)[0].sum()}


class NoSwitch(Strategy):
    def penalty(self, model: ContinualModel, at: Moment) -> dict[str, Tensor]:
        return {"sum": parameters(model)[0].square().sum()}


class NoWeightSettings(StrategySettings):
    kind: Literal["no_switch"] = "no_switch"


class NeverOff(ShrinkSettings):
    weight: float = Field(default=0.5, gt=0)


class Steps(Shrink):
    def penalty(self, model: ContinualModel, at: Moment) -> dict[str, Tensor]:
        torch.optim.SGD(parameters(model), lr=0.0).step()
        return super().penalty(model, at)


class Projects(Shrink):
    @torch.no_grad()
    def penalty(self, model: ContinualModel, at: Moment) -> dict[str, Tensor]:
        parameters(model)[0].mul_(0.5)
        with torch.enable_grad():
            return super().penalty(model, at)


class WritesBuffers(Shrink):
    def penalty(self, model: ContinualModel, at: Moment) -> dict[str, Tensor]:
        assert model.adapters is not None
        for bank in model.adapters.banks.values():
            bank.A_old.add_(1.0)
        return super().penalty(model, at)


class ClearsGradients(Shrink):
    def penalty(self, model: ContinualModel, at: Moment) -> dict[str, Tensor]:
        model.zero_grad()
        return super().penalty(model, at)


class SwitchesToEval(Shrink):
    def diagnostics(self, model: ContinualModel) -> dict[str, float]:
        model.eval()
        return {}


class LeavesARoute(Shrink):
    def penalty(self, model: ContinualModel, at: Moment) -> dict[str, Tensor]:
        assert model.adapters is not None
        model.adapters.use([])
        return super().penalty(model, at)


class Drifts(Shrink):
    asked: ClassVar[itertools.count] = itertools.count()

    def penalty(self, model: ContinualModel, at: Moment) -> dict[str, Tensor]:
        return {"shrink": super().penalty(model, at)["shrink"] * (1 + next(self.asked))}


class NotAScalar(Shrink):
    def penalty(self, model: ContinualModel, at: Moment) -> dict[str, Tensor]:
        return {"shrink": self.settings.weight * parameters(model)[0]}


class NotATensor(Shrink):
    def penalty(self, model: ContinualModel, at: Moment) -> dict[str, Tensor]:
        return {"shrink": 0.5}  # type: ignore[dict-item]


class NotFinite(Shrink):
    def penalty(self, model: ContinualModel, at: Moment) -> dict[str, Tensor]:
        return {"shrink": parameters(model)[0].sum() / 0}


class EdgeOfTheRoot(Shrink):
    """√0 is finite, its gradient is not."""

    def penalty(self, model: ContinualModel, at: Moment) -> dict[str, Tensor]:
        return {"shrink": self.settings.weight * (0 * parameters(model)[0]).square().sum().sqrt()}


class Fails(Shrink):
    def penalty(self, model: ContinualModel, at: Moment) -> dict[str, Tensor]:
        raise KeyError("bank")


class OddDiagnostics(Shrink):
    def diagnostics(self, model: ContinualModel) -> dict[str, float]:
        return {"cos": float("nan")}


class Lenient(ShrinkSettings, extra="ignore"):
    pass


class ForgetsSettings(ShrinkSettings):
    seed: int = Field(default=0, exclude=True)


class Designs(Strategy):
    """A strategy that conforms, and only designs: a new slot reads next to nothing."""

    @torch.no_grad()
    def design(self, model: ContinualModel, lesson: Lesson) -> tuple[str, ...]:
        fixed = [name for name in model.trainable() if name.endswith(".A")]
        for name in fixed:
            model.trainable()[name].fill_(1e-3)
        return tuple(fixed)


class FixesA(Designs):
    """Leaves A as it was drawn."""

    def design(self, model: ContinualModel, lesson: Lesson) -> tuple[str, ...]:
        return tuple(name for name in model.trainable() if name.endswith(".A"))


class FixesTheBackbone(Designs):
    def design(self, model: ContinualModel, lesson: Lesson) -> tuple[str, ...]:
        return ("backbone.embeddings.word_embeddings.weight",)


class FixesAll(Designs):
    def design(self, model: ContinualModel, lesson: Lesson) -> tuple[str, ...]:
        return tuple(model.trainable())


class DesignsOldSlots(Designs):
    def design(self, model: ContinualModel, lesson: Lesson) -> tuple[str, ...]:
        assert model.adapters is not None
        for bank in model.adapters.banks.values():
            bank.A_old.mul_(0.5)
        return super().design(model, lesson)


class DesignsInEval(Designs):
    def design(self, model: ContinualModel, lesson: Lesson) -> tuple[str, ...]:
        model.train(not model.training)
        return super().design(model, lesson)


class DesignsAnew(Designs):
    """Draws from random numbers that are not the task's own."""

    @torch.no_grad()
    def design(self, model: ContinualModel, lesson: Lesson) -> tuple[str, ...]:
        fixed = super().design(model, lesson)
        for name in fixed:
            model.trainable()[name].normal_(std=1e-3)
        return fixed


class DesignsFromMemory(Designs):
    """Counts tasks, and does not say so in its state."""

    learned = 0

    def design(self, model: ContinualModel, lesson: Lesson) -> tuple[str, ...]:
        fixed = super().design(model, lesson)
        with torch.no_grad():
            for name in fixed:
                model.trainable()[name].mul_(self.learned)
        return fixed

    def after_task(self, model: ContinualModel, lesson: Lesson) -> None:
        self.learned += 1


def settings_of(strategy: type[Strategy], base: type[StrategySettings] = ShrinkSettings) -> type[StrategySettings]:
    """Settings that name a strategy."""

    class Named(base):  # type: ignore[valid-type, misc]
        part = strategy

    return Named


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            settings_of(Detached),
            "strategy Detached: term 'shrink' has a gradient: got a constant (requires_grad=False)",
        ),
        (settings_of(OnFrozenOnes), "strategy OnFrozenOnes: term 'shrink' has a gradient: got 0 on all that trains"),
        (settings_of(WeightedWrongly), "weight 0 equals plain training: got"),
        (settings_of(NoSwitch, NoWeightSettings), "it can be switched off: got no setting 'weight' or '…_weight'"),
        (settings_of(Shrink, NeverOff), "weight 0 is allowed: got ValidationError"),
        (settings_of(Steps), "asking for terms steps no optimizer of the model: got 1 steps, expected 0"),
        (settings_of(Projects), "asking for terms changes nothing: got another backbone."),
        (settings_of(WritesBuffers), "asking for terms changes nothing: got another backbone."),
        (settings_of(ClearsGradients), "asking for terms changes nothing: got another gradient of "),
        (settings_of(SwitchesToEval), "asking for diagnostics changes nothing: got another mode of "),
        (settings_of(LeavesARoute), "asking for terms changes nothing: got another route"),
        (settings_of(Drifts), "the same question has the same answer: got"),
        (settings_of(NotAScalar), "term 'shrink' is a scalar: got shape [2, 16], expected shape []"),
        (settings_of(NotATensor), "term 'shrink' is a tensor: got float, expected Tensor"),
        (settings_of(NotFinite), "term 'shrink' is finite: got"),
        (settings_of(EdgeOfTheRoot), "the gradient of term 'shrink' is finite"),
        (settings_of(Fails), "its terms in task 1: got KeyError"),
        (settings_of(OddDiagnostics), "diagnostics are finite floats: got {'cos': nan}"),
        (settings_of(Shrink, Lenient), "an unknown setting is refused: got no error for 'no_such_setting'"),
        (partial(settings_of(Shrink, ForgetsSettings), seed=1), "its settings survive a config file: got"),
        (partial(OrthogonalitySettings, weight=0), "it protects something: got no term in the third task"),
    ],
    ids=lambda value: value.part.__name__ if isinstance(value, type) else "",
)
def test_a_strategy_that_breaks_a_promise(make: Callable[[], StrategySettings], says: str) -> None:
    with fails(says):
        check_strategy(make())


def test_a_small_strategy_conforms() -> None:
    check_strategy(settings_of(Shrink)())
    check_strategy(settings_of(Designs, NoWeightSettings)())


@pytest.mark.parametrize(
    ("strategy", "says"),
    [
        (FixesA, "it protects what older inputs give by its design: got a change of"),
        (
            FixesTheBackbone,
            "what it fixes is open: got ['backbone.embeddings.word_embeddings.weight'], expected some of",
        ),
        (FixesAll, "something goes on training: got all is fixed"),
        (DesignsOldSlots, "designing changes open parameters alone: got another backbone."),
        (DesignsInEval, "designing changes open parameters alone: got another mode of"),
        (DesignsAnew, "the same question has the same design: got another one in task 1"),
        (DesignsFromMemory, "the same question has the same design: got another one in task 2"),
    ],
)
def test_a_design_that_breaks_a_promise(strategy: type[Strategy], says: str) -> None:
    with fails(f"strategy {strategy.__name__}: {says}"):
        check_strategy(settings_of(strategy, NoWeightSettings)())


# ---------------------------------------------------------------------- heads that break a promise


class Moves(LinearHead):
    """Keeps the trained parameters themselves when it commits."""

    def commit(self) -> None:
        for position, block in enumerate(self.blocks):
            if block not in self._committed:
                self._committed[block] = {name: t.data for name, t in self._block(position, block).items()}
        self._open.clear()


class StaysOpen(LinearHead):
    def commit(self) -> None:
        pass


class Recentres(LinearHead):
    """Moves old scores when a block is added, and the hash does not say so."""

    def forward(self, features: Tensor) -> Tensor:
        scores = super().forward(features)
        return scores - scores.mean(dim=1, keepdim=True)


class HashesNames(LinearHead):
    def block_hash(self, block: str) -> str:
        return block


class RescaledOnCommit(LinearHead):
    def commit(self) -> None:
        super().commit()
        for tensors in self._committed.values():
            tensors["weight"] = tensors["weight"] / tensors["weight"].norm()


class OwnNoise(LinearHead):
    def open(self, block: str, classes: int, generator: torch.Generator) -> None:
        super().open(block, classes, torch.Generator().manual_seed(int(torch.randint(99, ()))))


class Restarts(LinearHead):
    """Draws a block anew when it is opened again."""

    def open(self, block: str, classes: int, generator: torch.Generator) -> None:
        self._committed.pop(block, None)
        places = self.blocks
        self.blocks = {name: rows for name, rows in places.items() if name != block}
        super().open(block, classes, generator)
        self.blocks = {**places, block: classes}
        position = list(self.blocks).index(block)
        self._open = torch.nn.ParameterDict(
            {f"weight:{position}": torch.zeros(classes, self.features), f"bias:{position}": torch.zeros(classes)}
            if block in places
            else dict(self._open)
        )


class LosesBias(LinearHead):
    def restore(self, blocks: Mapping[str, int], tensors: Mapping[str, Tensor]) -> None:
        super().restore(blocks, tensors)
        for own in self._committed.values():
            own["bias"] = own["bias"] * 0


class Trusting(LinearHead):
    """Takes any shape."""

    def restore(self, blocks: Mapping[str, int], tensors: Mapping[str, Tensor]) -> None:
        super().restore(blocks, {name: tensor.reshape(tensor.shape[-2:]) for name, tensor in tensors.items()})


class FrozenRows(LinearHead):
    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features).detach()


class OneRow(LinearHead):
    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features)[:, :1]


class SharedCopies(LinearHead):
    def __deepcopy__(self, memo: dict[int, object]) -> "SharedCopies":
        return self


class Unmoved(NCMHead):
    """Solved without looking at what was added."""

    def _solve(self, group: dict[str, Tensor], val_features: Tensor, val_onehot: Tensor) -> Tensor:
        return torch.zeros_like(group["cross"])


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (Moves, "head Moves: committed rows do not move when the parameters that they came from do"),
        (StaysOpen, "head StaysOpen: commit leaves nothing that trains: got ["),
        (Recentres, "committed rows do not move when another block is learned"),
        (HashesNames, "block_hash follows what is learned"),
        (RescaledOnCommit, "commit changes no score: got scores that differ by up to"),
        (OwnNoise, "rows are drawn from the generator alone"),
        (Restarts, "a block that is opened again keeps its values"),
        (LosesBias, "restoring gives the same scores to the bit"),
        (Trusting, "that has another shape: got no error, expected RunError"),
        (FrozenRows, "an open block trains: got scores without a gradient"),
        (OneRow, "scores are [N, rows]: got [12, 1], expected [12, 3]"),
        (SharedCopies, "a copy is a head of its own"),
    ],
)
def test_a_head_that_breaks_a_promise(head: Callable[[int], Head], says: str) -> None:
    with fails(says):
        check_head(lambda features, pooled: head(features))


def test_a_solved_head_that_breaks_a_promise() -> None:
    with fails("head Unmoved: learning changes the scores"):
        check_head(Unmoved)


# ---------------------------------------------------------------------- problems that break a promise


class AveragesPadding(TextClassification):
    def features(self, found: BaseModelOutput, inputs: Mapping[str, Tensor]) -> Tensor:
        return found.last_hidden_state.mean(1)


class CentresTheBatch(TextClassification):
    def features(self, found: BaseModelOutput, inputs: Mapping[str, Tensor]) -> Tensor:
        features = super().features(found, inputs)
        return features - features.mean(0)


class NumbersTheBatch(TextClassification):
    def features(self, found: BaseModelOutput, inputs: Mapping[str, Tensor]) -> Tensor:
        features = super().features(found, inputs)
        place = torch.arange(len(features)) if len(features) == 4 else torch.zeros(len(features))
        return features + 1e-3 * place[:, None]


class Detaches(TextClassification):
    def features(self, found: BaseModelOutput, inputs: Mapping[str, Tensor]) -> Tensor:
        return super().features(BaseModelOutput(last_hidden_state=found.last_hidden_state.detach()), inputs)


class TokenFeatures(TextClassification):
    def features(self, found: BaseModelOutput, inputs: Mapping[str, Tensor]) -> Tensor:
        states: Tensor = found.last_hidden_state
        return states


class SeesLabels(TextClassification):
    def encode(self, split: Split, first_row: int = 0) -> LabelledExamples:
        encoded = super().encode(split, first_row)
        texts = texts_of(encoded)
        return replace(encoded, inputs=replace(texts, ids=texts.ids + int(encoded.rows.sum())))


class Own(TokenizedTexts):
    """Batches of one's own."""

    @classmethod
    def of(cls, texts: TokenizedTexts) -> "Own":
        return cls(texts.ids, texts.types, texts.lengths, texts.cut, texts.pad)

    @classmethod
    def examples(cls, examples: LabelledExamples) -> LabelledExamples:
        return replace(examples, inputs=cls.of(texts_of(examples)))

    def followed_by(self, others: Sequence[TokenizedTexts]) -> TokenizedTexts:
        return self.of(super().followed_by(others))


class Sorted(Own):
    def collate(self, indices: np.ndarray, draw: int | None = None) -> dict[str, Tensor]:
        return super().collate(np.sort(indices), draw)


class SortsTheBatch(TextClassification):
    def encode(self, split: Split, first_row: int = 0) -> LabelledExamples:
        return Sorted.examples(super().encode(split, first_row))


class Padded(Own):
    def collate(self, indices: np.ndarray, draw: int | None = None) -> dict[str, Tensor]:
        inputs = super().collate(indices, draw)
        return {name: torch.nn.functional.pad(tensor, (0, 2)) for name, tensor in inputs.items()}


class PadsMore(TextClassification):
    def encode(self, split: Split, first_row: int = 0) -> LabelledExamples:
        return Padded.examples(super().encode(split, first_row))


class Unmasked(Own):
    def collate(self, indices: np.ndarray, draw: int | None = None) -> dict[str, Tensor]:
        inputs = super().collate(indices, draw)
        return {**inputs, "attention_mask": torch.ones_like(inputs["attention_mask"])}


class ForgetsTheMask(TextClassification):
    """The backbone itself attends to padding; the features read the first token alone."""

    def encode(self, split: Split, first_row: int = 0) -> LabelledExamples:
        return Unmasked.examples(super().encode(split, first_row))

    def features(self, found: BaseModelOutput, inputs: Mapping[str, Tensor]) -> Tensor:
        return found.last_hidden_state[:, 0]


class NewFingerprints(TextClassification):
    asked: ClassVar[itertools.count] = itertools.count()

    def fingerprint(self) -> str:
        return f"{next(self.asked):064}"


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (AveragesPadding, "problem AveragesPadding: the features of an input depend neither on padding"),
        (CentresTheBatch, "the features of an input depend neither on padding nor on the rest of the batch"),
        (NumbersTheBatch, "the features of an input depend neither on padding nor on the rest of the batch"),
        (ForgetsTheMask, "the features of an input depend neither on padding"),
        (Detaches, "gradients pass through the features: got a constant"),
        (TokenFeatures, "features are [B, d]: got [4, "),
        (SeesLabels, "labels have no part in the inputs: got another 'input_ids'"),
        (SortsTheBatch, "a batch is in the order that was asked for"),
        (PadsMore, "of a batch is as wide as its longest input"),
        (NewFingerprints, "its fingerprint is one sha256"),
    ],
)
def test_a_problem_that_breaks_a_promise(tiny_backbone: Path, kind: type[TextClassification], says: str) -> None:
    with fails(says):
        check_problem(kind(AutoTokenizer.from_pretrained(tiny_backbone), 16, "mean"), TEXTS)


def test_texts_that_test_nothing_are_refused(problem: TextClassification) -> None:
    with fails("the texts differ in length: got [3, 3, 3], expected several lengths"):
        check_problem(problem, ["apple", "pear", "plum"])


# ---------------------------------------------------------------------- methods that break a promise


def test_an_unknown_method() -> None:
    with pytest.raises(ConfigError, match="there is no 'o_lor'; did you mean 'o_lora'"):
        check_method("o_lor")


def test_a_method_with_a_strategy_that_does_not_conform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        METHODS, "broken", replace(METHODS["o_lora"], name="broken", strategies={"shrink": settings_of(Detached)()})
    )
    with fails("strategy Detached: term 'shrink' has a gradient"):
        check_method("broken")


def test_a_method_whose_optimizer_lacks_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plora.training.phase.make_optimizer", _optimizer_of(lambda name: "q_lin" not in name))
    with fails("method sequential (task-incremental): the optimizer holds all that is declared to train: got none of"):
        check_method("sequential")


def test_a_method_that_declares_what_gets_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    phases = (Phase(train=("adapter",)),)  # B = 0 and a random head: A has no gradient in the first step, B has
    monkeypatch.setitem(METHODS, "broken", replace(METHODS["per_task"], name="broken", phases=phases))
    check_method("broken")
    monkeypatch.setattr("plora.model.ContinualModel.route", lambda self, task, at=None: Route())
    with fails("all that trains has a gradient within two steps: got none for"):
        check_method("per_task")


def test_a_method_that_changes_what_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    original = ContinualModel.commit

    def commit(model: ContinualModel, trial: Trial | None = None) -> Verdict:
        with torch.no_grad():
            next(model.backbone.parameters())[0, 0] += 1
        return original(model, trial)

    monkeypatch.setattr(ContinualModel, "commit", commit)
    monkeypatch.setattr("plora.run_folder.checkpoint._verify", lambda *_: None)
    with fails("what is frozen stays: got another"):
        check_method("sequential")


def test_a_method_whose_reload_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plora.run_folder.checkpoint._verify", lambda *_: None)
    monkeypatch.setitem(HEADS, "linear", LosesBias)
    with fails("a reload gives the same logits: got logits of 'first' that differ by up to"):
        check_method("sequential")


def test_a_method_that_steals_from_an_earlier_task(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shares(OneHot):
        """Every task takes the newest slot."""

        def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
            return Route(tuple(slots[-1:]))

    monkeypatch.setattr(OneHotSettings, "part", Shares)
    with fails("'first' is as it was when 'second' is learned: got another signature"):
        check_method("per_task")


def _optimizer_of(chosen: Callable[[str], bool]) -> Callable[..., torch.optim.Optimizer]:
    def make(
        parameters: Mapping[str, nn.Parameter],
        part_of: Mapping[str, str],
        settings: OptimizerSettings,
        groups: Sequence[Group],
        learning_rate: float,
        weight_decay: float,
    ) -> torch.optim.Optimizer:
        some = {name: parameter for name, parameter in parameters.items() if chosen(name)}
        return make_optimizer(some, part_of, settings, groups, learning_rate, weight_decay)

    return make


# ---------------------------------------------------------------------- the page


def test_the_page_on_adding_a_gate_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parent.parent / "docs/guide/add-a-gate.md").read_text(encoding="utf-8")
    module = ModuleType("my_parts")
    monkeypatch.setitem(sys.modules, "my_parts", module)
    names = vars(module)
    for block in re.findall(r"```python.*?\n(.*?)```", page, flags=re.DOTALL):
        exec(block, names)
    names["test_mean"]()  # type: ignore[operator]
    (shown,) = re.findall(r"```text\n(ConformanceError.*?)```", page, flags=re.DOTALL)
    with pytest.raises(ConformanceError) as caught:
        check_gate(names["Hasty"])  # type: ignore[arg-type]
    digits = re.compile(r"\d+(\.\d+)?(e-\d+)?")
    assert digits.sub("#", " ".join(shown.split())) == digits.sub("#", f"ConformanceError: {caught.value}")
