"""Why a run forgets, read from its own slots on disk: how far each layer moved, and in whose way.

The *update* of task t in one layer is what learning it changed there, D_t `[O, I]`. With a slot per task it is that
slot, D_t = ΔW_t = s B_t A_t; with one slot for all tasks it is what the slot gained, D_t = ΔW_t − ΔW_{t−1}, which is

    D_t = s [B_t, B_t − B_{t−1}] [A_t − A_{t−1}; A_{t−1}]

so that every update is a product of two thin factors, and no `[O, I]` matrix is ever formed. Overlap compares the slots
themselves: one per task, or the one slot as it stood after each task (its A, so how far it turned).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from plora.errors import RunError
from plora.regular import inside, read_file
from plora.results.record.manifest import NOTHING, read_chain
from plora.results.record.matrix import Matrix
from plora.results.record.thinning import spread_over

_TENSORS = "adapter_model.safetensors"
_PREFIX, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
_SAME_DIRECTION = 1e-6  # singular values below this share of the largest are rounding (slots are stored as float32)


class NoUpdatesError(RunError):
    """A run whose method leaves no update of a task to look at: no slots, or all tasks at once."""


@dataclass(frozen=True, eq=False)
class Update:
    """What learning one task changed in one layer: D = B A.

    Args:
        A: `[r, I]` float64; its rows are the input directions that the update reads.
        B: `[O, r]` float64, the scale of the slot included.
    """

    A: NDArray[np.float64]
    B: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Interference:
    """What the updates of T tasks in L layers say about forgetting.

    Args:
        tasks: T names, in the order in which they were learned.
        numbers: T positions of them among all tasks that the run holds, from 1.
        of: how many tasks those are; T unless some were measured alone.
        layers: L paths of layers in the backbone.
        shared: one slot for all tasks; else one per task.
        drift: `[T, L]`, see `drift`.
        overlap: `[T, T]`, see `subspace_overlap`.
        cosine: `[T, T]`, see `update_cosine`.
        chance: what `overlap` would be on average for random subspaces of the same ranks.
    """

    tasks: tuple[str, ...]
    numbers: tuple[int, ...]
    of: int
    layers: tuple[str, ...]
    shared: bool
    drift: Matrix
    overlap: Matrix
    cosine: Matrix
    chance: float


def read_interference(folder: Path, most: int | None = None) -> Interference:
    """Measure drift, overlap and interference of every task of a run, from the slots in its folder.

    Args:
        folder: of a run; may be unfinished, and tasks that were forgotten are left out.
        most: tasks; of more, that many are measured, evenly spread over the stream. None measures all.

    Raises:
        NoUpdatesError: the run has no slots, or learned all its tasks at once.
        RunError: a file is missing, changed or damaged.
    """
    tasks, numbers, slots, changes, shared = read_slots(folder, most)
    layers = tuple(slots[0])
    updates = [[change[layer] for layer in layers] for change in changes]
    states = [[slot[layer] for layer in layers] for slot in slots]
    return Interference(
        tuple(tasks[number] for number in numbers),
        tuple(number + 1 for number in numbers),
        len(tasks),
        layers,
        shared,
        drift(updates),
        subspace_overlap(states),
        update_cosine(updates),
        _chance(states),
    )


def drift(updates: Sequence[Sequence[Update]]) -> Matrix:
    """Return `[T, L]`: how far each task moved the weight of each layer.

        drift[t, l] = ‖D_t‖_F = √ tr(BᵀB · AAᵀ)    of layer l

    Args:
        updates: T tasks × L layers.
    """
    return np.array([[np.sqrt(max(0.0, _inner(layer, layer))) for layer in task] for task in updates])


def subspace_overlap(updates: Sequence[Sequence[Update]]) -> Matrix:
    """Return `[T, T]`, 0 to 1: how much of the input directions that one task reads another reads too.

        overlap[i, j] = mean over layers of  ‖Q_i Q_jᵀ‖²_F / min(k_i, k_j)

    where the k rows of Q are an orthonormal basis of the row space of A. It is the mean squared cosine of the
    principal angles between the two spaces: 1 where one lies in the other, 0 where they are orthogonal. Two random
    spaces give max(k_i, k_j) / I on average. NaN where an update has no direction.

    Args:
        updates: T tasks × L layers; only A counts.

    Source: φ of Hu et al. 2021 (LoRA, arXiv 2106.09685, §7.2), there for leading singular directions, here for the
    whole row space; principal angles: Björck & Golub 1973. Orthogonal subspaces (overlap 0) are what O-LoRA (Wang
    et al. 2023, arXiv 2310.14152) aims at.
    """
    T, L = len(updates), len(updates[0])
    total = np.zeros((T, T))
    for layer in range(L):
        bases = [_row_basis(task[layer].A) for task in updates]
        ranks = np.array([len(basis) for basis in bases])
        smaller = np.minimum.outer(ranks, ranks).astype(np.float64)
        smaller[smaller == 0] = np.nan
        every = np.concatenate(bases)
        for i, basis in enumerate(bases):
            total[i] += _sums(np.square(basis @ every.T).sum(axis=0), ranks) / smaller[i]
    overlap: Matrix = np.clip(total / L, 0, 1)
    return overlap


def update_cosine(updates: Sequence[Sequence[Update]]) -> Matrix:
    """Return `[T, T]`, −1 to 1: whether two tasks push the same weights the same way.

        cosine[i, j] = Σ_l ⟨D_i, D_j⟩ / ( √Σ_l ‖D_i‖² · √Σ_l ‖D_j‖² )
        ⟨D_i, D_j⟩   = tr(D_iᵀ D_j) = tr(B_iᵀB_j · A_jA_iᵀ)

    the cosine between the two updates as one long vector over all layers l. Below 0 the later task undoes part of what
    the earlier one did, 0 is no interference, above 0 they agree. NaN where an update is zero.

    Args:
        updates: T tasks × L layers.

    Source: the cosine between task vectors, Ilharco et al. 2023 (arXiv 2212.04089, figure 5).
    """
    T = len(updates)
    inner = np.zeros((T, T))
    for of_layer in zip(*updates, strict=True):
        ranks = np.array([len(update.A) for update in of_layer])
        A, B = np.concatenate([update.A for update in of_layer]), np.concatenate([update.B for update in of_layer], 1)
        for i, update in enumerate(of_layer):
            products = (update.B.T @ B) * (update.A @ A.T)
            inner[i] += _sums(products.sum(axis=0), ranks)
    norms = np.sqrt(np.maximum(inner.diagonal(), 0))
    norms[norms == 0] = np.nan
    cosine: Matrix = np.clip(inner / np.outer(norms, norms), -1, 1)
    return cosine


def _inner(one: Update, other: Update) -> float:
    """⟨D_i, D_j⟩ = Σ (B_iᵀB_j ⊙ A_iA_jᵀ)."""
    return float(np.sum((one.B.T @ other.B) * (one.A @ other.A.T)))


def _sums(values: NDArray[np.float64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums of consecutive parts of `values`, of these lengths; 0 of an empty part."""
    sums = np.zeros(len(lengths))
    if len(values):
        sums[lengths > 0] = np.add.reduceat(values, (np.cumsum(lengths) - lengths)[lengths > 0])
    return sums


