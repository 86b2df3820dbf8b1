"""What a run's inputs and answers look like, as settings: the section `problem:` of a config."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from plora.errors import DataError
from plora.settings import PartSettings, named
from plora.streams.base import Split, Stream
from plora.streams.label_text import looks_like

CHAT = "chat"
"""Stands for the chat template of the tokenizer."""
_EXAMPLE = "{% for message in messages %}{{ message.content }}{% endfor %}"

Share = Annotated[float, Field(gt=0, le=1)]
Factor = Annotated[float, Field(ge=0.1, le=10)]


class ProblemSettings(PartSettings):
    """The settings of a problem, and what can be said of it before anything is loaded."""

    split: ClassVar[str | type[object] | None] = None
    """The splits that it learns from, `package.module:Class` of a `Split`; None: what its part takes."""
    inputs: ClassVar[str | type[object] | None] = None
    """Where such a split has targets: the splits that its inputs are."""
    words: ClassVar[str] = ""
    """What such splits hold, for messages."""
    advice: ClassVar[str] = "set problem.kind to what the stream holds"
    """What to do where a stream has others."""
    classifies: ClassVar[bool] = True
    """Each example has one class as its answer: heads make scores of features, and rows of classes compete."""
    headed: ClassVar[bool] = False
    """Though an example has not one class as its answer, heads make scores of features: of each of its parts."""
    fills_rows: ClassVar[bool] = False
    """Though no example has one class as its answer, a head makes scores of features: a row for each label or number,
    which has a target of its own."""
    dense: ClassVar[bool] = False
    """Each part of an input has a class: a pixel, a word."""
    writes: ClassVar[bool] = False
    """The network has the head with which it writes texts."""
    continues: ClassVar[bool] = False
    """It writes whole documents, one token after the other from their beginning: a causal language model."""
    segments: ClassVar[bool] = False
    """The network answers with masks."""
    adds_classes: ClassVar[bool] = False
    """Though it does not classify examples, tasks may add classes to its answers."""
    in_lines: ClassVar[bool] = True
    """New inputs may be the lines of a file or of stdin; where they are not, each is a file of its own."""
    added: ClassVar[str] = "tables"
    """What a task is made of that `plora extend` adds: a key of `plora.streams.added.ADDED`."""
    export: ClassVar[str | type[object] | None] = None
    """What writes its part of `plora export`: an `ExportPart`, `package.module:Class` or the class; None: no export. It
    makes the features that `part` makes: where a derived problem makes others, it names another one, or None."""

    @property
    def has_head(self) -> bool:
        """Whether heads make scores of features; else the network answers by itself."""
        return self.classifies or self.headed or self.fills_rows

    def require(self, stream: Stream) -> None:
        """Refuse a stream of other splits than this problem learns from, or without a class that its loss weighs.

        Args:
            stream: of the run.

        Raises:
            DataError: says what the first such task has, or which class there is not.
        """
        if self.split is not None:
            self._require_splits(stream, named(self.split, Split))
        loss = getattr(self, "loss", None)
        if isinstance(loss, ClassificationLoss):
            loss.require_classes(name for task in stream.tasks for name in task.label_names)

    def _require_splits(self, stream: Stream, kind: type[Split]) -> None:
        for task in stream.tasks:
            for _, found in task.splits():
                inputs = getattr(found, "inputs", None)
                fits = isinstance(found, kind)
                if fits and self.inputs is not None:
                    fits = isinstance(inputs, named(self.inputs, Split))
                if not fits:
                    over = f" over {_name(inputs)}" if isinstance(inputs, Split) else ""
                    raise DataError(
                        f"problem '{self.kind}' needs {self.words}, and task '{task.name}' of stream '{stream.name}' "
                        f"has {_name(found)}{over}; {self.advice}"
                    )


def _name(split: Split) -> str:
    return type(split).__name__.lower()


def _name_of(key: object) -> object:
    """The name of a class as it is written: YAML reads some names as numbers, or as true and false."""
    if isinstance(key, bool):
        raise ValueError(f"a name, in quotes such as 'yes': YAML reads this one as {str(key).lower()}")
    return str(key) if isinstance(key, int) else key


class ClassificationLoss(BaseModel):
    """−w_y (1 − p_y)^γ log p_y, the class-balanced focal loss; as it is not set, the cross-entropy."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    gamma: float = Field(default=0.0, ge=0)
    """γ: how much less an example weighs that is sure already; 0: not at all, and 2 is usual."""
    beta: float = Field(default=0.0, ge=0, lt=1)
    """β: how much more a class weighs that has fewer examples in its task's training split: 0: not at all; towards 1,
    such as 0.9999, the inverse of their number, as long as that is well below 1 / (1 − β)."""
    class_weights: dict[Annotated[str, BeforeValidator(_name_of)], Annotated[float, Field(gt=0)]] = {}
    """w of some classes by their names, such as `{spam: 5}`, in whichever task they are; those that are not named weigh
    1. Not together with `beta`, which says w of all."""

    @model_validator(mode="after")
    def _weights_are_told_once(self) -> Self:
        if self.class_weights and self.beta:
            raise ValueError("class_weights and beta both say how much a class weighs; leave one of them out")
        return self

    def require_classes(self, known: Iterable[str]) -> None:
        """Refuse weights of classes that no task has.

        Args:
            known: names of all classes.

        Raises:
            DataError: names the first that there is not.
        """
        there = sorted({*known})
        for name in self.class_weights:
            if name not in there:
                raise DataError(
                    f"problem.loss.class_weights: no task has a class '{name}'{looks_like(name, there)}; there are "
                    f"{', '.join(there[:8])}{' and more' if len(there) > 8 else ''}"
                )


