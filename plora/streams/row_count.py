"""How many rows of a source were found, used and left out, and why: one form for every reader."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RowCount:
    """The rows, or files, of one source.

    Args:
        found: all that it has.
        left_out: how many of them are in no split, by reason.
        own: reasons that the config gives (`map`, a cap), and not the file.
        remarks: what else to know of how it was read.
    """

    found: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    own: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def used(self) -> int:
        """How many are in a split."""
        return self.found - sum(self.left_out.values()) - sum(self.own.values())

    def reasons(self) -> dict[str, int]:
        """Return how many were left out by reason, without those that left out none."""
        return {reason: count for reason, count in {**self.left_out, **self.own}.items() if count}


def counted(reasons: Mapping[str, int]) -> str:
    """Return how many were left out by reason, as words; empty where that is nothing."""
    return "; ".join(f"{reason}: {count}" for reason, count in reasons.items() if count)


def row_notes(rows: Mapping[str, RowCount]) -> dict[str, str]:
    """Return a note for each source of which something was left out that the config did not ask to leave out."""
    found = {}
    for name, count in rows.items():
        if lost := counted(count.left_out):
            found[f"rows of {name}"] = f"{count.used} of {count.found} used; left out: {lost}"
    return found
