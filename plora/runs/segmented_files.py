"""Masks and overlays of new images, as files."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from plora import atomic
from plora.errors import RunError
from plora.results.pictures.overlay import class_colours, overlay
from plora.results.pictures.score_map import score_map
from plora.runs.segmenting import Segmented
from plora.streams.labelled_images import ClassPixels

MASKS, OVERLAYS, OUTLIERS, CLASSES = "masks", "overlays", "outliers", "classes.json"


def write_segmented(found: Iterable[Segmented], folder: Path) -> Iterator[Segmented]:
    """Write the classes of images as `masks/NAME.png` and `overlays/NAME.png`, and yield each when it is written.

    A mask is a palette PNG whose indices are the classes; `classes.json` has the index of each name, as the streams of
    segmentation take it for `data.classes`. `outliers/NAME.png` are pictures of outlier scores, where they are
    measured.

    Args:
        found: of files; named after them.
        folder: to write; it is there when the last one was yielded, or not at all.

    Raises:
        RunError: another process writes the same folder.
        OSError: it cannot be written.
    """
    with atomic.atomic_folder(folder) as place:
        for inner in (MASKS, OVERLAYS):
            (place / inner).mkdir()
        for number, one in enumerate(found):
            if not number:
                atomic.write_json(place / CLASSES, {name: at for at, name in enumerate(one.class_names)})
            name = _name(str(one.input))
            _palette(one.classes).save(place / MASKS / name)
            Image.fromarray(overlay(one.image, one.classes, one.class_names)).save(place / OVERLAYS / name)
            if one.outliers is not None:
                (place / OUTLIERS).mkdir(exist_ok=True)
                Image.fromarray(score_map(one.outliers, 0, 1)).save(place / OUTLIERS / name)
            yield one


def require_new_folder(folder: Path, files: Sequence[object]) -> None:
    """Refuse, before anything is computed, a folder that masks cannot be written to.

    Args:
        folder: to write.
        files: images, by their paths.

    Raises:
        RunError: it exists and is not empty, or two masks would have one name.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} exists already; nothing was changed. Choose another folder with --out")
    names = Counter(_name(str(file)) for file in files)
    if twice := [name for name, number in names.items() if number > 1]:
        raise RunError(
            f"{names[twice[0]]} images would have the mask {MASKS}/{twice[0]}; give them by calls of their own, each "
            "with a folder for --out"
        )


def _name(file: str) -> str:
    return f"{Path(file).stem}.png"


def _palette(classes: ClassPixels) -> Image.Image:
    """Return a map as an image with the colours of its classes, whose indices they are."""
    image = Image.fromarray(np.ascontiguousarray(classes))
    image.putpalette(class_colours().tobytes())
    return image
