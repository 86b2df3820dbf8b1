"""Relative paths of a config are of the folder in which its run was made, wherever one works on the run later."""

import os
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from plora.backbones.settings import MADE, MINILM, SHIPPED, BackboneConfig
from plora.config.run import RunConfig

_Model = TypeVar("_Model", bound=BaseModel)


def seen_from(config: RunConfig, folder: Path | None) -> RunConfig:
    """Return a config whose relative backbone and data are those of a folder, where they are there; to load, not to
    keep.

    Args:
        config: of a run.
        folder: in which the run was made; None changes nothing.
    """
    if folder is None:
        return config
    backbone = config.backbone
    if named_folder(backbone, folder):
        backbone = backbone.model_copy(update={"id": str(folder / backbone.id)})
    added = tuple(paths_from(task, folder) for task in config.added)
    moved = {name: paths_from(getattr(config, name), folder) for name in ("stream", "problem")}
    return config.model_copy(update={"backbone": backbone, "added": added, **moved})


def named_folder(backbone: BackboneConfig, start: Path) -> bool:
    """Say whether a backbone's id is a folder, seen from another one."""
    special = backbone.kind == "new" or backbone.id in (MINILM, *SHIPPED) or backbone.id.startswith(MADE)
    return not special and os.path.isdir(start / os.path.expanduser(backbone.id))


def paths_from(settings: _Model, folder: Path) -> _Model:
    """Return settings whose relative paths are those of a folder, where something is there."""
    changed = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        # The one path that may also be something else, a list of names.
        found = _from(Path(value) if name == "label_names" and isinstance(value, str) else value, folder)
        if found is not value and str(found) != value:
            changed[name] = str(found) if isinstance(value, str) else found
    return settings.model_copy(update=changed) if changed else settings


def _from(value: object, folder: Path) -> object:
    if isinstance(value, Path):
        return folder / value if os.path.exists(folder / value) else value  # an absolute one stays what it is
    if isinstance(value, BaseModel):
        return paths_from(value, folder)
    if isinstance(value, tuple):
        found = tuple(_from(item, folder) for item in value)
        return value if all(now is then for now, then in zip(found, value, strict=True)) else found
    return value
