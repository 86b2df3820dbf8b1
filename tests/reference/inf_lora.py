"""InfLoRA on the inputs themselves: every matrix X is held, and decomposed as a whole."""

import numpy as np
import torch
from torch import Tensor

from plora.lesson import Lesson
from plora.model import ContinualModel


def projector(basis: Tensor) -> Tensor:
    """M Mᵀ of a basis `[d, k]`, orthonormal or not."""
    return basis @ torch.linalg.pinv(basis)


def grown(basis: Tensor, X: Tensor, share: float) -> Tensor:
    """The basis with one singular vector after the other of what it does not hold, until it holds the share of ‖X‖²."""
    rest = X - projector(basis) @ X
    U, S, _ = torch.linalg.svd(rest, full_matrices=False)
    column = 0
    while (projector(basis) @ X).square().sum() < (share - 1e-9) * X.square().sum() and S[column] > 1e-5 * S.max():
        basis = torch.cat([basis, U[:, column : column + 1]], 1)
        column += 1
        if column == len(S):
            break
    return basis


def directions(basis: Tensor, X: Tensor, rank: int) -> Tensor:
    """The first left singular vectors of (I − M Mᵀ) X, as rows."""
    return torch.linalg.svd(X - projector(basis) @ X, full_matrices=False)[0][:, :rank].T


def features(model: ContinualModel, lesson: Lesson) -> dict[str, Tensor]:
    """X `[d, n]` of every layer by its path: one example after the other, so that nothing is padded."""
    assert model.adapters is not None
    found: dict[str, list[Tensor]] = {path: [] for path in model.adapters.banks}
    handles = [
        layer.register_forward_hook(
            lambda layer, inputs, output: (
                [found[bank.path].append(inputs[0].flatten(0, -2).double()) for bank in layer.all_banks] and None
            )
        )
        for layer in model.adapters.layers
    ]
    model.eval()
    with torch.no_grad():
        for example in range(len(lesson.train)):
            model(lesson.train.collate(np.array([example])).inputs, lesson.task)
    for handle in handles:
        handle.remove()
    return {path: torch.cat(rows).T for path, rows in found.items()}
