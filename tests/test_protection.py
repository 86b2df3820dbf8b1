"""What protects old knowledge protects it, and lets the new in: two tasks, of which plain training forgets the first.

Both are two classes of words, for one slot and one head of a tiny network; texts of the second task hold words of the
first that say nothing about its labels, so that what was learned is overwritten. `sequential` must learn both tasks
with every seed (above 0.9 the first, 0.9 and more the second) and forget at least 20 points of the first; it forgets
45. Each method must give back at least half of that, must not do so when its terms are multiplied by zero (asked with
one seed), and must learn the second task: at least halfway from chance to the accuracy of `sequential`, mean over the
seeds. Strengths are chosen for this network, and on these texts. After two tasks nothing has faded, so `online_ewc` is
`ewc` here.

Merging is asked where each task has a head: it merges slots, and a head that tasks share goes on being overwritten.
`sequential` forgets 48 points there.

The head alone, on bare features (`frozen`), learns 0.91 and 0.94 and forgets 2 points. So this asks whether what a slot
learned stays, not whether it is needed; and a term that keeps slots from learning anything comes out as `frozen` does,
which is no protection. Not effective here, by what was tried:

- `o_lora` forgets 54 points where `sequential` forgets 45, and learns 0.55 of the second task, at its default weight of
  0.5; 55 and 0.56 at 5. With `norm_weight` 0.05 beside it the outcome is that of `frozen`.
- `n_lora` forgets 31 points at its default weight of 1e-4 and 38 at 1e-3; from 2e-3 on the outcome is that of `frozen`,
  to a point.
- `gumbel_cl_lora` forgets 62 points, and 44 with the gate switched off (`all_ones`): the newest slot takes a share from
  older ones, whose function shrinks. So it is with `growth: all`, and with a hundred times the sparsity.
- `sd_lora` forgets 38 points and learns 0.91 of the second task: older directions stay, and the new one is added to
  them for every input.
"""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from plora import model
from plora.adapters.merging import merge
from plora.config import RunConfig, load_config
from plora.gates import Router
from plora.projection_memory import ProjectionMemory
from plora.results import read_record
from plora.runs import run
from plora.strategies import STRATEGIES, InfLoRA, Strategy
from plora.testing.strategies import weight_settings

FOOD = (["apple", "pear", "plum", "grape"], ["loaf", "crust", "rye", "bun"])
TRAVEL = (["train", "track", "platform", "ticket"], ["plane", "runway", "pilot", "wing"])
FILLER = ["the", "a", "of", "and", "in"]
"""Words that the tiny network's tokenizer knows."""
SEEDS = (0, 1, 2)
CHANCE = 0.5
SETTINGS: dict[str, dict[str, object]] = {
    "ewc": {"kind": "ewc", "weight": 1e6},
    "online_ewc": {"kind": "ewc", "weight": 1e6, "decay": 0.9},
    "ewc_lora": {"kind": "ewc_lora", "weight": 1e6},
    "replay": {"kind": "replay"},
    "der": {"kind": "replay", "weight": 0.5, "scores_weight": 0.5},
    "generative_replay": {"kind": "generative_replay"},
    "generative_replay-causal": {
        "kind": "generative_replay",
        "generator": {
            "kind": "causal",
            "id": "WRITER",
            "lora": {"rank": 8, "alpha": 16, "targets": "all_linear"},
            "epochs": 20,
            "learning_rate": 0.01,
        },
    },
    "lwf": {"kind": "distillation", "weight": 0.2},
}
"""Of each method (of one of its kinds), its strategy where the default does not suit so small a network."""

MERGED: dict[str, tuple[str, ...]] = {"merged_average": (), "merged_ties": ("merging.keep=0.8",), "merged_magmax": ()}
"""Of each method that merges, its settings where the default does not suit so small a network."""

NOT_EFFECTIVE: dict[str, dict[str, object]] = {
    "o_lora": {"kind": "orthogonality"},
    "n_lora": {"kind": "sparsity", "weight": 1e-3},
    "gumbel_cl_lora": {},
    "sd_lora": {},
}
"""Of each method that does not show its promise here, the strategy it is shown with (without one, the method as it is);
the module says what was tried."""

Make = Callable[..., RunConfig]


def _texts(first: bool, number: int, rng: random.Random) -> list[dict[str, str]]:
    rows = []
    for i in range(number):
        label = i % 2
        words = rng.choices(FOOD[label] if first else TRAVEL[label], k=2)
        words += [] if first else rng.choices(FOOD[rng.randrange(2)], k=2)
        words += rng.choices(FILLER, k=rng.randint(1, 3))
        rng.shuffle(words)
        rows.append({"text": " ".join(words), "label": "ab"[label]})
    return rows


