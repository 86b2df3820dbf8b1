"""What trains and what is frozen, counted on the meta device: no weights are loaded, whatever the size."""

from dataclasses import dataclass

from torch import nn

from plora.backbones import empty_backbone
from plora.build import inject
from plora.config import RunConfig


@dataclass(frozen=True)
class Group:
    """Parameters of alike modules: `path` with block numbers replaced by N."""

    path: str
    modules: int
    trainable: int
    frozen: int


@dataclass(frozen=True)
class ParameterCount:
    """Counts of one method on one backbone, for one task.

    Args:
        groups: alike modules together, in the network's order.
        lateral: parameters that a task trains besides for each older one: its connections to that one's slot.
        later: position of a task from which on slots have another rank, and what then trains of the slot.
        rows: a head with rows for classes comes on top; not where the network answers by itself.
        segments: it answers with masks; its classes are counted as its own configuration has them.
    """

    label: str
    backbone: str
    groups: tuple[Group, ...]
    lateral: int = 0
    later: tuple[tuple[int, int], ...] = ()
    rows: bool = True
    segments: bool = False

    @property
    def trainable(self) -> int:
        """Parameters that the optimizer gets, the head not included."""
        return sum(group.trainable for group in self.groups)

    @property
    def frozen(self) -> int:
        """Parameters that never change."""
        return sum(group.frozen for group in self.groups)

    def describe(self) -> str:
        """Return a table for a terminal."""
        width = max(len(group.path) for group in self.groups)
        lines = [f"{self.label} on {self.backbone}", f"{'module':<{width}}  {'×':>4}  {'trains':>13}  {'frozen':>13}"]
        lines += [f"{g.path:<{width}}  {g.modules:>4}  {g.trainable:>13,}  {g.frozen:>13,}" for g in self.groups]
        total = self.trainable + self.frozen
        lines.append(f"{'total':<{width}}  {'':>4}  {self.trainable:>13,}  {self.frozen:>13,}")
        head = "; its head adds (features + 1) × classes" if self.rows else ""
        head = "; a run gives what answers a row for each class of its stream" if self.segments else head
        lines.append(f"{self.trainable / total:.2%} of {total:,} parameters train in a task{head}")
        if self.lateral:
            lines.append(f"connections add {self.lateral:,} for each older task")
        lines += [
            f"from task {task} on (counted from 0) slots have {number:,} parameters" for task, number in self.later
        ]
        return "\n".join(lines)


def count_parameters(config: RunConfig) -> ParameterCount:
    """Count what a method trains on its backbone.

    Raises:
        BackboneError, AdapterError: as a run would.
    """
    network = empty_backbone(config.backbone, config.problem.writes, config.problem.segments)
    row = config.row
    lateral, later = 0, list[tuple[int, int]]()
    if row.slots != "none":
        adapters = inject(network, config)
        if config.lora is not None:
            for task in config.lora.ranks:
                adapters.open_task("later", config.lora.at(task))
                later.append((task, sum(parameter.numel() for parameter in adapters.parameters())))
                adapters.delete("later")
        adapters.open_task("task", config.lora)
        if any(strategy.designs_slots for strategy in config.resolved_strategies()):
            for bank in adapters.banks.values():
                assert bank.A is not None
                bank.A.requires_grad_(False)
        lateral = config.lora.rank**2 * len(adapters.banks) if row.lateral and config.lora is not None else 0
    trains = {part for phase in config.resolved_phases() for part in phase.train}
    if "backbone" in trains:
        network.requires_grad_(True)
    groups, rows = tuple(_groups(network)), config.problem.has_head
    return ParameterCount(
        config.label, config.backbone.label, groups, lateral, tuple(later), rows, config.problem.segments
    )


def _groups(network: nn.Module) -> list[Group]:
    sums: dict[str, list[int]] = {}
    counted: set[nn.Parameter] = set()
    for path, module in network.named_modules():
        own = [p for p in module.parameters(recurse=False) if p not in counted]
        counted.update(own)
        if own:
            shape = ".".join("N" if part.isdecimal() else part for part in path.split("."))
            entry = sums.setdefault(shape.replace(".banks.whole", " + slot").replace(".base", ""), [0, 0, 0])
            entry[0] += 1
            entry[1] += sum(p.numel() for p in own if p.requires_grad)
            entry[2] += sum(p.numel() for p in own if not p.requires_grad)
    return [Group(path, *entry) for path, entry in sums.items()]
