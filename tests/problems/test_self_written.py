"""Generative replay of documents: the learner writes them itself before it learns what is next."""

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "training"))
from killing import KILLED, in_child, quiet
from reference.continuing import nats_of_tokens
from reference.greedy_text import likeliest_tokens
from tiny_writers import write

from plora.build import Parts, Workspace, build
from plora.config import RunConfig, load_config
from plora.errors import ConfigError, DataError, RunError
from plora.gates import AllOnes
from plora.generators.self_generator import SelfGenerator
from plora.generators.settings import SelfGeneratorSettings
from plora.generators.text_generator import Drafts
from plora.lesson import Lesson
from plora.moment import Moment
from plora.problems import CausalLM
from plora.problems.encoded_documents import EncodedDocuments
from plora.results import read_generated, read_record, write_report
from plora.runs import evaluate, resume, run, verify
from plora.strategies import GenerativeReplay, GenerativeReplaySettings
from plora.streams.base import Stream, Task
from plora.streams.dialogues import Dialogue
from plora.streams.documents import Documents
from plora.testing.tiny import tiny_model, tiny_stream
from plora.training.course import plan_course
from plora.training.stage import begin_lesson, open_stage

Make = Callable[..., RunConfig]
SELF = "strategies=[{kind: generative_replay, generator: {kind: self}, per_class: 24}]"


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("gpt2"))


