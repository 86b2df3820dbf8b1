"""What a cascade is made of: a tree, and for each of its nodes the runs that learned it. Its folder, and its file."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from plora import atomic
from plora.config import read_values
from plora.config.made_in import seen_from
from plora.config.mistakes import lines
from plora.errors import ConfigError, RunError, did_you_mean
from plora.run_folder.folder import RunFolder
from plora.streams import TreeStream

CASCADE_FILE, RESULT_FILE = "cascade.yaml", "cascade.json"


class LearnedNode(BaseModel):
    """One task of a run, whose answers are those of a node."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: Path
    """The run folder; a relative path leads from the folder in which the cascade's file lies."""

    task: str | None = None
    """Its task; None: that of the node's name, or of a run that is not told the task the run itself."""


class Cascade(BaseModel):
    """A tree of tasks: which questions there are, and who answers them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stream: TreeStream
    """The examples and the tree of their classes, as in a config; its paths lead from where plora is started."""

    nodes: dict[str, tuple[LearnedNode, ...]] = Field(min_length=1)
    """The name of each node, and where it was learned; of several the mean of their probabilities answers."""

    flat: Path | None = None
    """A run that tells all classes at once, to compare with."""

    thresholds: dict[str, float] = Field(default_factory=dict)
    """Of each node, the probability above which it decides; below it all its answers are tried. Chosen on validation by
    `plora cascade evaluate`."""

    @model_validator(mode="after")
    def _is_learned_whole(self) -> Self:
        if self.stream.routes is not None:
            raise ValueError("stream.routes: they say what a run learns, and a cascade is made of runs; leave them out")
        if self.stream.nodes is not None:
            _require_nodes(self.nodes, list(self.stream.nodes))
        if empty := [node for node, learned in self.nodes.items() if not learned]:
            raise ValueError(f"nodes: nothing says where '{empty[0]}' was learned; name a run, or several")
        return self

    def seen_from(self, folder: Path) -> "Cascade":
        """Return the cascade with its runs as they are found from here."""
        nodes = {
            node: tuple(one.model_copy(update={"run": folder / one.run}) for one in learned)
            for node, learned in self.nodes.items()
        }
        return self.model_copy(update={"nodes": nodes, "flat": None if self.flat is None else folder / self.flat})

    def lying_in(self, folder: Path) -> "Cascade":
        """Return the cascade with its runs as they are found from a folder: what is written there."""

        def path(run: Path) -> Path:
            return Path(os.path.relpath(run.resolve(), folder.resolve()))

        nodes = {
            node: tuple(one.model_copy(update={"run": path(one.run)}) for one in learned)
            for node, learned in self.nodes.items()
        }
        return self.model_copy(update={"nodes": nodes, "flat": None if self.flat is None else path(self.flat)})

    def write(self, folder: Path, lying_in: Path) -> None:
        """Write `cascade.yaml` into a folder, atomically; it will be found in `lying_in`."""
        values = self.lying_in(lying_in).model_dump(mode="json")
        atomic.write_text(folder / CASCADE_FILE, yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100))


def is_cascade(path: Path) -> bool:
    """Say whether a folder is that of a cascade."""
    return (path / CASCADE_FILE).is_file()


def read_cascade(path: Path) -> Cascade:
    """Read a cascade from its folder or its YAML file.

    Raises:
        ConfigError: it is no such file; every mistake, one line each.
    """
    file = path / CASCADE_FILE if path.is_dir() else path
    values = read_values(file)
    try:
        return Cascade.model_validate(values).seen_from(file.parent)
    except ValidationError as error:
        raise ConfigError([f"{file}: {line}" for line in lines(error.errors(), values, Cascade)]) from None


def cascade_of_runs(runs: Sequence[Path], flat: Path | None = None) -> Cascade:
    """Return the cascade of a run whose stream is a tree; of several, each node is the mean of all.

    Args:
        runs: run folders, at least one, of the same tree.
        flat: a run that tells all classes at once.

    Raises:
        RunError: a folder is no run, its stream is no tree, or that of another run is another one.
    """
    trees: dict[Path, TreeStream] = {}
    for path in runs:
        folder = RunFolder.existing(path)
        stream = seen_from(folder.read_config(to_answer=True), folder.made_in).stream
        if not isinstance(stream, TreeStream):
            raise RunError(
                f"the stream of {path} is no tree (stream.kind is '{stream.kind}'); learn one with `stream: {{kind: "
                "tree, …}`, or say in a cascade.yaml which run learned which node"
            )
        trees[path] = TreeStream(kind="tree", of=stream.of, nodes=stream.nodes, map=stream.map, drop=stream.drop)
    first = next(iter(trees.values()))
    for path, tree in trees.items():
        if tree != first:
            raise RunError(
                f"{path} has another tree, or other data, than {runs[0]}; one cascade has one tree: say in a "
                "cascade.yaml which run learned which node"
            )
    learned = [RunFolder.existing(path).read_environment().stream.labels for path in runs]
    nodes = {node: tuple(LearnedNode(run=path) for path in runs) for node in learned[0]}
    return Cascade(stream=first, nodes=nodes, flat=flat)


def _require_nodes(learned: Mapping[str, object], nodes: Sequence[str]) -> None:
    """Refuse a cascade that lacks a node, or has one that the tree lacks."""
    if strange := [node for node in learned if node not in nodes]:
        hint = did_you_mean(strange[0], nodes)
        raise ValueError(f"nodes: the tree has no node '{strange[0]}'{hint}; it has {', '.join(nodes)}")
    if missing := [node for node in nodes if node not in learned]:
        raise ValueError(f"nodes: nothing says where '{missing[0]}' was learned; the tree has {', '.join(nodes)}")