class ClassificationSettings(ProblemSettings):
    """Inputs with one class each."""

    loss: ClassificationLoss = ClassificationLoss()
    """What training minimises: `gamma` and `beta` of the class-balanced focal loss, or `class_weights` of your own; {}:
    the cross-entropy."""
    sampling: Literal["all", "balanced"] = "all"
    """Which examples an epoch learns: `all`, each once; `balanced`, as many by chance, each class of the task equally
    likely, so that those of rare classes are learned several times. Not together with weights in `loss`."""
    score: Literal["accuracy", "macro_f1"] = "accuracy"
    """What a cell of the matrix is, and what validation chooses by: `accuracy`, or `macro_f1`, the mean of F1 over the
    classes, in which each counts equally."""

    @model_validator(mode="after")
    def _rare_classes_count_once(self) -> Self:
        told = "beta" if self.loss.beta else "class_weights"
        if self.sampling == "balanced" and (self.loss.beta or self.loss.class_weights):
            raise ValueError(
                f"sampling: balanced draws examples of rare classes more often, and loss.{told} weighs them more, so "
                "that they would count twice; leave one of them out"
            )
        return self


class TextClassificationSettings(ClassificationSettings):
    """Texts, or pairs of texts, with one class each."""

    split = "plora.streams.base:Texts"
    words = "texts"
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


