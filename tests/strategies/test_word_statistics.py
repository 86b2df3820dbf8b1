import math

import numpy as np
import pytest
import torch
from lessons import a_model

from plora.errors import RunError
from plora.generators.word_statistics import SMOOTHING, WordStatistics, frame
from plora.model import ContinualModel
from plora.problems import LabelledExamples, TextClassification
from plora.problems.text_classification import TokenizedTexts
from plora.streams.base import Texts
from plora.testing.tiny import tiny_lesson

PAIRS = (("ant bee", "cow"), ("dog", "elk fox gnu"), ("ant ant", "cow"))


def problem_of(model: ContinualModel) -> TextClassification:
    assert isinstance(model.problem, TextClassification)
    return model.problem


def two_tasks(model: ContinualModel) -> WordStatistics:
    lesson = tiny_lesson(model)
    first = WordStatistics.of(None, problem_of(model), lesson.train, 0)
    later = LabelledExamples(tiny_lesson(model, shift=2).train.inputs, lesson.train.rows + 2)
    return WordStatistics.of(first, problem_of(model), later, 1)


def test_words_and_lengths_of_each_class_are_counted_as_in_a_loop() -> None:
    model = a_model("first")
    statistics = two_tasks(model)
    assert statistics.sources.tolist() == [[0, 0], [0, 1], [1, 2], [1, 3]]
    for source, (task, row) in enumerate(statistics.sources.tolist()):
        split = tiny_lesson(model, shift=2 * task).train
        texts = split.inputs
        assert isinstance(texts, TokenizedTexts)
        words: dict[int, int] = {}
        lengths: dict[int, int] = {}
        for i in np.flatnonzero(split.rows == row - 2 * task):
            ids = texts.ids[texts.starts[i] : texts.starts[i] + texts.lengths[i]].tolist()
            lengths[len(ids)] = lengths.get(len(ids), 0) + 1
            for token in ids[1:-1]:
                words[token] = words.get(token, 0) + 1
        assert {token: count for owner, token, count in statistics.words.tolist() if owner == source} == words
        found: dict[int, int] = {}
        for owner, layout, count in statistics.lengths.tolist():
            if owner == source:
                found[int(statistics.layouts.lengths[layout])] = count
        assert found == lengths


def test_nothing_of_a_text_stays_but_its_length_and_special_tokens() -> None:
    model = a_model("first")
    problem = problem_of(model)
    statistics = two_tasks(model)
    words = statistics.layouts.ids[~np.isin(statistics.layouts.ids, frame(problem))]
    assert {*words.tolist()} == {problem.tokenizer.mask_token_id}
    assert len({*statistics.layouts.lengths.tolist()}) == len(statistics.layouts)


def test_seeds_are_of_their_class_s_words_and_lengths_and_pairs_stay_pairs() -> None:
    model = a_model("first")
    problem = problem_of(model)
    split = problem.encode(Texts(PAIRS, np.array([0, 1, 0])))
    statistics = WordStatistics.of(None, problem, split, 0)
    texts, sources = statistics.seeds(problem, 20, np.random.default_rng(0))
    assert sources.tolist() == [0] * 20 + [1] * 20
    lines = [
        problem.tokenizer.decode(texts.ids[start : start + length]).split()
        for start, length in zip(texts.starts, texts.lengths, strict=True)
    ]
    for line in lines[:20]:
        assert [line[0], line[3], line[5]] == ["[CLS]", "[SEP]", "[SEP]"]
        assert {line[1], line[2], line[4]} <= {"ant", "bee", "cow"}
    for line in lines[20:]:
        assert [line[0], line[2], line[6]] == ["[CLS]", "[SEP]", "[SEP]"]
        assert {line[1], *line[3:6]} <= {"dog", "elk", "fox", "gnu"}
    again, _ = statistics.seeds(problem, 20, np.random.default_rng(0))
    assert again.ids.tolist() == texts.ids.tolist()
    drawn = texts.ids[: int(texts.lengths[:20].sum())]
    ant = problem.tokenizer.convert_tokens_to_ids("ant")
    assert 0.35 < (drawn == ant).sum() / 60 < 0.65  # three of its six words


def test_a_leaning_is_the_smoothed_ratio_of_shares() -> None:
    model = a_model("first")
    statistics = two_tasks(model)
    vocabulary = torch.arange(5, 17)
    found = statistics.leanings(vocabulary)
    counts = np.zeros((4, 17))
    for source, token, count in statistics.words.tolist():
        counts[source, token] = count
    for source in range(4):
        for place, token in enumerate(vocabulary.tolist()):
            share = counts[:, token].sum() / counts.sum()
            ratio = (counts[source, token] / share if share else 0) + SMOOTHING
            assert found[source, place].item() == pytest.approx(math.log(ratio / (counts[source].sum() + SMOOTHING)))


def test_statistics_come_back_and_damage_is_named() -> None:
    model = a_model("first")
    problem, statistics = problem_of(model), two_tasks(model)
    again = WordStatistics.restored(statistics.state(), problem)
    assert all(torch.equal(again.state()[name], tensor) for name, tensor in statistics.state().items())
    one, other = (kept.seeds(problem, 5, np.random.default_rng(1))[0].ids for kept in (statistics, again))
    assert one.tolist() == other.tolist()
    state = statistics.state()
    with pytest.raises(RunError, match="no 'words' of 3 columns"):
        WordStatistics.restored({**state, "words": state["words"].float()}, problem)
    with pytest.raises(RunError, match="count what they do not name"):
        WordStatistics.restored({**state, "sources": state["sources"][:1]}, problem)
    with pytest.raises(RunError, match="no 'ids'"):
        WordStatistics.restored({name: t for name, t in state.items() if name != "layouts/ids"}, problem)


def test_a_class_whose_every_text_is_empty_is_written_empty() -> None:
    model = a_model("first")
    problem = problem_of(model)
    nothing = problem.encode(Texts(("", ""), np.array([0, 0])))
    texts, _ = WordStatistics.of(None, problem, nothing, 0).seeds(problem, 2, np.random.default_rng(0))
    assert texts.lengths.tolist() == [2, 2]
