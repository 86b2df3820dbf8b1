"""How features move when a slot is learned, as an affine map."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from plora.heads.ridge import best_ridge


def linear_drift(before: Tensor, after: Tensor, val_before: Tensor, val_after: Tensor) -> Tensor:
    """Return T `[d + 1, d + 1]`, fp64, with (f_after, 1) ≈ T (f_before, 1) on a task's own inputs.

    T = I + Δ, with Δ ridge regression from (f_before, 1) to f_after − f_before: where the inputs say nothing, features
    stay. Its λ is the one of the smallest squared error on the task's validation split. No input of an older task is
    needed; that their features move in the same way is an assumption.

    Args:
        before: features of the training split under the model before the task `[N, d]`.
        after: the same under the model that has learned it.
        val_before: of the validation split `[M, d]`.
        val_after: the same, after.

    Source: Gomez-Villa et al. 2024 (LDC, arXiv 2407.08536), whose projector is trained by gradient steps.
    """
    design, val_design = (pad(features.double(), (0, 1), value=1.0) for features in (before, val_before))
    moved, val_moved = after.double() - before.double(), val_after.double() - val_before.double()
    shift = best_ridge(design.T @ design, moved.T @ design, val_design, val_moved)
    return torch.eye(design.shape[1], dtype=torch.float64) + pad(shift, (0, 0, 0, 1))
