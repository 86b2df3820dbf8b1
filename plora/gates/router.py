"""Each input uses the slot of the task whose classes are nearest to it (task inference)."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from plora.adapters import Route
from plora.errors import RunError, UnknownTaskError, did_you_mean
from plora.gates.base import ChoosingGate

SHRINKAGE = 0.1
"""Share of the mean variance in the shared covariance, which few examples give a poor estimate of."""


class Router(ChoosingGate):
    """k(x) = task of argmin_c (f − μ_c)ᵀ Σ⁻¹ (f − μ_c), f the bare backbone's features of x, c over all tasks' classes.

    μ_c is the mean of class c and Σ the covariance within classes, shared by all of them and shrunk towards a multiple
    of the identity; both follow from sums, so that no example is kept and the order of the tasks does not matter. While
    a task trains, its inputs use its own slot. Where no task is named, an input costs two passes: one through the bare
    backbone to choose, one through the chosen slot.

    Source: Mahalanobis prototypes as in FeCAM (Goswami et al. 2023, arXiv 2309.14062).
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._whitening: Tensor | None = None  # [d, d], Σ^(−1/2) up to a rotation
        self._means = torch.empty(0)  # [C, d], whitened

    def route(self, slots: Sequence[str], task: str | None) -> Route:
        """Return the route through the slot of a named task; without a task all slots, one of them per input."""
        if task is None or not slots:
            return Route(tuple(slots))
        if task not in slots:
            raise UnknownTaskError(f"no slot '{task}'{did_you_mean(task, slots)}; slots: {', '.join(slots)}")
        return Route((task,))

    def learn(self, position: int, features: Tensor, rows: Tensor) -> None:
        """Add a task's examples to the sums."""
        features = features.double().cpu()
        classes, members = torch.unique(rows, return_inverse=True)
        onehot = F.one_hot(members, len(classes)).double()
        new = {
            "owners": torch.full((len(classes),), position),
            "counts": onehot.sum(0),
            "sums": onehot.T @ features,
        }
        self._sums = {
            **{name: torch.cat([self._sums[name], added]) if self._sums else added for name, added in new.items()},
            "gram": features.T @ features + (self._sums["gram"] if self._sums else 0),
        }
        self._prepare()

    def choose(self, bare: Tensor) -> Tensor:
        """Return the position of the slot for each input, `[B]`, from its bare features `[B, d]`."""
        assert self._whitening is not None
        whitened = bare.double() @ self._whitening.to(bare.device)
        nearest = torch.cdist(whitened, self._means.to(bare.device)).argmin(1)
        return self._sums["owners"].to(bare.device)[nearest]

    def state(self) -> dict[str, Tensor]:
        """Return the sums: of each class its owner, count and sum of features, and the Gram matrix of all."""
        return dict(self._sums)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take sums back.

        Raises:
            RunError: a tensor is missing or does not fit the others.
        """
        self._sums, self._whitening = dict(state), None
        if not state:
            return
        if absent := {"owners", "counts", "sums", "gram"} - state.keys():
            raise RunError(f"the stored router has no {', '.join(sorted(absent))}")
        classes, width = len(state["counts"]), state["gram"].shape[-1]
        shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
        if shapes != {"owners": (classes,), "counts": (classes,), "sums": (classes, width), "gram": (width, width)}:
            raise RunError(f"the parts of the stored router do not fit each other: {shapes}")
        self._prepare()

    def _prepare(self) -> None:
        counts, sums, gram = (self._sums[name] for name in ("counts", "sums", "gram"))
        means = sums / counts[:, None]
        within = (gram - means.T @ sums) / counts.sum()
        variance = within.diagonal().mean().clamp_min(1e-12)
        shrunk = (1 - SHRINKAGE) * within + SHRINKAGE * variance * torch.eye(len(within), dtype=within.dtype)
        values, basis = torch.linalg.eigh(shrunk)
        self._whitening = basis / values.clamp_min(1e-12 * float(variance)).sqrt()
        self._means = means @ self._whitening
