"""What a checkpoint holds, told as what it changes: each manifest names its predecessor by hash.

So a checkpoint costs what its task costs, however many there were before; whoever reads goes through all of them from
the first on, and sees when one of them is another run's, or stands in the place of another.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from plora.atomic import JsonValue
from plora.errors import RunError
from plora.results.record.forgotten import FileName, Forgotten, read_forgotten
from plora.results.record.found_runs import checkpoints, manifest_file
from plora.results.record.identity import require_of, run_of
from plora.results.record.run_record import TaskCost
from plora.results.record.slot_state import SlotState
from plora.sealed import Identity, fitted, open_sealed, seal, write_sealed

KIND = "checkpoint"
SCHEMA = 2
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_T = TypeVar("_T")


class _Common(BaseModel):
    """What manifests of both schemas have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    router: Hash | None = None
    """Hash of what the gate has learned of the tasks: its file below `gates/`."""
    strategies: dict[str, Hash] = {}
    """Hash of what each strategy remembers, by kind: its file below `strategies/`."""
    backbone: str
    """Fingerprint of the pretrained network."""
    preprocessing: str
    """Fingerprint of what turns inputs into tensors."""
    curve_lines: int = Field(ge=0)
    """Lines of curves.jsonl when it was written."""
    cost: TaskCost
    """What the last stage cost."""


class Manifest(_Common):
    """What a checkpoint changes; `manifest.json`. Where a value is null, its key went."""

    schema_: int = Field(default=SCHEMA, alias="schema")
    previous: Hash | None
    """Seal of the manifest before."""
    stage: tuple[str, ...]
    """Tasks learned since."""
    labels: dict[str, tuple[str, ...]]
    """Label names of tasks of the stream, learned or to come, so that predicting needs no data."""
    slots: dict[str, Hash | None]
    """Hash of the content of each slot: its folder below `slots/`."""
    blocks: dict[str, int | None]
    """Rows of each block of the head, in order."""
    parts: dict[str, Hash | None]
    """Hash of each part of the head: its file below `heads/`."""
    files: dict[FileName, Hash]
    """sha256 of every file that no manifest before names, by its path in the run folder."""
    gate: dict[str, float | None]
    """How much each slot contributes to the last stage."""
    slot_state: SlotState | None = None
    """What became of the slots; None where an older version wrote it."""


class _Whole(_Common):
    """A manifest of schema 1, which says all that its checkpoint holds."""

    schema_: int = Field(default=1, alias="schema")
    tasks: tuple[str, ...]
    forgotten: tuple[str, ...] = ()
    labels: dict[str, tuple[str, ...]]
    slots: dict[str, Hash]
    blocks: dict[str, int]
    parts: dict[str, Hash]
    files: dict[FileName, Hash]
    gate: dict[str, float] = {}


_SHAPES: Mapping[int, TypeAdapter[Manifest | _Whole]] = {
    1: TypeAdapter(_Whole),
    SCHEMA: TypeAdapter(Manifest),
}


@dataclass(frozen=True)
class Checkpoint:
    """What a run holds after a stage.

    Args:
        number: tasks learned by then, forgotten ones included.
        seal: of its manifest.
        stage: tasks learned in its last stage.
        tasks: learned and not forgotten, in order.
        forgotten: tasks that were taken out.
        labels: label names of every task of the stream.
        slots: hash of the content of each slot.
        blocks: rows of each block of the head, in order.
        parts: hash of each part of the head.
        files: sha256 of every file of this checkpoint and of those before it, by its path in the run folder.
        gate: how much each slot contributes to the last stage.
        router, strategies, backbone, preprocessing, curve_lines, cost, slot_state: as in its manifest.
    """

    number: int
    seal: str
    stage: tuple[str, ...]
    tasks: tuple[str, ...]
    forgotten: tuple[str, ...]
    labels: Mapping[str, tuple[str, ...]]
    slots: Mapping[str, str]
    blocks: Mapping[str, int]
    parts: Mapping[str, str]
    files: Mapping[str, str]
    gate: Mapping[str, float]
    router: str | None
    strategies: Mapping[str, str]
    backbone: str
    preprocessing: str
    curve_lines: int
    cost: TaskCost
    slot_state: SlotState | None = None

    def needed(self) -> dict[str, str]:
        """Return the sha256 of each file without which this checkpoint cannot be loaded, by its path."""
        contents = {*self.slots.values(), *self.parts.values(), *self.strategies.values(), self.router}
        own = f"checkpoints/task-{self.number:02}/"
        return {name: sha for name, sha in self.files.items() if content_of(name) in contents or name.startswith(own)}


