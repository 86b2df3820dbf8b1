"""Documents that the learner writes itself, with the slots that it has."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from plora.backbones.continuing import Drawing, continued, drawing_from
from plora.errors import ConfigError, DataError, RunError
from plora.generators.settings import SelfGeneratorSettings
from plora.generators.text_generator import Drafts, TextGenerator
from plora.lesson import Lesson
from plora.model import ContinualModel
from plora.problems.causal_lm import CausalLM
from plora.problems.encoded_documents import EncodedDocuments
from plora.streams.base import Stream
from plora.streams.dialogues import Dialogue
from plora.streams.documents import Documents

AT_ONCE = 32
"""Documents that are written side by side."""
_BEGINNINGS = "beginnings"
_NOTHING = -1
"""In place of a token, where a document is shorter than a beginning."""


class SelfGenerator(TextGenerator):
    """Before a task the model as it is writes the documents of older tasks: frozen network, slots, old route.

        token ~ softmax over the `top_k` largest of: score / `temperature`

    A document begins with `first` tokens that are drawn as those of its task began, by their counts, which are all
    that is remembered; with `first: 0` nothing is, and the model writes whatever follows the start of a text. It ends
    where the model ends it, or after a row of `backbone.max_length` tokens, and then its end is not learned.

    LAMOL marks each task by a token of its own, and writes for all older tasks together `γ` times as many examples as
    the new one has; here each older task gets as many, and documents are not changed. What is written of the first
    tasks is written by a model that has learned from its own writing since: errors add up, as in LAMOL.

    Source: Sun et al. 2020 (LAMOL, arXiv 1909.03329).
    """

    settings: SelfGeneratorSettings

    def __init__(self, settings: SelfGeneratorSettings) -> None:
        super().__init__(settings)
        self._beginnings = np.empty((0, 2 + settings.first), np.int64)  # task, count, tokens

    def begin(self, model: ContinualModel, stream: Stream, names: tuple[str, ...]) -> None:
        """Refuse a problem that has no documents, prompts with answers, and beginnings that fill a row."""
        width = _problem(model).layout.width
        for task in stream.tasks:
            if isinstance(task.train, Documents) and any(isinstance(text, Dialogue) for text in task.train.texts):
                raise DataError(
                    f"generator 'self' writes whole documents, and of task '{task.name}' answers alone are learned, so "
                    "that the model never learned to write its prompts; use method 'replay'"
                )
        if self.settings.first + 1 >= width:
            raise ConfigError(
                [
                    f"generator.first is {self.settings.first}, and rows of backbone.max_length={width} tokens have no "
                    f"place after a start and so many; set it to {max(width - 2, 0)} or less"
                ]
            )

    def prepare(self, model: ContinualModel, lesson: Lesson) -> None:
        """There is nothing to fit before a task."""

    @torch.no_grad()
    def write(self, model: ContinualModel, lesson: Lesson, count: int) -> Drafts:
        """Return `count` documents for each older task; with `first: 0` they stand for none in particular."""
        problem, network, training = _problem(model), model.backbone, model.training
        assert isinstance(network, PreTrainedModel)
        prompts, tasks = self._prompts(problem.layout.start, lesson, count)
        most = problem.layout.width - max(map(len, prompts))
        drawing, found = Drawing(self.settings.temperature, self.settings.top_k), list[list[int]]()
        route = model.eval().route(lesson.task)
        with drawing_from(lesson.seed), model.under(route), lesson.autocast():
            for first in range(0, len(prompts), AT_ONCE):
                lesson.progress("write old documents", first, len(prompts))
                found += continued(network, prompts[first : first + AT_ONCE], problem.layout.end, most, drawing)
        model.train(training)
        texts = [np.array([*prompt[1:], *own], np.int32) for prompt, own in zip(prompts, found, strict=True)]
        said = [problem.tokenizer.decode(ids, skip_special_tokens=True) for ids in texts]
        documents = EncodedDocuments(
            np.concatenate(texts),
            np.array([len(ids) for ids in texts], np.int64),
            np.array([len(text.encode("utf-8", "replace")) for text in said], np.int64),
            problem.layout,
            cut=np.array([len(own) == most for own in found]),
        )
        return Drafts(documents, tasks, np.empty(0, np.int64), for_a_class=self.settings.first > 0)

    def _prompts(self, start: int, lesson: Lesson, count: int) -> tuple[list[list[int]], NDArray[np.int64]]:
        """The start of each document with the tokens that it begins with, and the task of each."""
        if not self.settings.first:
            return [[start]] * (count * lesson.position), np.zeros(count * lesson.position, np.int64)
        rng, prompts, tasks = np.random.default_rng(lesson.seed), list[list[int]](), list[int]()
        for task in np.unique(self._beginnings[:, 0]).tolist():
            own = self._beginnings[self._beginnings[:, 0] == task]
            for row in own[rng.choice(len(own), count, p=own[:, 1] / own[:, 1].sum()), 2:].tolist():
                prompts.append([start, *(token for token in row if token != _NOTHING)])
                tasks.append(task)
        return prompts, np.array(tasks, np.int64)

    def remember(self, model: ContinualModel, lesson: Lesson) -> None:
        """Count how documents of the task begin."""
        assert isinstance(lesson.train, EncodedDocuments)
        if not self.settings.first:
            return
        rows = np.full((len(lesson.train), self.settings.first), _NOTHING, np.int64)
        for row, ids in zip(rows, lesson.train.parts(), strict=True):
            row[: min(len(ids), len(row))] = ids[: len(row)]
        tokens, counts = np.unique(rows, axis=0, return_counts=True)
        new = np.column_stack([np.full(len(tokens), lesson.position), counts, tokens])
        self._beginnings = np.concatenate([self._beginnings, new])

    def state(self) -> dict[str, Tensor]:
        """Return the beginnings `[M, 2 + first]`: task, count, tokens."""
        return {_BEGINNINGS: torch.from_numpy(self._beginnings.copy())} if len(self._beginnings) else {}

    def restore(self, state: Mapping[str, Tensor], model: ContinualModel) -> None:
        """Take beginnings back."""
        width = 2 + self.settings.first
        if not state:
            return
        found = state.get(_BEGINNINGS)
        if found is None or found.dtype != torch.int64 or found.dim() != 2 or found.shape[1] != width:
            raise RunError(f"the stored beginnings of documents are no whole numbers of {width} columns")
        if not len(found) or int(found[:, 1].min()) < 1:
            raise RunError("the stored beginnings of documents count what never was")
        self._beginnings = found.cpu().numpy()


def _problem(model: ContinualModel) -> CausalLM:
    if not isinstance(model.problem, CausalLM):
        raise DataError(
            "generator 'self' writes documents, and this problem has texts of classes or no texts; use generator 'mlm' "
            "or 'causal', or method 'replay'"
        )
    return model.problem
