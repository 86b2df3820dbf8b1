"""Classes as the leaves of a tree of questions, told by their names."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from plora.errors import DataError, did_you_mean
from plora.streams.label_text import looks_like


@dataclass(frozen=True)
class LabelTree:
    """A tree of questions whose answers are other questions, or classes.

    Args:
        nodes: the name of each question → its answers: names of other questions, or else of classes. In any order.

    Attributes:
        root: the question that is asked first.
        names: all questions, level after level, the root first.
        leaves: all classes, in the order in which one walks down the tree.

    Raises:
        DataError: a question has fewer than two answers, an answer stands in two places, there is no first question or
            more than one, or questions lead in a circle.
    """

    nodes: Mapping[str, Sequence[str]]

    def __post_init__(self) -> None:
        parents: dict[str, str] = {}
        for node, answers in self.nodes.items():
            if len(answers) < 2:
                raise DataError(f"node '{node}' has {len(answers)} answers; a question needs at least two")
            for answer in answers:
                if answer in parents:
                    what = "node" if answer in self.nodes else "leaf"
                    where = f"twice below '{node}'" if parents[answer] == node else f"below '{parents[answer]}' and"
                    where = where if parents[answer] == node else f"{where} below '{node}'"
                    raise DataError(f"{what} '{answer}' stands {where}; each stands in one place of a tree")
                parents[answer] = node
        roots = [node for node in self.nodes if node not in parents]
        if len(roots) != 1:
            said = ", ".join(f"'{root}'" for root in roots) or "none: each is the answer of another"
            raise DataError(f"a tree has one node that is no answer of another, and here are {len(roots)}: {said}")
        if lost := [node for node in self.nodes if node not in self.names]:
            raise DataError(f"node '{lost[0]}' cannot be reached from '{self.root}': its questions lead in a circle")

    @cached_property
    def root(self) -> str:
        """The question that is asked first."""
        answers = {answer for of_node in self.nodes.values() for answer in of_node}
        return next(node for node in self.nodes if node not in answers)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All questions, level after level."""
        found, level = [], [self.root]
        while level:
            found += level
            level = [answer for node in level for answer in self.nodes[node] if answer in self.nodes]
        return tuple(found)

    @cached_property
    def leaves(self) -> tuple[str, ...]:
        """All classes, in the order in which one walks down the tree."""
        return self.below(self.root)

    def below(self, name: str) -> tuple[str, ...]:
        """Return the classes below a question; of a class itself."""
        if name not in self.nodes:
            return (name,)
        return tuple(leaf for answer in self.nodes[name] for leaf in self.below(answer))

    def answers(self, node: str) -> NDArray[np.int64]:
        """Return which answer of a question leads to each class, `[leaves]`; −1 where none does."""
        found = np.full(len(self.leaves), -1, np.int64)
        for position, answer in enumerate(self.nodes[node]):
            found[[self.leaves.index(leaf) for leaf in self.below(answer)]] = position
        return found

    def path(self, leaf: str) -> tuple[str, ...]:
        """Return the questions that lead to a class, the root first, and the class itself."""
        return tuple(self._walk(self.root, leaf))

    def _walk(self, node: str, leaf: str) -> Iterator[str]:
        yield node
        if node != leaf:
            yield from self._walk(next(one for one in self.nodes[node] if leaf in self.below(one)), leaf)

    def require_labels(self, labels: Sequence[str], mapped: Mapping[str, str], dropped: Sequence[str]) -> None:
        """Refuse classes of which nobody has said where they go, and leaves that no class is.

        Args:
            labels: the classes that there are.
            mapped: class → leaf that its examples are counted as.
            dropped: classes whose examples are left out.

        Raises:
            DataError: a class has no leaf, two say where it goes, or a leaf, or what is mapped or dropped, is no class.
        """
        for said, names in (("map", list(mapped)), ("drop", list(dropped))):
            for name in names:
                if name in self.leaves:
                    raise DataError(
                        f"{said}: '{name}' is a leaf of the tree; take it out of {said}, or out of the tree"
                    )
                if name not in labels:
                    raise DataError(f"{said}: no class '{name}'{did_you_mean(name, labels)}; there are {_some(labels)}")
        for name, leaf in mapped.items():
            if leaf not in self.leaves:
                hint = did_you_mean(leaf, self.leaves)
                raise DataError(f"map: '{name}' goes to '{leaf}', which is no leaf{hint}; leaves: {_some(self.leaves)}")
            if name in dropped:
                raise DataError(f"'{name}' stands in map and in drop; say one of them")
        homeless = [label for label in labels if label not in self.leaves and label not in (*mapped, *dropped)]
        if homeless:
            alike = looks_like(homeless[0], self.leaves)
            raise DataError(
                f"class '{homeless[0]}' has no leaf in the tree{alike}; put it below a node, or name it in map or drop"
                + (f" ({len(homeless)} classes have none: {_some(homeless)})" if len(homeless) > 1 else "")
            )
        if strange := [leaf for leaf in self.leaves if leaf not in labels]:
            hint = did_you_mean(strange[0], labels)
            raise DataError(f"leaf '{strange[0]}' is no class of the data{hint}; there are {_some(labels)}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f", and {len(names) - 8} more" if len(names) > 8 else "")
