"""What enters the first adapted block, computed once per text, kept on disk by content, and read by memory map.

One file per split, `<hash>.safetensors`, under the hash of all that its numbers depend on; runs of any seed, method
and process that need the same numbers read the same file. It holds the states of the split's own tokens, one text
after the other in the order in which they were computed, and their sha256.
"""

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor

from plora.adapters import Route
from plora.adapters.prefix import Prefix
from plora.batches import state_file
from plora.batches.plan import Indices, plan_scoring
from plora.cache import PREFIX_CACHE_GIB, left_out
from plora.events.console import Console
from plora.fingerprint import hash_tensors
from plora.model import ContinualModel
from plora.problems import EncodedInputs

_LAYOUT = 1
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class PrefixStates:
    """States of N texts.

    Args:
        tokens: `[Σ lengths, d]`, a memory map.
        starts: `[N]` where each text begins.
        lengths: `[N]`.
    """

    tokens: Tensor
    starts: Indices
    lengths: Indices

    def batch(self, indices: Indices) -> Tensor:
        """Return the states of a batch, `[B, T, d]`, 0 where a text is over."""
        lengths = self.lengths[indices]
        inside = _inside(lengths)
        positions = np.where(inside, self.starts[indices][:, None] + np.arange(inside.shape[1]), 0)
        return self.tokens[torch.from_numpy(positions)].masked_fill_(~torch.from_numpy(inside)[..., None], 0)


