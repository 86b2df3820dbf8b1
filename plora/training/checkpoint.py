"""What a run has learned, on disk: slots once by hash, heads, and a manifest that is written last.

A checkpoint without a manifest is not one. Loading compares the sha256 of every file with the manifest.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from plora import atomic
from plora.adapters import load_slot, save_slot
from plora.adapters.interop import TENSOR_FILE
from plora.build import Learner
from plora.errors import RunError
from plora.training.folder import RunFolder

MANIFEST = "manifest.json"
_SCHEMA = 1


def save_checkpoint(
    folder: RunFolder, number: int, learner: Learner, seen: list[str], labels: Mapping[str, list[str]]
) -> None:
    """Write the checkpoint after task `number`.

    Args:
        folder: of the run.
        number: tasks learned so far, from 1.
        learner: whose model is committed as a whole.
        seen: names of the tasks learned so far.
        labels: label names of every task of the stream, so that predicting needs no data.
    """
    model = learner.model
    place = folder.checkpoint(number)
    place.mkdir(parents=True, exist_ok=True)
    files: dict[str, str] = {}
    slots: dict[str, str] = {}
    if model.adapters is not None:
        for slot in model.adapters:
            content = model.slot_hashes[slot.name]
            slots[slot.name] = content
            home = folder.slot(content)
            if not (home / TENSOR_FILE).exists():  # written last; immutable: the same hash is the same content
                save_slot(model.adapters, slot, home, base_model=learner.backbone.source)
            files |= _hashes(folder.path, *home.iterdir())
    _save(place / "head.safetensors", model.head.tensors())
    if model.trains_backbone:
        _save(place / "backbone.safetensors", model.backbone.state_dict())
    files |= _hashes(folder.path, *place.glob("*.safetensors"))
    atomic.write_json(
        place / MANIFEST,
        {
            "schema": _SCHEMA,
            "tasks": seen,
            "labels": dict(labels),
            "slots": slots,
            "head": dict(model.head.blocks),
            "backbone": learner.backbone.fingerprint,
            "files": files,
        },
    )


@dataclass(frozen=True)
class Learned:
    """What a checkpoint knows beside its tensors: the tasks learned, and the label names of every task."""

    tasks: list[str]
    labels: dict[str, list[str]]


def load_checkpoint(folder: RunFolder, place: Path, learner: Learner) -> Learned:
    """Put a checkpoint into a fresh model.

    Raises:
        RunError: a file is missing, changed or damaged (named), or the backbone is not the one of the run.
    """
    try:
        manifest = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        files, slots = dict(manifest["files"]), dict(manifest["slots"])
        blocks = {name: int(rows) for name, rows in manifest["head"].items()}
        learned = Learned(list(manifest["tasks"]), {task: list(names) for task, names in manifest["labels"].items()})
        stored = str(manifest["backbone"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{place / MANIFEST} is damaged: {type(error).__name__} {error}") from None
    model, fingerprint = learner.model, learner.backbone.fingerprint
    if stored != fingerprint:
        raise RunError(
            f"{place} was learned on another backbone (fingerprint {stored[:12]}…, loaded {fingerprint[:12]}…); "
            "set backbone.id and backbone.revision to the one of the run"
        )
    for name, expected in files.items():
        path = (folder.path / name).resolve()
        if not path.is_relative_to(folder.path.resolve()) or not path.is_file():
            raise RunError(f"{place / MANIFEST}: the file {name} is missing from the run folder")
        if _sha256(path) != expected:
            raise RunError(f"{path} was changed after the run wrote it (its sha256 differs from the manifest)")
    if model.adapters is not None:
        for name, content in slots.items():
            slot = load_slot(model.adapters, name, folder.slot(content))
            model.slot_hashes[name] = slot.content_hash()
            if model.slot_hashes[name] != content:
                raise RunError(f"{folder.slot(content)}: the slot's content does not have the hash of its folder")
    model.head.restore(blocks, _load(place / "head.safetensors"))
    if model.trains_backbone:
        model.backbone.load_state_dict(_load(place / "backbone.safetensors"))
    return learned


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    with atomic.atomic_path(path) as temporary:
        save_file({name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}, temporary)


def _load(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} cannot be read: {error}") from None
    return tensors


def _hashes(root: Path, *paths: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): _sha256(path) for path in sorted(paths)}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
