"""A slot that `lightning.Trainer` trains, on disk by itself (extra `lightning`)."""

from pathlib import Path

from lightning import Callback, LightningModule, Trainer

from plora.adapters import Adapters, save_lora
from plora.errors import AdapterError


class SlotCheckpoint(Callback):  # type: ignore[misc]  # lightning is an extra, and need not be there
    """Writes the open slot after each epoch of training, as a folder that `load_lora` and PEFT read.

        network = plora.apply_lora(network)
        adapters = plora.Adapters.of(network)
        trainer = lightning.Trainer(callbacks=[SlotCheckpoint(adapters, "adapters/streets")])

    It stands beside Lightning's own checkpoint, from which training goes on and which holds the whole network. The
    folder holds A and B of the slot, and its copies of modules; each file is replaced atomically, the tensors last, by
    one process alone.

    Args:
        adapters: of the network that is trained.
        folder: is made where needed.
    """

    def __init__(self, adapters: Adapters, folder: str | Path) -> None:
        self.adapters, self.folder = adapters, Path(folder)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the slot.

        Raises:
            AdapterError: no slot is open, or PEFT knows nothing of its places.
        """
        if self.adapters.open_name is None:
            raise AdapterError("no slot is open, so there is none to save; call open_task before Trainer.fit")
        if trainer.is_global_zero:
            save_lora(self.adapters.network, self.folder, self.adapters.open_name)
