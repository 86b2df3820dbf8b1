"""Three tasks learned by `transformers.Trainer`; `ContinualCallback` guards each of them and commits it.

    python examples/trainer_callback.py                     # the embedded encoder (extra `quickstart`)
    python examples/trainer_callback.py --backbone FOLDER   # any encoder of transformers

All slots take part in every text (O-LoRA): no task id is needed to compute features. The strategy keeps the new slot
orthogonal to the old ones; `Trainer` logs its term and the mean |cos| between their rows.
"""

import argparse
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from tasks import TASKS, collator, report, texts
from torch import Tensor
from transformers import Trainer, TrainingArguments

import plora
from plora.backbones import BackboneConfig, load_backbone
from plora.callback import ContinualCallback
from plora.gates import AllOnes
from plora.heads import LinearHead
from plora.model import ContinualModel
from plora.problems import TextClassification
from plora.strategies import Orthogonality, OrthogonalitySettings


class TaskTrainer(Trainer):
    """Cross-entropy among the rows of one task, and what the strategies add."""

    def __init__(self, task: str, continual: ContinualCallback, **settings: object) -> None:
        super().__init__(callbacks=[continual], **settings)
        self.task, self.continual = task, continual

    def compute_loss(
        self,
        model: ContinualModel,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return the loss of one batch."""
        labels = inputs.pop("labels")
        logits = model(inputs)[:, self.continual.model.head.slice_of(self.task)]
        loss = F.cross_entropy(logits, labels) + self.continual.penalty()
        return (loss, logits) if return_outputs else loss


def main(backbone_id: str, folder: str) -> None:
    """Learn the tasks one after the other, and say after each how well all of them are known."""
    torch.manual_seed(0)
    backbone = load_backbone(BackboneConfig(id=backbone_id, max_length=32))
    adapters = plora.Adapters.inject(backbone.network, targets="attention")
    problem = TextClassification(backbone.tokenizer, max_length=32, pooling=backbone.pooling)
    model = ContinualModel(backbone.network, problem, LinearHead(backbone.width), adapters, AllOnes())
    settings = TrainingArguments(
        folder,
        num_train_epochs=4,
        per_device_train_batch_size=16,
        learning_rate=2e-3,
        logging_strategy="epoch",
        eval_strategy="epoch",
        save_strategy="no",  # committed slots are no parameters: keep them with plora.save_lora
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
    )
    for number, task in enumerate(TASKS):
        adapters.open_task(task, plora.LoRA(rank=4))  # before train(), which makes the optimizer
        model.head.open(task, classes=2, generator=torch.Generator().manual_seed(number))
        trainer = TaskTrainer(
            task,
            ContinualCallback(model, number, [Orthogonality(OrthogonalitySettings())]),
            model=model,
            args=settings,
            train_dataset=texts(task, "train", 128),
            eval_dataset=texts(task, "test", 64),
            data_collator=collator(backbone.tokenizer),
        )
        trainer.train()
        print(report(model, backbone.tokenizer, [*TASKS][: number + 1]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="minilm", help="a folder, a hub id, or minilm (embedded)")
    with TemporaryDirectory() as place:
        main(parser.parse_args().backbone, place)
