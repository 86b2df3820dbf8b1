"""All that training inside a phase needs to go on, as tensors by name: parameters, the optimizer's state, the best."""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from plora.errors import RunError

_NUMBER = "=number"
"""After the key of what an optimizer keeps as a number, not as a tensor."""


def training_tensors(
    opened: Mapping[str, nn.Parameter],
    trained: Mapping[str, nn.Parameter],
    optimizer: Optimizer,
    best: Mapping[str, Tensor],
    moving: Mapping[str, Tensor] = MappingProxyType({}),
) -> dict[str, Tensor]:
    """Return all that training would need to go on, by name.

    Args:
        opened: every open parameter of the stage.
        trained: those that this phase trains, with their state in the optimizer.
        optimizer: any; of each parameter it keeps tensors and numbers. What is None it does not have yet.
        best: the parameters and buffers of the best epoch so far, where validation chooses.
        moving: buffers that change while training.

    Raises:
        RunError: the optimizer keeps something else.
    """
    tensors: dict[str, Tensor] = {f"parameter/{name}": parameter for name, parameter in opened.items()}
    for name, parameter in trained.items():
        for key, value in optimizer.state[parameter].items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{key}/{name}"] = value
            elif isinstance(value, int | float):
                exact = torch.float64 if isinstance(value, float) else None
                tensors[f"optimizer/{key}{_NUMBER}/{name}"] = torch.tensor(value, dtype=exact)
            elif value is not None:
                raise RunError(
                    f"{type(optimizer).__name__} keeps a {type(value).__name__} '{key}' of a parameter, and a "
                    "checkpoint holds tensors and numbers; keep that, or set training.checkpoint_seconds=null"
                )
    tensors |= {f"moving/{name}": value for name, value in moving.items()}
    return tensors | {f"best/{name}": value for name, value in best.items()}


@torch.no_grad()
def restore_training(
    tensors: Mapping[str, Tensor],
    opened: Mapping[str, nn.Parameter],
    trained: Mapping[str, nn.Parameter],
    optimizer: Optimizer,
    best: dict[str, Tensor],
    moving: Mapping[str, Tensor] = MappingProxyType({}),
) -> None:
    """Put back what `training_tensors` returned.

    Raises:
        RunError: the tensors belong to other parameters.
    """
    kept = [name.split("/", 2) for name in tensors if name.startswith("optimizer/")]
    wanted = {*(f"parameter/{name}" for name in opened), *(f"moving/{name}" for name in moving)}
    if wanted != {name for name in tensors if name.startswith(("parameter/", "moving/"))} or any(
        len(path) < 3 or path[2] not in trained for path in kept
    ):
        raise RunError("the checkpoint inside the task belongs to other parameters; remove checkpoints/step")
    for name, parameter in opened.items():
        parameter.copy_(tensors[f"parameter/{name}"])
    fused = {
        id(parameter): bool(group.get("fused") or group.get("capturable"))
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for _, key, name in kept:
        parameter, value = trained[name], tensors[f"optimizer/{key}/{name}"]
        state = optimizer.state[parameter]
        if key.endswith(_NUMBER):
            state[key.removesuffix(_NUMBER)] = value.item()
        else:  # torch counts steps on the CPU unless the whole step runs on the device
            state[key] = value if key == "step" and not fused[id(parameter)] else value.to(parameter.device)
    for name, buffer in moving.items():
        buffer.copy_(tensors[f"moving/{name}"])
    for name, tensor in {**trained, **moving}.items():
        if (chosen := tensors.get(f"best/{name}")) is not None:
            best[name] = chosen.to(tensor.device)
