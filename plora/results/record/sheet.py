"""Sheets of images, kept for the readers of a run: `examples/task-03.png`, and `examples/confusions.png`.

A sheet is a PNG of at most 100,000 bytes, a row of small images per class; what the network took for another class has
a frame. Where each pixel has a class, a row is an image, its true map, the map that the network gave, and one of
outlier scores where they are measured. What stands in each row is JSON in the file's text `plora`.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, PngImagePlugin
from pydantic import ConfigDict, TypeAdapter, ValidationError

from plora.errors import RunError
from plora.regular import inside, read_file

MOST_BYTES = 100_000
EXAMPLES, CONFUSIONS = "examples", "confusions.png"
Pixels = NDArray[np.uint8]

_SIDES = (64, 48, 36, 24, 16)
_SIDES_OF_MAPS = (176, 128, 96, *_SIDES)
"""Of an image in pixels; the largest whose sheet is small enough."""
_COLOURS = 128
_GAP, _FRAME = 6, 2
_WRONG, _PAPER = "#d55e00", "#ffffff"
_KEY = "plora"
_LONGEST = 80
_MOST_PIXELS = 4_000_000


@dataclass(frozen=True)
class SheetRow:
    """One row of a sheet.

    Args:
        name: of the class that the images are of; or of the one image that stands there with its maps, after its task.
        taken_for: of each image, the class that the network took it for; None where it was right.
        count: how many such examples there are in all, where that is counted.
        classes: number and name of each class that the maps show; empty where there are none.
        task: whose image stands there with its maps; empty where there are none.
    """

    name: str
    taken_for: tuple[str | None, ...]
    count: int | None = None
    classes: tuple[tuple[int, str], ...] = ()
    task: str = ""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True)
class Sheet:
    """A sheet that was read.

    Args:
        png: the file.
        rows: what stands in it, from the top.
    """

    png: bytes
    rows: tuple[SheetRow, ...]


_ROWS = TypeAdapter(tuple[SheetRow, ...])


def draw_sheet(rows: Sequence[SheetRow], images: Sequence[Sequence[Pixels]]) -> bytes:
    """Return a sheet as PNG.

    Args:
        rows: what stands in it.
        images: of each row, `[H, W]` or `[H, W, C]` each, as many as `taken_for` has.
    """
    text = PngImagePlugin.PngInfo()
    short = [
        SheetRow(
            row.name[:_LONGEST],
            tuple(one and one[:_LONGEST] for one in row.taken_for),
            row.count,
            tuple((number, name[:_LONGEST]) for number, name in row.classes),
            row.task,
        )
        for row in rows
    ]
    text.add_itxt(_KEY, json.dumps([asdict(row) for row in short]))
    content = b""
    for side in _SIDES_OF_MAPS if any(row.classes for row in rows) else _SIDES:
        buffer = io.BytesIO()
        sheet = _grid(rows, images, side).quantize(_COLOURS)
        sheet.save(buffer, "png", optimize=True, pnginfo=text)
        content = buffer.getvalue()
        if len(content) <= MOST_BYTES:
            break
    return content


def _grid(rows: Sequence[SheetRow], images: Sequence[Sequence[Pixels]], side: int) -> Image.Image:
    small = [[_small(pixels, side) for pixels in own] for own in images]
    heights = [max(image.height for image in own) for own in small]
    size = (_GAP + (side + _GAP) * max(map(len, small)), _GAP + sum(heights) + _GAP * len(rows))
    sheet = Image.new("RGB", size, _PAPER)
    drawing = ImageDraw.Draw(sheet)
    top = _GAP
    for row, own, height in zip(rows, small, heights, strict=True):
        for across, (taken_for, image) in enumerate(zip(row.taken_for, own, strict=True)):
            left = _GAP + (side + _GAP) * across
            sheet.paste(image, (left + (side - image.width) // 2, top + (height - image.height) // 2))
            if taken_for is not None:
                edge = (left - _FRAME, top - _FRAME, left + side + _FRAME - 1, top + height + _FRAME - 1)
                drawing.rectangle(edge, outline=_WRONG, width=_FRAME)
        top += height + _GAP
    return sheet


def _small(pixels: Pixels, side: int) -> Image.Image:
    image = Image.fromarray(pixels[..., :3] if pixels.ndim == 3 and pixels.shape[2] > 2 else _flat(pixels))
    longest = max(image.size)
    return image.resize((-(-image.width * side // longest), -(-image.height * side // longest)))


def _flat(pixels: Pixels) -> Pixels:
    """A grey image, whose first channel it is where it has several."""
    return pixels if pixels.ndim == 2 else pixels[..., 0]


def read_sheet(path: Path) -> Sheet:
    """Read a sheet.

    Raises:
        RunError: it is missing, damaged, or larger than a sheet is.
    """
    try:
        content = read_file(path)
        if len(content) > MOST_BYTES:
            raise RunError(f"{path} has {len(content):,} bytes, and a sheet has at most {MOST_BYTES:,}")
        with Image.open(io.BytesIO(content), formats=["png"]) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise RunError(f"{path} has {image.width} × {image.height} pixels, and a sheet has fewer")
            image.load()
            rows = _ROWS.validate_json(str(image.info.get(_KEY, "")))
    except RunError:
        raise
    except ValidationError:
        raise RunError(f"{path} is damaged: it does not say what stands in it") from None
    except Exception as error:  # Pillow has an exception of its own for each way in which a file can be broken
        raise RunError(f"{path} is damaged: {type(error).__name__}: {error}") from None
    return Sheet(content, rows)


def sheet_files(folder: Path) -> list[Path]:
    """Return the sheets of a run folder: those of tasks in their order, and then the confusions."""
    home = inside(folder, EXAMPLES)
    names = sorted((path.name for path in home.glob("task-*.png")), key=lambda name: (len(name), name))
    names += [CONFUSIONS] if (home / CONFUSIONS).exists() else []
    return [inside(folder, EXAMPLES, name) for name in names]


def sheet_name(number: int) -> str:
    """Return the name of the sheet after `number` tasks."""
    return f"task-{number:02}.png"
