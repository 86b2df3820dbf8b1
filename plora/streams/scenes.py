"""Scenes of objects on photographs, with exact maps: rendered, so that nothing is downloaded."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from plora.errors import did_you_mean
from plora.streams.base import SPLITS, SplitName, Stream, Task
from plora.streams.class_steps import ClassSteps, classes_shown
from plora.streams.glyph_characters import STREAM
from plora.streams.glyphs import rendered_by
from plora.streams.labelled_images import JoinedLabelledImages, LabelledImage, LabelledImages
from plora.streams.photographs import photograph_hash
from plora.streams.scene_rendering import LOOKS, RENDERING, SceneName, render_scene
from plora.streams.scene_shapes import SHAPES

GROUND = "ground"
"""Name of class 0: what is no object."""
_SETS = {"shapes": SHAPES, "characters": tuple(STREAM)}


@dataclass(frozen=True)
class SceneImages(LabelledImages):
    """Scenes, rendered when they are read.

    Args:
        domain: one of LOOKS.
        objects: what the classes beside the ground are.
        salt: below 2³²; with domain, split and number it decides a scene.
        split: of the task.
        number: of scenes.
        size: height and width in pixels.
    """

    domain: str
    objects: tuple[str, ...]
    salt: int
    split: SplitName
    number: int
    size: int
    slow = True

    @property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]  # follows from the objects
        """The ground, and the objects."""
        return (GROUND, *self.objects)

    def __len__(self) -> int:
        return self.number

    def read(self, indices: NDArray[np.int64]) -> Sequence[LabelledImage]:
        """Render some of the scenes."""
        look = LOOKS[self.domain]
        return [render_scene(SceneName(look, self.objects, self._key(index)), self.size) for index in indices.tolist()]

    def name(self, index: int) -> str:
        """Return what to call a scene in a message."""
        return f"scene {index + 1} of {self.domain} ({self.split})"

    def fingerprint(self) -> str:
        """Return the sha256 (hex) of what decides the scenes, photographs and versions that draw included."""
        look = LOOKS[self.domain]
        said = [*rendered_by().items(), RENDERING, asdict(look), *map(photograph_hash, look.photographs)]
        content = json.dumps([*said, self.domain, self.objects, self.salt, self.split, self.number, self.size])
        return hashlib.sha256(content.encode()).hexdigest()

    def identities(self) -> Sequence[tuple[int, int]]:
        """Return the keys of the scenes."""
        return [self._key(index) for index in range(len(self))]

    def _key(self, index: int) -> tuple[int, int]:
        domain = list(LOOKS).index(self.domain)
        return self.salt << 32 | domain << 24, SPLITS.index(self.split) << 32 | index


class Scenes(ClassSteps):
    """Scenes of objects cut and pasted onto photographs, with exact maps; a task for each domain or step of classes.

    Objects are simple shapes, or characters of the fonts that matplotlib ships, each with a size, slant, stretch and
    texture of its own, and with colours near the hue of its class; two to five stand in a scene, and later ones cover
    earlier ones. Domains differ in photographs, light, textures and noise, and have the same classes. The photographs
    are those that scikit-learn and matplotlib ship (needs the extra `quickstart`).
    """

    kind: Literal["scenes"] = "scenes"

    domains: tuple[str, ...] = Field(default=tuple(LOOKS), min_length=1)
    """The tasks in their order, of `day`, `haze`, `dusk` and `night`."""
    objects: Literal["shapes", "characters"] = "shapes"
    """What the classes beside the ground are: shapes, or characters (letters and digits)."""
    classes: int = Field(default=9, ge=2)
    """Classes with the ground: at most 9 with shapes, and 101 with characters."""
    train: int = Field(default=200, ge=1, lt=2**31)
    """Training scenes of each task."""
    validation: int = Field(default=40, ge=1, lt=2**31)
    """Validation scenes of each task."""
    test: int = Field(default=100, ge=1, lt=2**31)
    """Test scenes of each task."""
    size: int = Field(default=96, ge=32, le=1024)
    """Height and width of a scene in pixels."""
    background: Literal["ground"] = "ground"
    """Class that stands for what is of no class of a step."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Decides the scenes, and has nothing to do with the run's seed. Another one gives others of the same kind."""

    @field_validator("domains")
    @classmethod
    def _known(cls, domains: tuple[str, ...]) -> tuple[str, ...]:
        for name in domains:
            if name not in LOOKS:
                raise ValueError(
                    f"there is no domain '{name}'{did_you_mean(name, LOOKS)}; there are {', '.join(LOOKS)}"
                )
        if len(set(domains)) < len(domains):
            raise ValueError("a domain stands there twice")
        return domains

    @model_validator(mode="after")
    def _has_as_many(self) -> Self:
        if self.classes > 1 + len(_SETS[self.objects]):
            raise ValueError(
                f"classes: {self.classes}, and {self.objects} make {1 + len(_SETS[self.objects])} with the ground"
            )
        return self

    def load(self) -> Stream:
        """Name the scenes of all tasks; where classes arrive in steps, each is rendered once to see which it shows.

        Raises:
            DataError: a photograph or a font is not there, or classes do not divide into steps.
        """
        objects = _SETS[self.objects][: self.classes - 1]
        numbers = {"train": self.train, "validation": self.validation, "test": self.test}
        tasks, scenes = [], []
        for domain in self.domains:
            own = {split: SceneImages(domain, objects, self.seed, split, numbers[split], self.size) for split in SPLITS}
            for photograph in LOOKS[domain].photographs:
                photograph_hash(photograph)  # it is missed here, and not at the first batch
            scenes.append(own)
            tasks.append(Task(domain, (), **own))
        if self.increment is None:
            return Stream("scenes", tuple(tasks), ("task", "domain"), rendered_by())
        joined = {split: JoinedLabelledImages(tuple(own[split] for own in scenes)) for split in SPLITS}
        steps, notes = self.steps(joined, {split: classes_shown(images) for split, images in joined.items()})
        return Stream("scenes", steps, ("class",), rendered_by(), notes)
