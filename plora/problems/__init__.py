"""Problems: what a task's inputs and labels look like."""

from plora.problems.base import Batch, EncodedInputs, Examples, LabelledExamples, Problem, masked_cross_entropy
from plora.problems.text_classification import TextClassification, TokenizedTexts

__all__ = [
    "Batch",
    "EncodedInputs",
    "Examples",
    "LabelledExamples",
    "Problem",
    "TextClassification",
    "TokenizedTexts",
    "masked_cross_entropy",
]
