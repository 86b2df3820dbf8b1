"""Images and masks in folders: which belong together, and of which domain they are."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from plora.errors import DataError
from plora.streams.class_folders import files_below

Domains = Literal["folder", "sequence"]
"""`folder`: the first folder below that of the images; `sequence`: what stands before the first `_` of a name."""
OTHER_FILES = "files with other endings"
"""Reason why a file is left out."""


@dataclass(frozen=True)
class PairFiles:
    """Files that belong together, by name.

    Args:
        pairs: image and mask, by the path of the image in its folder without its ending.
        alone: images without a mask.
        unused: masks without an image.
    """

    pairs: Mapping[str, tuple[Path, Path]]
    alone: tuple[Path, ...]
    unused: tuple[Path, ...]


def pair_files(
    images: Path, masks: Path, left_out: Counter[str], image_ending: str = "", mask_ending: str = ""
) -> PairFiles:
    """Find the mask of each image: the same path in its own folder, but for what follows.

    Args:
        images, masks: folders.
        left_out: counts the files that are neither.
        image_ending, mask_ending: with which names end before the dot, and which the others lack.

    Raises:
        DataError: there is no such folder, or two files have one name.
    """
    of_images, of_masks = _named(images, image_ending, left_out), _named(masks, mask_ending, left_out)
    both = {name: (path, of_masks[name]) for name, path in of_images.items() if name in of_masks}
    return PairFiles(
        both,
        tuple(path for name, path in of_images.items() if name not in both),
        tuple(path for name, path in of_masks.items() if name not in both),
    )


def domain_of(name: str, domains: Domains | None) -> str:
    """Return the domain of a pair; empty where there are none.

    Raises:
        DataError: its name has no folder, or no sequence.
    """
    if domains is None:
        return ""
    path = PurePosixPath(name)
    if domains == "folder":
        if len(path.parts) < 2:
            raise DataError(f"domains: folder, and the image '{name}' lies in none; put it into that of its domain")
        return path.parts[0]
    sequence, mark, _ = path.name.partition("_")
    if not sequence or not mark:
        raise DataError(f"domains: sequence, and the name '{name}' has no '_' after that of a sequence; rename it")
    return sequence


def _named(folder: Path, ending: str, left_out: Counter[str]) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"there is no folder '{folder}'; paths are relative to the folder in which plora is started")
    found: dict[str, Path] = {}
    for path in files_below(folder, folder, left_out):
        if not path.stem.endswith(ending):
            left_out[OTHER_FILES] += 1
            continue
        name = (path.relative_to(folder).parent / path.stem.removesuffix(ending)).as_posix()
        if name in found:
            raise DataError(f"'{found[name]}' and '{path}' have one name, and nobody says which is meant; take one out")
        found[name] = path
    return found
