"""What a run has learned, on disk: slots and head parts once by hash, and a manifest that is written last.

A checkpoint counts only when it was loaded into a fresh bank on the same backbone and gave the same logits, bit for
bit, on the same batch; then its manifest is written. Loading compares the sha256 of every file with the manifest.
"""

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from plora.adapters import load_slot, save_slot
from plora.adapters.interop import TENSOR_FILE
from plora.batches.features import autocast
from plora.build import Learner
from plora.errors import AdapterError, RunError
from plora.failpoints import reached
from plora.fingerprint import hash_file, hash_tensors
from plora.model import ContinualModel
from plora.problems import Batch
from plora.results import SlotState, TaskCost
from plora.results.record.manifest import Checkpoint, content_of, write_manifest
from plora.run_folder.folder import RunFolder
from plora.strategies import Strategy
from plora.tensor_file import load_tensors, save_tensors


def save_checkpoint(
    folder: RunFolder,
    learner: Learner,
    former: Checkpoint,
    stage: Sequence[str],
    labels: Mapping[str, tuple[str, ...]],
    cost: Callable[[int, int], TaskCost],
    probe: tuple[str | None, Batch],
    strategies: Sequence[Strategy] = (),
    slot_state: SlotState | None = None,
) -> Checkpoint:
    """Write and verify the checkpoint after a stage; what the one before it has is not written again.

    Args:
        folder: of the run.
        learner: whose model is committed as a whole.
        former: the checkpoint before it.
        stage: tasks that were learned since.
        labels: label names of every task of the stream.
        cost: from the bytes that this stage added to what must be kept, and the bytes that strategies remember, what
            it cost.
        probe: task and batch on which the saved copy must give the model's own outputs.
        strategies: what they remember is kept too.
        slot_state: what became of the slots.

    Raises:
        RunError: the copy on disk gives other outputs.
        OSError: a file cannot be written.
    """
    model, number = learner.model, former.number + len(stage)
    place = folder.checkpoint(number)
    # What no manifest vouches for is written anew: a power cut may have left the name and not the content.
    known = {content_of(name) for name in former.files}
    written: list[Path] = []
    slots: dict[str, str] = {}
    for slot in () if model.adapters is None else model.adapters:
        assert model.adapters is not None
        content = slots[slot.name] = model.slot_hashes[slot.name]
        if content not in known:
            written += save_slot(model.adapters, slot, folder.slot(content), base_model=learner.backbone.source)
    parts: dict[str, str] = {}
    vouched: dict[str, dict[str, Tensor]] = {}
    for part, tensors in _parts(model.head.tensors()).items():
        content = parts[part] = hash_tensors(sorted(tensors.items()))
        if content in known:
            vouched[part] = tensors
        else:
            written.append(_saved(folder.head(content), tensors))
    if model.trains_backbone:
        written.append(_saved(_backbone_file(place), model.backbone.state_dict()))
    router = None
    if model.gate is not None and (learned := model.gate.state()):
        router = hash_tensors(sorted(learned.items()))
        if router not in known:
            written.append(_saved(folder.gate(router), learned))
    memories: dict[str, str] = {}
    remembered: list[Path] = []
    for strategy in strategies:
        if state := strategy.state():
            content = memories[strategy.kind] = hash_tensors(sorted(state.items()))
            remembered.append(folder.strategy(content))
            if content not in known:
                _saved(remembered[-1], state)
    reached("tensors_saved")
    added = {path.relative_to(folder.path).as_posix(): path for path in sorted([*written, *remembered])}
    checkpoint = Checkpoint(
        number=number,
        seal="",
        stage=tuple(stage),
        tasks=(*former.tasks, *stage),
        forgotten=former.forgotten,
        labels=dict(labels),
        slots=slots,
        blocks=dict(model.head.blocks),
        parts=parts,
        files={**former.files, **{name: hash_file(path) for name, path in added.items() if name not in former.files}},
        gate=model.coefficients(probe[0]),
        router=router,
        strategies=memories,
        backbone=learner.backbone.fingerprint,
        preprocessing=model.problem.fingerprint(),
        curve_lines=folder.curve_lines(),
        cost=cost(sum(path.stat().st_size for path in written), sum(path.stat().st_size for path in remembered)),
        slot_state=slot_state,
    )
    kept = sum(os.stat(folder.path / name).st_size for name in checkpoint.needed())
    checkpoint = replace(checkpoint, cost=replace(checkpoint.cost, kept_bytes=kept))
    _verify(folder, checkpoint, learner, vouched, *probe)
    return write_manifest(folder.path, former, checkpoint, folder.run)


