"""Texts written by a causal language model of its own, with a LoRA slot for each task."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from plora.backbones import BackboneConfig
from plora.backbones.continuing import drawing_from
from plora.errors import DataError, RunError
from plora.generators.causal_language import CausalLanguage, Drill
from plora.generators.settings import CausalGeneratorSettings
from plora.generators.text_generator import Drafts, TextGenerator
from plora.lesson import Lesson
from plora.model import ContinualModel
from plora.problems import TextClassification
from plora.problems.text_classification import texts_of
from plora.streams.base import Stream, Texts

_LANGUAGE, _SOURCES = "language/", "sources"


class CausalGenerator(TextGenerator):
    """After each task a causal language model learns, in a slot of its own, to write the task's texts given a class.

    LAMOL has one model for answers and for texts, and trains it on texts of its own that it wrote before, so that
    what it writes of the first tasks is a copy of copies. Here the network that writes is frozen, and each task's
    slot stays as it was learned; the teacher says what the texts are, not their writer.

    What is remembered are these slots. They can repeat training texts, the more so the longer they learn.

    Source: Sun et al. 2020 (LAMOL, arXiv 1909.03329).
    """

    settings: CausalGeneratorSettings

    def __init__(self, settings: CausalGeneratorSettings) -> None:
        super().__init__(settings)
        self._language: CausalLanguage | None = None
        self._sources: tuple[tuple[int, int], ...] = ()

    def begin(self, model: ContinualModel, stream: Stream, names: tuple[str, ...]) -> None:
        """Load the network that writes, and refuse pairs of texts, and classes whose texts it has no positions for."""
        for task in stream.tasks:
            if isinstance(task.train.read(np.zeros(1, np.int64))[0], tuple):
                raise DataError(
                    f"generator 'causal' writes single texts, and task '{task.name}' has pairs; use generator 'mlm' or "
                    "method 'replay'"
                )
        language = self._load(model)
        for name in names:
            language.problem.prompt(name)

    def prepare(self, model: ContinualModel, lesson: Lesson) -> None:
        """There is nothing to fit before a task."""

    def _load(self, model: ContinualModel) -> CausalLanguage:
        if self._language is None:
            own, longest = self.settings, _problem(model).max_length
            config = BackboneConfig(id=own.id, revision=own.revision, max_length=longest)
            self._language = CausalLanguage.load(config, own.lora, model.device)
        return self._language

    def write(self, model: ContinualModel, lesson: Lesson, count: int) -> Drafts:
        """Let the slot of each old task write for each of its classes."""
        language, texts, total = self._load(model), list[str](), count * len(self._sources)
        top_k, temperature = self.settings.top_k, self.settings.temperature

        def wrote(number: int) -> None:
            lesson.progress("write old texts", len(texts) + number, total)

        with drawing_from(lesson.seed):
            for task, row in self._sources:
                name = lesson.names[row]
                texts += language.write(_slot(task), name, count, top_k, temperature, lesson, wrote)
        encoded = _problem(model).tokenize(Texts(tuple(texts), np.zeros(len(texts), np.int64)))
        tasks, rows = np.repeat(np.array(self._sources, np.int64), count, axis=0).T
        return Drafts(encoded, tasks, rows)

    def remember(self, model: ContinualModel, lesson: Lesson) -> None:
        """Train a slot on the task's texts, as the encoder's tokenizer gives them back."""
        texts, rows, tokenizer = texts_of(lesson.train), lesson.train.rows, _problem(model).tokenizer
        ends = texts.starts + texts.lengths
        examples = [
            (lesson.names[row], tokenizer.decode(texts.ids[start:end], skip_special_tokens=True))
            for row, start, end in zip(rows.tolist(), texts.starts.tolist(), ends.tolist(), strict=True)
        ]
        drill = Drill(self.settings.epochs, self.settings.learning_rate, self.settings.batch_size)
        first, last = self._load(model).learn(_slot(lesson.position), examples, drill, lesson)
        lesson.tell(
            f"what writes this task's texts again: perplexity {first:.1f} in the first pass, {last:.1f} in the last"
        )
        self._sources += tuple((lesson.position, row) for row in np.unique(rows).tolist())

    def state(self) -> dict[str, Tensor]:
        """Return the slots, and which classes they write."""
        if self._language is None or not self._sources:
            return {}
        slots = {f"{_LANGUAGE}{name}": tensor for name, tensor in self._language.state().items()}
        return {_SOURCES: torch.tensor(self._sources), **slots}

    def restore(self, state: Mapping[str, Tensor], model: ContinualModel) -> None:
        """Take the slots back."""
        if not state:
            return
        if _SOURCES not in state or state[_SOURCES].dtype != torch.int64 or state[_SOURCES].shape[1:] != (2,):
            raise RunError("the stored language model does not say which classes it writes")
        self._sources = tuple((task, row) for task, row in state[_SOURCES].tolist())
        own = {name.removeprefix(_LANGUAGE): t for name, t in state.items() if name.startswith(_LANGUAGE)}
        self._load(model).restore(own)


def _slot(task: int) -> str:
    """The slot of the task at a position; names sort as positions do, and need no escape."""
    return f"task-{task:04}"


def _problem(model: ContinualModel) -> TextClassification:
    if not isinstance(model.problem, TextClassification):
        raise RunError("generator 'causal' writes texts, and this problem has none; use method 'replay'")
    return model.problem
