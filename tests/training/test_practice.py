"""A model that learns beside the run's: it is trained by the one loop, as its practice says, and leaves no trace."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from together import together
from torch import Tensor

from plora.adapters import LoRA
from plora.backbones import BackboneConfig
from plora.errors import NonFiniteLossError
from plora.events.console import Console
from plora.fingerprint import hash_tensors
from plora.gates import AllOnes
from plora.generators import writing
from plora.generators.causal_language import CausalLanguage
from plora.lesson import Lesson, Practice
from plora.processes import Processes
from plora.results import Point
from plora.streams.base import Texts
from plora.testing.tiny import open_filled, tiny_lesson, tiny_model, tiny_parts
from plora.training import phase, practice, session
from plora.training.practice import practise

TEXTS = tuple((("fruit", "bread")[i % 2], " ".join(["apple", "pear", "the"][: 1 + i % 3])) for i in range(20))


class Heard(Console):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(silent=True)
        self.events: list[tuple[str, dict[str, object]]] = []
        self.shown: list[tuple[object, ...]] = []

    def event(self, name: str, **fields: object) -> None:
        self.events.append((name, fields))

    def progress(self, *shown: object, **fields: object) -> None:
        self.shown.append((*shown, *fields.items()))


@dataclass
class Learned:
    """What was learned and told."""

    slot: Mapping[str, Tensor]
    means: list[float]
    heard: Heard


def a_lesson() -> Lesson:
    model = tiny_model(AllOnes())
    open_filled(model, "first")
    return tiny_lesson(model)


def learn(writer: Path, processes: Processes | None = None, **training: object) -> Learned:
    """Two passes over twenty texts, in batches of eight, as a run with these settings has them learned."""
    config = BackboneConfig(id=str(writer), max_length=12)
    language = CausalLanguage.load(config, LoRA(rank=4, dropout=0.0), torch.device("cpu"))
    texts = language.problem.encode(Texts(TEXTS, np.zeros(len(TEXTS), np.int64)))
    torch.manual_seed(3)
    language.adapters.open_task("mine", language.lora)
    parts, heard = tiny_parts(tiny_model(AllOnes())), Heard()
    changed = parts.config.training.model_copy(update=training)
    parts = replace(parts, config=parts.config.model_copy(update={"training": changed}))
    parts = replace(parts, learner=replace(parts.learner, processes=processes or Processes()))
    means = practise(parts, heard, Practice("learn x", language.model, "mine", texts, 2, 0.01, 8), a_lesson())
    slot = {name: matrix.detach().clone() for name, matrix in language.adapters.named_open().items()}
    return Learned(slot, means, heard)


def test_it_learns_with_a_rate_that_falls_from_the_first_step_without_decay(
    tiny_writer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors: list[float] = []
    original = phase.set_rates
    optimizers: list[torch.optim.Optimizer] = []

    def watched(optimizer: torch.optim.Optimizer, factor: float) -> None:
        factors.append(factor)
        original(optimizer, factor)
        optimizers.append(optimizer)

    monkeypatch.setattr(phase, "set_rates", watched)
    learn(tiny_writer, weight_decay=0.5, warmup=0.5, epochs=9, batch_size=4)  # which are the run's own
    assert factors == pytest.approx([1 - step / 6 for step in range(6)])
    assert isinstance(optimizers[0], torch.optim.AdamW)
    assert {group["weight_decay"] for group in optimizers[0].param_groups} == {0}


def test_gradients_are_clipped_as_the_runs_are(tiny_writer: Path) -> None:
    free, tight = learn(tiny_writer, clip_norm=None), learn(tiny_writer, clip_norm=1e-9)
    moved = {name: float((free.slot[name] - tight.slot[name]).abs().max()) for name in free.slot}
    assert max(moved.values()) > 0.005  # with gradients like AdamW's epsilon, steps are far smaller than the rate


def test_a_full_memory_halves_the_micro_batch_and_keeps_the_result(
    tiny_writer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, original = learn(tiny_writer), writing._surprise

    def small_memory(outputs: Mapping[str, Tensor], batch: object) -> Tensor:
        if len(outputs["logits"]) > 3:
            raise RuntimeError("CUDA out of memory")
        return original(outputs, batch)

    monkeypatch.setattr(writing, "_surprise", small_memory)
    found = learn(tiny_writer)
    assert found.heard.events[-1] == ("memory_full", {"task": "mine", "step": 0, "micro_batch_size": 2})
    assert found.means == pytest.approx(undisturbed.means, rel=1e-3)
    for name, matrix in undisturbed.slot.items():
        torch.testing.assert_close(found.slot[name], matrix, rtol=1e-2, atol=1e-3)


def test_a_loss_that_is_not_finite_stops_before_the_step(tiny_writer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = writing._surprise, []

    def poisoned(outputs: Mapping[str, Tensor], batch: object) -> Tensor:
        calls.append(1)
        return original(outputs, batch) * (float("nan") if len(calls) == 3 else 1.0)

    monkeypatch.setattr(writing, "_surprise", poisoned)
    with pytest.raises(NonFiniteLossError, match=r"task 'mine', step 2: the loss is not finite \(surprise nan"):
        learn(tiny_writer)


def test_two_processes_share_each_step_and_end_with_the_same_slot(tiny_writer: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"

    def work(rank: int) -> None:
        original, rows = writing._surprise, []

        def counted(outputs: Mapping[str, Tensor], batch: object) -> Tensor:
            rows.append(len(outputs["logits"]))
            return original(outputs, batch)

        writing._surprise = counted
        found = learn(tiny_writer, Processes.joined())
        said = {"rows": sum(rows), "means": found.means, "slot": hash_tensors(sorted(found.slot.items()))}
        (place / f"{rank}.json").write_text(json.dumps(said), encoding="utf-8")

    assert together(2, work, place) == [0, 0]
    first, second = (json.loads((place / f"{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1))
    assert first == second
    assert first["rows"] == len(TEXTS)  # half of them, in two passes
    assert first["means"] == pytest.approx(learn(tiny_writer).means, rel=1e-5)


def test_it_shows_every_step_and_returns_the_mean_loss_of_each_epoch(
    tiny_writer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points: list[Point] = []
    original = practice._Beside.log

    def watched(self: practice._Beside, point: Point, step: int, total: int) -> None:
        points.append(point)
        original(self, point, step, total)

    monkeypatch.setattr(practice._Beside, "log", watched)
    found = learn(tiny_writer)
    assert found.heard.shown == [("learn x", step, 6) for step in range(1, 7)]
    losses = [point.loss for point in points]
    assert found.means == pytest.approx([np.mean(losses[:3]), np.mean(losses[3:])])
    assert found.means[1] < found.means[0]


def test_who_trains_without_a_run_folder_keeps_nothing(tiny_writer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.Training, "keep", lambda *_, **__: pytest.fail("it kept where training stands"))
    assert not learn(tiny_writer, checkpoint_seconds=0).heard.events
