"""What multi-label problems and regressions write of an export: the scripts of their inputs, with other answers."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from torch import Tensor
from transformers import PreTrainedModel

from plora.problems.export_part import ExportPart
from plora.problems.image_export import ImageExport
from plora.problems.text_export import TextExport
from plora.results.report.model_card import InputWords


class _OwnAnswers(ExportPart):
    """Answers of which none competes with another; no class of `transformers` is made of them."""

    def classifier(
        self, network: PreTrainedModel, labels: Sequence[str], weight: Tensor, bias: Tensor
    ) -> PreTrainedModel | None:
        """Return None: the head stays in its own file."""
        return None


class _LabelSets(_OwnAnswers):
    answered: ClassVar[str] = ".sigmoid()"
    told: ClassVar[str] = "label -> probability, given from 0.5 on,"

    @property
    def words(self) -> InputWords:
        """Those of the inputs, with any number of labels."""
        words = super().words  # type: ignore[safe-super]
        prints = f"a probability of each label for each {words.noun}, which has the label from 0.5 on"
        return replace(words, prints=prints)


class _Numbers(_OwnAnswers):
    answered: ClassVar[str] = ""
    told: ClassVar[str] = "name -> number"
    noun: ClassVar[str] = "numbers"

    @property
    def words(self) -> InputWords:
        """Those of the inputs, with numbers."""
        words = super().words  # type: ignore[safe-super]
        return replace(
            words,
            model=f"A regression of {words.many}",
            prints=f"the numbers of each {words.noun}, in the unit of the data",
            use=f"It is good for numbers of {words.many} like those that it has learned.",
        )


class MultiLabelTextExport(_LabelSets, TextExport):
    """Texts with any number of labels each."""


class MultiLabelImageExport(_LabelSets, ImageExport):
    """Images with any number of labels each."""


class TextRegressionExport(_Numbers, TextExport):
    """Texts with one or more numbers each."""


class ImageRegressionExport(_Numbers, ImageExport):
    """Images with one or more numbers each."""
