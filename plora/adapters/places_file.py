"""What of a slot PEFT has no format for, on disk: tensors of residual adapters, and the settings that they go with."""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from plora import atomic
from plora.adapters.module_place import ModulePlace
from plora.errors import AdapterError, RunError
from plora.tensor_file import load_tensors, save_tensors

DESCRIPTION_FILE, PLACES_FILE = "plora_places.json", "plora_places.safetensors"


class _Described(BaseModel):
    """One place: its kind and the settings that give its tensors their meaning."""

    model_config = ConfigDict(extra="forbid")

    kind: str
    settings: str


class _Description(BaseModel):
    """The places of a folder, by path."""

    model_config = ConfigDict(extra="forbid")

    places: dict[str, _Described]


def write_places(places: Mapping[str, ModulePlace], name: str, folder: Path) -> list[Path]:
    """Write what slot `name` has in these places, each file atomically, the tensors last; return the files."""
    description = {path: {"kind": place.kind, "settings": place.description()} for path, place in places.items()}
    tensors = {f"{path}.{key}": tensor for path, place in places.items() for key, tensor in place.tensors(name).items()}
    atomic.write_json(folder / DESCRIPTION_FILE, {"places": description})
    save_tensors(folder / PLACES_FILE, tensors, {"format": "pt"})
    return [folder / DESCRIPTION_FILE, folder / PLACES_FILE]


def read_places(places: Mapping[str, ModulePlace], folder: Path) -> dict[str, dict[str, Tensor]]:
    """Read a slot's tensors by the path of each place; empty where the folder has none.

    Raises:
        AdapterError: the files are damaged, or were written with other settings.
    """
    if not (folder / DESCRIPTION_FILE).is_file():
        return {}
    try:
        text = (folder / DESCRIPTION_FILE).read_text(encoding="utf-8")
        described = _Description.model_validate(json.loads(text)).places
        tensors = load_tensors(folder / PLACES_FILE)
    except (ValidationError, ValueError, OSError, RunError) as error:
        raise AdapterError(
            f"{folder}: residual adapters cannot be read ({error}); copy them again from their source"
        ) from None
    for path, found in described.items():
        if path in places and (found.kind, found.settings) != (places[path].kind, places[path].description()):
            raise AdapterError(
                f"{folder}: '{path}' was made by a {found.kind} with {found.settings}, but this network has "
                f"{places[path].description()} there; inject the settings that it was trained with"
            )
    return {
        path: {key.removeprefix(f"{path}."): tensor for key, tensor in tensors.items() if key.startswith(f"{path}.")}
        for path in described
    }
