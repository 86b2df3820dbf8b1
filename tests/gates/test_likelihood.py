"""Routing by likelihood: documents of no named task are read by every slot."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "problems"))
from reference.continuing import nats_of_tokens
from reference.mixture import nats_of_mixture
from sayings import LAND, SEA, Sayings, config, learned
from tiny_writers import write

from plora.adapters import Route
from plora.batches.evaluate import measure
from plora.build import build
from plora.dry_run import dry_run
from plora.errors import ConfigError, RunError, UnknownTaskError
from plora.export import export
from plora.gates import Likelihood
from plora.results import read_record
from plora.runs import evaluate, evaluate_on, forget, generate, verify
from plora.runs.loading import load_run

GATE = ("method=routed", "scenario=domain", "gate={kind: likelihood}")


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PLORA_TRUST_OWN_PARTS", "1")
        return learned(tmp_path_factory.mktemp("routed"), *GATE)


def test_a_named_task_has_its_slot_and_an_unnamed_one_all() -> None:
    gate = Likelihood()
    assert gate.route(("sea", "land"), "land") == Route(("land",))
    assert gate.route(("sea", "land"), None) == Route(("sea", "land"))
    assert gate.route((), "sea") == Route()
    with pytest.raises(UnknownTaskError, match="no slot 'see'; did you mean 'sea'"):
        gate.route(("sea",), "see")


def test_a_document_is_scored_by_what_all_slots_say_of_its_tokens_before(routed: Path) -> None:
    parts, _, _ = load_run(routed)
    model = parts.model.eval()
    for task in parts.tasks:
        found = measure(parts.learner.extractor, task, "test", None, parts.space, [])
        (ids, *_) = task.splits["test"].parts()
        each = []
        for slot in model.adapters.names:
            with model.under(model.route(slot)):
                each.append(nats_of_tokens(model.backbone, [0, *ids.tolist()], 64, 32))
        assert found.nll[0] == pytest.approx(nats_of_mixture(each), rel=1e-5)
        best = min(sum(nats) for nats in each)
        assert best < found.nll[0] <= (best + np.log(2)) * (1 + 1e-5)  # sums of fp32
        assert max(sum(nats) for nats in each) > best + 10  # else it does not matter who reads


def test_no_answer_is_exact_that_nobody_has_measured(routed: Path) -> None:
    problem = load_run(routed)[0].model.problem
    one = {"nll": np.array([1.0, 9.0]), "tokens": np.array([1, 2]), "bytes": np.array([3, 4])}
    found = problem.mixed([{**one, "exact": np.array([True, False])}, {**one, "exact": np.array([False, False])}])
    assert {name: column.tolist() for name, column in found.items()} == {
        name: pytest.approx(column.tolist()) for name, column in one.items()
    }


def test_no_task_is_forgotten_though_none_is_named(routed: Path) -> None:
    record = read_record(routed)
    size = len(SEA.encode())
    assert record.matrix[2, 0] - record.matrix[1, 0] <= np.log(2) / size + 1e-6
    assert record.matrix[0, 1] > record.matrix[2, 1] + 1
    assert record.passes == 2
    assert evaluate(routed).changed == 0
    assert verify(routed).problems == ()


def test_other_text_is_read_by_all_slots_that_there_were(routed: Path) -> None:
    found = evaluate_on(routed, Sayings()).values()
    record = read_record(routed)
    for row, name in ((0, "before any task"), (1, "after sea"), (2, "after land")):
        assert found[name]["sea"] == pytest.approx(record.matrix[row, 0], rel=1e-6)


def test_texts_are_written_by_a_task_that_is_named_or_found(routed: Path) -> None:
    prompts = (SEA[:9], LAND[:5])
    found = generate(routed, prompts, "auto", tokens=30)
    assert [one.task for one in found] == ["sea", "land"]
    assert [one.prompt + one.text for one in found] == [SEA, LAND]
    with pytest.raises(UnknownTaskError, match="this run has slots per task: name one"):
        generate(routed, prompts, tokens=30)


def test_what_it_cannot_do_is_refused(routed: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="asks each of its slots for each input, which no PEFT adapter"):
        export(routed, tmp_path / "export")
    with pytest.raises(RunError, match=r"'sea' cannot be forgotten: .* by all tasks' slots together"):
        forget(routed, "sea")
    base = write(tmp_path / "base")
    for settings, message in (
        (("method=sequential", "scenario=domain", GATE[2]), "weighs the slots of all tasks for each input, and method"),
        (
            ("method=o_lora", "scenario=domain", GATE[2]),
            "'orthogonality' does not fit method 'o_lora': each",
        ),
        ((*GATE, "problem.score=exact_match"), "says how likely an answer is, and not which one is likeliest"),
        ((*GATE, "problem={kind: text_classification}"), "compares how likely slots find a document, and problem"),
    ):
        with pytest.raises(ConfigError, match=message):
            config(base, tmp_path, *settings)


def test_the_estimate_counts_a_pass_for_each_slot_that_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plora.dry_run.step_seconds", lambda *_: 0.0)
    monkeypatch.setattr("plora.dry_run._scoring_seconds", lambda _: 1.0)
    made = config(write(tmp_path / "base", "gpt2"), tmp_path / "runs", *GATE)
    texts = [len(task.splits["test"]) for task in build(made).tasks]
    assert dry_run(made, steps=1).seconds == sum(texts) + texts[0] + 2 * sum(texts)