class PrefixCache:
    """Knows the states of splits, and lets the network start from them.

    Args:
        model: whose backbone is frozen.
        prefix: its blocks below the first adapted one.
        key: whatever else the states depend on: backbone, precision.
        autocast: makes the context in which the network computes.
        tokens_per_batch: most tokens in one forward pass.
        folder: of the files.
        limit_bytes: of all files together; the least recently used give way.
    """

    def __init__(
        self,
        model: ContinualModel,
        prefix: Prefix,
        key: str,
        autocast: Callable[[], AbstractContextManager[None]],
        tokens_per_batch: int,
        folder: Path,
        limit_bytes: int,
    ) -> None:
        self.model, self.prefix, self.autocast, self.tokens_per_batch = model, prefix, autocast, tokens_per_batch
        self.folder, self.limit_bytes = folder, limit_bytes
        self.console: Console | None = None
        self._key = key
        self._width: int | None = None  # of the states; 0 where the network does not start from kept ones
        self._dtype = torch.float32
        self._known: dict[int, tuple[EncodedInputs, PrefixStates | None]] = {}

    def given(self, inputs: EncodedInputs, indices: Indices) -> AbstractContextManager[None]:
        """Return the context in which the network starts a batch from its states; from its inputs, where not prepared.

        Args:
            inputs: the very object that was prepared.
            indices: `[B]` of the batch.
        """
        _, states = self._known.get(id(inputs), (inputs, None))
        if states is None:
            return nullcontext()
        return self.prefix.given(states.batch(indices).to(self.model.device, non_blocking=True))

    def prepare(self, inputs: EncodedInputs) -> None:
        """Read the states of a split, or compute and keep them; leave it unprepared where they cannot be kept."""
        if not self.knows(inputs):
            self._known[id(inputs)] = inputs, self._states(inputs)

    def knows(self, inputs: EncodedInputs) -> bool:
        """Say whether a split was prepared, or left unprepared, before."""
        return id(inputs) in self._known

    # ------------------------------------------------------------------ read, or compute and write

    def _states(self, inputs: EncodedInputs) -> PrefixStates | None:
        if self.limit_bytes == 0 or self._width == 0:
            return None
        training = self.model.training
        self.model.eval()
        try:
            if self._width is None:
                self._check(inputs)
            return self._read_or_compute(inputs) if self._width else None
        except OSError as error:
            left_out(error)
            self._tell("prefix_not_kept", inputs=len(inputs), reason=str(error))
            return None
        finally:
            self.model.train(training)

    def _read_or_compute(self, inputs: EncodedInputs) -> PrefixStates | None:
        assert self._width
        shape, path = (int(inputs.lengths.sum()), self._width), self.folder / f"{self._hash(inputs)}.safetensors"
        plan = plan_scoring(inputs.lengths, self.tokens_per_batch)
        tokens, source = state_file.read(path, shape, self._dtype), "disk"
        if tokens is None:
            if (size := state_file.file_size(shape, self._dtype)) > self.limit_bytes:
                reason = f"{size:,} bytes, and ${PREFIX_CACHE_GIB} allows {self.limit_bytes:,}"
                self._tell("prefix_not_kept", inputs=len(inputs), reason=reason)
                return None
            self._write(path, inputs, plan, shape)
            tokens, source = state_file.read(path, shape, self._dtype), "computed"
        if tokens is None:
            self._tell("prefix_not_kept", inputs=len(inputs), reason=f"{path} was deleted as soon as it was written")
            return None
        self._tell("prefix_cached", blocks=len(self.prefix), inputs=len(inputs), bytes=tokens.nbytes, source=source)
        order = np.concatenate(plan)
        starts = np.empty(len(inputs), np.int64)
        starts[order] = np.cumsum(inputs.lengths[order]) - inputs.lengths[order]
        return PrefixStates(tokens, starts, inputs.lengths)

    def _hash(self, inputs: EncodedInputs) -> str:
        """The sha256 of all that the bits of the states depend on."""
        device = self.model.device
        processor = torch.backends.cpu.get_cpu_capability()
        content = [
            _LAYOUT,
            self._key,
            self.model.problem.fingerprint(),
            len(self.prefix),
            self.tokens_per_batch,  # sums over batches of another size round differently; so do threads and machines
            [torch.get_num_threads(), processor] if device.type == "cpu" else torch.cuda.get_device_name(device),
            [torch.__version__, transformers.__version__],
            getattr(getattr(self.model.backbone, "config", None), "_attn_implementation", ""),
            hash_tensors(sorted(inputs.tensors().items())),
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @torch.inference_mode()
    def _compute(self, inputs: EncodedInputs, indices: Indices) -> Tensor:
        """States of the own tokens of some texts, `[Σ lengths, d]`.

        Raises:
            ValueError: the network has other states than one per token.
        """
        batch = {name: tensor.to(self.model.device) for name, tensor in inputs.collate(indices).items()}
        with self.autocast():
            states = self.prefix.states(batch)
        inside = _inside(inputs.lengths[indices])
        if not isinstance(states, Tensor) or states.dim() != 3 or states.shape[:2] != inside.shape:
            raise ValueError("no state for each token")
        return states.cpu()[torch.from_numpy(inside)]

    def _check(self, inputs: EncodedInputs) -> None:
        """Learn width and type of the states; and that the network, started from them, is what it was."""
        try:
            tokens, same = self._started_from_states(inputs)
        except Exception:  # whatever a network's code raises when its blocks are stood in for
            same = False
        if same and tokens.dtype in state_file.DTYPES:
            self._width, self._dtype = tokens.shape[1], tokens.dtype
        else:
            self._width = 0
            self._tell("warning", text="this network does not start from kept states; every block computes every time")

    @torch.inference_mode()
    def _started_from_states(self, inputs: EncodedInputs) -> tuple[Tensor, bool]:
        """States of up to eight texts, the shortest to the longest, and whether they give the same outputs."""
        assert self.model.adapters is not None
        by_length = np.argsort(inputs.lengths, kind="stable")
        indices = by_length[np.linspace(0, len(inputs) - 1, min(8, len(inputs))).astype(np.int64)]
        lengths = inputs.lengths[indices]
        tokens, inside = self._compute(inputs, indices), torch.from_numpy(_inside(lengths))
        kept = PrefixStates(tokens, np.cumsum(lengths) - lengths, lengths).batch(np.arange(len(indices)))
        batch = {name: tensor.to(self.model.device) for name, tensor in inputs.collate(indices).items()}
        with self.autocast(), self.model.adapters.switch.using(Route()):
            whole = self.model.backbone(**batch).last_hidden_state.cpu()[inside].float()
            with self.prefix.given(kept.to(self.model.device)):
                started = self.model.backbone(**batch).last_hidden_state.cpu()[inside].float()
        return tokens, bool((whole - started).abs().max() <= _TOLERANCE * whole.abs().max())

    def _write(self, path: Path, inputs: EncodedInputs, plan: list[Indices], shape: tuple[int, int]) -> None:
        """Compute the states batch by batch, in an order that depends on nothing but lengths, straight into a file."""
        done = 0
        with state_file.writing(path, shape, self._dtype, self.limit_bytes) as writer:
            for indices in plan:
                writer.append(self._compute(inputs, indices))
                done += len(indices)
                if self.console is not None:
                    self.console.progress(f"first {len(self.prefix)} blocks", done, len(inputs))

    def _tell(self, event: str, **fields: str | int) -> None:
        if self.console is not None:
            self.console.event(event, **fields)


def _inside(lengths: Indices) -> NDArray[np.bool_]:
    """Which places of a padded batch, `[B, T]`, hold a token."""
    return np.arange(int(lengths.max())) < lengths[:, None]
