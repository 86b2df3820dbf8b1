"""AdamW over exactly the parameters that train, and the learning rate as a function of the step."""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from plora.errors import RunError

Schedule = Literal["linear", "cosine", "constant"]


def make_optimizer(
    parameters: Mapping[str, nn.Parameter], learning_rate: float, weight_decay: float
) -> torch.optim.AdamW:
    """Return AdamW; matrices decay, vectors (biases, scales) do not."""
    matrices = [p for p in parameters.values() if p.dim() > 1]
    vectors = [p for p in parameters.values() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=learning_rate, fused=True)


def training_tensors(
    opened: Mapping[str, nn.Parameter],
    trained: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    best: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Return all that training would need to go on, by name.

    Args:
        opened: every open parameter of the stage.
        trained: those that this phase trains, with their state in the optimizer.
        optimizer: AdamW.
        best: the parameters of the best epoch so far, where validation chooses.
    """
    tensors: dict[str, Tensor] = {f"parameter/{name}": parameter for name, parameter in opened.items()}
    for name, parameter in trained.items():
        tensors |= {f"optimizer/{key}/{name}": value for key, value in optimizer.state[parameter].items()}
    return tensors | {f"best/{name}": value for name, value in best.items()}


@torch.no_grad()
def restore_training(
    tensors: Mapping[str, Tensor],
    opened: Mapping[str, nn.Parameter],
    trained: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    best: dict[str, Tensor],
) -> None:
    """Put back what `training_tensors` returned.

    Raises:
        RunError: the tensors belong to other parameters.
    """
    wanted = {f"parameter/{name}" for name in opened}
    if wanted != {name for name in tensors if name.startswith("parameter/")}:
        raise RunError("the checkpoint inside the task belongs to other parameters; remove checkpoints/step")
    for name, parameter in opened.items():
        parameter.copy_(tensors[f"parameter/{name}"])
    for name, parameter in trained.items():
        state = {key: tensors.get(f"optimizer/{key}/{name}") for key in ("step", "exp_avg", "exp_avg_sq")}
        optimizer.state[parameter] = {k: v.to(parameter.device) for k, v in state.items() if v is not None}
        if (kept := tensors.get(f"best/{name}")) is not None:
            best[name] = kept.to(parameter.device)


def rate(step: int, total: int, warmup: float, schedule: Schedule) -> float:
    """Return the factor on the peak learning rate at a step.

    Rises as (step + 1) / W over the first W = ⌈warmup · total⌉ steps, then, with p the share of the remaining steps
    that is done: `linear` 1 − p, `cosine` (1 + cos π p) / 2, `constant` 1.

    Args:
        step: from 0.
        total: steps of the phase.
        warmup: share of the steps, [0, 1).
        schedule: shape after warm-up.
    """
    warmup_steps = math.ceil(warmup * total)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, total - warmup_steps)
    if schedule == "linear":
        return 1.0 - done
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * done))
    return 1.0