class PairAugmentation(BaseModel):
    """What chance does to an image and its map whenever they are learned, never when they are scored; needs the extra
    `images`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    scale: tuple[Factor, Factor] | None = None
    """Least and largest factor of height and width, such as `[0.5, 2]`: of what becomes larger a part is cut out, and
    what becomes smaller stands somewhere in black, which is ignored. Both keep the size that is scored."""
    flip: bool = False
    """Half of the images are mirrored, left to right."""
    colour: float = Field(default=0.0, ge=0, le=1)
    """Brightness, contrast and saturation of the image are multiplied, each by a factor in 1 − `colour` to 1 +
    `colour`."""

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.scale is not None and self.scale[0] > self.scale[1]:
            raise ValueError(f"scale: the least factor, {self.scale[0]:g}, is above the largest, {self.scale[1]:g}")
        if self.scale is None and not self.flip and not self.colour:
            raise ValueError("nothing is changed; set scale, flip or colour, or leave augment out")
        return self


class ImageClassificationSettings(ClassificationSettings):
    """Images with one class each."""

    split = "plora.streams.images:Images"
    words = "images"
    part = "plora.problems.image_classification:ImageClassification"
    export = "plora.problems.image_export:ImageExport"
    in_lines = False

    kind: Literal["image_classification"] = "image_classification"

    augment: Augmentation | None = None
    """What chance does to training images: `crop`, `flip`, `colour`; None: nothing."""


class TokenClassificationSettings(ProblemSettings):
    """Sentences with a tag for each word: entities in the scheme IOB2 (`O`, `B-…`, `I-…`)."""

    split = "plora.streams.tagged_sentences:TaggedSentences"
    words = "sentences with a tag for each word"
    part = "plora.problems.token_classification:TokenClassification"
    export = "plora.problems.token_export:TokenExport"
    added = "tagged"
    classifies = False
    headed = True
    dense = True
    adds_classes = True

    kind: Literal["token_classification"] = "token_classification"

    context: int | None = Field(default=None, ge=0)
    """Tokens that two windows of a sentence longer than `backbone.max_length` share; each word is tagged where it
    stands farther from a border. None: half of a window."""
    score: Literal["entity_f1", "entity_f1_strict", "word_accuracy"] = "entity_f1"
    """What a cell of the matrix is. `entity_f1` is seqeval's F1 over all entities (micro), in which an I- that follows
    no word of its type begins one; `entity_f1_strict` its mode `strict` with scheme IOB2, in which B- alone does;
    `word_accuracy` the share of words with the right tag. All are in the record, whichever is chosen."""


class MultiLabelSettings(ProblemSettings):
    """Inputs with any number of labels each: a sigmoid for each label, and a threshold that validation chooses."""

    added = "label_sets"
    classifies = False
    fills_rows = True
    adds_classes = True

    loss: ClassificationLoss = ClassificationLoss()
    """What training minimises: `gamma` and `beta` of the class-balanced focal loss, of each label by itself, β by how
    many examples have it, or `class_weights` of labels; {}: the binary cross-entropy."""
    score: Literal["macro_f1", "micro_f1", "mean_average_precision", "exact_match"] = "macro_f1"
    """What a cell of the matrix is: `macro_f1`, the mean of F1 over the labels; `micro_f1`, in which each label of each
    input counts equally; `mean_average_precision`, in which thresholds have no part; or `exact_match`, the share of
    the inputs that get their labels and no other. All are measured, whichever is chosen."""


class MultiLabelTextSettings(MultiLabelSettings):
    """Texts, or pairs of texts, with any number of labels each."""

    split, inputs = "plora.streams.targeted:LabelSets", "plora.streams.base:Texts"
    words = "texts with label sets"
    part = "plora.problems.multi_label:MultiLabelTexts"
    export = "plora.problems.targeted_export:MultiLabelTextExport"

    kind: Literal["text_multi_label"] = "text_multi_label"


class MultiLabelImageSettings(MultiLabelSettings):
    """Images with any number of labels each."""

    split, inputs = "plora.streams.targeted:LabelSets", "plora.streams.images:Images"
    words = "images with label sets"
    part = "plora.problems.multi_label:MultiLabelImages"
    export = "plora.problems.targeted_export:MultiLabelImageExport"
    in_lines = False

    kind: Literal["image_multi_label"] = "image_multi_label"


class RegressionSettings(ProblemSettings):
    """Inputs with one or more numbers each: ((z − y) / σ)², σ of the training split."""

    added = "numbers"
    classifies = False
    fills_rows = True

    score: Literal["mean_absolute_error", "pearson", "spearman"] = "mean_absolute_error"
    """What a cell of the matrix is: `mean_absolute_error`, where lower is better, or a correlation with the targets, of
    the numbers or of their ranks; of several numbers the mean. All are measured, whichever is chosen."""
    unit: str = Field(default="", max_length=40)
    """Of the numbers, as people write it: `°C`, `years`. Errors, forgetting and transfer are shown in it."""

    @field_validator("unit")
    @classmethod
    def _is_no_fraction(cls, given: str) -> str:
        if given in ("%", "points"):
            raise ValueError(f"'{given}' is of fractions, which are shown times 100; write 'percent'")
        return given


class TextRegressionSettings(RegressionSettings):
    """Texts, or pairs of texts, with one or more numbers each."""

    split, inputs = "plora.streams.targeted:Numbers", "plora.streams.base:Texts"
    words = "texts with numbers"
    part = "plora.problems.regression:TextRegression"
    export = "plora.problems.targeted_export:TextRegressionExport"

    kind: Literal["text_regression"] = "text_regression"


class ImageRegressionSettings(RegressionSettings):
    """Images with one or more numbers each."""

    split, inputs = "plora.streams.targeted:Numbers", "plora.streams.images:Images"
    words = "images with numbers"
    part = "plora.problems.regression:ImageRegression"
    export = "plora.problems.targeted_export:ImageRegressionExport"
    in_lines = False

    kind: Literal["image_regression"] = "image_regression"


class CausalLMSettings(ProblemSettings):
    """Documents, of which each token is predicted from those before it: − Σ log p(token | tokens before)."""

    split = "plora.streams.documents:Documents"
    words = "documents"
    part = "plora.problems.causal_lm:CausalLM"
    export = "plora.problems.causal_export:CausalExport"
    added = "documents"
    classifies = False
    writes = True
    continues = True

    kind: Literal["causal_lm"] = "causal_lm"

    packing: bool = True
    """Several documents share a row of `backbone.max_length` tokens, and none sees another; false gives each rows of
    its own, filled up to the longest of the batch."""
    context: int | None = Field(default=None, ge=0)
    """Tokens that a window of a document longer than a row has read before it predicts, where it is scored; None is
    half of `backbone.max_length`. In training windows do not overlap."""
    template: str | None = None
    """How prompts and answers become one text: `chat` is the chat template of the tokenizer, and any other text one of
    your own, in Jinja as tokenizers have it. None: a prompt and its answer, one right after the other; conversations
    of several messages need a template."""
    score: Literal["nats_per_byte", "exact_match"] = "nats_per_byte"
    """What a cell of the matrix is. `exact_match` is the share of documents whose answers greedy decoding writes to the
    letter, and needs documents with answers; both are measured of these, whichever is chosen."""

    @field_validator("template")
    @classmethod
    def _is_a_template(cls, given: str | None) -> str | None:
        if given is not None and given != CHAT and "{" not in given:
            raise ValueError(f"'{given}' is no template: expected '{CHAT}', or a text in Jinja such as {_EXAMPLE}")
        return given


class TextToTextSettings(ProblemSettings):
    """Prompts that an encoder reads, and answers that a decoder writes: for encoder-decoders, such as T5."""

    split = "plora.streams.documents:Documents"
    words = "prompts with answers"
    advice = "set stream to text_to_text, or to corpora with prompt and answer"
    part = "plora.problems.text_to_text:TextToText"
    export = "plora.problems.text_to_text_export:TextToTextExport"
    added = "documents"
    classifies = False
    writes = True

    kind: Literal["text_to_text"] = "text_to_text"

    answer_length: int = Field(default=128, ge=2)
    """Most tokens of an answer, its end included: longer ones lose their end, and so many are written for ROUGE. Of
    prompts `backbone.max_length` says it; longer ones lose their beginning."""
    score: Literal["exact_match", "rouge_1", "rouge_2", "rouge_l", "nats_per_byte"] = "exact_match"
    """What a cell of the matrix is. `exact_match` is the share of answers that greedy decoding writes to the letter;
    ROUGE the mean F1 of words, pairs of words, or the longest common subsequence (rouge_score, without stemming), for
    which every answer is written token by token: the record has it where one of the three is chosen."""


class OutlierScore(BaseModel):
    """How much a pixel looks like nothing that was learned; measured on images of which somebody says what is an
    outlier."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    score: Literal["rba", "msp", "max_logit", "entropy", "outlier_class"] = "rba"
    """Rejected by all classes, one minus the largest probability, the negative largest score, the entropy of
    probabilities, or by how much the outlier class is above the others."""
    temperature: float = Field(default=1.0, gt=0)
    """What scores of classes are divided by before they are made probabilities, for `msp` and `entropy`."""
    bins: int = Field(default=8192, ge=64, le=65536)
    """Of the histograms that are kept of each image: pixels in one bin are not told apart."""
    threshold: float | None = Field(default=None, gt=0, lt=1)
    """From where in the range of the score, 0 to 1, a pixel is taken for an outlier, so that outliers are counted as
    objects (F1*, sIoU, PPV); choose it on validation data. None: they are not counted."""

    @model_validator(mode="after")
    def _temperature_is_used(self) -> Self:
        if self.temperature != 1 and self.score not in ("msp", "entropy"):
            raise ValueError(f"temperature: {self.score} is made of no probabilities; leave it out")
        return self


