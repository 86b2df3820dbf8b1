"""What was found of a cascade: `cascade.json`, from which its tables, pictures and page are made."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from plora.errors import RunError
from plora.sealed import open_sealed, write_sealed
from plora.streams.label_tree import LabelTree

SCHEMA = 1
_STRICT = ConfigDict(extra="forbid", frozen=True)


class Whole(BaseModel):
    """How all test examples fare in one way of asking."""

    model_config = _STRICT

    accuracy: float
    """Share whose leaf is right."""
    low: float
    """The 95 % interval of the accuracy over examples, Wilson's: its lower end."""
    high: float
    """Its upper end."""
    macro_f1: float
    """Mean F1 of the leaves that are right or given."""


class Gain(BaseModel):
    """A number of the pipeline less that of the flat classifier, on the same examples; its 95 % interval by the
    bootstrap."""

    model_config = _STRICT

    value: float
    low: float
    high: float


class Node(BaseModel):
    """One node; see `plora.results.metrics.cascade.NodeScore`."""

    model_config = _STRICT

    node: str
    support: int
    arrived: int
    strangers: int
    accuracy: float
    macro_f1: float
    alone: float
    recall: float
    pipeline: float
    cascade_error: float
    if_routed: float | None
    selection_gap: float | None
    collapsed: str
    confusion: list[list[int]]
    recorded: float | None
    """The accuracy that its run had recorded; None where the run was scored on other examples, or several answer."""


class Flow(BaseModel):
    """How many examples a node sends to one of its answers."""

    model_config = _STRICT

    node: str
    answer: str
    right: int
    """Those whose leaf lies below the answer."""
    wrong: int
    """Those whose leaf does not."""


class Point(BaseModel):
    """What is saved and lost at one setting; see `plora.results.comparison.searches.Saving`."""

    model_config = _STRICT

    at: float
    """The threshold of all nodes, or k."""
    searches: float
    saved: float
    lost: float
    low: float
    high: float


class ChosenPoint(Point):
    """What is saved and lost on test with the thresholds that validation chose; `at` is the loss that it allowed."""

    thresholds: dict[str, float]
    """Of each node."""


class CascadeResult(BaseModel):
    """What was found of a cascade on the test examples of all its classes."""

    model_config = _STRICT

    schema_version: int = SCHEMA
    name: str
    nodes: dict[str, tuple[str, ...]]
    leaves: tuple[str, ...]
    runs: dict[str, list[str]]
    """The runs of each node, as they are called."""
    examples: int
    costed: bool
    """Whether losses are of costs that the examples bring, and not shares of wrong answers."""
    whole: dict[str, Whole]
    """By way of asking: `pipeline`, `likeliest`, `oracle`, and `flat` where such a run was given."""
    gain: Gain | None
    """In accuracy; None without a flat classifier."""
    cost_gain: Gain | None = None
    """In cost, as a share of the least cost: below 0 where the pipeline's answers cost less. None without a flat
    classifier or costs."""
    scores: list[Node]
    flows: list[Flow]
    confusion: list[list[int]]
    """`[leaves, leaves]` test examples of each leaf, by the leaf at which the pipeline ends."""
    curves: dict[str, list[Point]]
    """`thresholds`: one for all nodes; `likeliest`: the k likeliest leaves; `flat`: those of the flat classifier."""
    chosen: list[ChosenPoint]
    truth: list[int]
    """The leaf of each test example."""
    ends: list[int]
    """The leaf at which the pipeline ends."""
    doubts: list[str]
    """What to know before the numbers are believed, one line each."""

    @property
    def tree(self) -> LabelTree:
        """The tree."""
        return LabelTree(self.nodes)

    def score_of(self, node: str) -> Node:
        """Return how one node does."""
        return next(score for score in self.scores if score.node == node)

    def write(self, path: Path) -> None:
        """Write a sealed JSON file, atomically."""
        write_sealed(path, cast(Mapping[str, Any], self.model_dump(mode="json")))


def read_cascade_result(path: Path) -> CascadeResult:
    """Read and check what `CascadeResult.write` wrote.

    Raises:
        RunError: the file is missing, damaged or changed, or of another version.
    """
    content = open_sealed(path).content
    if content.get("schema_version") != SCHEMA:
        raise RunError(f"{path} has schema {content.get('schema_version')}, this version of plora reads {SCHEMA}")
    try:
        return CascadeResult.model_validate(content)
    except ValidationError as error:
        raise RunError(f"{path} is damaged: {str(error).splitlines()[0]}") from None
