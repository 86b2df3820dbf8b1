"""Features of splits; those of the bare frozen backbone are computed once and kept."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from plora.errors import TrainingError
from plora.model import ContinualModel
from plora.problems import EncodedSplit
from plora.processes import Processes
from plora.training.plan import Indices, plan_scoring


@dataclass
class FeatureCache:
    """Features that no training can change: of the backbone without any slot.

    Row 0 of every method, every row of `frozen`, and closed-form heads read the same ones, so that runs which share
    a cache compute them once.

    Args:
        limit_bytes: features are kept until they fill this much memory; later ones are computed each time.
    """

    limit_bytes: int = 512 * 2**20
    kept: dict[tuple[str, ...], Tensor] = field(default_factory=dict)

    def keep(self, key: tuple[str, ...], features: Tensor) -> None:
        """Keep features under the hashes of all that they depend on, while there is room."""
        used = sum(tensor.nbytes for tensor in self.kept.values())
        if used + features.nbytes <= self.limit_bytes:
            self.kept[key] = features


@dataclass(frozen=True)
class Extractor:
    """Turns splits into features.

    Args:
        model: whose features.
        backbone: fingerprint of the pretrained backbone.
        precision: `fp32` or `bf16`.
        tokens_per_batch: most tokens in one forward pass.
        cache: of bare features.
        processes: that share the work; each gets the features of all.
    """

    model: ContinualModel
    backbone: str
    precision: str
    tokens_per_batch: int
    cache: FeatureCache
    processes: Processes

    @torch.inference_mode()
    def features(self, split: EncodedSplit, task: str | None) -> Tensor:
        """Return `[N, d]` fp32 on the CPU, in the split's own order.

        Args:
            split: the inputs.
            task: the task, where the gate needs it.
        """
        model = self.model
        # Sums over batches of another size round differently, and so does another device.
        how = f"{self.precision} {self.tokens_per_batch} {model.device.type}"
        key = (self.backbone, model.problem.fingerprint(), how, split.fingerprint)
        bare = model.is_bare(task) and split.fingerprint != ""
        if bare and key in self.cache.kept:
            return self.cache.kept[key]
        model.eval()
        result = torch.zeros(len(split), model.head.features)
        full = False
        try:
            for indices, inputs in self._batches(split):
                with autocast(model.device, self.precision):
                    result[torch.from_numpy(indices)] = model.features(inputs, task).float().cpu()
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            full = True
        if self.processes.any(full):
            raise TrainingError(
                "memory ran out while texts were scored at once; set a smaller evaluation.tokens_per_batch (now "
                f"{self.tokens_per_batch:,}) or backbone.max_length"
            )
        self.processes.sum([result])  # of each row one process has the features and the others zeros
        if bare:
            self.cache.keep(key, result)
        return result

    def _batches(self, split: EncodedSplit) -> Iterator[tuple[Indices, dict[str, Tensor]]]:
        for indices in plan_scoring(split.inputs.lengths, self.tokens_per_batch)[self.processes.share]:
            inputs = split.inputs.collate(indices)
            yield indices, {name: tensor.to(self.model.device) for name, tensor in inputs.items()}


def out_of_memory(error: RuntimeError) -> bool:
    """Say whether an error is that of a device or machine without memory."""
    return (
        isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error) or "out of memory" in str(error)
    )


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Return the autocast context of a precision (`bf16`, or `fp32` for none)."""
    context: AbstractContextManager[None] = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
    return context
