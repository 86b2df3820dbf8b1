from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lessons import a_model

from plora.errors import RunError
from plora.strategies import Progress, Replay
from plora.strategies.buffer import Buffer
from plora.testing.tiny import tiny_lesson


def progress(seed: int = 0, examples: int = 8) -> Progress:
    return Progress(task=1, step=0, total=10, epoch=0, seed=seed, examples=examples)


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
        assert len(set(buffer.rows.tolist())) == capacity == len(buffer)
        counts[buffer.rows] += 1
    expected = trials * capacity / 36
    chi_square = ((counts - expected) ** 2 / expected).sum() / (1 - capacity / 36)  # drawn without replacement
    assert chi_square < 66.6  # 35 degrees of freedom


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
            assert kept.rows[position] == lesson.train.rows[example]
            own = kept.inputs.collate(np.array([position]))["input_ids"]
            assert torch.equal(own, lesson.train.inputs.collate(np.array([example]))["input_ids"])
    assert wider.scores[:, 2].isnan().any()  # rows that the head did not have when they came in


def test_a_draw_repeats_nothing_while_there_is_enough() -> None:
    model = a_model("first")
    buffer = Buffer.offered(None, tiny_lesson(model).train, torch.zeros(12, 2), 6, seed=0)
    assert len(set(buffer.draw(6, seed=1).tolist())) == 6
    assert len(buffer.draw(20, seed=1)) == 20
    assert buffer.draw(6, seed=1).tolist() == buffer.draw(6, seed=1).tolist()
    assert buffer.draw(6, seed=1).tolist() != buffer.draw(6, seed=2).tolist()


def learned(replay: Replay) -> tuple[Replay, list[torch.Tensor]]:
    model = a_model("first", "second")
    lesson = tiny_lesson(model, first_row=2)
    lesson.competing[:, :1] = False
    assert replay.rehearse(lesson, progress()) == []
    replay.after_task(model, lesson)
    return replay, [lesson.scores(lesson.train.inputs), lesson.competing]


def test_experience_replay_is_cross_entropy_among_the_rows_that_compete() -> None:
    replay, (_, competing) = learned(Replay(weight=3.0, capacity=7))
    lesson = replace(tiny_lesson(a_model("first", "second")), competing=competing)
    (old,) = replay.rehearse(lesson, progress(examples=5))
    assert old.name == "replay"
    assert len(old.indices) == 5
    scores = torch.randn(5, 4)
    rows = torch.from_numpy(replay._buffer.rows[old.indices])  # type: ignore[union-attr]
    expected = 3.0 * F.cross_entropy(scores[:, 1:], rows - 1, reduction="none")
    torch.testing.assert_close(old.loss(scores, old.indices), expected)


def test_dark_experience_replay_holds_the_old_scores_of_the_rows_that_there_were() -> None:
    replay, (scores, competing) = learned(Replay(weight=0.5, scores_weight=2.0, capacity=12))
    lesson = replace(tiny_lesson(a_model("first", "second")), competing=competing)
    first, second = replay.rehearse(lesson, progress(examples=12))
    assert [first.name, second.name] == ["replay", "replayed_scores"]
    (other, *_) = Replay.rehearse(replay, lesson, progress(examples=5)), None
    assert other[0].indices.tolist() != other[1].indices.tolist()  # two draws, not one
    new = torch.randn(12, 5)  # the head has grown by a row
    apart = (new[:, 1:4] - scores[torch.from_numpy(second.indices)][:, 1:4]).square().mean(1)
    torch.testing.assert_close(second.loss(new, second.indices), 2.0 * apart)
    same = torch.cat([scores[torch.from_numpy(second.indices)], torch.randn(12, 1)], dim=1)
    assert second.loss(same, second.indices).abs().max() == 0


def test_weights_of_0_are_plain_training() -> None:
    replay, (_, competing) = learned(Replay(weight=0.0, scores_weight=0.0))
    lesson = replace(tiny_lesson(a_model("first", "second")), competing=competing)
    assert replay.rehearse(lesson, progress()) == []


def test_the_buffer_comes_back_and_damage_is_named() -> None:
    replay, (_, competing) = learned(Replay(capacity=6))
    model = a_model("first", "second")
    again = Replay(capacity=6)
    again.restore(replay.state(), model)
    lesson = replace(tiny_lesson(model), competing=competing)
    (one,), (other,) = replay.rehearse(lesson, progress()), again.rehearse(lesson, progress())
    assert one.indices.tolist() == other.indices.tolist()
    assert torch.equal(one.inputs.collate(one.indices)["input_ids"], other.inputs.collate(other.indices)["input_ids"])
    state = replay.state()
    with pytest.raises(RunError, match="no 'keys'"):
        Replay().restore({name: tensor for name, tensor in state.items() if name != "keys"}, model)
    with pytest.raises(RunError, match="differ in length"):
        Replay().restore({**state, "rows": state["rows"][:-1]}, model)
    with pytest.raises(RunError, match="no 'ids' of one dimension and type"):
        Replay().restore({**state, "inputs/ids": state["inputs/ids"].float()}, model)
    with pytest.raises(RunError, match="the stored texts differ in length"):
        Replay().restore({**state, "inputs/ids": state["inputs/ids"][:-1]}, model)
    empty = Replay()
    empty.restore({}, model)
    assert empty.rehearse(lesson, progress()) == []
