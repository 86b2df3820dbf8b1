from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from lessons import a_model, among, loss_of_each
from reference.replay import cross_entropy, distance, reservoir, smallest

from plora.errors import RunError
from plora.lesson import Lesson
from plora.model import ContinualModel
from plora.moment import Moment
from plora.problems import LabelledExamples
from plora.strategies import Replay, ReplaySettings
from plora.strategies.buffer import Buffer
from plora.testing.tiny import tiny_lesson

NAMES = ("replay", "replayed_scores")


def progress(seed: int = 0, examples: int = 8) -> Moment:
    return Moment(task=1, step=0, total=10, epoch=0, seed=seed, examples=examples)


def test_every_example_ever_offered_is_kept_with_the_same_probability() -> None:
    """Three splits of 12: a uniform sample of 36, whatever the order (chi-square at 0.1 %)."""
    model = a_model("first")
    lesson = tiny_lesson(model)
    scores = torch.zeros(12, 2)
    counts = np.zeros(36)
    trials, capacity = 2000, 9
    for trial in range(trials):
        buffer = None
        for part in range(3):
            split = replace(lesson.train, rows=np.arange(12) + 12 * part)
            buffer = Buffer.offered(buffer, split, scores, capacity, 3 * trial + part)
        assert buffer is not None
        assert len(set(buffer.examples.rows.tolist())) == capacity == len(buffer)
        counts[buffer.examples.rows] += 1
    expected = trials * capacity / 36
    chi_square = ((counts - expected) ** 2 / expected).sum() / (1 - capacity / 36)  # drawn without replacement
    assert chi_square < 66.6  # 35 degrees of freedom


@pytest.mark.parametrize("sizes", [(6,), (1, 3, 2), (2, 4), (1, 1, 1, 1, 1, 1)])
def test_what_stays_together_is_as_likely_as_in_the_algorithm(sizes: tuple[int, ...]) -> None:
    """Two of six, offered in parts of any size: each pair as often as algorithm R keeps it (chi-square at 0.1 %)."""
    expected = reservoir(6, capacity=2)
    assert sum(expected.values()) == 1
    lesson = tiny_lesson(a_model("first"))
    starts = np.cumsum((0, *sizes)).tolist()
    parts = [
        LabelledExamples(lesson.train.inputs.subset(np.arange(size)), np.arange(size) + start)
        for size, start in zip(sizes, starts[:-1], strict=True)
    ]
    found, trials = dict.fromkeys(expected, 0), 1500
    for trial in range(trials):
        buffer = None
        for number, part in enumerate(parts):
            buffer = Buffer.offered(buffer, part, torch.zeros(len(part), 1), 2, len(parts) * trial + number)
        assert buffer is not None
        found[frozenset(buffer.examples.rows.tolist())] += 1
    chi_square = sum((found[kept] - trials * float(p)) ** 2 / (trials * float(p)) for kept, p in expected.items())
    assert chi_square < 36.1  # 14 degrees of freedom


def test_what_stays_keeps_its_text_label_and_scores() -> None:
    model = a_model("first")
    lesson = tiny_lesson(model)
    scores = torch.arange(24.0).reshape(12, 2)
    buffer = Buffer.offered(None, lesson.train, scores, 5, seed=3)
    wider = Buffer.offered(buffer, lesson.train, torch.arange(36.0).reshape(12, 3), 9, seed=4)
    for kept in (buffer, wider):
        for position in range(len(kept)):
            value = int(kept.scores[position, 0])
            old = bool(kept.scores.shape[1] == 3 and kept.scores[position, 2].isnan())
            example = value // 2 if kept is buffer or old else value // 3
            assert kept.examples.rows[position] == lesson.train.rows[example]
            own = kept.examples.collate(np.array([position])).inputs["input_ids"]
            assert torch.equal(own, lesson.train.collate(np.array([example])).inputs["input_ids"])
    assert wider.scores[:, 2].isnan().any()  # rows that the head did not have when they came in


