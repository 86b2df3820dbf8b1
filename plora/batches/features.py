"""Features of splits; those that no training changes any more are computed once and kept."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from plora.batches.ahead import Ahead
from plora.batches.plan import Indices, plan_scoring
from plora.batches.prefix_cache import PrefixCache
from plora.errors import TrainingError
from plora.model import ContinualModel
from plora.problems import EncodedInputs, Examples
from plora.processes import Processes

Compute = Callable[[Mapping[str, Tensor], Tensor], Tensor]


@dataclass
class FeatureCache:
    """Features of the backbone alone, or with slots that are committed.

    Row 0 of every method, every row of `frozen` and `first_session`, and closed-form heads read the same ones, so that
    runs which share a cache compute them once.

    Args:
        limit_bytes: of memory; features that were not read for longest make room for others.

    Attributes:
        used_bytes: of what is kept; counted as it comes and goes, for it may be very many small tensors.
    """

    limit_bytes: int = 512 * 2**20
    kept: dict[tuple[str, ...], Tensor] = field(default_factory=dict)
    used_bytes: int = field(default=0, init=False)

    def find(self, key: tuple[str, ...] | None) -> Tensor | None:
        """Return the features that are kept under a key, or None; under None there are none."""
        if key is None or key not in self.kept:
            return None
        self.kept[key] = self.kept.pop(key)  # the last read stand last
        return self.kept[key]

    def keep(self, key: tuple[str, ...], features: Tensor) -> None:
        """Keep features under the hashes of all that they depend on, unless they alone are more than the limit."""
        if features.nbytes > self.limit_bytes:
            return
        if (former := self.kept.pop(key, None)) is not None:
            self.used_bytes -= former.nbytes
        self.kept[key] = features
        self.used_bytes += features.nbytes
        while self.used_bytes > self.limit_bytes:
            self.used_bytes -= self.kept.pop(next(iter(self.kept))).nbytes


@dataclass(frozen=True)
class Extractor:
    """Turns splits into features.

    Args:
        model: whose features.
        backbone: fingerprint of the pretrained backbone.
        precision: `fp32` or `bf16`.
        tokens_per_batch: most tokens in one forward pass.
        cache: of features that nothing changes any more.
        processes: that share the work; each gets the features of all.
        prefix: states of the blocks below the first adapted one, or None where there are none.
    """

    model: ContinualModel
    backbone: str
    precision: str
    tokens_per_batch: int
    cache: FeatureCache
    processes: Processes
    prefix: PrefixCache | None = None

    @torch.inference_mode()
    def features(self, split: Examples, task: str | None, weights: Tensor | None = None) -> Tensor:
        """Return `[N, d]` fp32 on the CPU, in the split's own order.

        Args:
            split: the inputs.
            task: the task, where the gate needs it.
            weights: `[N, slots]` what `weights` returned for them, where it did.
        """
        model = self.model
        key = self._key(split, model.features_signature(task))
        if (kept := self.cache.find(key)) is not None:
            return kept
        own = self.weights(split, task) if weights is None else weights

        def compute(inputs: Mapping[str, Tensor], where: Tensor) -> Tensor:
            return model.features(inputs, task, None if own is None else own[where])

        return self._computed(split, key, compute, torch.zeros(len(split), model.head.features))

    @torch.inference_mode()
    def bare_features(self, split: Examples) -> Tensor:
        """Return `[N, D, d]` fp32 on the CPU: features of the backbone without any slot, at D depths."""
        key = self._key(split, f"from block {self.model.unadapted_blocks} on")
        if (kept := self.cache.find(key)) is not None:
            return kept
        return self._computed(split, key, lambda inputs, _: self.model.bare_features(inputs))

    @torch.inference_mode()
    def weights(self, split: Examples, task: str | None) -> Tensor | None:
        """Return how much each slot contributes to each input of a split, `[N, slots]`; None where no gate reads it."""
        if not self.model.weighs(task):
            return None
        return torch.cat([self.model.weights(part, task) for part in torch.split(self.bare_features(split), 4096)])

    def _key(self, split: Examples, what: str | None) -> tuple[str, ...] | None:
        """Return what features depend on; None where they may still change.

        Args:
            split: the inputs.
            what: names them among all that the same backbone makes of the same inputs; None where it may still change.
        """
        if what is None or split.fingerprint == "":
            return None
        # Sums over batches of another size round differently, and so does another device.
        how = f"{self.precision} {self.tokens_per_batch} {self.model.device.type}"
        if self.prefix is not None:
            how += f" from block {len(self.prefix.prefix)}"
        return self.backbone, self.model.problem.fingerprint(), how, split.fingerprint, what

    def _computed(
        self, split: Examples, key: tuple[str, ...] | None, compute: Compute, result: Tensor | None = None
    ) -> Tensor:
        """Return what `compute` makes of each batch, in the split's own order.

        Args:
            split: the inputs.
            key: under which it is kept.
            compute: inputs, and their positions in the split → `[B, …]`.
            result: zeros; None where the first batch has to show the shape.
        """
        model, full = self.model, False
        model.eval()
        plan = plan_scoring(split.costs, self.tokens_per_batch)
        mine = plan[self.processes.share]
        taken = mine if mine or result is not None else plan[:1]
        try:
            if split.fingerprint != "":
                self.prepare(split)
            with Ahead(split, ((indices, None) for indices in taken)) as ahead:
                for indices in taken:
                    inputs = {name: t.to(model.device) for name, t in ahead.collate(indices).inputs.items()}
                    where = torch.from_numpy(indices)
                    with autocast(model.device, self.precision), self.given(split, indices):
                        found = compute(inputs, where).float().cpu()
                    if result is None:
                        result = found.new_zeros(len(split), *found.shape[1:])
                    if mine:
                        result[where] = found
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            full = True
        if self.processes.any(full):
            problem = model.problem
            raise TrainingError(
                f"memory ran out while {problem.items} were scored at once; set a smaller evaluation.tokens_per_batch "
                f"(now {self.tokens_per_batch:,}){f' or {problem.size_key}' if problem.size_key else ''}"
            )
        assert result is not None, "a split of no inputs"
        self.processes.sum([result])  # of each row one process has the features and the others zeros
        if key is not None:
            self.cache.keep(key, result)
        return result

    def prepare(self, examples: Examples) -> None:
        """Have what enters the first adapted block at hand for all of some examples."""
        inputs = examples.source
        if self.prefix is None or not isinstance(inputs, EncodedInputs) or self.prefix.knows(inputs):
            return
        if self.processes.count > 1:
            self.processes.lead(partial(self.prefix.prepare, inputs))  # the others read what one has computed
        self.prefix.prepare(inputs)

    def given(self, examples: Examples, indices: Indices) -> AbstractContextManager[None]:
        """Return the context in which the network computes a batch of some examples, from where they are prepared."""
        inputs = examples.source
        if self.prefix is None or not isinstance(inputs, EncodedInputs):
            return nullcontext()
        return self.prefix.given(inputs, indices)


def out_of_memory(error: RuntimeError) -> bool:
    """Say whether an error is that of a device or machine without memory."""
    return (
        isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error) or "out of memory" in str(error)
    )


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Return the autocast context of a precision (`bf16`, or `fp32` for none)."""
    context: AbstractContextManager[None] = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
    return context


def lacks_bf16(device: torch.device) -> bool:
    """Say whether a device computes in bf16 by detours: an x86 CPU or a CUDA device without instructions for it."""
    if device.type == "cuda":
        return not torch.cuda.is_bf16_supported(including_emulation=False)
    found: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of PyTorch do not tell
    known = found.get("architecture") == "x86_64" and device.type == "cpu"
    return known and not any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "avx10_2"))
