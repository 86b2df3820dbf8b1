"""What became of the slots of a run when a stage was committed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import ConfigDict


@dataclass(frozen=True)
class SlotState:
    """The slots after one stage, and what the gate made of them.

    Args:
        opened: slots that the run had opened by then; a merged one, made of others, is none of them.
        active: those that predictions use: with a coefficient that is not 0, or all of them where the task or the
            input decides which.
        pruned: those that the gate had dropped by then.
        dropped: the slot that was just learned is one of these.
        reason: why it stayed or went, in words; empty where the gate decides nothing.
        vectors: what the gate lets people see, by name and slot, mean over the layers; see `Gate.vectors`.
    """

    opened: int
    active: int
    pruned: int
    dropped: bool = False
    reason: str = ""
    vectors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @property
    def active_share(self) -> float | None:
        """Active slots of those opened, 0 to 1; None where none was."""
        return self.active / self.opened if self.opened else None
