"""Slots in `lightning.Trainer`: a training that was cut goes on with the same bits, and the slot stands by itself."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import plora
from plora.errors import AdapterError

lightning = pytest.importorskip("lightning", reason="the extra `lightning` is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Lightning is slow to import, and warns of much

from lightning.pytorch.callbacks import ModelCheckpoint  # noqa: E402

from plora.lightning import SlotCheckpoint  # noqa: E402

RATES = {"A": 0.01, "B": 0.04}


def network(rank: int = 2) -> nn.Module:
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    return plora.apply_lora(base, rank=rank, targets=["0", "2"], dropout=0.0)


def matrix(name: str) -> str:
    return name.rpartition(".")[2]


class Learner(lightning.LightningModule):
    def __init__(self, rank: int = 2) -> None:
        super().__init__()
        self.network = network(rank)
        self.adapters = plora.Adapters.of(self.network)
        self.network.eval()
        self.modes: set[bool] = set()

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        self.modes.add(self.network[0].training)
        return (self.network(batch[0]) - batch[1]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        groups: dict[str, list[nn.Parameter]] = {"A": [], "B": []}
        for name, parameter in self.network.named_parameters():
            if parameter.requires_grad:
                groups[matrix(name)].append(parameter)
        return torch.optim.AdamW([{"params": groups[name], "lr": rate} for name, rate in RATES.items()])


def rows() -> DataLoader[list[Tensor]]:
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(12, 6, generator=generator), torch.randn(12, 3, generator=generator)
    return DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=4)


def fit(module: Learner, folder: Path, epochs: int, resume: Path | None = None) -> lightning.Trainer:
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[ModelCheckpoint(folder, save_last=True), SlotCheckpoint(module.adapters, folder / "slot")],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, rows(), ckpt_path=resume)
    return trainer


def test_a_training_that_was_cut_goes_on_with_the_same_bits_and_groups(tmp_path: Path) -> None:
    whole, cut, resumed = Learner(), Learner(), Learner()
    fit(whole, tmp_path / "whole", 4)
    fit(cut, tmp_path / "cut", 2)
    trainer = fit(resumed, tmp_path / "cut", 4, tmp_path / "cut" / "last.ckpt")
    assert [group["lr"] for group in trainer.optimizers[0].param_groups] == [*RATES.values()]
    assert [len(group["params"]) for group in trainer.optimizers[0].param_groups] == [2, 2]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    state = [trainer.optimizers[0].state[parameter]["step"] for parameter in resumed.adapters.parameters()]
    assert {int(step) for step in state} == {12}  # four epochs of three: AdamW's own state went on too
    assert not torch.equal(b_of(cut), b_of(whole))
    assert whole.modes == {False}  # what is frozen stays in eval mode
    for name, tensor in network().state_dict().items():
        if "base" in name:
            assert torch.equal(whole.network.state_dict()[name], tensor)


def b_of(module: Learner) -> Tensor:
    return next(iter(module.adapters["default"].B.values()))


def test_a_checkpoint_of_another_slot_is_refused(tmp_path: Path) -> None:
    fit(Learner(), tmp_path, 1)
    with pytest.raises(RuntimeError, match="size mismatch"):
        fit(Learner(rank=3), tmp_path, 2, tmp_path / "last.ckpt")


def test_the_slot_alone_gives_the_same_answers(tmp_path: Path) -> None:
    learned = Learner()
    fit(learned, tmp_path, 2)
    assert {file.name for file in (tmp_path / "slot").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    other = network()
    x = next(iter(rows()))[0]
    assert not torch.equal(other(x), learned.network(x))
    plora.load_lora(other, tmp_path / "slot")
    assert torch.equal(other(x), learned.network(x))


def test_without_an_open_slot_there_is_nothing_to_save(tmp_path: Path) -> None:
    learner = Learner()
    saver = SlotCheckpoint(learner.adapters, tmp_path)
    learner.adapters.commit()
    with pytest.raises(AdapterError, match="no slot is open"):
        saver.on_train_epoch_end(lightning.Trainer(accelerator="cpu", logger=False), learner)