class OutlierExposure(BaseModel):
    """Objects are pasted into training images, and no class may claim their pixels."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    objects: Path
    """A folder of images that are transparent around an object, or a .parquet file with such in its column `image`;
    none of them should show a class that is learned."""
    probability: float = Field(default=0.1, gt=0, le=1)
    """Share of the images that get an object whenever they are learned."""
    weight: float = Field(default=1.0, ge=0)
    """Of the losses `exposure_inlier` and `exposure_outlier` beside those of the classes; 0 pastes, and no class learns
    from these pixels."""
    inlier: float = -0.8
    """Inliers learn an outlier score (RbA) below this."""
    outlier: float = -0.1
    """Outliers learn one above this."""

    @model_validator(mode="after")
    def _bounds_leave_room(self) -> Self:
        if self.inlier >= self.outlier:
            raise ValueError(f"inlier: {self.inlier:g} is not below outlier, {self.outlier:g}")
        return self


class ArcFace(BaseModel):
    """Classes by angles: logits are s cos θ, and s cos(θ + m) of the class of a query that is matched, while it learns.
    That of no object stays as it is."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    scale: float = Field(default=16.0, gt=0)
    """s."""
    margin: float = Field(default=0.2, ge=0, le=1.5)
    """m, an angle in radians."""