@pytest.fixture
def make(gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")
    monkeypatch.setenv("PLORA_CACHE", str(tmp_path / "cache"))
    values = {
        "name": "self",
        "stream": {"kind": "tiny_writers:WrittenStream", "documents": 24},
        "problem": {"kind": "causal_lm"},
        "scenario": "domain",
        "method": "generative_replay",
        "backbone": {"id": str(gpt2), "max_length": 32},
        "lora": {"rank": 8, "alpha": 16, "targets": "all_linear", "dropout": 0},
        "training": {"epochs": 10, "batch_size": 8, "learning_rate": 0.02, "weight_decay": 0, "early_stop": None},
    }
    return lambda *overrides: load_config(values, [SELF, *overrides, f"output={tmp_path / 'runs'}"])


@pytest.fixture
def second(make: Make) -> tuple[Parts, Lesson]:
    """A model with a random committed slot that is open again, and the lesson of a second task."""
    parts = build(make())
    first, second = plan_course(parts)
    open_stage(parts, first)
    for parameter in parts.model.trainable().values():
        torch.nn.init.normal_(parameter, std=0.1)
    parts.model.commit()
    open_stage(parts, second)
    return parts, begin_lesson(parts, second)


def remembered(parts: Parts, **settings: object) -> SelfGenerator:
    """A generator that has seen the first task."""
    generator = SelfGenerator(SelfGeneratorSettings(**settings))
    generator.remember(parts.model, begin_lesson(parts, plan_course(parts)[0]))
    return generator


def documents(generator: SelfGenerator, parts: Parts, lesson: Lesson, count: int = 6) -> EncodedDocuments:
    found = generator.write(parts.model, lesson, count).texts
    assert isinstance(found, EncodedDocuments)
    return found


@pytest.mark.parametrize("first", [0, 1, 3])
def test_what_it_writes_is_what_the_model_says_after_the_start_and_the_first_tokens(
    second: tuple[Parts, Lesson], first: int
) -> None:
    parts, lesson = second
    generator, problem = remembered(parts, first=first, top_k=1), parts.model.problem
    assert isinstance(problem, CausalLM)
    train = parts.tasks[0].splits["train"].parts()
    old = sorted({tuple(ids[:first].tolist()) for ids in train}, key=len)
    found = documents(generator, parts, lesson)
    assert len(found) == 6
    for ids, cut in zip(found.parts(), found.cut.tolist(), strict=True):
        begun = [row for row in old if row == tuple(ids[: len(row)].tolist())][-1]
        most = problem.layout.width - 1 - max(map(len, old))
        with parts.model.under(parts.model.route(None)):
            expected = likeliest_tokens(parts.model.backbone, [problem.layout.start, *begun], problem.layout.end, most)
        assert ids[len(begun) :].tolist() == expected
        assert cut == (len(expected) == most)


def test_the_same_seed_writes_the_same_and_nothing_else_is_disturbed(second: tuple[Parts, Lesson]) -> None:
    parts, lesson = second
    generator = remembered(parts)
    parts.model.train()
    before = torch.get_rng_state()
    one, again = (documents(generator, parts, lesson).ids.tolist() for _ in range(2))
    assert one == again != documents(generator, parts, replace(lesson, seed=lesson.seed + 1)).ids.tolist()
    assert torch.equal(torch.get_rng_state(), before)
    assert parts.model.training


def test_each_old_task_gets_as_many_and_begins_as_often_as_its_own_documents(second: tuple[Parts, Lesson]) -> None:
    parts, lesson = second
    generator = remembered(parts, top_k=1)
    generator.remember(parts.model, lesson)  # the second task is old too
    drafts = generator.write(parts.model, replace(lesson, position=2), 200)
    assert np.bincount(drafts.tasks).tolist() == [200, 200]
    for task in (0, 1):
        own = [int(ids[0]) for ids in parts.tasks[task].splits["train"].parts()]
        found = [int(ids[0]) for ids, of in zip(drafts.texts.parts(), drafts.tasks.tolist(), strict=True) if of == task]
        assert {*found} <= {*own}
        for token in {*own}:
            share = own.count(token) / len(own)
            assert abs(found.count(token) / 200 - share) < 4.5 * (share * (1 - share) / 200) ** 0.5 + 1e-9


def test_of_a_document_that_was_cut_the_end_is_not_learned(second: tuple[Parts, Lesson]) -> None:
    problem = second[0].model.problem
    whole = problem.encode(problem.given(["the cat sat", "a mat", ""]))
    cut = replace(whole, cut=np.array([True, False, False])).subset(np.array([1, 0]))
    batch = cut.followed_by([whole]).collate(np.arange(5), draw=0)
    labels, owner = batch.targets["labels"], batch.targets["owner"]
    ends = [bool((labels[owner == document] == problem.layout.end).any()) for document in range(5)]
    assert ends == [True, False, True, True, True]
    assert batch.weights == {"nats": int((labels >= 0).sum())}
    scored = cut.collate(np.arange(2))
    assert torch.equal(scored.targets["labels"], whole.subset(np.array([1, 0])).collate(np.arange(2)).targets["labels"])


def test_documents_are_shown_with_what_the_model_gave_their_tokens(
    second: tuple[Parts, Lesson], tmp_path: Path
) -> None:
    parts, lesson = second
    files: dict[str, bytes] = {}
    strategy = GenerativeReplay(GenerativeReplaySettings(generator=SelfGeneratorSettings(), per_class=5))
    strategy.generator = remembered(parts)
    strategy.before_task(parts.model, replace(lesson, keep=files.__setitem__))
    (tmp_path / "task-02.jsonl").write_bytes(files["generated/task-02.jsonl"])
    shown, problem = read_generated(tmp_path / "task-02.jsonl"), parts.model.problem
    assert [text.task for text in shown] == [1] * 5
    written = documents(strategy.generator, parts, lesson, 5)
    with parts.model.under(parts.model.route(None)):
        for text, ids in zip(shown, written.parts(), strict=True):
            assert text.text == problem.tokenizer.decode(ids)
            nats = nats_of_tokens(parts.model.backbone, [0, *ids.tolist()], 32, 16)
            assert text.confidence == pytest.approx(np.exp(-np.mean(nats)), abs=1e-3)
    (rehearsal,) = strategy.rehearse(lesson, Moment(1, 0, 10, 0, seed=0, examples=8))
    assert len(rehearsal.indices) == 8
    assert rehearsal.examples.ids.tolist() == written.ids.tolist()


def test_memory_is_how_documents_begin_and_damage_of_it_is_named(second: tuple[Parts, Lesson]) -> None:
    parts, lesson = second
    assert remembered(parts, first=0).state() == {}
    generator = remembered(parts, first=2)
    (kept,) = generator.state().values()
    assert kept[:, 1].sum() == 24
    again = SelfGenerator(SelfGeneratorSettings(first=2))
    again.restore(generator.state(), parts.model)
    assert documents(again, parts, lesson).ids.tolist() == documents(generator, parts, lesson).ids.tolist()
    for damaged in ({"other": kept}, {"beginnings": kept[:, :3]}, {"beginnings": kept.float()}):
        with pytest.raises(RunError, match="whole numbers of 4 columns"):
            again.restore(damaged, parts.model)
    with pytest.raises(RunError, match="count what never was"):
        again.restore({"beginnings": -kept}, parts.model)


SILENT = SELF.replace("per_class", "weight: 0, per_class")


def test_the_learner_forgets_less_of_what_it_has_written_itself(make: Make) -> None:
    """The first language, after the second was learned by the same slot; in nats per byte."""
    found = {}
    for name, strategies in (("silent", SILENT), ("replayed", SELF)):
        config = make(f"name={name}", strategies)
        run(config, quiet(), Workspace())
        found[name] = read_record(config.folder).matrix
    assert evaluate(config.folder).changed == 0
    assert verify(config.folder).problems == ()
    learned, forgotten = (found["silent"][row, 0] for row in (1, 2))
    assert forgotten > learned + 0.5  # else there is nothing to protect
    assert found["replayed"][2, 0] < learned + 0.4 * (forgotten - learned)
    assert found["replayed"][2, 1] < found["replayed"][0, 1]
    shown = read_generated(config.folder / "generated/task-02.jsonl")
    assert len(shown) == 24
    write_report([config.folder], config.folder / "report.html")
    assert f"<p>{shown[0].text}</p>" in (config.folder / "report.html").read_text()


@pytest.mark.slow
def test_with_weight_0_it_is_plain_training(make: Make) -> None:
    few = "training.epochs=2"
    silent, plain = make("name=silent", SILENT, few), make("name=plain", "method=sequential", "strategies=[]", few)
    for config in (silent, plain):
        run(config, quiet(), Workspace())
    np.testing.assert_array_equal(read_record(silent.folder).matrix, read_record(plain.folder).matrix)
    assert not (silent.folder / "generated").exists()


@pytest.mark.slow
def test_a_run_that_was_cut_writes_the_same_again(make: Make) -> None:
    few = ("training.epochs=3", "training.checkpoint_seconds=0", "stream.languages=[a b c, d e f, g h i]")
    whole, cut = make("name=whole", *few), make("name=cut", *few)
    run(whole, quiet(), Workspace())
    assert in_child(lambda: run(cut, quiet(), Workspace()), failpoint="step:14") == KILLED
    resume(cut.folder, quiet(), Workspace())
    np.testing.assert_array_equal(read_record(cut.folder).matrix, read_record(whole.folder).matrix)
    for task in (2, 3):
        file = f"generated/task-{task:02}.jsonl"
        assert (cut.folder / file).read_bytes() == (whole.folder / file).read_bytes()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ("strategies=[]",),
            r"generator 'mlm' writes texts of classes, and problem 'causal_lm' has none; set strategies=",
        ),
        (
            (SELF.replace("per_class", "temperature: 1, per_class"),),
            r"temperature: of answers for classes, and generator",
        ),
        (
            ("problem.kind=text_classification",),
            r"generator 'self' writes documents, and problem 'text_classification'",
        ),
        (("method=per_task", "scenario=task"), r"'generative_replay' does not fit method 'per_task': each task trains"),
        (("method=full",), r"'generative_replay' does not fit method 'full': it protects the slots that tasks share"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_loaded(
    make: Make, settings: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make("backbone.id=/nowhere", *settings)


def test_beginnings_that_fill_a_row_and_problems_without_documents_are_refused(make: Make) -> None:
    parts = build(make("backbone.max_length=8", SELF.replace("kind: self", "kind: self, first: 7")))
    with pytest.raises(ConfigError, match=r"generator.first is 7, .*max_length=8 .*; set it to 6 or less"):
        parts.begin()
    with pytest.raises(DataError, match="generator 'self' writes documents"):
        SelfGenerator(SelfGeneratorSettings()).begin(tiny_model(AllOnes()), tiny_stream(), ())
    asked = Documents((Dialogue((("user", "a"), ("assistant", "b"))),))
    stream = Stream("asked", (Task("sums", (), asked, asked, asked),), ("domain",))
    with pytest.raises(DataError, match=r"of task 'sums' answers alone are learned, .*; use method 'replay'"):
        SelfGenerator(SelfGeneratorSettings()).begin(build(make()).model, stream, ())


@pytest.mark.parametrize(("first", "said"), [(0, r"old tasks \(all\) is empty"), (1, r"old tasks \(1\) is empty")])
def test_a_model_that_writes_nothing_rehearses_nothing_and_says_so(
    second: tuple[Parts, Lesson], monkeypatch: pytest.MonkeyPatch, first: int, said: str
) -> None:
    parts, lesson = second
    strategy = GenerativeReplay(GenerativeReplaySettings(generator=SelfGeneratorSettings(first=first), per_class=3))
    empty = EncodedDocuments(
        np.empty(0, np.int32), np.zeros(3, np.int64), np.zeros(3, np.int64), parts.model.problem.layout
    )
    drafts = Drafts(empty, np.zeros(3, np.int64), np.empty(0, np.int64), for_a_class=first > 0)
    monkeypatch.setattr(strategy.generator, "write", lambda *_: drafts)
    warned: list[str] = []
    strategy.before_task(parts.model, replace(lesson, warn=warned.append))
    assert strategy.rehearse(lesson, Moment(1, 0, 10, 0, seed=0, examples=8)) == []
    (line,) = warned
    assert re.search(said, line)
