"""Where a cascade sends each training example: what the nodes below are then learned on."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from plora.errors import DataError, RunError
from plora.sealed import open_sealed, write_sealed
from plora.streams.base import Split


@dataclass(frozen=True)
class Routes:
    """The class at the end of the way of each training example.

    Args:
        leaves: of the tree.
        examples: sha256 of the content of the examples.
        ends: `[N]` where each of them is sent, positions in `leaves`.
        sha256: of the file.
    """

    leaves: tuple[str, ...]
    examples: str
    ends: NDArray[np.int64]
    sha256: str = ""

    def write(self, path: Path) -> None:
        """Write a sealed JSON file, atomically."""
        write_sealed(path, {"leaves": list(self.leaves), "examples": self.examples, "ends": self.ends.tolist()})

    @classmethod
    def read(cls, path: Path) -> "Routes":
        """Read and check such a file.

        Raises:
            DataError: it is missing or damaged, or no such file.
        """
        try:
            found = open_sealed(path)
            content = found.content
            ends = np.array(content["ends"], dtype=np.int64)
            leaves = tuple(str(leaf) for leaf in content["leaves"])  # type: ignore[attr-defined]
            examples = str(content["examples"])
        except RunError as error:
            raise DataError(f"routes: {error}") from None
        except (KeyError, TypeError, ValueError):
            raise DataError(f"routes: {path} is not a file of `plora cascade route`; make one with it") from None
        if ends.ndim != 1 or (ends.size and not 0 <= int(ends.min()) <= int(ends.max()) < len(leaves)):
            raise DataError(f"routes: {path} names leaves that it does not have; make it again")
        return cls(leaves, examples, ends, found.sha256)

    def require(self, leaves: tuple[str, ...], examples: Split) -> None:
        """Refuse the routes of other examples, or through another tree.

        Raises:
            DataError: says what differs.
        """
        if leaves != self.leaves:
            raise DataError(
                f"routes: they lead to {', '.join(self.leaves[:6])}, and the tree has {', '.join(leaves[:6])}; make "
                "them again with `plora cascade route`"
            )
        if len(examples) != len(self.ends) or examples.fingerprint() != self.examples:
            raise DataError(
                f"routes: they are of {len(self.ends)} other examples than the {len(examples)} for training here; make "
                "them again with `plora cascade route`"
            )

    def sent(
        self,
        node: str,
        answer: NDArray[np.int64],
        answers: NDArray[np.int64],
        strangers: Literal["drop", "noise"],
    ) -> NDArray[np.int64]:
        """Return what a node learns of each example, `[N]`: an answer, or −1 for nothing.

        Args:
            node: its name; decides what is drawn.
            answer: `[N]` what is right there; −1 of an example that does not belong there.
            answers: `[leaves]` the answer that leads to each class; −1 where none does.
            strangers: what is learned of examples that are sent there and do not belong there.

        Raises:
            DataError: an answer is left without an example.
        """
        arrived = answers[self.ends] >= 0
        found = np.where(arrived, answer, -1)
        missing = sorted(set(range(int(answers.max()) + 1)) - set(found[found >= 0].tolist()))
        if missing:
            raise DataError(
                f"node '{node}': the nodes above send it no training example of {len(missing)} of its "
                f"{int(answers.max()) + 1} answers, so it cannot be learned on what it is sent; learn it without routes"
            )
        if strangers == "noise":
            seed = int.from_bytes(hashlib.sha256(node.encode()).digest()[:8], "big")
            drawn = np.random.default_rng(seed).integers(0, int(answers.max()) + 1, len(found))
            found = np.where(arrived & (answer < 0), drawn, found)
        return found