def test_a_draw_repeats_nothing_while_there_is_enough() -> None:
    model = a_model("first")
    buffer = Buffer.offered(None, tiny_lesson(model).train, torch.zeros(12, 2), 6, seed=0)
    assert len(set(buffer.draw(6, seed=1).tolist())) == 6
    assert len(buffer.draw(20, seed=1)) == 20
    assert buffer.draw(6, seed=1).tolist() == buffer.draw(6, seed=1).tolist()
    assert buffer.draw(6, seed=1).tolist() != buffer.draw(6, seed=2).tolist()


@dataclass(frozen=True)
class Offered:
    """What the slow memory knows of an example."""

    text: list[int]
    row: int
    key: float
    scores: dict[int, float]  # of the rows among which it was classified


def a_lesson(
    model: ContinualModel, rng: np.random.Generator, rows: int, first_row: int
) -> tuple[Lesson, list[Offered]]:
    """A task of random size, scores and rows; who competes with whom is random too, but each row with itself."""
    count = int(rng.integers(4, 13))
    inputs, own = tiny_lesson(model, texts=count, shift=rows).train.inputs, rng.integers(first_row, rows, count)
    competing = rng.random((rows, rows)) < rng.uniform(0.2, 1)
    np.fill_diagonal(competing, True)
    scores = torch.from_numpy(rng.normal(0, 3, (count, rows))).float()
    seed = int(rng.integers(1000))
    lesson = replace(
        among(tiny_lesson(model), model, torch.from_numpy(competing)),
        train=LabelledExamples(inputs, own),
        scores=lambda _: scores,
        seed=seed,
    )
    keys = np.random.default_rng(seed).random(count)
    return lesson, [
        Offered(
            text=inputs.collate(np.array([i]))["input_ids"][0].tolist(),
            row=int(own[i]),
            key=float(keys[i]),
            scores={k: float(scores[i, k]) for k in range(rows) if competing[own[i], k]},
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("seed", range(8))
def test_three_tasks_against_the_loop_over_examples_and_rows(seed: int) -> None:
    """The head grows by one to four rows per task; the buffer holds some of the examples, or all of them."""
    rng = np.random.default_rng(seed)
    model, ends = a_model("first"), np.cumsum(rng.integers(1, 5, size=3)).tolist()
    weight, scores_weight = rng.uniform(0.2, 3, size=2)
    replay = Replay(ReplaySettings(weight=weight, scores_weight=scores_weight, capacity=int(rng.integers(3, 25))))
    ever: list[Offered] = []
    for first_row, rows in zip([0, *ends], ends, strict=False):
        lesson, offered = a_lesson(model, rng, rows, first_row)
        if ever:
            memory = [ever[i] for i in smallest([one.key for one in ever], replay.settings.capacity)]
            for number, rehearsal in enumerate(replay.rehearse(lesson, progress(seed, examples=9))):
                scores = torch.from_numpy(rng.normal(0, 3, (9, rows))).float()
                expected = []
                for position, new in zip(rehearsal.indices.tolist(), scores, strict=True):
                    old = memory[position]
                    assert rehearsal.examples.collate(np.array([position])).inputs["input_ids"][0].tolist() == old.text
                    among = lesson.competing[old.row].nonzero()[:, 0].tolist()
                    if number == 0:
                        if seed % 2:  # what does not compete may be anything
                            new[~lesson.competing[old.row]] = -torch.inf
                        expected.append(weight * cross_entropy(new.double().tolist(), old.row, among))
                    else:
                        expected.append(scores_weight * distance(new.double().tolist(), old.scores))
                found = loss_of_each(rehearsal, scores)
                np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)
                assert (rehearsal.name, min(expected) >= 0, max(expected) > 0.1) == (NAMES[number], True, True)
        replay.after_task(model, lesson)
        ever += offered


def learned(replay: Replay) -> tuple[Replay, list[torch.Tensor]]:
    model = a_model("first", "second")
    lesson = tiny_lesson(model, first_row=2)
    lesson.competing[:, :1] = False
    assert replay.rehearse(lesson, progress()) == []
    replay.after_task(model, lesson)
    return replay, [lesson.scores(lesson.train), lesson.competing]


def test_experience_replay_is_cross_entropy_among_the_rows_that_compete() -> None:
    replay, (_, competing) = learned(Replay(ReplaySettings(weight=3.0, capacity=7)))
    model = a_model("first", "second")
    lesson = among(tiny_lesson(model), model, competing)
    (old,) = replay.rehearse(lesson, progress(examples=5))
    assert old.name == "replay"
    assert len(old.indices) == 5
    scores = torch.randn(5, 4)
    rows = torch.from_numpy(replay._buffer.examples.rows[old.indices])  # type: ignore[union-attr]
    expected = [
        3.0 * cross_entropy(new, row, range(1, 4)) for new, row in zip(scores.tolist(), rows.tolist(), strict=True)
    ]
    np.testing.assert_allclose(loss_of_each(old, scores).numpy(), expected, rtol=1e-5)


def test_dark_experience_replay_holds_the_old_scores_of_the_rows_that_there_were() -> None:
    replay, (scores, competing) = learned(Replay(ReplaySettings(weight=0.5, scores_weight=2.0, capacity=12)))
    model = a_model("first", "second")
    lesson = among(tiny_lesson(model), model, competing)
    first, second = replay.rehearse(lesson, progress(examples=12))
    assert [first.name, second.name] == ["replay", "replayed_scores"]
    (other, *_) = Replay.rehearse(replay, lesson, progress(examples=5)), None
    assert other[0].indices.tolist() != other[1].indices.tolist()  # two draws, not one
    new = torch.randn(12, 5)  # the head has grown by a row
    before = scores[torch.from_numpy(second.indices)]
    expected = [
        2.0 * distance(now, {k: then[k] for k in (1, 2, 3)})
        for now, then in zip(new.tolist(), before.tolist(), strict=True)
    ]
    np.testing.assert_allclose(loss_of_each(second, new).numpy(), expected, rtol=1e-5)
    same = torch.cat([before, torch.randn(12, 1)], dim=1)
    assert loss_of_each(second, same).abs().max() == 0


def test_weights_of_0_are_plain_training() -> None:
    replay, (_, competing) = learned(Replay(ReplaySettings(weight=0.0, scores_weight=0.0)))
    model = a_model("first", "second")
    lesson = among(tiny_lesson(model), model, competing)
    assert replay.rehearse(lesson, progress()) == []


def test_the_buffer_comes_back_and_damage_is_named() -> None:
    replay, (_, competing) = learned(Replay(ReplaySettings(capacity=6)))
    model = a_model("first", "second")
    again = Replay(ReplaySettings(capacity=6))
    again.restore(replay.state(), model)
    lesson = among(tiny_lesson(model), model, competing)
    (one,), (other,) = replay.rehearse(lesson, progress()), again.rehearse(lesson, progress())
    assert one.indices.tolist() == other.indices.tolist()
    assert torch.equal(
        one.examples.collate(one.indices).inputs["input_ids"], other.examples.collate(other.indices).inputs["input_ids"]
    )
    state = replay.state()
    with pytest.raises(RunError, match="no 'keys'"):
        Replay(ReplaySettings()).restore({name: tensor for name, tensor in state.items() if name != "keys"}, model)
    with pytest.raises(RunError, match="the parts of the stored buffer differ in length"):
        Replay(ReplaySettings()).restore({**state, "keys": state["keys"][:-1]}, model)
    with pytest.raises(RunError, match="no 'rows', one for each of them"):
        Replay(ReplaySettings()).restore({**state, "rows": state["rows"][:-1]}, model)
    with pytest.raises(RunError, match="no 'ids' of one dimension and type"):
        Replay(ReplaySettings()).restore({**state, "inputs/ids": state["inputs/ids"].float()}, model)
    with pytest.raises(RunError, match="the parts of the stored texts differ in length"):
        Replay(ReplaySettings()).restore({**state, "inputs/ids": state["inputs/ids"][:-1]}, model)
    empty = Replay(ReplaySettings())
    empty.restore({}, model)
    assert empty.rehearse(lesson, progress()) == []
