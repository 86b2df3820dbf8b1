"""Each input uses the slot of the task whose classes are nearest to it (task inference)."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from plora.adapters import Route
from plora.errors import RunError
from plora.gates.base import ChoosingGate, own_or_all
from plora.gates.settings import GateSettings, RouterSettings
from plora.moment import Moment

SHRINKAGE = 0.1
"""Share of the mean variance in the shared covariance, which few examples give a poor estimate of."""
_LEAST = 1e-8
"""Least variance, relative to the mean square of the features. Below it is rounding: where the first token stands for a
text, it enters the first block the same for all of them."""
_AT_ONCE = 4096


class Router(ChoosingGate):
    """k(x) = task of argmin_c Σ_l (f_l − μ_cl)ᵀ Σ_l⁻¹ (f_l − μ_cl), f_l the bare backbone's features of x at depth l.

    c goes over all tasks' classes, μ_cl is the mean of class c and Σ_l the covariance within classes, shared by all of
    them and shrunk towards a multiple of the identity; both follow from sums, so that no example is kept and the order
    of the tasks does not matter. What tells tasks apart is often style more than meaning, and a pretrained encoder ends
    with the meaning: so depths below its output count as much as the output. While a task trains, its inputs use its
    own slot. Where no task is named, an input costs two passes: one through the bare backbone to choose, one through
    the chosen slot.

    Sources: Mahalanobis prototypes as in FeCAM (Goswami et al. 2023, arXiv 2309.14062); several depths as in LayUP
    (Ahrens et al. 2023, arXiv 2312.08888), which regresses on all of them at once.
    """

    settings = RouterSettings()

    def __init__(self, settings: GateSettings | None = None) -> None:
        super().__init__(settings)
        self._sums: dict[str, Tensor] = {}
        self._whitening: Tensor | None = None  # [D, d, d], Σ_l^(−1/2) up to a rotation
        self._means = torch.empty(0)  # [C, D · d], whitened

    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        """Return the route through the slot of a named task; without a task all slots, one of them per input."""
        return own_or_all(slots, task)

    def learn(self, position: int, features: Tensor, rows: Tensor) -> None:
        """Add a task's examples to the sums."""
        classes, members = torch.unique(rows, return_inverse=True)
        onehot = F.one_hot(members, len(classes)).double()
        depths, width = features.shape[1:]
        sums = torch.zeros(len(classes), depths, width, dtype=torch.double)
        gram = torch.zeros(depths, width, width, dtype=torch.double)
        for part, of_class in zip(torch.split(features, _AT_ONCE), torch.split(onehot, _AT_ONCE), strict=True):
            part = part.double().cpu()
            sums += torch.einsum("nc,nli->cli", of_class, part)
            gram += torch.einsum("nli,nlj->lij", part, part)
        new = {"owners": torch.full((len(classes),), position), "counts": onehot.sum(0), "sums": sums}
        self._sums = {
            **{name: torch.cat([self._sums[name], added]) if self._sums else added for name, added in new.items()},
            "gram": gram + (self._sums["gram"] if self._sums else 0),
        }
        self._prepare()

    def choose(self, bare: Tensor) -> Tensor:
        """Return the position of the slot for each input, `[B]`, from its bare features `[B, D, d]`.

        Raises:
            RunError: it has learned from features of another shape.
        """
        assert self._whitening is not None
        if bare.shape[1:] != self._whitening.shape[:2]:
            raise RunError(
                f"the router has learned from features at {len(self._whitening)} depths of "
                f"{self._whitening.shape[-1]} numbers, and this network gives {bare.shape[1]} of {bare.shape[2]}; use "
                "the version of transformers that the run was made with, or run it again"
            )
        nearest = torch.cdist(_whitened(bare, self._whitening), self._means.to(bare.device)).argmin(1)
        return self._sums["owners"].to(bare.device)[nearest]

    def state(self) -> dict[str, Tensor]:
        """Return the sums: of each class its owner, count and sums of features, and of all a Gram matrix per depth."""
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
        if state["gram"].dim() == 2:
            raise RunError(
                "the stored router knows the network's output alone, as an older version of plora wrote it; run the "
                "method again"
            )
        classes, depths, width = len(state["counts"]), len(state["gram"]), state["gram"].shape[-1]
        shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
        of_all, of_each = (depths, width, width), (classes, depths, width)
        if shapes != {"owners": (classes,), "counts": (classes,), "sums": of_each, "gram": of_all}:
            raise RunError(f"the parts of the stored router do not fit each other: {shapes}")
        self._prepare()

    def _prepare(self) -> None:
        counts, sums, gram = (self._sums[name] for name in ("counts", "sums", "gram"))
        means = sums / counts[:, None, None]
        within = (gram - torch.einsum("cli,clj->lij", means, sums)) / counts.sum()
        size = gram.diagonal(dim1=1, dim2=2).mean(1) / counts.sum()
        variance = within.diagonal(dim1=1, dim2=2).mean(1)
        variance = torch.maximum(variance, _LEAST * size).clamp_min(1e-12)[:, None, None]
        shrunk = (1 - SHRINKAGE) * within + SHRINKAGE * variance * torch.eye(within.shape[-1], dtype=within.dtype)
        values, basis = torch.linalg.eigh(shrunk)
        self._whitening = basis / torch.maximum(values[:, None], SHRINKAGE * variance).sqrt()
        self._means = _whitened(means, self._whitening)


def _whitened(features: Tensor, whitening: Tensor) -> Tensor:
    """Return features `[N, D, d]` with unit covariance at each depth, the depths side by side: `[N, D · d]`."""
    return torch.einsum("nli,lij->nlj", features.double(), whitening.to(features.device)).flatten(1)
