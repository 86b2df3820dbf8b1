"""Documents that the learner wrote itself: what of them is rehearsed, and how."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from plora.generators.text_generator import Drafts
from plora.lesson import Lesson
from plora.model import ContinualModel
from plora.problems.causal_lm import CausalLM
from plora.problems.encoded_documents import EncodedDocuments
from plora.results import GeneratedText, to_lines
from plora.strategies.base import Seen
from plora.strategies.pool import Pool
from plora.strategies.settings import GenerativeReplaySettings

EMPTY = "no words"
_AT_ONCE = 16
"""Documents whose likelihood is asked for together."""


@dataclass(frozen=True)
class WrittenDocuments(Pool):
    """L = μ · − Σ log p(token | tokens before) / tokens, over documents that the model wrote."""

    def losses(self, settings: GenerativeReplaySettings, lesson: Lesson, seen: Seen) -> Mapping[str, Tensor]:
        """Return the weighted loss of some of them."""
        return {name: settings.weight * loss for name, loss in lesson.losses(seen.outputs, seen.batch).items()}


def written_documents(model: ContinualModel, lesson: Lesson, drafts: Drafts) -> WrittenDocuments | None:
    """Leave out documents without words and show all; None where none is left.

    The probability that is shown of each is the geometric mean of what the model gave its tokens when it wrote them.
    """
    problem, texts = model.problem, drafts.texts
    assert isinstance(problem, CausalLM)
    assert isinstance(texts, EncodedDocuments)
    sure = _confidence(model, lesson, texts)
    said = [problem.tokenizer.decode(ids, skip_special_tokens=True) for ids in texts.parts()]
    rejected = [None if text.strip() else EMPTY for text in said]
    lesson.keep(
        f"generated/task-{lesson.position + 1:02}.jsonl",
        to_lines(
            GeneratedText(
                task=task + 1 if drafts.for_a_class else None,
                intended=None,
                answer="",
                confidence=round(p, 4),
                rejected=why,
                text=text,
            )
            for task, p, why, text in zip(drafts.tasks.tolist(), sure.tolist(), rejected, said, strict=True)
        ),
    )
    kept = np.array([at for at, why in enumerate(rejected) if why is None], np.int64)
    lesson.tell(f"{len(kept)} of {len(texts)} documents written for older tasks are rehearsed")
    if missing := sorted({*drafts.tasks.tolist()} - {*drafts.tasks[kept].tolist()}):
        numbers = ", ".join(str(task + 1) for task in missing)
        lesson.warn(
            f"generative replay: every document written for old tasks ({numbers if drafts.for_a_class else 'all'}) is "
            "empty, so nothing rehearses them; set generator.first to more tokens, or generator.temperature higher"
        )
    return WrittenDocuments(texts.subset(kept), drafts.tasks[kept]) if len(kept) else None


def _confidence(model: ContinualModel, lesson: Lesson, texts: EncodedDocuments) -> NDArray[np.float64]:
    """exp(mean log p(token | tokens before)) of each text, in [0, 1]; 0 of an empty one."""
    found = np.zeros(len(texts))
    for first in range(0, len(texts), _AT_ONCE):
        batch = texts.collate(np.arange(first, min(first + _AT_ONCE, len(texts)))).to(model.device)
        with lesson.autocast():
            outputs = lesson.teacher(batch)
        columns = model.problem.measure(outputs, batch, np.ones(0, np.bool_))
        tokens = columns["tokens"].astype(np.int64)
        mean = columns["nll"].astype(np.float64) / np.maximum(tokens, 1)
        found[batch.indices] = np.where(tokens > 0, np.exp(-np.maximum(mean, 0)), 0)
    return found
