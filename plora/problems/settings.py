"""What a run's inputs and answers look like, as settings: the section `problem:` of a config."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from plora.settings import PartSettings


class ProblemSettings(PartSettings):
    """The settings of a problem, and what can be said of it before anything is loaded."""

    classifies: ClassVar[bool] = True
    """Each example has one class as its answer: heads make scores of features, and rows of classes compete."""
    in_lines: ClassVar[bool] = True
    """New inputs may be the lines of a file or of stdin; where they are not, each is a file of its own."""
    export: ClassVar[str | type[object] | None] = None
    """What writes its part of `plora export`: an `ExportPart`, `package.module:Class` or the class; None: no export. It
    makes the features that `part` makes: where a derived problem makes others, it names another one, or None."""


class TextClassificationSettings(ProblemSettings):
    """Texts, or pairs of texts, with one class each."""

    part = "plora.problems.text_classification:TextClassification"
    export = "plora.problems.text_export:TextExport"

    kind: Literal["text_classification"] = "text_classification"


class ImageClassificationSettings(ProblemSettings):
    """Images with one class each."""

    part = "plora.problems.image_classification:ImageClassification"
    export = "plora.problems.image_export:ImageExport"
    in_lines = False

    kind: Literal["image_classification"] = "image_classification"


PROBLEMS: Mapping[str, type[ProblemSettings]] = {
    "text_classification": TextClassificationSettings,
    "image_classification": ImageClassificationSettings,
}
"""Every kind of problem; a class of your own is named `package.module:Class`."""