def _saved(path: Path, tensors: Mapping[str, Tensor]) -> Path:
    save_tensors(path, tensors)
    return path


def load_checkpoint(folder: RunFolder, checkpoint: Checkpoint, learner: Learner) -> None:
    """Put a checkpoint into a model, in place of whatever it had learned.

    Raises:
        RunError: a file is missing, changed or damaged (named), or backbone or preprocessing are not those of the run.
    """
    place = folder.checkpoint(checkpoint.number)
    if checkpoint.backbone != learner.backbone.fingerprint:
        raise RunError(
            f"{place} was learned on another backbone (fingerprint {checkpoint.backbone[:12]}…, loaded "
            f"{learner.backbone.fingerprint[:12]}…); set backbone.id and backbone.revision to the one of the run"
        )
    found = learner.model.problem.fingerprint()
    if checkpoint.preprocessing != found:
        raise RunError(
            f"{place} was learned with inputs prepared in another way (preprocessing has the fingerprint "
            f"{checkpoint.preprocessing[:12]}…, now {found[:12]}…); restore the versions in environment.json"
        )
    _require_complete(folder, checkpoint)
    check_files(folder, checkpoint.needed())
    try:
        _restore(folder, checkpoint, learner.model, tuple(checkpoint.slots))
    except (LookupError, RuntimeError, TypeError, ValueError) as error:  # what a manifest names and no model has
        if isinstance(error, RunError):
            raise
        raise RunError(f"{place} does not fit the model of its config: {type(error).__name__}: {error}") from None
    if absent := sorted(learner.model.head.forgotten - {*checkpoint.forgotten}):
        raise RunError(
            f"{folder.manifest(checkpoint.number)} does not name the part of the head for '{absent[0]}', which was "
            "learned; restore it from a copy of the run"
        )


def load_strategies(
    folder: RunFolder, checkpoint: Checkpoint, learner: Learner, strategies: Sequence[Strategy]
) -> None:
    """Give strategies back what they remembered at a checkpoint, whose files were checked.

    Raises:
        RunError: what is stored does not fit; names the file.
    """
    for strategy in strategies:
        content = checkpoint.strategies.get(strategy.kind)
        try:
            strategy.restore(load_tensors(folder.strategy(content)) if content else {}, learner.model)
        except (LookupError, RuntimeError, TypeError, ValueError) as error:
            raise RunError(f"{folder.strategy(content or '')} does not fit the strategy: {error}") from None


def check_files(folder: RunFolder, files: Mapping[str, str]) -> None:
    """Compare files with the sha256 that a manifest has of them.

    Args:
        folder: of the run.
        files: sha256 by path in the run folder.

    Raises:
        RunError: one is missing or changed, or no plain file; names it.
    """
    for name, expected in files.items():
        path = folder.inside(*name.split("/"))
        if not path.is_file():
            raise RunError(f"{path} is missing; restore it from a copy of the run")
        if hash_file(path) != expected:
            raise RunError(
                f"{path} was changed after the run wrote it (its sha256 differs from the manifest); "
                "restore it from a copy of the run"
            )


