"""Three tasks, one frozen encoder, a slot and head rows for each: the whole loop by hand.

    python examples/hand_written_loop.py                     # the embedded encoder (extra `quickstart`)
    python examples/hand_written_loop.py --backbone FOLDER   # any encoder of transformers

A one-hot gate puts each text on its own task's slot. Nothing that a later task trains is on an earlier task's route,
so nothing can be forgotten.
"""

import argparse

import torch
import torch.nn.functional as F
from tasks import TASKS, collator, report, texts
from torch.utils.data import DataLoader

import plora
from plora.backbones import BackboneConfig, load_backbone
from plora.gates import OneHot
from plora.heads import LinearHead
from plora.model import ContinualModel
from plora.problems import TextClassification


def main(backbone_id: str) -> None:
    """Learn the tasks one after the other, and say after each how well all of them are known."""
    torch.manual_seed(0)
    backbone = load_backbone(BackboneConfig(id=backbone_id, max_length=32))
    adapters = plora.Adapters.inject(backbone.network, targets="attention")
    problem = TextClassification(backbone.tokenizer, max_length=32, pooling=backbone.pooling)
    model = ContinualModel(backbone.network, problem, LinearHead(backbone.width), adapters, OneHot())

    for number, task in enumerate(TASKS):
        adapters.open_task(task, plora.LoRA(rank=4))
        model.head.open(task, classes=2, generator=torch.Generator().manual_seed(number))
        optimizer = torch.optim.AdamW(model.trainable().values(), lr=2e-3)  # the open slot and rows, nothing else
        loader = DataLoader(texts(task, "train", 128), 16, shuffle=True, collate_fn=collator(backbone.tokenizer))
        model.train()  # dropout on the open slot; the frozen encoder stays in eval mode
        for _ in range(4):
            for batch in loader:
                labels = batch.pop("labels")
                logits = model(batch, task)[:, model.head.slice_of(task)]
                F.cross_entropy(logits, labels).backward()
                optimizer.step()
                optimizer.zero_grad()
        model.commit()  # from here on this task's slot and rows are buffers
        print(report(model, backbone.tokenizer, [*TASKS][: number + 1]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="minilm", help="a folder, a hub id, or minilm (embedded)")
    main(parser.parse_args().backbone)
