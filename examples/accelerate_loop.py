"""Three tasks learned with Accelerate, on one process or several.

    python examples/accelerate_loop.py                                                # the embedded encoder
    ACCELERATE_USE_CPU=true torchrun --nproc-per-node 2 examples/accelerate_loop.py   # on GPUs: torchrun alone

All slots take part in every text (O-LoRA), the new one kept orthogonal to the old. The model itself is not wrapped:
a slot that is opened after a wrap would silently not be averaged over the processes. Its few gradients are averaged
in one line instead, and every process opens, trains and commits the same bits.
"""

import argparse

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from tasks import TASKS, collator, report, texts
from torch.utils.data import DataLoader

import plora
from plora.backbones import BackboneConfig, load_backbone
from plora.gates import AllOnes
from plora.heads import LinearHead
from plora.model import ContinualModel
from plora.moment import Moment
from plora.problems import TextClassification
from plora.strategies import Orthogonality, OrthogonalitySettings

EPOCHS = 4


def main(backbone_id: str) -> None:
    """Learn the tasks one after the other, and say after each how well all of them are known."""
    accelerator = Accelerator()
    backbone = load_backbone(BackboneConfig(id=backbone_id, max_length=32))
    adapters = plora.Adapters.inject(backbone.network, targets="attention")
    problem = TextClassification(backbone.tokenizer, max_length=32, pooling=backbone.pooling)
    model = ContinualModel(backbone.network, problem, LinearHead(backbone.width), adapters, AllOnes())
    model.to(accelerator.device).head.device = accelerator.device
    strategy = Orthogonality(OrthogonalitySettings())

    for number, task in enumerate(TASKS):
        torch.manual_seed(number)  # every process draws the same slot
        adapters.open_task(task, plora.LoRA(rank=4))
        model.head.open(task, classes=2, generator=torch.Generator().manual_seed(number))
        trained = [*model.trainable().values()]
        rows = DataLoader(texts(task, "train", 128), 16, shuffle=True, collate_fn=collator(backbone.tokenizer))
        optimizer, loader = accelerator.prepare(torch.optim.AdamW(trained, lr=2e-3), rows)
        model.train()
        for epoch in range(EPOCHS):
            for step, batch in enumerate(loader, epoch * len(loader)):
                labels = batch.pop("labels")
                logits = model(batch)[:, model.head.slice_of(task)]
                terms = strategy.penalty(model, Moment(number, step, EPOCHS * len(loader), epoch))
                accelerator.backward(F.cross_entropy(logits, labels) + sum(terms.values()))
                for parameter in trained:
                    parameter.grad = accelerator.reduce(parameter.grad, "mean")
                optimizer.step()
                optimizer.zero_grad()
        model.commit()
        accelerator.print(report(model, backbone.tokenizer, [*TASKS][: number + 1]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="minilm", help="a folder, a hub id, or minilm (embedded)")
    main(parser.parse_args().backbone)
