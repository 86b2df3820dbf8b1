"""The callback for `transformers.Trainer`: what it refuses, what it logs, what it commits."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainingArguments

from plora.adapters import LoRA
from plora.callback import ContinualCallback
from plora.errors import ConfigError, TrainingError
from plora.gates import AllOnes
from plora.model import ContinualModel
from plora.settings import named
from plora.strategies import STRATEGIES, Orthogonality, OrthogonalitySettings, Strategy
from plora.testing.tiny import WIDTH, tiny_model, tiny_texts, tiny_tokenizer


class Fit(Trainer):
    """The simplest loss: features near 1."""

    continual: ContinualCallback

    def compute_loss(
        self,
        model: ContinualModel,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: object = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        scores = model({name: tensor for name, tensor in inputs.items() if name != "labels"})
        loss = (scores - 1).square().mean() + self.continual.penalty()
        return (loss, scores) if return_outputs else loss


def trainer_of(
    model: ContinualModel,
    place: Path,
    task: int = 0,
    strategies: Sequence[Strategy] = (),
    others: Sequence[TrainerCallback] = (),
    accumulate: int = 1,
    **more: object,
) -> Fit:
    continual = ContinualCallback(model, task, strategies)
    tokenizer = tiny_tokenizer()
    trainer = Fit(
        model=model,
        args=TrainingArguments(
            str(place),
            max_steps=3,
            per_device_train_batch_size=4 // accumulate,
            gradient_accumulation_steps=accumulate,
            learning_rate=0.01,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            disable_tqdm=True,
            use_cpu=True,
            **more,
        ),
        train_dataset=tiny_texts(12),
        eval_dataset=tiny_texts(4),
        data_collator=lambda rows: {
            **tokenizer([text for text, _ in rows], padding=True, return_tensors="pt"),
            "labels": torch.tensor([label for _, label in rows]),
        },
        callbacks=[*others, continual],
    )
    trainer.continual = continual
    return trainer


def open_next(model: ContinualModel, task: str) -> None:
    assert model.adapters is not None
    torch.manual_seed(0)
    model.adapters.open_task(task, LoRA(rank=2, dropout=0))
    model.head.open(task, 2, torch.Generator().manual_seed(0))


def test_two_tasks_are_learned_and_committed(tmp_path: Path) -> None:
    model = tiny_model(AllOnes())
    assert model.adapters is not None
    logs = []
    for number, task in enumerate(("one", "two")):
        open_next(model, task)
        before = model.adapters[task].content_hash()
        trainer = trainer_of(model, tmp_path, number, [Orthogonality(OrthogonalitySettings())])
        trainer.train()
        assert model.adapters.open_name is None
        assert [*model.head.parameters()] == []
        assert model.slot_hashes[task] != before
        logs.append([entry for entry in trainer.state.log_history if "loss" in entry])
    assert model.adapters["one"].content_hash() == model.slot_hashes["one"]
    assert all("orthogonality" not in entry for entry in logs[0])
    assert all(0 <= entry["orthogonality"] < entry["loss"] for entry in logs[1])
    assert all(0 <= entry["mean_abs_cos"] <= 1 for entry in logs[1])
    assert [entry["step"] for entry in logs[1]] == [1, 2, 3]


def test_a_term_counts_once_however_many_batches_are_accumulated(tmp_path: Path) -> None:
    hashes = []
    for accumulate in (1, 2):
        model = tiny_model(AllOnes())
        assert model.adapters is not None
        open_next(model, "one")
        with torch.no_grad():
            for matrix in model.adapters.parameters():
                matrix.add_(0.1)
        model.commit()
        open_next(model, "two")
        start = (
            Orthogonality(OrthogonalitySettings())
            .penalty(model, ContinualCallback(model, 1)._progress())["orthogonality"]
            .item()
        )
        trainer = trainer_of(model, tmp_path, 1, [Orthogonality(OrthogonalitySettings())], accumulate=accumulate)
        trainer.train()
        first = next(entry for entry in trainer.state.log_history if "loss" in entry)
        assert first["orthogonality"] == pytest.approx(start)
        hashes.append(first["loss"])
    assert hashes[0] == pytest.approx(hashes[1], rel=1e-3)


def test_a_slot_that_was_opened_too_late_is_refused(tmp_path: Path) -> None:
    model = tiny_model(AllOnes())

    class OpensTooLate(TrainerCallback):
        def on_train_begin(self, *args: object, **kwargs: object) -> None:
            open_next(model, "one")

    model.head.open("zero", 2, torch.Generator())
    with pytest.raises(
        TrainingError, match=r"^2 of the 20 tensors that train are in the optimizer, which holds 2; open"
    ):
        trainer_of(model, tmp_path, others=[OpensTooLate()]).train()


def test_a_change_of_what_is_frozen_is_refused_and_not_committed(tmp_path: Path) -> None:
    model = tiny_model(AllOnes())
    open_next(model, "one")

    class Meddles(TrainerCallback):
        @torch.no_grad()
        def on_step_end(self, *args: object, **kwargs: object) -> None:
            next(model.backbone.parameters())[0, 0] += 1

    with pytest.raises(TrainingError, match="task 0: something that is declared frozen changed"):
        trainer_of(model, tmp_path, others=[Meddles()]).train()
    assert model.adapters is not None
    assert model.adapters.open_name == "one"


def test_without_strategies_the_penalty_is_0() -> None:
    model = tiny_model(AllOnes())
    assert ContinualCallback(model, 0).penalty().item() == 0
    assert model.head.features == WIDTH


@pytest.mark.parametrize("kind", ["ewc", "inf_lora", "replay", "distillation"])
def test_a_strategy_that_needs_more_than_a_penalty_is_refused(kind: str) -> None:
    settings = STRATEGIES[kind]()
    strategy = named(settings.part, Strategy)(settings)
    with pytest.raises(ConfigError, match=f"'{strategy.kind}' must be asked for more than a penalty"):
        ContinualCallback(tiny_model(AllOnes()), 0, [strategy])


def test_a_trainer_evaluates_batches_that_have_labels(tmp_path: Path) -> None:
    model = tiny_model(AllOnes())
    open_next(model, "one")
    trainer = trainer_of(model, tmp_path, eval_strategy="steps", eval_steps=1)
    trainer.train()
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert len(losses) == 3
    assert losses[-1] < losses[0]


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
def test_checkpointing_changes_nothing_that_a_trainer_learns(tmp_path: Path) -> None:
    hashes = []
    for checkpointed in (False, True):
        model = tiny_model(AllOnes())
        open_next(model, "one")
        trainer_of(model, tmp_path, gradient_checkpointing=checkpointed).train()
        assert hasattr(next(iter(model.backbone.transformer.layer)), "route_switch") == checkpointed
        hashes.append(model.slot_hashes["one"])
    assert hashes[0] == hashes[1]
