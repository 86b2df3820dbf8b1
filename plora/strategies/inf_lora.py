"""New slots that older tasks' inputs do not reach (InfLoRA)."""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from plora.errors import AdapterError, RunError
from plora.lesson import Lesson
from plora.model import ContinualModel
from plora.projection_memory import ROUNDING, ProjectionMemory
from plora.strategies.base import Strategy
from plora.strategies.covariance import input_covariances
from plora.strategies.settings import InfLoRASettings, StrategySettings
from plora.streams.base import Stream

_SCALE = 1 / math.sqrt(3)
"""Length of a row of A: that which `kaiming` gives it, in the mean."""


class InfLoRA(Strategy):
    """A_t = U_rᵀ / √3, fixed; B_t trains. U_r are the top r left singular vectors of (I − M Mᵀ) X_t, per layer.

    X_t `[d, n]` are the layer's inputs of task t under the model as it is when the task begins, and span(M) holds most
    of those of older tasks: an input in it gives A_t x = 0, so the new slot does not change what older tasks get there,
    whatever B_t learns. After the task M grows by as few singular vectors of (I − M Mᵀ) X as hold, with what M holds,
    the share ε_t = lamb + (lame − lamb) t / T of the energy of X, t = 0 for the first of T tasks. All follows from
    X Xᵀ, summed over one pass of the training split; layers that read the same input have one memory. Where
    (I − M Mᵀ) X has fewer than r directions, the rest of A_t are random ones outside M.

    Source: Liang and Li 2024 (arXiv 2404.00228); the official code remembers one direction fewer of the first task.
    """

    settings: InfLoRASettings

    def __init__(self, settings: StrategySettings) -> None:
        super().__init__(settings)
        self._memory: dict[str, ProjectionMemory] = {}  # by layer; the same object where layers read the same input
        self._tasks = 1

    def begin(self, model: ContinualModel, stream: Stream, names: tuple[str, ...]) -> None:
        """Count the tasks.

        Raises:
            AdapterError: there are slots of another kind than low-rank ones.
        """
        assert model.adapters is not None
        for place in model.adapters.places.values():
            if place not in model.adapters.banks.values():
                raise AdapterError(
                    f"strategy 'inf_lora' designs what low-rank slots read, and {place} is none; leave bottleneck and "
                    "modules out"
                )
        self._tasks = len(stream.tasks)

    @torch.no_grad()
    def design(self, model: ContinualModel, lesson: Lesson) -> tuple[str, ...]:
        """Write A of the open slot, and have it fixed."""
        assert model.adapters is not None
        banks = model.adapters.banks
        generator = torch.Generator().manual_seed(lesson.seed)
        full: list[str] = []
        for paths, gram in self._grams(model, lesson).items():
            for memory, alike in self._by_memory(paths, len(gram), model.device):
                rank = max(banks[path].open_shape.rank for path in alike)
                rows = _SCALE * _outside(memory, gram, rank, generator)
                for path in alike:
                    A = banks[path].A
                    assert A is not None
                    A.copy_(rows[: len(A)])
                full += alike if memory.dimension == len(gram) else []
        if full:
            lesson.warn(
                f"inputs of older tasks span all that {len(full)} layers can read, such as '{full[0]}', so their new "
                "slot learns nothing there; set strategies: [{kind: inf_lora, lamb: …, lame: …}] to smaller shares"
            )
        fixed = {id(bank.A) for bank in banks.values()}
        return tuple(name for name, parameter in model.trainable().items() if id(parameter) in fixed)

    def after_task(self, model: ContinualModel, lesson: Lesson) -> None:
        """Remember what the task's inputs span, under the model that has learned it."""
        share = self.settings.lamb + (self.settings.lame - self.settings.lamb) * lesson.position / self._tasks
        for paths, gram in self._grams(model, lesson).items():
            for memory, alike in self._by_memory(paths, len(gram), model.device):
                self._memory |= dict.fromkeys(alike, memory.grown(gram, share))

    def state(self) -> dict[str, Tensor]:
        """Return the bases of all memories, each by its form and the layers that have it."""
        readers: dict[int, list[str]] = {}
        for path, memory in self._memory.items():
            readers.setdefault(id(memory), []).append(path)
        found = {}
        for paths in readers.values():
            memory = self._memory[paths[0]]
            found[f"{'complement' if memory.complement else 'memory'}/{' '.join(paths)}"] = memory.basis
        return found

    def restore(self, state: Mapping[str, Tensor], model: ContinualModel) -> None:
        """Take them back."""
        assert model.adapters is not None
        found: dict[str, ProjectionMemory] = {}
        for key, basis in state.items():
            form, _, paths = key.partition("/")
            if form not in ("memory", "complement"):
                raise RunError(f"the stored state of InfLoRA has an unknown tensor '{key}'")
            found |= dict.fromkeys(paths.split(" "), ProjectionMemory(basis.to(model.device), form == "complement"))
        if state and found.keys() != model.adapters.banks.keys():
            raise RunError("the stored state of InfLoRA lacks the memory of a layer, or has one of another network")
        for path, memory in found.items():
            width = model.adapters.banks[path].in_features
            if memory.basis.dim() != 2 or len(memory.basis) != width or memory.basis.shape[1] > width:
                raise RunError(
                    f"the stored state of InfLoRA has a memory of shape {list(memory.basis.shape)} for layer '{path}', "
                    f"which reads {width} numbers"
                )
        self._memory = {path: found[path] for path in model.adapters.banks if path in found}

    def diagnostics(self, model: ContinualModel) -> dict[str, float]:
        """Return which share of the directions of all layers is remembered."""
        known = self._memory.values()
        return {"remembered": sum(m.dimension / len(m.basis) for m in known) / len(known)} if known else {}

    def _grams(self, model: ContinualModel, lesson: Lesson) -> dict[tuple[str, ...], Tensor]:
        """G whose eigenvalues are energies, by the layers that it is of: X Xᵀ, or its square."""
        found = input_covariances(model, lesson)
        return found if self.settings.compat == "paper" else {paths: gram @ gram for paths, gram in found.items()}

    def _by_memory(
        self, paths: tuple[str, ...], width: int, device: torch.device
    ) -> list[tuple[ProjectionMemory, list[str]]]:
        """Memories, and the layers that have them: one, unless layers have read other inputs in an older task."""
        empty = ProjectionMemory.empty(width, device)
        found: dict[int, tuple[ProjectionMemory, list[str]]] = {}
        for path in paths:
            memory = self._memory.get(path, empty)
            found.setdefault(id(memory), (memory, []))[1].append(path)
        return [*found.values()]


def _outside(memory: ProjectionMemory, gram: Tensor, rank: int, generator: torch.Generator) -> Tensor:
    """Return `[rank, d]` rows of length 1 outside the memory: the strongest directions of G, then random ones."""
    energies, directions = memory.unremembered(gram)
    known = min(rank, int((energies > ROUNDING * gram.trace()).sum()))
    drawn = torch.randn(rank - known, len(gram), generator=generator, dtype=torch.double).to(gram.device)
    return torch.cat([directions[:, :known].T, F.normalize(drawn @ directions @ directions.T, dim=1)])