def _require_complete(folder: RunFolder, checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that needs what no manifest lists."""
    needed = {folder.slot(content) / TENSOR_FILE for content in checkpoint.slots.values()}
    needed |= {folder.head(content) for content in checkpoint.parts.values()}
    needed |= {folder.strategy(content) for content in checkpoint.strategies.values()}
    needed |= {folder.gate(checkpoint.router)} if checkpoint.router else set()
    listed = {folder.path / name for name in checkpoint.files}
    if absent := sorted(needed - listed):
        name = absent[0].relative_to(folder.path)
        raise RunError(f"{folder.manifest(checkpoint.number)} does not list {name}, which it needs")


# ---------------------------------------------------------------------- from and to tensors


def _restore(
    folder: RunFolder,
    checkpoint: Checkpoint,
    model: ContinualModel,
    slots: tuple[str, ...],
    vouched: Mapping[str, dict[str, Tensor]] | None = None,
) -> None:
    """Give a model the named slots, the head and, where it trains, the backbone of a checkpoint.

    Parts of the head that are `vouched` for are taken as they are given.
    """
    model.reset()
    if model.adapters is not None:
        for name in slots:
            content = checkpoint.slots[name]
            try:
                slot = load_slot(model.adapters, name, folder.slot(content))
            except AdapterError as error:
                raise RunError(str(error)) from None
            model.slot_hashes[name] = slot.content_hash()
            if model.slot_hashes[name] != content:
                raise RunError(f"{folder.slot(content)}: the slot's content does not have the hash of its folder")
    tensors: dict[str, Tensor] = {}
    for part, content in checkpoint.parts.items():
        if (known := (vouched or {}).get(part)) is not None:
            tensors |= {f"{part}:{name}": tensor for name, tensor in known.items()}
            continue
        stored = load_tensors(folder.head(content))
        if hash_tensors(sorted(stored.items())) != content:
            raise RunError(f"{folder.head(content)}: the content does not have the hash of its name")
        tensors |= {f"{part}:{name}": tensor for name, tensor in stored.items()}
    model.head.restore(checkpoint.blocks, tensors)
    if checkpoint.router is not None and model.gate is not None:
        stored = load_tensors(folder.gate(checkpoint.router))
        if hash_tensors(sorted(stored.items())) != checkpoint.router:
            raise RunError(f"{folder.gate(checkpoint.router)}: the content does not have the hash of its name")
        model.gate.restore(stored)
        model.gate.to(model.device)
    if model.trains_backbone:
        file = _backbone_file(folder.checkpoint(checkpoint.number))
        try:
            model.backbone.load_state_dict(load_tensors(file))
        except RuntimeError as error:
            raise RunError(f"{file} does not fit the backbone: {str(error).splitlines()[0]}") from None


@torch.inference_mode()
def _verify(
    folder: RunFolder,
    checkpoint: Checkpoint,
    learner: Learner,
    vouched: Mapping[str, dict[str, Tensor]],
    task: str | None,
    batch: Batch,
) -> None:
    """Load what is on disk into a fresh copy of the model and compare every named output bit for bit.

    The copy shares the pretrained tensors that nothing may change, and nothing else: its gate is a new one, and all
    other tensors hold no numbers until they are read. Where the gate chooses by itself, outputs are compared for inputs
    whose task is not named, too. Parts of the head that an earlier checkpoint read back, and whose hash is as it was,
    are `vouched` for and not read again: a checkpoint costs what its task costs.
    """
    model = learner.model
    # The frozen backbone is shared with the copy, not copied; the problem holds nothing that is learned.
    shared = [*(_constants(model.backbone) if model.trains_backbone else model.pretrained())]
    memo: dict[int, object] = {id(item): item for item in (*shared, model.problem)}
    if model.gate is not None:
        memo[id(model.gate)] = model.gate.fresh()
    for place in () if model.adapters is None else model.adapters.places.values():
        place.leave_out(memo)
    fresh = copy.deepcopy(model, memo)
    _empty(fresh, shared)
    tasks = [task, None] if model.weighs(None) and task is not None else [task]
    needed = () if model.adapters is None else model.route(tasks[-1]).slots
    copied = {part: {name: tensor.clone() for name, tensor in own.items()} for part, own in vouched.items()}
    _restore(folder, checkpoint, fresh, needed, copied)
    model.eval()
    fresh.eval()
    batch = batch.to(model.device)
    for name in tasks:
        with autocast(model.device, learner.extractor.precision):
            expected, found = model.outputs(batch, name), fresh.outputs(batch, name)
        for output, tensor in expected.items():
            if not torch.equal(tensor, found[output]):
                far = (tensor - found[output]).abs().max().item()
                raise RunError(
                    f"{folder.checkpoint(checkpoint.number)} was written and read back, and gives other {output} "
                    f"(largest difference {far:.3g}); the disk or the memory of this machine is faulty, or a part of "
                    "the model is not saved. The checkpoint does not count"
                )


def _constants(network: nn.Module) -> Iterator[Tensor]:
    """Buffers that no state holds: they follow from the network's settings, as the angles of rotary positions do."""
    for module in network.modules():
        yield from (module.get_buffer(name) for name in module._non_persistent_buffers_set)


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
