"""A stream of classes, as prompts that ask for the class and answers that name it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from plora.errors import DataError
from plora.streams.base import Split, Stream, StreamSource, Task, Texts
from plora.streams.dialogues import Dialogue, fields, filled
from plora.streams.docstring_corpus import TOPICS
from plora.streams.docstrings import DocstringTopics
from plora.streams.documents import Documents
from plora.streams.hub import HubStream
from plora.streams.local import LocalStream

_OF_PROMPTS, _OF_ANSWERS = ("text", "options", "task"), ("label",)


class TextToText(StreamSource):
    """Texts with a class each, as documents: a prompt that is read, and the name of the class, which is learned.

    For `problem: {kind: causal_lm}` or `text_to_text`; with `score: exact_match` an answer is right where the whole
    name is.
    """

    kind: Literal["text_to_text"] = "text_to_text"

    name: str = Field(default="text_to_text", min_length=1)
    """Name of the stream, shown in reports."""

    of: Annotated[LocalStream | HubStream | DocstringTopics, Field(discriminator="kind")]
    """The texts and their classes: `kind: local`, `hub` or `docstring_topics`, and its own keys."""

    prompt: str | dict[str, str] = "{text}\nOption: {options}\nAnswer:"
    """What is read: a text with `{text}`, `{options}` (the names of the task's classes) and `{task}` in it; or one for
    each task, by its name."""

    answer: str = " {label}"
    """What is learned, with `{label}` in it. Most tokenizers write a space together with the word after it, so that it
    belongs here, and not to the end of the prompt."""

    @model_validator(mode="after")
    def _asks_for_what_there_is(self) -> Self:
        tasks = [*TOPICS] if isinstance(self.of, DocstringTopics) else [task.name for task in self.of.tasks]
        prompts = {"prompt": self.prompt} if isinstance(self.prompt, str) else self.prompt
        if isinstance(self.prompt, dict) and sorted(prompts) != sorted(tasks):
            raise ValueError(f"prompt: got one for {', '.join(prompts)}; expected one for each of {', '.join(tasks)}")
        for pattern, known in (*((prompt, _OF_PROMPTS) for prompt in prompts.values()), (self.answer, _OF_ANSWERS)):
            needed = known[0]
            if strange := [name for name in fields(pattern) if name not in known]:
                said = ", ".join(f"{{{name}}}" for name in known)
                raise ValueError(f"'{pattern}' has {{{strange[0]}}} in it, which is none of {said}")
            if needed not in fields(pattern):
                raise ValueError(f"'{pattern}' has no {{{needed}}} in it, so that all would be the same")
        return self

    def load(self) -> Stream:
        """Read the classes, and write them as prompts and answers.

        Raises:
            DataError: as the stream of classes, or it has pairs of texts.
        """
        found = self.of.load()
        return Stream(
            name=self.name,
            tasks=tuple(self._asked(task) for task in found.tasks),
            scenarios=("task", "domain"),
            provenance=found.provenance,
            notes=found.notes,
            rows=found.rows,
        )

    def _asked(self, task: Task) -> Task:
        prompt = self.prompt if isinstance(self.prompt, str) else self.prompt[task.name]
        known = {"task": task.name, "options": ", ".join(task.label_names)}

        def documents(split: Split) -> Documents:
            assert isinstance(split, Texts)
            found = []
            for text, label in zip(split.inputs, split.labels.tolist(), strict=True):
                if not isinstance(text, str):
                    raise DataError(f"task '{task.name}' has pairs of texts; set join, which makes one text of each")
                said = filled(self.answer, {"label": task.label_names[label]})
                found.append(Dialogue.asked(filled(prompt, {**known, "text": text}), said))
            return Documents(tuple(found))

        return Task(task.name, (), documents(task.train), documents(task.validation), documents(task.test))
