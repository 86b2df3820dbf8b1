"""What the numbers, or colours, of a map mean: classes, nothing, an outlier."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from plora.streams.image_reading import Byte
from plora.streams.labelled_images import IGNORED, ClassPixels

MOST_CLASSES = 252
"""What a byte holds beside the four codes below."""
_UNKNOWN, _INLIER, _OUTLIER = 252, 253, 254
_IDS, _COLOURS = 2**16, 2**24
_SHOWN = 8
Id = Annotated[int, Field(ge=0, lt=_IDS)]
Colour = tuple[Byte, Byte, Byte]


@dataclass(frozen=True)
class MeantPixels:
    """What the pixels of a map mean, `[H, W]` each; see `LabelledImage`."""

    classes: ClassPixels
    outlier: NDArray[np.bool_] | None
    inlier: NDArray[np.bool_] | None
    unknown: Counter[int]
    """How many pixels have an id that means nothing, by id; what they show is IGNORED."""


@dataclass(frozen=True)
class ClassMap:
    """What the ids of a map mean. A colour is the id 65536 · red + 256 · green + blue.

    Args:
        names: of the C classes, at most MOST_CLASSES.
        ids: of each class, at least one; no id stands twice anywhere.
        ignored: ids that count in nothing; None: all that stand nowhere else.
        outlier: ids of what is of no class.
        inlier: ids of what is no outlier, and of which nobody says the class.
        coloured: whether ids are colours.
    """

    names: tuple[str, ...]
    ids: tuple[tuple[int, ...], ...]
    ignored: tuple[int, ...] | None = (IGNORED,)
    outlier: tuple[int, ...] = ()
    inlier: tuple[int, ...] = ()
    coloured: bool = False

    def meant(self, ids: NDArray[Any]) -> MeantPixels:
        """Return what the ids of a map `[H, W]` mean."""
        known = len(self._codes)
        inside = ids if ids.dtype == np.uint8 or ids.dtype == np.uint16 else np.clip(ids, 0, known - 1)
        codes = self._codes[inside]
        if inside is not ids and bool((strange := inside != ids).any()):
            codes[strange] = IGNORED if self.ignored is None else _UNKNOWN
        unknown: Counter[int] = Counter()
        if bool((nameless := codes == _UNKNOWN).any()):
            found, counts = np.unique(ids[nameless], return_counts=True)
            unknown.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
        outlier = inlier = None
        if self.outlier:
            outlier, inlier = codes == _OUTLIER, (codes < _UNKNOWN) | (codes == _INLIER)
        if unknown or self.outlier or self.inlier:
            codes[codes >= MOST_CLASSES] = IGNORED
        return MeantPixels(codes, outlier, inlier, unknown)

    def shown(self, one: int) -> str:
        """Return an id as people write it: a number, or a colour as `[red, green, blue]`."""
        return str([one >> 16, one >> 8 & 255, one & 255]) if self.coloured else str(one)

    def fingerprint(self) -> str:
        """Return the sha256 (hex) of what decides the classes of equal maps."""
        return hashlib.sha256(json.dumps(astuple(self)).encode()).hexdigest()

    @cached_property
    def _codes(self) -> NDArray[np.uint8]:
        """The code of each id."""
        rest = IGNORED if self.ignored is None else _UNKNOWN
        codes = np.full(_COLOURS if self.coloured else _IDS, rest, np.uint8)
        meaning = [*enumerate(self.ids), (IGNORED, self.ignored or ()), (_OUTLIER, self.outlier)]
        for code, ids in [*meaning, (_INLIER, self.inlier)]:
            codes[list(ids)] = code
        return codes


class MapClasses(BaseModel):
    """What the ids, or colours, of masks mean. Every id that a mask has must stand in one of these keys.

    classes: {road: 0, car: [1, 2]}        # or [road, car], or {0: road, 1: car, 2: car}
    colours: {road: [128, 64, 128]}        # instead, where masks are red, green and blue
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: dict[str, tuple[Id, ...]] | None = None
    """The ids of each class, in the order of the classes: one, or several; or the names of 0, 1, …; or a name for each
    id. Ids between them that have no name must be ignored."""
    colours: dict[str, tuple[Colour, ...]] | None = None
    """The colours of each class, one or several, where masks are red, green and blue; instead of `classes`."""
    ignore: tuple[Id | Colour, ...] | Literal["others"] | None = None
    """Ids (or colours) of pixels that count in nothing; `others`: all that stand nowhere else; None: 255, and of
    colours none."""
    outlier: tuple[Id | Colour, ...] = ()
    """Ids (or colours) of pixels that show what is of no class: an outlier score is measured on them."""

    @field_validator("classes", mode="before")
    @classmethod
    def _ids_by_name(cls, classes: object) -> object:
        if isinstance(classes, list | tuple):
            if len(set(map(str, classes))) < len(classes):
                raise ValueError("a name stands there twice; ids of one class are given as name: [id, id]")
            return {name: (number,) for number, name in enumerate(classes)}
        if not isinstance(classes, Mapping):
            return classes
        if classes and all(isinstance(key, int) for key in classes):
            found: dict[object, tuple[int, ...]] = {}
            for number, name in classes.items():
                found[name] = (*found.get(name, ()), number)
            return found
        return {name: ids if isinstance(ids, list | tuple) else (ids,) for name, ids in classes.items()}

    @field_validator("colours", mode="before")
    @classmethod
    def _colours_by_name(cls, colours: object) -> object:
        if not isinstance(colours, Mapping):
            return colours
        return {name: (own,) if _is_colour(own) else own for name, own in colours.items()}

    @model_validator(mode="after")
    def _each_id_means_one_thing(self) -> Self:
        if (self.classes is None) == (self.colours is None):
            raise ValueError("classes or colours was expected, one of the two: what the ids of masks mean")
        given = self.classes if self.colours is None else self.colours
        assert given is not None
        if not 2 <= len(given) <= MOST_CLASSES:
            raise ValueError(f"2 to {MOST_CLASSES} classes were expected, got {len(given)}")
        if empty := [name for name, ids in given.items() if not ids]:
            raise ValueError(f"class '{empty[0]}' has no id")
        others = () if self.ignore in (None, "others") else cast("tuple[Any, ...]", self.ignore)
        wrong = [one for one in (*others, *self.outlier) if isinstance(one, tuple) != (self.colours is not None)]
        if wrong:
            what = "ids" if self.colours is None else "colours [red, green, blue]"
            raise ValueError(f"ignore and outlier: {what} were expected, as in the classes, got {wrong[0]}")
        found = self.class_map()
        every = [*(one for ids in found.ids for one in ids), *(found.ignored or ()), *found.outlier]
        if twice := [one for one, count in Counter(every).items() if count > 1]:
            raise ValueError(f"{found.shown(twice[0])} stands there more than once; an id means one thing")
        if self.colours is None and found.ignored is not None:
            used = [one for ids in found.ids for one in ids]
            if gaps := sorted(set(range(min(used), max(used))) - set(every)):
                raise ValueError(
                    f"the ids of the classes have gaps: {_some(map(str, gaps))} have no name; name them, or put them "
                    "under ignore (ignore: others ignores all that have none)"
                )
        return self

    def class_map(self) -> ClassMap:
        """Return what the ids mean."""
        given = self.classes if self.colours is None else self.colours
        assert given is not None
        ignored: tuple[int, ...] | None
        if self.ignore is None:
            ignored = (IGNORED,) if self.colours is None else ()
        else:
            ignored = None if self.ignore == "others" else tuple(map(as_id, self.ignore))
        return ClassMap(
            tuple(given),
            tuple(tuple(map(as_id, ids)) for ids in given.values()),
            ignored,
            tuple(map(as_id, self.outlier)),
            coloured=self.colours is not None,
        )


def as_id(one: int | str | Colour) -> int:
    """Return an id, or that of a colour."""
    if isinstance(one, tuple):
        red, green, blue = one
        return red << 16 | green << 8 | blue
    return int(one)


def _is_colour(given: object) -> bool:
    return isinstance(given, list | tuple) and all(isinstance(one, int) for one in given)


def _some(names: Iterable[str]) -> str:
    every = list(names)
    shown = ", ".join(every[:_SHOWN])
    return shown if len(every) <= _SHOWN else f"{shown} and {len(every) - _SHOWN} more"