def _written(folder: Path, training: int) -> list[dict[str, str]]:
    rng, tasks = random.Random(0), []
    for name in ("first", "second"):
        task = {"name": name}
        for split, number in (("train", training), ("validation", 40), ("test", 100)):
            path = folder / f"{name}-{split}.jsonl"
            path.write_text("\n".join(map(json.dumps, _texts(name == "first", number, rng))), encoding="utf-8")
            task[split] = str(path)
        tasks.append(task)
    return tasks


@pytest.fixture(scope="module")
def two_tasks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    return _written(tmp_path_factory.mktemp("two"), 120)


@pytest.fixture(scope="module")
def many_texts(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same with twice the texts, as an override: of 120, a head that starts anew seldom learns the second task."""
    tasks = _written(tmp_path_factory.mktemp("many"), 240)
    return f"stream={json.dumps({'kind': 'local', 'name': 'many', 'tasks': tasks})}"


@pytest.fixture
def make(toy_values: dict[str, object], two_tasks: list[dict[str, str]], tiny_writer: Path) -> Make:
    values = toy_values | {
        "stream": {"kind": "local", "name": "two", "tasks": two_tasks},
        "scenario": "domain",
        "training": {"epochs": 16, "batch_size": 16, "learning_rate": 0.005, "warmup": 0.3, "log_every": 5},
    }
    return lambda *overrides: load_config(
        values, [setting.replace("WRITER", str(tiny_writer)) for setting in overrides]
    )


class Outcome(NamedTuple):
    """Of one method, mean over the seeds: points that the first task loses, accuracy of the second, and its least."""

    forgotten: float
    second: float
    least: float


def outcome(
    make: Make,
    method: str,
    strategy: dict[str, object] | None = None,
    name: str = "two",
    more: Sequence[str] = (),
    seeds: Sequence[int] = SEEDS,
) -> Outcome:
    lost, second = [], []
    for seed in seeds:
        settings = [f"strategies={json.dumps([strategy])}"] if strategy else []
        R = read_record(
            run(make(f"method={method.partition('-')[0]}", f"seed={seed}", f"name={name}", *settings, *more))
        ).matrix
        assert R[1, 0] > 0.9, "the first task was not learned, so nothing can be said about forgetting it"
        lost.append(100 * (R[1, 0] - R[2, 0]))
        second.append(R[2, 1])
    return Outcome(float(np.mean(lost)), float(np.mean(second)), min(second))


Plain = Callable[..., Outcome]


@pytest.fixture(scope="module")
def known() -> dict[tuple[str, ...], Outcome]:
    return {}


@pytest.fixture
def plain(make: Make, known: dict[tuple[str, ...], Outcome]) -> Plain:
    """What `sequential` does, run once for all tests: it learns both tasks, and forgets the first by the second."""

    def of(*more: str) -> Outcome:
        if more not in known:
            known[more] = outcome(make, "sequential", name="plain", more=more)
        found = known[more]
        assert found.least >= 0.9, "the second task was not learned, so what is forgotten is not forgotten for it"
        assert found.forgotten >= 20
        return found

    return of


def of_merging(many_texts: str) -> tuple[str, ...]:
    return ("scenario=task", many_texts, "training.learning_rate=0.004")


def effective(found: Outcome, plain: Outcome) -> bool:
    """Whether half of what is forgotten is given back, and the second task learned at least half as far from chance."""
    return found.forgotten <= plain.forgotten / 2 and found.second - CHANCE >= (plain.second - CHANCE) / 2


def off(strategy: dict[str, object]) -> dict[str, object]:
    made = STRATEGIES[str(strategy["kind"])].model_validate(strategy)
    return strategy | dict.fromkeys(weight_settings(made), 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("method", SETTINGS)
def test_it_gives_back_half_of_what_is_forgotten_and_only_by_its_term(make: Make, plain: Plain, method: str) -> None:
    found = outcome(make, method, SETTINGS[method])
    assert effective(found, plain()), f"{method}: {found}, sequential: {plain()}"
    without = outcome(make, method, off(SETTINGS[method]), name="silent", seeds=SEEDS[:1])
    assert without.forgotten > plain().forgotten / 2, f"{method} keeps as much without its term: the test says nothing"


@pytest.mark.slow
def test_designed_slots_give_back_half_of_what_is_forgotten_and_only_by_their_design(
    make: Make, plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = outcome(make, "inf_lora")
    assert effective(found, plain()), f"inf_lora: {found}, sequential: {plain()}"
    monkeypatch.setattr(InfLoRA, "design", Strategy.design)
    without = outcome(make, "inf_lora", name="undesigned", seeds=SEEDS[:1])
    assert without.forgotten > plain().forgotten / 2, f"the same slots keep as much without their design: {without}"


@pytest.mark.slow
@pytest.mark.parametrize("method", MERGED)
def test_merging_gives_back_half_of_what_is_forgotten_and_only_by_older_slots(
    make: Make, plain: Plain, many_texts: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = of_merging(many_texts)
    expected = plain(*common)
    found = outcome(make, method, more=[*common, *MERGED[method]])
    assert effective(found, expected), f"{method}: {found}, sequential: {expected}"
    monkeypatch.setattr(model, "merge", lambda banks, slots, *settings: merge(banks, slots[-1:], *settings))
    without = outcome(make, method, name="newest", more=[*common, *MERGED[method]], seeds=SEEDS[:1])
    assert without.forgotten > expected.forgotten / 2, f"{method} keeps as much of the newest slot alone"


@pytest.mark.slow
@pytest.mark.parametrize("method", NOT_EFFECTIVE)
def test_it_is_not_effective_here(make: Make, plain: Plain, method: str) -> None:
    """A method that comes to pass belongs in the tests above."""
    found = outcome(make, method, NOT_EFFECTIVE[method])
    assert not effective(found, plain()), f"{method}: {found}, sequential: {plain()}"


@pytest.mark.slow
def test_a_slot_per_task_forgets_exactly_nothing(make: Make) -> None:
    in_tasks = [read_record(run(make("method=per_task", "scenario=task", f"seed={seed}"))).matrix for seed in SEEDS]
    assert all(R[1, 0] == R[2, 0] for R in in_tasks)


@pytest.mark.slow
def test_the_router_gives_back_half_of_what_is_forgotten_and_only_by_choosing(
    make: Make, plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = outcome(make, "routed")
    assert effective(found, plain()), f"routed: {found}, sequential: {plain()}"
    monkeypatch.setattr(Router, "choose", lambda self, bare: self.state()["owners"].max().expand(len(bare)))
    without = outcome(make, "routed", name="newest", seeds=SEEDS[:1])
    assert without.forgotten > plain().forgotten / 2, "the newest slot alone keeps as much: nothing is said of choosing"


@pytest.mark.slow
def test_gates_that_read_inputs_give_back_half_of_what_is_forgotten_and_only_by_their_memory(
    make: Make, plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = outcome(make, "gain_lora")
    assert effective(found, plain()), f"gain_lora: {found}, sequential: {plain()}"
    monkeypatch.setattr(ProjectionMemory, "grown", lambda self, gram, share: self)
    without = outcome(make, "gain_lora", name="forgetful", seeds=SEEDS[:1])
    assert without.forgotten > plain().forgotten / 2, f"the same gates keep as much without a memory: {without}"


@pytest.mark.slow
def test_the_first_session_adapts_features_that_stay(make: Make, tmp_path: Path) -> None:
    """One word in nine says the label, so that class means of bare features are of little use."""
    rng, words = random.Random(1), FOOD + TRAVEL
    tasks: list[dict[str, str]] = [{"name": "first"}, {"name": "second"}]
    for position, task in enumerate(tasks):
        for split, number in (("train", 160), ("validation", 40), ("test", 100)):
            rows = []
            for i in range(number):
                text = rng.choices(words[2 * position + i % 2], k=1)
                text += rng.choices([*FILLER, *(w for group in words[2 - 2 * position :][:2] for w in group)], k=8)
                rng.shuffle(text)
                rows.append({"text": " ".join(text), "label": "ab"[i % 2]})
            path = tmp_path / f"{position}-{split}.jsonl"
            path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
            task[split] = str(path)

    def accuracies(*settings: str) -> np.ndarray:
        noisy = f"stream={json.dumps({'kind': 'local', 'name': 'noisy', 'tasks': tasks})}"
        runs = [run(make(noisy, "head=ncm", *settings, f"seed={seed}")) for seed in SEEDS]
        return np.mean([read_record(folder).matrix for folder in runs], axis=0)

    bare = accuracies("method=frozen", "name=noisy")
    adapted = accuracies("method=first_session", "name=noisy")
    still = accuracies("method=first_session", "training.learning_rate=1e-12", "name=still")
    assert adapted[1, 0] > bare[1, 0] + 0.1
    assert adapted[1, 0] - adapted[2, 0] < 0.1
    assert abs(still[2] - bare[2]).max() < 0.02
