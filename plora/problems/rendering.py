"""Prompts and answers as tokens, and which of these are learned and counted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from plora.errors import BackboneError, DataError
from plora.problems.settings import CHAT
from plora.streams.dialogues import ANSWERS, Dialogue, Role
from plora.streams.documents import Document

READ, LEARNED, COUNTED = 0, 1, 2
"""What a token is: only read; learned, but part of no text, as the end of a turn; learned, and counted when scored."""

Span = tuple[int, int]


class Marked(NamedTuple):
    """A document as tokens.

    Args:
        ids: `[T]` int32, without start and end.
        marks: `[T]` uint8, of `READ`, `LEARNED` and `COUNTED`.
        bytes: of the texts that count, in UTF-8.
    """

    ids: NDArray[np.int32]
    marks: NDArray[np.uint8]
    bytes: int


class _Part(NamedTuple):
    """What is read (`counted` is None), or an answer with the end of its turn and the place of its text in it."""

    text: str
    counted: Span | None

    @classmethod
    def of(cls, text: str) -> "_Part":
        return cls(text, (0, len(text)))


class _Tokens(NamedTuple):
    ids: list[int]
    offsets: list[Span]


@dataclass(frozen=True)
class Rendering:
    """How prompts and answers become one text, and this becomes tokens.

    Args:
        tokenizer: of the network.
        template: in Jinja; None writes an answer right after its prompt.
        start, end: tokens before and after every text.
    """

    tokenizer: PreTrainedTokenizerBase
    template: str | None
    start: int
    end: int

    def marked(self, documents: Sequence[Document]) -> list[Marked]:
        """Return documents as tokens.

        A text is tokenized as a whole where its parts have the tokens then that they have after what comes before
        alone, as when an answer is written to a prompt; else each part is tokenized by itself. What follows the last
        answer is left out. A dialogue without an answer is a prompt, and all of it counts, as of a plain text.

        Raises:
            DataError: the template does not take a dialogue, or changes its answers; or a message holds what the
                tokenizer takes for a token of its own. Names the document.
        """
        found = []
        for number, document in enumerate(documents, start=1):
            try:
                found.append(self._marked(document))
            except DataError as error:
                raise DataError(f"document {number}: {error}") from None
            except UnicodeEncodeError as error:
                raise DataError(not_writable(number, error)) from None
        return found

    def _marked(self, document: Document) -> Marked:
        parts, by_template = self._parts(document), self.template is not None and isinstance(document, Dialogue)
        "".join(part.text for part in parts).encode()  # half a character is refused, wherever it stands
        size = sum(len(part.text[slice(*part.counted)].encode()) for part in parts if part.counted)
        *begun, whole = self._tokens([*_beginnings(parts)], by_template)
        if all(whole.ids[: len(own.ids)] == own.ids for own in begun):
            tokens = [*_cut(whole, parts, [0, *(len(own.ids) for own in begun), len(whole.ids)])]
        else:
            tokens = self._tokens([part.text for part in parts], by_template)
        ids, marks = list[int](), list[int]()
        for part, own in zip(parts, tokens, strict=True):
            ids += own.ids
            marks += _marks(part, own, self.end)
        # What begins a text, and ends its last answer, stands around it anyway.
        if len(parts) > 1 and self.end in tokens[-1].ids:
            last = len(ids) - len(tokens[-1].ids) + tokens[-1].ids.index(self.end)
            ids, marks = ids[:last], marks[:last]
        first = int(by_template and ids[:1] == [self.start])
        return Marked(np.array(ids[first:], np.int32), np.array(marks[first:], np.uint8), size)

    def _parts(self, document: Document) -> list[_Part]:
        if isinstance(document, str):
            return [_Part.of(document)]
        messages = document.messages
        if self.template is None:
            if [role for role, _ in messages] != ["user", ANSWERS]:
                raise DataError(
                    "a conversation that is not one prompt and its answer needs a template; set problem.template="
                    f"{CHAT} for that of the tokenizer, or write one there"
                )
            return [_Part(messages[0][1], None), _Part.of(messages[1][1])]
        for _, text in messages:
            if own := next((token for token in self.tokenizer.all_special_tokens if token in text), None):
                raise DataError(f"a message holds '{own}', which the tokenizer takes for a token; write it otherwise")
        if not document.answered:
            return [_Part.of(self._said(messages, prompt=True))]
        parts, before = list[_Part](), ""
        for place, (role, answer) in enumerate(messages):
            if role != ANSWERS:
                continue
            prompt, whole = self._said(messages[:place], prompt=True), self._said(messages[: place + 1], prompt=False)
            if not prompt.startswith(before) or not whole.startswith(prompt):
                raise DataError(
                    f"the template writes what stands before message {place + 1} otherwise once it is there; give "
                    "conversations of one answer each, or another problem.template"
                )
            said = whole[len(prompt) :]
            text = next((text for text in (answer, answer.strip()) if text in said), "")
            if not text:
                raise DataError(
                    f"the template changes the answer in message {place + 1}; give another problem.template"
                )
            first = said.index(text)
            parts += [_Part(prompt[len(before) :], None), _Part(said, (first, first + len(text)))]
            before = whole
        return parts

    def _said(self, messages: Sequence[tuple[Role, str]], prompt: bool) -> str:
        given = [{"role": role, "content": text} for role, text in messages]
        if not given:
            raise DataError("a conversation begins with an answer; it needs a prompt before it")
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    given, chat_template=self.template, tokenize=False, add_generation_prompt=prompt
                )
            )
        except Exception as error:  # of the template's own code
            said = next(iter(str(error).splitlines()), type(error).__name__)
            raise DataError(f"the template does not take it ({said}); correct one of them") from None

    def _tokens(self, texts: Sequence[str], by_template: bool) -> list[_Tokens]:
        found = self.tokenizer(
            [*texts],
            add_special_tokens=False,
            split_special_tokens=not by_template,  # what a template writes is what it looks like
            return_offsets_mapping=True,
            return_attention_mask=False,
            verbose=False,  # long ones are no news
        )
        return [_Tokens(*one) for one in zip(found["input_ids"], found["offset_mapping"], strict=True)]


def not_writable(number: int, error: UnicodeEncodeError) -> str:
    """Return what is wrong with a document that has half a character."""
    return f"document {number} cannot be written in UTF-8 ({error.reason} at character {error.start}); correct it"


def chat_template(tokenizer: PreTrainedTokenizerBase, label: str) -> str:
    """Return the chat template of a tokenizer.

    Args:
        tokenizer: of a network.
        label: what the network is called.

    Raises:
        BackboneError: there is none.
    """
    try:
        return str(tokenizer.get_chat_template())
    except ValueError:  # none, or several, of which none is the default
        raise BackboneError(
            f"problem.template={CHAT}: the tokenizer of backbone '{label}' has no chat template; write one in "
            "problem.template, or take a network that has learned to chat"
        ) from None


def _beginnings(parts: Sequence[_Part]) -> Iterator[str]:
    """Yield the text up to the end of each part; the last is all of it."""
    text = ""
    for part in parts:
        text += part.text
        yield text


def _marks(part: _Part, tokens: _Tokens, end: int) -> list[int]:
    if part.counted is None:
        return [READ] * len(tokens.ids)
    first, last = part.counted
    if (first, last) == (0, len(part.text)):  # some tokenizers say of a blank that it stands nowhere
        return [COUNTED] * len(tokens.ids)
    said = tokens.ids.index(end) if end in tokens.ids else len(tokens.ids)  # after it nobody writes on
    found = [COUNTED if a < last and b > first else LEARNED for a, b in tokens.offsets]
    return [mark if place <= said else READ for place, mark in enumerate(found)]


def _cut(whole: _Tokens, parts: Sequence[_Part], cuts: Sequence[int]) -> Iterator[_Tokens]:
    """Yield the tokens of each part of a whole, and where they stand in it."""
    begin = 0
    for part, first, last in zip(parts, cuts[:-1], cuts[1:], strict=True):
        yield _Tokens(whole.ids[first:last], [(a - begin, b - begin) for a, b in whole.offsets[first:last]])
        begin += len(part.text)
