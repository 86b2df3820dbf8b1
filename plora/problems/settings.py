"""What a run's inputs and answers look like, as settings: the section `problem:` of a config."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from plora.settings import PartSettings

Share = Annotated[float, Field(gt=0, le=1)]


class ProblemSettings(PartSettings):
    """The settings of a problem, and what can be said of it before anything is loaded."""

    classifies: ClassVar[bool] = True
    """Each example has one class as its answer: heads make scores of features, and rows of classes compete."""
    writes: ClassVar[bool] = False
    """The network has the head with which it continues texts."""
    in_lines: ClassVar[bool] = True
    """New inputs may be the lines of a file or of stdin; where they are not, each is a file of its own."""
    export: ClassVar[str | type[object] | None] = None
    """What writes its part of `plora export`: an `ExportPart`, `package.module:Class` or the class; None: no export. It
    makes the features that `part` makes: where a derived problem makes others, it names another one, or None."""


class ClassificationLoss(BaseModel):
    """−w_y (1 − p_y)^γ log p_y, the class-balanced focal loss; as it is not set, the cross-entropy."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    gamma: float = Field(default=0.0, ge=0)
    """γ: how much less an example weighs that is sure already; 0: not at all, and 2 is usual."""
    beta: float = Field(default=0.0, ge=0, lt=1)
    """β: how much more a class weighs that has fewer examples in its task's training split: 0: not at all; towards 1,
    such as 0.9999, the inverse of their number, as long as that is well below 1 / (1 − β)."""


class ClassificationSettings(ProblemSettings):
    """Inputs with one class each."""

    loss: ClassificationLoss = ClassificationLoss()
    """What training minimises: `gamma` and `beta` of the class-balanced focal loss; {}: the cross-entropy."""
    score: Literal["accuracy", "macro_f1"] = "accuracy"
    """What a cell of the matrix is, and what validation chooses by: `accuracy`, or `macro_f1`, the mean of F1 over the
    classes, in which each counts equally."""


class TextClassificationSettings(ClassificationSettings):
    """Texts, or pairs of texts, with one class each."""

    part = "plora.problems.text_classification:TextClassification"
    export = "plora.problems.text_export:TextExport"

    kind: Literal["text_classification"] = "text_classification"


class Augmentation(BaseModel):
    """What chance does to an image whenever it is learned, never when it is scored; needs the extra `images`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    crop: tuple[Share, Share] | None = None
    """A part of the image is learned: least and largest share of its area, such as `[0.08, 1]`; resized to the whole.
    Cut from the image as it is scored, so that a small share has few pixels."""
    flip: bool = False
    """Half of the images are mirrored, left to right."""
    colour: float = Field(default=0.0, ge=0, le=1)
    """Brightness, contrast and saturation are multiplied, each by a factor in 1 − `colour` to 1 + `colour`."""

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.crop is not None and self.crop[0] > self.crop[1]:
            raise ValueError(f"crop: the least share, {self.crop[0]:g}, is above the largest, {self.crop[1]:g}")
        if self.crop is None and not self.flip and not self.colour:
            raise ValueError("nothing is changed; set crop, flip or colour, or leave augment out")
        return self


class ImageClassificationSettings(ClassificationSettings):
    """Images with one class each."""

    part = "plora.problems.image_classification:ImageClassification"
    export = "plora.problems.image_export:ImageExport"
    in_lines = False

    kind: Literal["image_classification"] = "image_classification"

    augment: Augmentation | None = None
    """What chance does to training images: `crop`, `flip`, `colour`; None: nothing."""


class CausalLMSettings(ProblemSettings):
    """Documents, of which each token is predicted from those before it: − Σ log p(token | tokens before)."""

    part = "plora.problems.causal_lm:CausalLM"
    export = "plora.problems.causal_export:CausalExport"
    classifies = False
    writes = True

    kind: Literal["causal_lm"] = "causal_lm"

    packing: bool = True
    """Several documents share a row of `backbone.max_length` tokens, and none sees another; false gives each rows of
    its own, filled up to the longest of the batch."""
    context: int | None = Field(default=None, ge=0)
    """Tokens that a window of a document longer than a row has read before it predicts, where it is scored; None is
    half of `backbone.max_length`. In training windows do not overlap."""


PROBLEMS: Mapping[str, type[ProblemSettings]] = {
    "text_classification": TextClassificationSettings,
    "image_classification": ImageClassificationSettings,
    "causal_lm": CausalLMSettings,
}
"""Every kind of problem; a class of your own is named `package.module:Class`."""
