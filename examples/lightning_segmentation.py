"""EoMT of transformers in a LightningModule: trained, cut, resumed from Lightning's checkpoint; the slot kept alone.

    python examples/lightning_segmentation.py                     # a small network of random weights
    python examples/lightning_segmentation.py --backbone FOLDER   # EoMT for the classes of the scenes

Needs `pip install "plora[quickstart,lightning]"`; scenes are rendered. Lightning keeps no state of random numbers: what
goes on from its checkpoint is bit for bit what was never cut only where no chance is left, without dropout and in a
fixed order, as here. `plora run` resumes bit for bit with both.
"""

import argparse
import copy
from pathlib import Path
from tempfile import TemporaryDirectory

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import EomtConfig, EomtForUniversalSegmentation

import plora
from plora.lightning import SlotCheckpoint
from plora.streams.scenes import Scenes

ANSWERING = ["class_predictor", "mask_head", "upscale_block"]


class Segmentation(lightning.LightningModule):
    """A slot on queries and values with copies of what answers; all else is frozen, in eval mode."""

    def __init__(self, network: EomtForUniversalSegmentation, rate: float = 1e-3) -> None:
        super().__init__()
        self.network, self.rate = network, rate
        self.adapters = plora.Adapters.inject(network, "attention:qv", modules=ANSWERING)
        self.adapters.open_task("scenes", plora.LoRA(rank=4, alpha=8, dropout=0.0))
        network.eval()  # Lightning leaves modes as they are
        for bank in self.adapters.banks.values():
            bank.train()  # where there is dropout, the open slot has it

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """Return the loss of a batch."""
        maps = batch["classes"]
        labels = [one.unique() for one in maps]
        masks = [(one == own[:, None, None]).float() for one, own in zip(maps, labels, strict=True)]
        found = self.network(batch["pixels"], mask_labels=masks, class_labels=labels)
        self.log("loss", found.loss)
        return found.loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW in two groups: banks, and what answers at a tenth of their rate."""
        banks = [parameter for bank in self.adapters.banks.values() for parameter in bank.parameters()]
        own = {id(parameter) for parameter in banks}
        answering = [parameter for parameter in self.adapters.parameters() if id(parameter) not in own]
        return torch.optim.AdamW([{"params": banks}, {"params": answering, "lr": self.rate / 10}], lr=self.rate)


def scenes(number: int) -> list[dict[str, Tensor]]:
    """Rendered scenes by day with their maps."""
    split = Scenes(domains=("day",), classes=4, train=number).load().tasks[0].train
    return [
        {
            "pixels": torch.from_numpy(one.image).permute(2, 0, 1) / 127.5 - 1,
            "classes": torch.from_numpy(one.classes).long(),
        }
        for one in split.read(np.arange(number))
    ]


def small() -> EomtForUniversalSegmentation:
    """A network of random weights, for scenes of 96 × 96."""
    labels = dict(enumerate(Scenes(classes=4).load().tasks[0].train.class_names))
    sizes = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "num_blocks": 2, "num_queries": 8}
    torch.manual_seed(0)
    config = EomtConfig(image_size=96, patch_size=16, mlp_ratio=2, train_num_points=256, id2label=labels, **sizes)
    return EomtForUniversalSegmentation(config)


def train(module: Segmentation, folder: Path, epochs: int, resume: Path | None = None) -> lightning.Trainer:
    """Train until an epoch, from the beginning or from Lightning's checkpoint."""
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[ModelCheckpoint(folder, save_last=True), SlotCheckpoint(module.adapters, folder / "slot")],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    torch.manual_seed(0)  # points of masks are drawn
    trainer.fit(module, DataLoader(scenes(16), batch_size=4), ckpt_path=resume)
    return trainer


def main(base: EomtForUniversalSegmentation, folder: Path) -> None:
    """Train two epochs, go on to four in a new module, and read the slot alone into a third."""
    first = Segmentation(copy.deepcopy(base))
    trainer = train(first, folder, epochs=2)
    print(f"cut after epoch {trainer.current_epoch}: loss {trainer.callback_metrics['loss']:.2f}")

    second = Segmentation(copy.deepcopy(base))  # as strictly the same as the one that was saved
    trainer = train(second, folder, epochs=4, resume=folder / "last.ckpt")
    rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
    print(f"resumed, epoch {trainer.current_epoch}: loss {trainer.callback_metrics['loss']:.2f}, rates {rates}")

    second.adapters.commit()
    third = copy.deepcopy(base)
    adapters = plora.Adapters.inject(third.eval(), "attention:qv", modules=ANSWERING)
    plora.load_lora(third, folder / "slot", "scenes")
    same = adapters["scenes"].content_hash() == second.adapters["scenes"].content_hash()
    with torch.no_grad():
        pixels = scenes(1)[0]["pixels"][None]
        same &= torch.equal(third(pixels).masks_queries_logits, second.network.eval()(pixels).masks_queries_logits)
    sizes = [
        sum(file.stat().st_size for file in files) for files in ((folder / "slot").iterdir(), [folder / "last.ckpt"])
    ]
    print(f"slot alone: {sizes[0]:,} bytes of {sizes[1]:,}, {'the same masks' if same else 'OTHER MASKS'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", type=Path, help="a folder of EoMT for the classes of the scenes")
    given = parser.parse_args()
    with TemporaryDirectory() as place:
        own = EomtForUniversalSegmentation.from_pretrained(given.backbone) if given.backbone else small()
        main(own, Path(place))
