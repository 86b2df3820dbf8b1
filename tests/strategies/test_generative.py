import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from lessons import a_model, loss_of_each
from reference.distillation import without_forgetting
from reference.generative import chances, rehearsed, surest
from scipy.stats import chi2

from plora.generators.masked_generator import MaskedGenerator
from plora.generators.settings import MaskedGeneratorSettings
from plora.generators.text_generator import Drafts
from plora.lesson import Lesson
from plora.model import ContinualModel
from plora.moment import Moment
from plora.problems import LabelledExamples
from plora.problems.text_classification import TokenizedTexts, texts_of
from plora.strategies import GenerativeReplay, GenerativeReplaySettings, Rehearsal
from plora.strategies.generative import EMPTY, ENOUGH, REPEATED, TWICE, UNSURE, TaughtTexts, judge
from plora.testing.tiny import tiny_lesson


def unfiltered(**settings: object) -> GenerativeReplay:
    """A strategy that keeps texts however unsure their teacher is."""
    return GenerativeReplay(GenerativeReplaySettings(**{"confidence": 0.0, "per_class": 8, **settings}))


def texts(*rows: list[int]) -> TokenizedTexts:
    ids = np.array([token for row in rows for token in row], np.int32)
    lengths = np.array([len(row) for row in rows])
    return TokenizedTexts(ids, np.zeros(0, np.int8), lengths, np.zeros(len(rows), np.bool_), 0)


def examples(*rows: list[int]) -> LabelledExamples:
    return LabelledExamples(texts(*rows), np.zeros(len(rows), np.int64))


def second_task(
    model: ContinualModel, strategy: GenerativeReplay, seed: int = 3
) -> tuple[Lesson, list[dict[str, object]]]:
    """Let a strategy prepare for the second of two tasks; returns the lesson and what it wrote."""
    strategy.before_task(model, tiny_lesson(model, seed=2))
    strategy.after_task(model, tiny_lesson(model))
    files: dict[str, bytes] = {}
    lesson = replace(tiny_lesson(model, position=1, seed=seed, first_row=2, shift=1), keep=files.__setitem__)
    strategy.before_task(model, lesson)
    (content,) = files.values()
    assert [*files] == ["generated/task-02.jsonl"]
    return lesson, [json.loads(line) for line in content.decode().splitlines()]


def drawn(strategy: GenerativeReplay, lesson: Lesson, examples: int = 8, seed: int = 0) -> Rehearsal:
    (found,) = strategy.rehearse(lesson, Moment(1, 0, 10, 0, seed=seed, examples=examples))
    return found


def test_what_is_dropped_and_why() -> None:
    rows = [[2, 5, 6, 3], [2, 5, 5, 5, 5, 5, 3], [2, 5, 6, 3], [2, 7, 8, 3], [2, 7, 9, 3], [2, 8, 9, 3], [2, 6, 9, 3]]
    rows.append([2, 3])
    sure = np.array([0.9, 0.99, 0.9, 0.4, 0.8, 0.7, 0.95, 0.99], np.float32)
    classes, frame = np.array([0, 0, 0, 1, 1, 1, 1, 1]), np.array([2, 3])
    expected = [None, REPEATED, TWICE, UNSURE, None, ENOUGH, None, EMPTY]
    assert judge(texts(*rows), classes, sure, 0.5, 2, frame) == expected
    expected = [None, REPEATED, TWICE, None, None, None, None, EMPTY]
    assert judge(texts(*rows), classes, sure, 0.0, 9, frame) == expected


def test_a_draw_is_balanced_over_classes_of_any_size() -> None:
    classes = np.array([0] * 50 + [1] * 2 + [7] * 10)
    nothing = torch.zeros(62, 1)
    pool = TaughtTexts(examples(*[[2, 3]] * 62), classes, nothing, nothing, nothing)
    found = classes[pool.draw(3000, seed=0)]
    for one in (0, 1, 7):
        assert 900 < (found == one).sum() < 1100
    assert pool.draw(20, 1).tolist() == pool.draw(20, 1).tolist() != pool.draw(20, 2).tolist()


