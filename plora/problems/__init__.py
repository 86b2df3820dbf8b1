"""Problems: what a task's inputs and labels look like."""

from typing import TYPE_CHECKING

from plora.lazy import names_from
from plora.problems.settings import PROBLEMS, ProblemSettings

if TYPE_CHECKING:
    from plora.problems.base import Batch, EncodedInputs, Examples, LabelledExamples, Problem, masked_cross_entropy
    from plora.problems.causal_lm import CausalLM
    from plora.problems.text_classification import TextClassification, TokenizedTexts

__all__ = [
    "PROBLEMS",
    "Batch",
    "CausalLM",
    "EncodedInputs",
    "Examples",
    "LabelledExamples",
    "Problem",
    "ProblemSettings",
    "TextClassification",
    "TokenizedTexts",
    "masked_cross_entropy",
]

__getattr__, _ = names_from(
    __name__,
    {
        "base": ["Batch", "EncodedInputs", "Examples", "LabelledExamples", "Problem", "masked_cross_entropy"],
        "causal_lm": ["CausalLM"],
        "text_classification": ["TextClassification", "TokenizedTexts"],
    },
)
