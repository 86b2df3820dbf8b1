"""What a run has learned, on disk: slots and head parts once by hash, and a manifest that is written last.

A checkpoint counts only when it was loaded into a fresh bank on the same backbone and gave the same logits, bit for
bit, on the same batch; then its manifest is written. Loading compares the sha256 of every file with the manifest.
"""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from torch import Tensor

from plora.adapters import load_slot, save_slot
from plora.adapters.interop import TENSOR_FILE
from plora.batches.features import autocast
from plora.build import Learner
from plora.errors import AdapterError, RunError
from plora.failpoints import reached
from plora.fingerprint import hash_file, hash_tensors
from plora.model import ContinualModel
from plora.problems import Batch
from plora.results import RunRecord, TaskCost
from plora.run_folder.folder import RunFolder
from plora.sealed import read_sealed, write_sealed
from plora.strategies import Strategy
from plora.tensor_file import load_tensors, save_tensors

MANIFEST = "manifest.json"
SCHEMA = 1
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Manifest(BaseModel):
    """What a checkpoint holds; `manifest.json`, which carries its own sha256."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_: int = Field(default=SCHEMA, alias="schema")
    tasks: tuple[str, ...]
    """Tasks learned and not forgotten, in order."""
    forgotten: tuple[str, ...] = ()
    """Tasks that `plora forget` took out."""
    labels: dict[str, tuple[str, ...]]
    """Label names of every task of the stream, so that predicting needs no data."""
    slots: dict[str, Hash]
    """Hash of the content of each slot: its folder below `slots/`."""
    blocks: dict[str, int]
    """Rows of each block of the head, in order."""
    parts: dict[str, Hash]
    """Hash of each part of the head: its file below `heads/`."""
    router: Hash | None = None
    """Hash of what the gate has learned of the tasks: its file below `gates/`."""
    strategies: dict[str, Hash] = {}
    """Hash of what each strategy remembers, by kind: its file below `strategies/`."""
    backbone: str
    """Fingerprint of the pretrained network."""
    preprocessing: str
    """Fingerprint of all that decides how an input is encoded."""
    files: dict[str, Hash]
    """sha256 of every file of this checkpoint, by its path in the run folder."""
    curve_lines: int = Field(ge=0)
    """Lines of curves.jsonl when it was written."""
    cost: TaskCost
    """What the last stage cost."""
    gate: dict[str, float] = {}
    """How much each slot contributes to the last stage."""


def save_checkpoint(
    folder: RunFolder,
    learner: Learner,
    tasks: list[str],
    forgotten: list[str],
    labels: Mapping[str, tuple[str, ...]],
    cost: Callable[[int, int], TaskCost],
    probe: tuple[str | None, Batch],
    strategies: Sequence[Strategy] = (),
) -> Manifest:
    """Write and verify the checkpoint after a stage.

    Args:
        folder: of the run.
        learner: whose model is committed as a whole.
        tasks: learned so far, forgotten ones included.
        forgotten: those of them that were forgotten.
        labels: label names of every task of the stream.
        cost: from the bytes that this stage added to what must be kept, and the bytes that strategies remember, what
            it cost.
        probe: task and batch on which the saved copy must give the model's own outputs.
        strategies: what they remember is kept too.

    Raises:
        RunError: the copy on disk gives other outputs.
        OSError: a file cannot be written.
    """
    model, number = learner.model, len(tasks)
    place = folder.checkpoint(number)
    slots: dict[str, str] = {}
    written: list[Path] = []
    # What no manifest vouches for is written anew: a power cut may have left the name and not the content.
    former = read_manifest(folder, folder.complete()[-1]).files if folder.complete() else {}
    if model.adapters is not None:
        for slot in model.adapters:
            content = model.slot_hashes[slot.name]
            slots[slot.name] = content
            home = folder.slot(content)
            if (home / TENSOR_FILE).relative_to(folder.path).as_posix() not in former:
                save_slot(model.adapters, slot, home, base_model=learner.backbone.source)
            written += [file for file in home.iterdir() if not file.name.startswith(".")]
    parts: dict[str, str] = {}
    for part, tensors in _parts(model.head.tensors()).items():
        parts[part] = hash_tensors(sorted(tensors.items()))
        if folder.head(parts[part]).relative_to(folder.path).as_posix() not in former:
            save_tensors(folder.head(parts[part]), tensors)
        written.append(folder.head(parts[part]))
    if model.trains_backbone:
        save_tensors(_backbone_file(place), model.backbone.state_dict())
        written.append(_backbone_file(place))
    router = None
    if model.gate is not None and (known := model.gate.state()):
        router = hash_tensors(sorted(known.items()))
        if folder.gate(router).relative_to(folder.path).as_posix() not in former:
            save_tensors(folder.gate(router), known)
        written.append(folder.gate(router))
    memories: dict[str, str] = {}
    remembered: list[Path] = []
    for strategy in strategies:
        if state := strategy.state():
            memories[strategy.kind] = hash_tensors(sorted(state.items()))
            path = folder.strategy(memories[strategy.kind])
            if path.relative_to(folder.path).as_posix() not in former:
                save_tensors(path, state)
            remembered.append(path)
    reached("tensors_saved")
    files = {path.relative_to(folder.path).as_posix(): path for path in sorted([*written, *remembered])}
    added = sum(path.stat().st_size for name, path in files.items() if path in written and name not in former)
    manifest = Manifest(
        tasks=tuple(task for task in tasks if task not in forgotten),
        forgotten=tuple(forgotten),
        labels=dict(labels),
        slots=slots,
        blocks=dict(model.head.blocks),
        parts=parts,
        router=router,
        strategies=memories,
        backbone=learner.backbone.fingerprint,
        preprocessing=model.problem.fingerprint(),
        files={name: hash_file(path) for name, path in files.items()},
        curve_lines=folder.curve_lines(),
        cost=cost(added, sum(path.stat().st_size for path in remembered)),
        gate=model.coefficients(probe[0]),
    )
    _verify(folder, place, manifest, learner, *probe)
    write_manifest(folder, number, manifest)
    return manifest


def write_manifest(folder: RunFolder, number: int, manifest: Manifest) -> None:
    """Write the manifest of checkpoint `number`: from here on it counts."""
    write_sealed(folder.checkpoint(number) / MANIFEST, manifest.model_dump(mode="json", by_alias=True))


def read_manifest(folder: RunFolder, number: int) -> Manifest:
    """Read the manifest of checkpoint `number`.

    Raises:
        RunError: it is missing, changed or damaged.
    """
    path = folder.checkpoint(number) / MANIFEST
    content = read_sealed(path)
    if content.get("schema") != SCHEMA:
        raise RunError(f"{path} has schema {content.get('schema')!r}, this version of plora reads schema {SCHEMA}")
    try:
        return Manifest.model_validate_json(json.dumps(content))  # a record's parts are read in strict JSON mode
    except ValidationError as error:
        mistake = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in mistake["loc"])
        raise RunError(f"{path} is damaged: {key}: {mistake['msg']}") from None


def load_checkpoint(folder: RunFolder, number: int, learner: Learner) -> Manifest:
    """Put checkpoint `number` into a model, in place of whatever it had learned.

    Raises:
        RunError: a file is missing, changed or damaged (named), or backbone or tokenizer are not those of the run.
    """
    manifest = read_manifest(folder, number)
    place = folder.checkpoint(number)
    if manifest.backbone != learner.backbone.fingerprint:
        raise RunError(
            f"{place} was learned on another backbone (fingerprint {manifest.backbone[:12]}…, loaded "
            f"{learner.backbone.fingerprint[:12]}…); set backbone.id and backbone.revision to the one of the run"
        )
    found = learner.model.problem.fingerprint()
    if manifest.preprocessing != found:
        raise RunError(
            f"{place} was learned with inputs prepared in another way (preprocessing has the fingerprint "
            f"{manifest.preprocessing[:12]}…, now {found[:12]}…); restore the versions in environment.json"
        )
    check_files(folder, number, manifest)
    _restore(folder, place, manifest, learner.model, tuple(manifest.slots))
    return manifest


def load_strategies(folder: RunFolder, number: int, learner: Learner, strategies: Sequence[Strategy]) -> None:
    """Give strategies back what they remembered at checkpoint `number`, whose files were checked.

    Raises:
        RunError: what is stored does not fit; names the file.
    """
    kept = read_manifest(folder, number).strategies if number else {}
    for strategy in strategies:
        content = kept.get(strategy.kind)
        try:
            strategy.restore(load_tensors(folder.strategy(content)) if content else {}, learner.model)
        except (RunError, KeyError, ValueError) as error:
            raise RunError(f"{folder.strategy(content or '')} does not fit the strategy: {error}") from None


def check_files(folder: RunFolder, number: int, manifest: Manifest) -> None:
    """Compare the sha256 of every file of a checkpoint with its manifest.

    Raises:
        RunError: a file is missing or changed; names it.
    """
    root = folder.path.resolve()
    needed = {folder.slot(content) / TENSOR_FILE for content in manifest.slots.values()}
    needed |= {folder.head(content) for content in manifest.parts.values()}
    needed |= {folder.strategy(content) for content in manifest.strategies.values()}
    needed |= {folder.gate(manifest.router)} if manifest.router else set()
    listed = {folder.path / name for name in manifest.files}
    if absent := sorted(needed - listed):
        raise RunError(f"{folder.checkpoint(number) / MANIFEST} does not list {absent[0].relative_to(folder.path)}")
    for name, expected in manifest.files.items():
        path = (folder.path / name).resolve()
        if not path.is_relative_to(root):
            raise RunError(f"{folder.checkpoint(number) / MANIFEST} names a file outside of the run folder: {name}")
        if not path.is_file():
            raise RunError(f"{path} is missing; restore it from a copy of the run")
        if hash_file(path) != expected:
            raise RunError(
                f"{path} was changed after the run wrote it (its sha256 differs from the manifest); "
                "restore it from a copy of the run"
            )


def require_checkpoints(folder: RunFolder, record: RunRecord) -> None:
    """Refuse a run without the checkpoint of a score: a copy that was cut, which would pass for a shorter run.

    Raises:
        RunError: names the manifest that is missing.
    """
    measured = [number for number, status in enumerate(record.status, start=1) if status == "evaluated"]
    if missing := sorted(set(measured) - set(folder.complete())):
        raise RunError(
            f"{folder.checkpoint(missing[-1]) / MANIFEST} is missing, and the record says that the task was learned; "
            "restore it from a copy of the run"
        )


def remove_unreferenced(folder: RunFolder) -> list[Path]:
    """Delete slots and head parts that no checkpoint lists; returns them."""
    listed = {name for number in folder.complete() for name in read_manifest(folder, number).files}
    removed = []
    for path in sorted([*folder.path.glob("slots/*/*"), *folder.path.glob("heads/*")]):
        if path.relative_to(folder.path).as_posix() not in listed:
            path.unlink()
            removed.append(path)
    for home in folder.path.glob("slots/*"):
        if not any(home.iterdir()):
            home.rmdir()
    return removed


# ---------------------------------------------------------------------- from and to tensors


def _restore(folder: RunFolder, place: Path, manifest: Manifest, model: ContinualModel, slots: tuple[str, ...]) -> None:
    """Give a model the named slots, the head and, where it trains, the backbone of a checkpoint."""
    model.reset()
    if model.adapters is not None:
        for name in slots:
            content = manifest.slots[name]
            try:
                slot = load_slot(model.adapters, name, folder.slot(content))
            except AdapterError as error:
                raise RunError(str(error)) from None
            model.slot_hashes[name] = slot.content_hash()
            if model.slot_hashes[name] != content:
                raise RunError(f"{folder.slot(content)}: the slot's content does not have the hash of its folder")
    tensors: dict[str, Tensor] = {}
    for part, content in manifest.parts.items():
        stored = load_tensors(folder.head(content))
        if hash_tensors(sorted(stored.items())) != content:
            raise RunError(f"{folder.head(content)}: the content does not have the hash of its name")
        tensors |= {f"{part}:{name}": tensor for name, tensor in stored.items()}
    model.head.restore(manifest.blocks, tensors)
    if manifest.router is not None and model.gate is not None:
        stored = load_tensors(folder.gate(manifest.router))
        if hash_tensors(sorted(stored.items())) != manifest.router:
            raise RunError(f"{folder.gate(manifest.router)}: the content does not have the hash of its name")
        model.gate.restore(stored)
        model.gate.to(model.device)
    if model.trains_backbone:
        try:
            model.backbone.load_state_dict(load_tensors(_backbone_file(place)))
        except RuntimeError as error:
            raise RunError(f"{_backbone_file(place)} does not fit the backbone: {str(error).splitlines()[0]}") from None


@torch.inference_mode()
def _verify(
    folder: RunFolder,
    place: Path,
    manifest: Manifest,
    learner: Learner,
    task: str | None,
    batch: Batch,
) -> None:
    """Load what is on disk into a fresh copy of the model and compare every named output bit for bit.

    The copy shares the pretrained tensors that nothing may change, and nothing else: its gate is a new one, and all
    other tensors hold no numbers until they are read. Where the gate chooses by itself, outputs are compared for inputs
    whose task is not named, too.
    """
    model = learner.model
    # The frozen backbone is shared with the copy, not copied; the problem holds nothing that is learned.
    shared = [] if model.trains_backbone else [*model.pretrained()]
    memo: dict[int, object] = {id(item): item for item in (*shared, model.problem)}
    if model.gate is not None:
        memo[id(model.gate)] = model.gate.fresh()
    fresh = copy.deepcopy(model, memo)
    _empty(fresh, shared)
    tasks = [task, None] if model.chooses(None) else [task]
    needed = () if model.adapters is None else model.route(tasks[-1]).slots
    _restore(folder, place, manifest, fresh, needed)
    model.eval()
    fresh.eval()
    batch = batch.to(model.device)
    for name in tasks:
        with autocast(model.device, learner.extractor.precision):
            expected, found = model.outputs(batch, name), fresh.outputs(batch, name)
        for output, tensor in expected.items():
            if not torch.equal(tensor, found[output]):
                raise RunError(
                    f"{place} was written and read back, and gives other {output} (largest difference "
                    f"{(tensor - found[output]).abs().max().item():.3g}); the disk or the memory of this machine is "
                    "faulty, or a part of the model is not saved. The checkpoint does not count"
                )


@torch.no_grad()
def _empty(model: ContinualModel, kept: Sequence[Tensor]) -> None:
    """Take the numbers out of every tensor of a model but some: what is not read from disk then shows."""
    own = {id(tensor) for tensor in kept}
    for tensor in (*model.parameters(), *model.buffers()):
        if id(tensor) not in own and tensor.is_floating_point():
            tensor.fill_(torch.nan)


def _parts(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Head tensors `<part>:<name>` by their part."""
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        part, _, name = key.partition(":")
        parts.setdefault(part, {})[name] = tensor
    return parts


def _backbone_file(place: Path) -> Path:
    return place / "backbone.safetensors"