NOTHING = Checkpoint(0, "", (), (), (), {}, {}, {}, {}, {}, {}, None, {}, "", "", 0, TaskCost("", 0, 0, 0, 0, 0, 0, 0))
"""What a run holds before its first task."""


def content_of(name: str) -> str:
    """Return the hash by which a file of a run is known: that of its slot's folder, or its own name."""
    path = Path(name)
    return path.parts[1] if path.parts[0] == "slots" and len(path.parts) > 2 else path.stem


def write_manifest(folder: Path, former: Checkpoint, now: Checkpoint, run: str) -> Checkpoint:
    """Write what a checkpoint changes: from here on it counts.

    Args:
        folder: of the run.
        former: the checkpoint before it.
        now: what it holds; its seal is not read.
        run: what the files of the run call it.

    Returns:
        The checkpoint with its seal.
    """
    manifest = Manifest(
        previous=former.seal or None,
        stage=now.stage,
        labels={task: names for task, names in now.labels.items() if former.labels.get(task) != names},
        slots=_changed(former.slots, now.slots),
        blocks=_changed(former.blocks, now.blocks),
        parts=_changed(former.parts, now.parts),
        router=now.router,
        strategies=dict(now.strategies),
        backbone=now.backbone,
        preprocessing=now.preprocessing,
        files={name: sha for name, sha in now.files.items() if name not in former.files},
        curve_lines=now.curve_lines,
        cost=now.cost,
        gate=_changed(former.gate, now.gate),
        slot_state=now.slot_state,
    )
    return replace(now, seal=put_manifest(folder, now.number, manifest, run))


def put_manifest(folder: Path, number: int, manifest: Manifest, run: str) -> str:
    """Write a manifest as it is, and return its seal."""
    return write_sealed(manifest_file(folder, number), _content(manifest), Identity(run, KIND, number))


def seal_of(number: int, manifest: Manifest, run: str) -> str:
    """Return the seal that a manifest has, or would have."""
    return seal(_content(manifest), Identity(run, KIND, number))


def _content(manifest: Manifest) -> dict[str, JsonValue]:
    """What stands in the file: a manifest of an older version has the seal that it always had."""
    absent = {"slot_state"} if manifest.slot_state is None else None
    return manifest.model_dump(mode="json", by_alias=True, exclude=absent)


def read_chain(folder: Path, last: int | None = None) -> Iterator[Checkpoint]:
    """Yield what a run held after each of its stages, up to checkpoint number `last`.

    Raises:
        RunError: a manifest is missing, changed or damaged, or of another run or number.
    """
    run, gone = run_of(folder), read_forgotten(folder)
    former = NOTHING
    for number in checkpoints(folder):
        if last is not None and number > last:
            return
        former = _after(folder, former, number, run, gone)
        yield without(former, gone)


def read_checkpoint(folder: Path, number: int) -> Checkpoint:
    """Return what a run held after `number` tasks.

    Raises:
        RunError: see `read_chain`; or there is no such checkpoint.
    """
    found = NOTHING
    for found in read_chain(folder, number):  # noqa: B007  (the last one)
        pass
    if found.number != number:
        raise RunError(f"{manifest_file(folder, number)} is missing")
    return found


def read_next(folder: Path, former: Checkpoint, number: int) -> Checkpoint:
    """Return checkpoint `number`, where the one before it is known.

    Raises:
        RunError: see `read_chain`.
    """
    gone = read_forgotten(folder)
    return without(_after(folder, former, number, run_of(folder), gone), gone)


def curve_lines(folder: Path) -> int:
    """Return how many lines curves.jsonl had at the newest checkpoint; 0 where there is none."""
    complete = [*checkpoints(folder)]
    return _read(folder, complete[-1], run_of(folder))[0].curve_lines if complete else 0


