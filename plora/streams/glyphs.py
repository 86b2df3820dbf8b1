"""Printed characters: rendered from the fonts that matplotlib ships, so that nothing is downloaded."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from plora.streams.base import SPLITS, SplitName, Stream, Task
from plora.streams.class_order import ArrivingClasses
from plora.streams.glyph_characters import PRETRAINING, STREAM
from plora.streams.glyph_fonts import FAMILIES, faces_with
from plora.streams.glyph_rendering import RENDERING, GlyphName, render
from plora.streams.images import Images, Pixels

_PER_TASK = 10


@dataclass(frozen=True)
class GlyphImages(Images):
    """Pictures of characters, rendered when they are read.

    Args:
        characters: of each class.
        faces: of each class, the faces that draw it.
        salt: below 2³²; with character, split and number it decides a picture.
        domain: below 2⁸; the same.
        split: of the task.
        per_class: pictures of each class.
        size: height and width in pixels.
    """

    characters: tuple[str, ...]
    faces: tuple[tuple[str, ...], ...]
    salt: int
    domain: int
    split: SplitName
    per_class: int
    size: int

    def __len__(self) -> int:
        return len(self.characters) * self.per_class

    @cached_property
    def labels(self) -> NDArray[np.int64]:  # type: ignore[override]  # follows from the classes
        """`[N]`, class by class."""
        return np.repeat(np.arange(len(self.characters)), self.per_class)

    def read(self, indices: NDArray[np.int64]) -> Sequence[Pixels]:
        """Render some of the pictures, `[size, size]` each."""
        return list(render([self._name(index) for index in indices.tolist()], self.size)) if len(indices) else []

    def fingerprint(self) -> str:
        """Return the sha256 (hex) of what decides the pictures, versions of the libraries that draw included."""
        said = [*rendered_by().items(), RENDERING, self.characters, self.faces, self.salt, self.domain]
        content = json.dumps([*said, self.split, self.per_class, self.size])
        return hashlib.sha256(content.encode()).hexdigest()

    def identities(self) -> Sequence[tuple[int, int]]:
        """Return the keys of the pictures."""
        return [self._name(index).key for index in range(len(self))]

    def _name(self, index: int) -> GlyphName:
        label, number = divmod(index, self.per_class)
        character = self.characters[label]
        key = (self.salt << 32 | self.domain << 24 | ord(character), SPLITS.index(self.split) << 32 | number)
        return GlyphName(character, self.faces[label], key)


def rendered_by() -> dict[str, str]:
    """Return the versions of the libraries that decide what a picture looks like."""
    import matplotlib
    import PIL

    return {"matplotlib": matplotlib.__version__, "Pillow": PIL.__version__}


class Glyphs(ArrivingClasses):
    """Pictures of printed characters, by classes or by fonts, or those of other characters to pretrain a backbone on.

    One hundred digits and letters (Latin, Greek, Cyrillic), of which no two look alike, drawn by the fonts that
    matplotlib ships: each picture with a face, size, slant, warp, stroke width, contrast, ground and noise of its own.
    The characters to pretrain on are of other scripts, and signs. Without `increment` each task has ten characters,
    digits first, and those to pretrain on are one task.
    """

    kind: Literal["glyphs"] = "glyphs"

    part: Literal["stream", "pretraining"] = "stream"
    """The characters that are learned, or those of other scripts to pretrain a backbone on."""
    by: Literal["classes", "fonts"] = "classes"
    """`classes`: each task has some of the classes; `fonts`: each task is a family of fonts, with the same classes in
    all (those that each family has)."""
    train_per_class: int = Field(default=20, ge=1, le=2**31)
    """Training pictures of each class in each task."""
    validation_per_class: int = Field(default=5, ge=1, le=2**31)
    """Validation pictures of each class in each task."""
    test_per_class: int = Field(default=20, ge=1, le=2**31)
    """Test pictures of each class in each task."""
    size: int = Field(default=32, ge=16, le=256)
    """Height and width of a picture in pixels."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Decides the pictures, and has nothing to do with the run's seed. Another one gives others of the same kind."""

    @model_validator(mode="after")
    def _either_classes_or_fonts(self) -> Self:
        if self.by == "fonts" and self.part == "pretraining":
            raise ValueError("by: fonts is of part: stream; its families of fonts lack most of the other characters")
        if self.by == "fonts" and not self.names_no_classes():
            raise ValueError(
                "init_cls, increment and class_order are of by: classes; a task is a family of fonts here, and `order` "
                "of the config says in which order they come"
            )
        return self

    def load(self) -> Stream:
        """Name the pictures of all tasks; none is rendered.

        Raises:
            DataError: a font is not there, or the classes do not divide into tasks as asked.
        """
        if self.by == "fonts":
            common = [name for name in STREAM if all(faces_with(name, (family,)) for family in FAMILIES)]
            tasks = [self._task(family, common, (family,)) for family in FAMILIES]
            return Stream("glyphs", tuple(tasks), ("task", "domain"), rendered_by())
        names = list(STREAM if self.part == "stream" else "".join(PRETRAINING.values()))
        increment = _PER_TASK if self.increment is None and self.part == "stream" else self.increment
        tasks = [
            self._task(name, [names[number] for number in classes], tuple(FAMILIES))
            for name, classes in self.arriving(names, increment)
        ]
        return Stream("glyphs", tuple(tasks), ("task", "class"), rendered_by(), self.order_note(names))

    def _task(self, name: str, characters: Sequence[str], families: tuple[str, ...]) -> Task:
        faces = tuple(faces_with(character, families) for character in characters)
        domain = 0 if self.by == "classes" else 1 + list(FAMILIES).index(families[0])
        numbers = {"train": self.train_per_class, "validation": self.validation_per_class, "test": self.test_per_class}
        splits = {
            split: GlyphImages(tuple(characters), faces, self.seed, domain, split, numbers[split], self.size)
            for split in SPLITS
        }
        return Task(name, tuple(characters), **splits)