@pytest.mark.parametrize("seed", range(4))
def test_each_text_is_drawn_as_often_as_the_formula_says(seed: int) -> None:
    """Up to six classes of one to nine texts (chi-square at 0.1 %)."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 10, size=int(rng.integers(2, 7)))
    classes = rng.permutation(np.repeat(rng.permutation(20)[: len(sizes)], sizes))
    nothing = torch.zeros(len(classes), 1)
    pool = TaughtTexts(examples(*[[2, 3]] * len(classes)), classes, nothing, nothing, nothing)
    expected = 6000 * np.array(chances(classes.tolist()), float)
    assert expected.sum() == pytest.approx(6000)
    found = np.bincount(pool.draw(6000, seed), minlength=len(classes))
    assert ((found - expected) ** 2 / expected).sum() < chi2.ppf(0.999, len(classes) - 1)


@pytest.mark.parametrize("for_a_class", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_against_the_loop_over_texts_and_rows(seed: int, for_a_class: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two old tasks, each by itself or both together; who competes now is random, and so are all scores."""
    rng = np.random.default_rng(seed)
    first, rows = np.cumsum(rng.integers([1, 2], 5)).tolist()
    total = rows + int(rng.integers(1, 4))
    groups = [range(first), range(first, rows)] if seed % 2 else [range(rows)]
    words = [[2, 5 + i % 4, 9 + i // 4, 3] for i in range(16)]
    stands_for = rng.integers(0, rows, 16)
    if not for_a_class:
        stands_for = np.array([next(group.start for group in groups if row in group) for row in stands_for])
    drafts = Drafts(texts(*words), np.zeros(16, np.int64), stands_for, for_a_class)
    monkeypatch.setattr(MaskedGenerator, "prepare", lambda *_: None)
    monkeypatch.setattr(MaskedGenerator, "write", lambda *_: drafts)
    old = torch.from_numpy(rng.normal(0, 3, (16, total))).float()
    competing = rng.random((total, total)) < rng.uniform(0, 1)
    np.fill_diagonal(competing, True)
    model = a_model("first")
    lesson = replace(
        tiny_lesson(model, position=1),
        old=tuple(slice(group.start, group.stop) for group in groups),
        names=tuple(f"class {row}" for row in range(total)),
        competing=torch.from_numpy(competing),
        scores=lambda _: old,
    )
    weight, temperature = float(rng.uniform(0.2, 3)), (0.5, 1.7, 4.0)[seed // 2]
    strategy = unfiltered(weight=weight, temperature=temperature, per_class=16)
    strategy.before_task(model, lesson)
    rehearsal = drawn(strategy, lesson, examples=20, seed=seed)
    new, expected = torch.from_numpy(rng.normal(0, 3, (20, total))).float(), []
    for position, now in zip(rehearsal.indices.tolist(), new, strict=True):
        text = words.index(rehearsal.examples.collate(np.array([position])).inputs["input_ids"][0].tolist())
        before, group = old[text].tolist(), next(group for group in groups if stands_for[text] in group)
        row = int(stands_for[text]) if for_a_class else surest(before, group)
        among = np.flatnonzero(competing[row]).tolist()
        if seed % 2:  # what does not compete may be anything
            now[[k for k in range(total) if k not in {*group, *among}]] = -torch.inf
        expected.append(weight * rehearsed(before, now.tolist(), group, among, temperature))
    np.testing.assert_allclose(loss_of_each(rehearsal, new).numpy(), expected, rtol=1e-4, atol=1e-5)
    assert max(expected) > 0.1


def test_every_text_is_shown_with_its_answer_and_those_kept_are_rehearsed() -> None:
    strategy, model = unfiltered(), a_model("first", "second")
    _, shown = second_task(model, strategy)
    assert len(shown) == 2 * 12
    assert {line["intended"] for line in shown} == {"class 0", "class 1"}
    assert {line["task"] for line in shown} == {1}
    pool = strategy._pool
    assert pool is not None
    kept = [line for line in shown if line["rejected"] is None]
    assert len(kept) == len(pool.examples)
    for line, row, answer in zip(kept, pool.rows.tolist(), pool.answers, strict=True):
        assert line["intended"] == f"class {row}"
        assert line["answer"] == f"class {int(answer.argmax())}"
        assert (line["confidence"] >= 0.5) == (line["answer"] == line["intended"])  # type: ignore[operator]  # of two
    assert max(np.unique(pool.classes, return_counts=True)[1]) <= 8


def test_the_same_seed_writes_the_same_and_another_does_not() -> None:
    model = a_model("first", "second")
    (_, one), (_, same), (_, other) = (second_task(model, unfiltered(), seed) for seed in (3, 3, 4))
    assert one == same != other


def test_a_memory_that_was_given_back_writes_the_same() -> None:
    model = a_model("first", "second")
    strategy, again = (
        unfiltered(),
        unfiltered(),
    )
    strategy.before_task(model, tiny_lesson(model, seed=2))
    strategy.after_task(model, tiny_lesson(model))
    again.restore(strategy.state(), model)
    lesson = tiny_lesson(model, position=1, seed=3, first_row=2, shift=1)
    for one in (strategy, again):
        one.before_task(model, lesson)
    first, second = drawn(strategy, lesson), drawn(again, lesson)
    assert first.indices.tolist() == second.indices.tolist()
    assert all(
        torch.equal(first.examples.tensors()[name], tensor) for name, tensor in second.examples.tensors().items()
    )


def test_the_loss_is_the_formula_and_0_where_student_is_teacher() -> None:
    model, strategy = (
        a_model("first", "second"),
        unfiltered(weight=1.5, temperature=2.0, ratio=0.5),
    )
    lesson, _ = second_task(model, strategy)
    competing = torch.zeros(4, 4, dtype=torch.bool)  # each task by itself
    competing[:2, :2], competing[2:, 2:] = True, True
    rehearsal = drawn(strategy, replace(lesson, competing=competing), examples=9)
    assert (rehearsal.name, len(rehearsal.indices)) == ("generated", 5)  # half a batch, rounded up
    before = lesson.scores(rehearsal.examples)[torch.from_numpy(rehearsal.indices)]
    torch.testing.assert_close(loss_of_each(rehearsal, before), torch.zeros(5), atol=1e-6, rtol=0)
    now = before + torch.randn(5, 4)
    expected = 1.5 * 5 * without_forgetting(before.double().tolist(), now.double().tolist(), [range(2)], 2.0)
    assert loss_of_each(rehearsal, now).sum().item() == pytest.approx(expected, rel=1e-4)


def test_where_all_classes_compete_an_old_text_is_none_of_the_new() -> None:
    model, strategy = a_model("first", "second"), unfiltered()
    lesson, _ = second_task(model, strategy)
    rehearsal = drawn(strategy, lesson)
    before = lesson.scores(rehearsal.examples)[torch.from_numpy(rehearsal.indices)].requires_grad_()
    loss_of_each(rehearsal, before).sum().backward()
    assert before.grad is not None
    assert (before.grad[:, 2:] > 0).all()  # scores of new rows go down
    assert before.grad.isfinite().all()
    silent = before.detach().clone()
    silent[:, 2:] = -1e4
    torch.testing.assert_close(loss_of_each(rehearsal, silent), torch.zeros(8), atol=1e-6, rtol=0)


def test_tasks_that_share_no_rows_are_answered_each_among_its_own() -> None:
    model, strategy = a_model("first", "second", "third"), unfiltered()
    for position in range(2):
        strategy.before_task(model, tiny_lesson(model, position=position))
        strategy.after_task(model, tiny_lesson(model, position=position, first_row=2 * position))
    lesson = replace(tiny_lesson(model, position=2, first_row=4), old=(slice(0, 2), slice(2, 4)))
    strategy.before_task(model, lesson)
    pool = strategy._pool
    assert pool is not None
    assert {*pool.classes.tolist()} <= {0, 1, 6, 7}  # task · 4 rows + row
    for number, among, answers in zip(pool.classes.tolist(), pool.among, pool.answers, strict=True):
        own = [True, True, False, False] if number < 4 else [False, False, True, True]
        assert among.tolist() == own
        assert answers[~among].abs().max() == 0
        assert float(answers.sum()) == pytest.approx(1)


def test_seeds_of_the_current_task_need_no_statistics() -> None:
    strategy = unfiltered(generator=MaskedGeneratorSettings(seeds="current", sweeps=0))
    model = a_model("first", "second")
    lesson, shown = second_task(model, strategy)
    assert not any(name.startswith("statistics/") for name in strategy.state())
    assert len(shown) == 2 * 12
    assert all(line["task"] is None and line["intended"] is None for line in shown)
    current = texts_of(lesson.train)
    ids = {current.subset(np.array([i])).ids.tobytes() for i in range(len(current))}
    inputs = texts_of(drawn(strategy, lesson).examples)
    assert {inputs.subset(np.array([i])).ids.tobytes() for i in range(len(inputs))} <= ids  # no sweep changed them
    apart = replace(lesson, old=(slice(0, 1), slice(1, 2)))
    strategy.before_task(model, apart)
    assert strategy._pool is not None
    assert {*strategy._pool.rows.tolist()} == {0, 1}  # each group has its texts


def test_no_text_that_is_sure_enough_is_said_and_rehearses_nothing() -> None:
    model, strategy = a_model("first", "second"), GenerativeReplay(GenerativeReplaySettings(confidence=1.0))
    strategy.before_task(model, tiny_lesson(model))
    strategy.after_task(model, tiny_lesson(model))
    said: list[str] = []
    lesson = replace(tiny_lesson(model, position=1, first_row=2), warn=said.append)
    strategy.before_task(model, lesson)
    assert strategy.rehearse(lesson, Moment(1, 0, 10, 0)) == []
    assert any("no text of 2 old classes (class 0, class 1) was kept" in line for line in said)


def test_weight_0_reads_nothing_writes_nothing_and_remembers_nothing() -> None:
    model, strategy = a_model("first", "second"), GenerativeReplay(GenerativeReplaySettings(weight=0.0))

    def never(*_: object) -> torch.Tensor:
        raise AssertionError("asked for something")

    for position, first_row in ((0, 0), (1, 2)):
        lesson = replace(tiny_lesson(model, position=position, first_row=first_row), scores=never, keep=never)
        strategy.before_task(model, lesson)
        assert strategy.rehearse(lesson, Moment(position, 0, 10, 0)) == []
        strategy.after_task(model, lesson)
    assert strategy.state() == {}
    assert strategy.diagnostics(model) == {}