def read_links(folder: Path) -> Iterator[tuple[int, Manifest]]:
    """Yield the manifests of a run as they are, by their number.

    Raises:
        RunError: one is damaged, or of schema 1.
    """
    for number in checkpoints(folder):
        found = _read(folder, number, run_of(folder))[0]
        if not isinstance(found, Manifest):
            path = manifest_file(folder, number)
            raise RunError(f"{path} has schema 1; `plora resume {folder}` brings it up to date")
        yield number, found


def without(checkpoint: Checkpoint, gone: Forgotten) -> Checkpoint:
    """Return a checkpoint without tasks that were taken out."""
    out = [task for task in checkpoint.tasks if task in gone.tasks]
    if not out:
        return checkpoint
    positions = {str([*checkpoint.blocks].index(task)) for task in out if task in checkpoint.blocks}
    return replace(
        checkpoint,
        tasks=tuple(task for task in checkpoint.tasks if task not in out),
        forgotten=(*checkpoint.forgotten, *out),
        slots={name: content for name, content in checkpoint.slots.items() if name not in out},
        parts={part: content for part, content in checkpoint.parts.items() if part not in positions},
        files={name: sha for name, sha in checkpoint.files.items() if name not in gone.files},
    )


def _after(folder: Path, former: Checkpoint, number: int, run: str | None, gone: Forgotten) -> Checkpoint:
    """The checkpoint after another one, as its manifest says."""
    path = manifest_file(folder, number)
    found, sha256 = _read(folder, number, run)
    if isinstance(found, _Whole):
        return Checkpoint(
            number=number,
            seal=sha256,
            stage=tuple(
                task for task in (*found.tasks, *found.forgotten) if task not in (*former.tasks, *former.forgotten)
            ),
            **{name: getattr(found, name) for name in _Whole.model_fields if name not in ("schema_", "files")},
            files={**former.files, **found.files},
        )
    if found.previous != (former.seal or None) and not gone.rewrites(former.number, former.seal, found.previous):
        raise RunError(
            f"{path} does not follow the checkpoint before it: that of {former.number} tasks is another one than it "
            "was written after, or one between them is missing; restore checkpoints/ from a copy of the run"
        )
    return Checkpoint(
        number=number,
        seal=sha256,
        stage=found.stage,
        tasks=(*former.tasks, *found.stage),
        forgotten=former.forgotten,
        labels={**former.labels, **found.labels},
        slots=_applied(former.slots, found.slots),
        blocks=_applied(former.blocks, found.blocks),
        parts=_applied(former.parts, found.parts),
        files={**former.files, **found.files},
        gate=_applied(former.gate, found.gate),
        router=found.router,
        strategies=found.strategies,
        backbone=found.backbone,
        preprocessing=found.preprocessing,
        curve_lines=found.curve_lines,
        cost=found.cost,
        slot_state=found.slot_state,
    )


def _read(folder: Path, number: int, run: str | None) -> tuple[Manifest | _Whole, str]:
    path = manifest_file(folder, number)
    sealed = open_sealed(path)
    schema = sealed.content.get("schema")
    if not isinstance(schema, int) or schema not in _SHAPES:
        raise RunError(f"{path} has schema {schema!r}, this version of plora reads schemas 1 and {SCHEMA}")
    require_of(path, sealed, run, KIND, number)
    return fitted(path, sealed.content, _SHAPES[schema]), sealed.sha256


def _changed(former: Mapping[str, _T], now: Mapping[str, _T]) -> dict[str, _T | None]:
    """What has to be said about a mapping, and its order, to whom the former one is known; see `_applied`."""
    kept = [name for name in former if now.get(name) == former[name]]
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(kept, now, strict=False)))
    changes: dict[str, _T | None] = {name: None for name in former if name not in now}
    return changes | dict(islice(now.items(), same, None))


def _applied(former: Mapping[str, _T], changes: Mapping[str, _T | None]) -> dict[str, _T]:
    """The mapping after some changes: what is said anew goes to the end."""
    found: dict[str, _T] = {name: value for name, value in former.items() if name not in changes}
    return found | {name: value for name, value in changes.items() if value is not None}
