"""SD-LoRA as loops over tasks and layers, with every ΔW as a matrix of its own."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Layers = Mapping[str, tuple[float, Tensor, Tensor]]
"""s, A `[r, I]` and B `[O, r]` of one slot as it was trained, by layer."""


@torch.no_grad()
def size(s: float, A: Tensor, B: Tensor, divided_by: str) -> float:
    """‖s B A‖_F, or s ‖B‖_F ‖A‖_F."""
    if divided_by == "product":
        return float((s * B @ A).square().sum().sqrt())
    return s * float(B.square().sum().sqrt() * A.square().sum().sqrt())


def weights(
    pristine: Mapping[str, Tensor], slots: Sequence[Layers], a: Sequence[Tensor], divided_by: str, each_layer: bool
) -> dict[str, Tensor]:
    """W + Σ_{k<t} a_k s_k B_k A_k / c_k + a_t s_t B_t A_t of each layer.

    Args:
        pristine: W of each layer.
        slots: in the order of their tasks, the last one being trained.
        a: a magnitude for each.
        divided_by: see `size`.
        each_layer: c is the layer's own size; else the mean over layers.
    """
    found = {}
    for path, W in pristine.items():
        effective = W
        for k, slot in enumerate(slots):
            s, A, B = slot[path]
            delta = s * B @ A
            if k < len(slots) - 1:
                sizes = {other: size(*slot[other], divided_by) for other in slot}
                delta = delta / (sizes[path] if each_layer else sum(sizes.values()) / len(sizes))
            effective = effective + a[k] * delta
        found[path] = effective
    return found


@torch.no_grad()
def as_a_sum(new: Layers, older: Sequence[Layers]) -> tuple[list[float], float]:
    """γ of the sum of older updates that is nearest to a new one, and what is left of it as a share of its norm."""

    def flat(slot: Layers) -> Tensor:
        return torch.cat([(s * B.double() @ A.double()).flatten() for s, A, B in slot.values()])

    columns = torch.stack([flat(slot) for slot in older], 1)
    target = flat(new)
    share = torch.linalg.lstsq(columns, target[:, None]).solution[:, 0]
    return share.tolist(), float((target - columns @ share).norm() / target.norm())