def _row_basis(A: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal rows `[k, I]` that span the rows of A."""
    _, values, rows = np.linalg.svd(A, full_matrices=False)
    basis: NDArray[np.float64] = rows[values > _SAME_DIRECTION * values.max(initial=0.0)]
    return basis


def _chance(updates: Sequence[Sequence[Update]]) -> float:
    """Mean of max(k_i, k_j) / I over layers and pairs of tasks: the overlap of random subspaces."""
    shares = []
    for of_layer in zip(*updates, strict=True):
        ranks = [len(_row_basis(update.A)) for update in of_layer]
        inputs = of_layer[0].A.shape[1]
        shares += [max(a, b) / inputs for i, a in enumerate(ranks) for b in ranks[:i]]
    return float(np.mean(shares)) if shares else float("nan")


# ---------------------------------------------------------------------- from the run folder


@dataclass
class _Kept:
    """What the checkpoints of a run hold: the tasks learned, each slot as it is now and as it was, and all files.

    Args:
        tasks: that were learned and not forgotten.
        slots: hash of the content of each slot.
        files: hash of each file, by its path in the run folder.
        changed: by the number of a checkpoint, the slots that it changed.
    """

    tasks: tuple[str, ...]
    slots: dict[str, str]
    files: dict[str, str]
    changed: dict[int, dict[str, str]]


_Slot = dict[str, Update]


def read_slots(
    folder: Path, most: int | None = None
) -> tuple[tuple[str, ...], list[int], list[_Slot], list[_Slot], bool]:
    """Return the tasks of a run, and some of them or all: positions, slots, what each changed, whether they share one.

    A slot is by layer, as it stood after the task.

    Raises:
        RunError: see `read_interference`.
    """
    kept = _read_kept(folder)
    if not kept.changed:
        raise NoUpdatesError(
            f"{folder} has no checkpoint, so it has no slots to compare; let the run learn its first task"
        )
    if not kept.slots:
        raise NoUpdatesError(
            f"{folder} has no slots: its method adapts no layer, so there is no update of a task to compare"
        )
    numbers = spread_over(len(kept.tasks), most or len(kept.tasks))
    own = [number for number, task in enumerate(kept.tasks) if task in kept.slots]
    if len(own) == len(kept.tasks) or (
        len(own) > 1 and kept.slots.keys() <= set(kept.tasks)
    ):  # a gate may have dropped some
        numbers = [own[at] for at in spread_over(len(own), most or len(own))]
        slots = [_read_slot(folder, kept, kept.slots[kept.tasks[number]]) for number in numbers]
        _require_same_layers(folder, slots)
        return kept.tasks, numbers, slots, slots, False
    name = next(iter(kept.slots))
    if len(kept.slots) > 1 or len(kept.changed) < len(kept.tasks):
        why = "learned all its tasks at once" if len(kept.changed) == 1 else "lacks the checkpoint of some of its tasks"
        raise NoUpdatesError(f"{folder} {why}, so what one task changed in its slot cannot be told apart")
    contents: list[str] = []
    for number in sorted(kept.changed):
        if name not in kept.changed[number] and not contents:
            raise RunError(
                f"{folder}: a checkpoint has no slot '{name}', which later ones have; restore it from a copy"
            )
        contents.append(kept.changed[number].get(name) or contents[-1])
    needed = sorted({*numbers, *(number - 1 for number in numbers if number)})
    states = {number: _read_slot(folder, kept, contents[number]) for number in needed}
    _require_same_layers(folder, [*states.values()])
    changes = [_gained(states[number - 1], states[number]) if number else states[number] for number in numbers]
    return kept.tasks, numbers, [states[number] for number in numbers], changes, True


def _gained(before: Mapping[str, Update], after: Mapping[str, Update]) -> dict[str, Update]:
    """B' A' − B A as one pair of factors, in which equal parts cancel before they are multiplied."""
    return {
        layer: Update(
            np.concatenate([after[layer].A - old.A, old.A]),
            np.concatenate([after[layer].B, after[layer].B - old.B], axis=1),
        )
        for layer, old in before.items()
    }


def _read_kept(folder: Path) -> _Kept:
    """Read what the complete checkpoints hold."""
    last, changed = NOTHING, dict[int, dict[str, str]]()
    for now in read_chain(folder):
        changed[now.number] = {name: content for name, content in now.slots.items() if last.slots.get(name) != content}
        last = now
    return _Kept(last.tasks, dict(last.slots), dict(last.files), changed)


def _read_slot(folder: Path, kept: _Kept, content: str) -> dict[str, Update]:
    """Read a slot by layer path, its file compared with the manifest."""
    file = f"slots/{content}/{_TENSORS}"
    path = inside(folder, *file.split("/"))
    try:
        found = hashlib.sha256(read_file(path)).hexdigest()
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}; restore it from a copy of the run") from None
    if found != kept.files.get(file):
        raise RunError(f"{path} was changed after the run wrote it; restore it from a copy of the run")
    try:
        with safe_open(path, framework="np") as tensors:
            own = json.loads((tensors.metadata() or {})["plora"]) if tensors.keys() else {}
            return {
                layer: Update(
                    _matrix(tensors.get_tensor(f"{_PREFIX}{layer}{_A}")),
                    _matrix(tensors.get_tensor(f"{_PREFIX}{layer}{_B}")) * float(values["scale"]),
                )
                for layer, values in own.items()
            }
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"{path} is not a slot that plora wrote: {error}") from None


def _matrix(stored: NDArray[np.float32]) -> NDArray[np.float64]:
    """A factor as a matrix: that of a convolution `[r, C, k, k]` reads C k k numbers at each position."""
    return stored.reshape(len(stored), -1).astype(np.float64)


def _require_same_layers(folder: Path, slots: Sequence[Mapping[str, Update]]) -> None:
    shapes = [{layer: (u.A.shape[-1], len(u.B)) for layer, u in slot.items()} for slot in slots]
    if not any(shapes):
        raise NoUpdatesError(f"{folder} has slots without low-rank layers, whose updates are no matrices to compare")
    if any(other != shapes[0] for other in shapes[1:]):
        raise RunError(f"{folder}: its slots adapt different layers, so they cannot be compared")
