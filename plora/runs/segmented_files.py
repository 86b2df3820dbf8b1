"""Masks and overlays of new images and videos, as files."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image

from plora import atomic
from plora.errors import RunError
from plora.results.pictures.overlay import class_colours, coloured, overlay
from plora.results.pictures.score_map import score_map
from plora.runs.segmenting import Segmented
from plora.streams.labelled_images import ClassPixels
from plora.streams.video import Frame, VideoFile

MASKS, OVERLAYS, OUTLIERS, CLASSES = "masks", "overlays", "outliers", "classes.json"


def write_segmented(found: Iterable[Segmented], folder: Path) -> Iterator[Segmented]:
    """Write the classes of images as `masks/NAME.png` and `overlays/NAME.png`, and yield each when it is written.

    A mask is a palette PNG whose indices are the classes; `classes.json` has the index of each name, as the streams of
    segmentation take it for `data.classes`. `outliers/NAME.png` are pictures of outlier scores, where they are
    measured. The frames of a video are files too, `NAME-000001.png`, and `masks/NAME.mp4`, … show them one after the
    other, in colours.

    Args:
        found: of files; named after them.
        folder: to write; it is there when the last one was yielded, or not at all.

    Raises:
        RunError: another process writes the same folder.
        OSError: it cannot be written.
    """
    with atomic.atomic_folder(folder) as place, ExitStack() as open_:
        for inner in (MASKS, OVERLAYS):
            (place / inner).mkdir()
        videos: dict[Path, VideoFile] = {}
        for number, one in enumerate(found):
            if not number:
                atomic.write_json(place / CLASSES, {name: at for at, name in enumerate(one.class_names)})
            shown = {MASKS: coloured(one.classes), OVERLAYS: overlay(one.image, one.classes, one.class_names)}
            if one.outliers is not None:
                (place / OUTLIERS).mkdir(exist_ok=True)
                shown[OUTLIERS] = score_map(one.outliers, 0, 1)
            for inner, pixels in shown.items():
                picture = _palette(one.classes) if inner == MASKS else Image.fromarray(pixels)
                picture.save(place / inner / _name(one.input))
                if isinstance(one.input, Frame):
                    file = place / inner / f"{one.input.video.stem}.mp4"
                    if file not in videos:
                        videos[file] = open_.enter_context(VideoFile(file, one.input.rate))
                    videos[file].add(pixels)
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
    names = Counter(_name(file) for file in files)
    if twice := [name for name, number in names.items() if number > 1]:
        raise RunError(
            f"{names[twice[0]]} images would have the mask {MASKS}/{twice[0]}; give them by calls of their own, each "
            "with a folder for --out"
        )


def _name(file: object) -> str:
    return f"{file.stem if isinstance(file, Frame) else Path(str(file)).stem}.png"


def _palette(classes: ClassPixels) -> Image.Image:
    """Return a map as an image with the colours of its classes, whose indices they are."""
    image = Image.fromarray(np.ascontiguousarray(classes))
    image.putpalette(class_colours().tobytes())
    return image
