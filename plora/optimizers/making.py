"""An optimizer over exactly the parameters that train, each with its rate and decay."""

from collections.abc import Mapping, Sequence

from torch import nn
from torch.optim import Optimizer

from plora.errors import ConfigError
from plora.optimizers.depth import blocks_above
from plora.optimizers.settings import Group, OptimizerSettings


def make_optimizer(
    parameters: Mapping[str, nn.Parameter],
    part_of: Mapping[str, str],
    settings: OptimizerSettings,
    groups: Sequence[Group],
    learning_rate: float,
    weight_decay: float,
) -> Optimizer:
    """Return the optimizer; of matrices the decay is that of their group, vectors (biases, scales) do not decay.

    A parameter belongs to the first group that takes it; one that no group takes has the common rate and decay.

    Args:
        parameters: that train, by name.
        part_of: the part of the model of every open parameter, in the network's own order; more may be open than train
            in this phase.
        settings: which optimizer.
        groups: with rates and decays of their own.
        learning_rate: the common peak rate.
        weight_decay: the common decay.

    Raises:
        ConfigError: a group takes none of the open parameters.
    """
    refuse_idle(groups, part_of)
    above = blocks_above(list(part_of))
    common = Group.model_construct()
    found: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name in sorted(parameters, key=lambda name: parameters[name].dim() <= 1):
        group = next((group for group in groups if group.takes(name, part_of[name])), common)
        peak = learning_rate if group.learning_rate is None else group.learning_rate
        decay = weight_decay if group.weight_decay is None else group.weight_decay
        vector = parameters[name].dim() <= 1
        key = (peak * group.layer_decay ** above[name], 0.0 if vector else decay)
        found.setdefault(key, []).append(parameters[name])
    return settings.make(
        [
            {"params": members, "lr": peak, "weight_decay": decay, "peak": peak}
            for (peak, decay), members in found.items()
        ]
    )


def refuse_idle(groups: Sequence[Group], part_of: Mapping[str, str]) -> None:
    """Refuse groups that take no parameter.

    Args:
        groups: of a config.
        part_of: the part of the model of every open parameter, by its name.

    Raises:
        ConfigError: one line per group, with names that there are.
    """
    idle = [
        f"training.groups.{number}: {group} takes none of the {len(part_of)} parameters that are open (parts: "
        f"{', '.join(sorted({*part_of.values()}))}; the first is '{next(iter(part_of), '')}')"
        for number, group in enumerate(groups)
        if not any(group.takes(name, part) for name, part in part_of.items())
    ]
    if idle:
        raise ConfigError(idle)


def set_rates(optimizer: Optimizer, factor: float) -> None:
    """Give every group its peak rate times a factor, that of the schedule at a step."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