class SemanticSegmentationSettings(ProblemSettings):
    """Images with a class for every pixel; pixels that are ignored count in nothing."""

    split = "plora.streams.labelled_images:LabelledImages"
    words = "images with a class for every pixel"
    part = "plora.problems.semantic_segmentation:SemanticSegmentation"
    export = "plora.problems.segmentation_export:SegmentationExport"
    classifies = False
    dense = True
    segments = True
    adds_classes = True
    in_lines = False

    kind: Literal["semantic_segmentation"] = "semantic_segmentation"

    answer: Literal["queries", "patches"] = "queries"
    """`queries` answer with a mask and a class each; or each of the `patches` has a class of its own, by the linear
    layer that gives queries theirs: the plainest answer, and what a new encoder is pretrained on first."""
    augment: PairAugmentation | None = None
    """What chance does to training images and their maps: `scale`, `flip`, `colour`; None: nothing."""
    windows: bool = False
    """An image keeps its shape and is read in windows that overlap: all of them where it is scored, one of them by
    chance where it is learned. False resizes it to `backbone.image.size`, whatever its shape."""
    outlier: OutlierScore | None = None
    """The outlier score that is measured of each pixel that is scored: `score`, `temperature`, `bins`,
    `threshold`; None: none is."""
    exposure: OutlierExposure | None = None
    """Outliers to learn from: `objects`, `probability`, `weight`, `inlier`, `outlier`; None: there are none."""
    outlier_class: bool = False
    """Outliers have a class of their own beside those of the stream, which is learned from `exposure`. It is nobody's
    answer: `outlier.score: outlier_class` reads it."""
    arcface: ArcFace | None = None
    """Queries are told their classes by angles, with a margin: `scale`, `margin`; None: by a linear layer."""
    score: Literal["mean_iou", "foreground_iou", "outlier_ap", "outlier_fpr95", "outlier_auroc", "outlier_f1"] = (
        "mean_iou"
    )
    """What a cell of the matrix is: `mean_iou` is a mean over all classes, and `foreground_iou` leaves the first one,
    the background, out. Those of outliers need `outlier`, and outliers to validate on, too; `outlier_f1`
    needs its `threshold`."""

    @model_validator(mode="after")
    def _parts_have_what_they_need(self) -> Self:
        if self.score.startswith("outlier") and self.outlier is None:
            raise ValueError(f"score: {self.score} is of an outlier score; set outlier, such as {{score: rba}}")
        if self.score == "outlier_f1" and (self.outlier is None or self.outlier.threshold is None):
            raise ValueError("score: outlier_f1 is of objects; set outlier.threshold, from where a pixel is of one")
        if self.outlier_class and self.exposure is None:
            raise ValueError("outlier_class: nothing is learned of it without outliers; set exposure.objects")
        if self.outlier is not None and self.outlier.score == "outlier_class" and not self.outlier_class:
            raise ValueError("outlier.score: outlier_class is the score of a class of its own; set outlier_class: true")
        if self.answer == "patches" and self.outlier is not None and self.outlier.score == "rba":
            raise ValueError("outlier.score: rba is of scores that are at least 0, those of queries; set max_logit")
        if self.answer == "patches" and self.exposure is not None and self.exposure.weight:
            raise ValueError("exposure.weight: its losses are of RbA, which is of queries; set it to 0")
        if self.arcface is not None and self.answer == "patches":
            raise ValueError("arcface: its margin is for queries that are matched; set answer: queries")
        return self


PROBLEMS: Mapping[str, type[ProblemSettings]] = {
    "text_classification": TextClassificationSettings,
    "image_classification": ImageClassificationSettings,
    "token_classification": TokenClassificationSettings,
    "causal_lm": CausalLMSettings,
    "text_to_text": TextToTextSettings,
    "semantic_segmentation": SemanticSegmentationSettings,
    "text_multi_label": MultiLabelTextSettings,
    "image_multi_label": MultiLabelImageSettings,
    "text_regression": TextRegressionSettings,
    "image_regression": ImageRegressionSettings,
}
"""Every kind of problem; a class of your own is named `package.module:Class`."""
