"""Continue prompts with what a run has learned."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from plora.adapters import Route
from plora.adapters.route import side_by_side
from plora.backbones import positions
from plora.backbones.continuing import Drawing, continued, drawing_from
from plora.batches.evaluate import measured
from plora.batches.features import Extractor, autocast
from plora.errors import AdapterError, ConfigError, DataError, RunError, UnknownTaskError, did_you_mean
from plora.model import ContinualModel
from plora.problems.causal_lm import CausalLM
from plora.problems.encoded_answers import EncodedAnswers
from plora.problems.encoded_documents import EncodedDocuments
from plora.problems.text_to_text import TextToText
from plora.runs.loading import load_learner

AUTO = "auto"
"""In place of a name: the task whose slots find a prompt likeliest; a task that has this name itself comes first."""
_AT_ONCE = 32
"""Prompts that are continued side by side."""
_BYTE = re.compile("<0x[0-9A-F]{2}>")
"""A token that is one byte, of tokenizers that have them beside tokens of whole characters."""


@dataclass(frozen=True)
class Continuation:
    """What follows a prompt.

    Args:
        prompt: as it was given.
        task: whose slots wrote; None where all tasks have the same.
        text: what follows, without the prompt.
        tokens: how many were written, the end left out.
        ended: the text ended by itself, before it had as many tokens as were asked for.
    """

    prompt: str
    task: str | None
    text: str
    tokens: int
    ended: bool


def generate(
    path: Path,
    prompts: Sequence[str],
    task: str | Sequence[str] | None = None,
    tokens: int = 64,
    drawing: Drawing = Drawing(),  # noqa: B008  (frozen)
    seed: int = 0,
    drop_oldest: bool = False,
    told: Callable[[int, str], object] | None = None,
) -> list[Continuation]:
    """Continue prompts with a run's last checkpoint.

    The data that it was learned from are not needed, but by a network that was new: they say what its words are.

    A prompt stands after the token that begins a text, and an empty one is that token alone; an encoder-decoder reads
    it as it was learned, and what follows is its answer. Prompts of different
    tasks stand side by side in one pass, each with the slots of its own task, where the method's gate and places can.

    Args:
        path: the run folder.
        prompts: texts to continue.
        task: of all prompts, or of each; `auto` takes the task whose slots find the prompt likeliest, in nats of all
            its tokens, the first of several. Needed where tasks have slots of their own, and only there.
        tokens: most tokens to write after each prompt; a text that ends by itself has fewer.
        drawing: how the next token is chosen; by default it is the likeliest.
        seed: decides what is drawn, for the same prompts in the same order.
        drop_oldest: a prompt that is too long loses its beginning; else it is refused.
        told: called with the position of a prompt and the next piece of its text, as it is written.

    Raises:
        UnknownTaskError: the task is missing or unknown, or there is nothing that it could change.
        DataError: there is no prompt, one is longer than the network can read, or one that is empty has no task.
        ConfigError: a number is out of its range.
        RunError: the run is damaged, or its problem writes no texts.
        BackboneError: the network is no longer the one that the run was learned on.
    """
    if not prompts:
        raise DataError("nothing to continue: no prompt was given")
    if tokens < 1:
        raise ConfigError([f"tokens is {tokens}, expected 1 or more"])
    learner, learned, _ = load_learner(path)
    model = learner.model.eval()
    problem = model.problem
    if not isinstance(problem, CausalLM | TextToText):
        raise RunError(f"{path} writes no texts, it is scored by {problem.score.title}; use `plora predict`")
    writer: _Writer = (
        _Continuing(model, problem, learner.extractor)
        if isinstance(problem, CausalLM)
        else _Answering(model, problem, learner.extractor)
    )
    examples = problem.encode(problem.given([*prompts]))
    begun = writer.begun(examples, tokens, drop_oldest)
    tasks = writer.tasks(examples, task, learned.tasks)
    written: dict[int, list[int]] = {}
    with drawing_from(seed):
        for rows, route in writer.passes(tasks):
            written |= writer.write(rows, route, begun, tokens, drawing, told)
    return [
        Continuation(prompt, tasks[row], writer.text(begun[row], own := written[row]), len(own), len(own) < tokens)
        for row, prompt in enumerate(prompts)
    ]


Prompts = EncodedDocuments | EncodedAnswers


@dataclass(frozen=True)
class _Writer(ABC):
    """A model that writes after prompts."""

    model: ContinualModel
    problem: CausalLM | TextToText
    extractor: Extractor

    @property
    def network(self) -> PreTrainedModel:
        """The network, with its head that continues texts."""
        assert isinstance(self.model.backbone, PreTrainedModel)
        return self.model.backbone

    @abstractmethod
    def begun(self, prompts: Prompts, tokens: int, drop_oldest: bool) -> list[list[int]]:
        """The tokens of each prompt, as the network reads them."""

    @abstractmethod
    def text(self, begun: Sequence[int], written: Sequence[int]) -> str:
        """What follows a prompt."""

    @abstractmethod
    def likeliest(self, prompts: Prompts, learned: Sequence[str]) -> list[str]:
        """The task whose slots find each prompt likeliest."""

    # ------------------------------------------------------------------ tasks and routes

    def tasks(self, prompts: Prompts, task: str | Sequence[str] | None, learned: Sequence[str]) -> list[str | None]:
        """The task of each prompt; None where all tasks have the same slots."""
        gate, known = self.model.gate, f"the run has learned: {', '.join(learned)}"
        if self.model.adapters is None or gate is None or not (gate.needs_task or gate.asks_each):
            if task is not None:
                raise UnknownTaskError("this run writes with the same weights for every task; leave --task out")
            return [None] * len(prompts)
        if task is None:
            raise UnknownTaskError(f"this run has slots per task: name one with --task, or say --task {AUTO}; {known}")
        named = [task] * len(prompts) if isinstance(task, str) else list(task)
        if len(named) != len(prompts):
            raise DataError(
                f"{len(named)} tasks are named for {len(prompts)} prompts; name one for all, or one for each"
            )
        routed = [row for row, name in enumerate(named) if name == AUTO and AUTO not in learned]
        if unknown := [name for row, name in enumerate(named) if name not in learned and row not in routed]:
            raise UnknownTaskError(f"no task '{unknown[0]}'{did_you_mean(unknown[0], learned)}; {known}")
        likeliest = self.likeliest(prompts.subset(np.array(routed, np.int64)), learned) if routed else []
        return [*(dict(enumerate(named)) | dict(zip(routed, likeliest, strict=True))).values()]

    def passes(self, tasks: Sequence[str | None]) -> list[tuple[list[int], Route]]:
        """Which prompts are continued in one pass, and under which route."""
        found = []
        for start in range(0, len(tasks), _AT_ONCE):
            rows = list(range(start, min(start + _AT_ONCE, len(tasks))))
            routes = {tasks[row]: self._route(tasks[row]) for row in rows}
            together = self._together([routes[tasks[row]] for row in rows]) if len(routes) > 1 else None
            if together is not None:
                found.append((rows, together))
            else:
                found += [([row for row in rows if tasks[row] == task], route) for task, route in routes.items()]
        return found

    def _route(self, task: str | None) -> Route:
        return Route() if self.model.adapters is None else self.model.route(task)

    def _together(self, routes: Sequence[Route]) -> Route | None:
        """One route for samples that each go their own, or None where gate or places have none."""
        assert self.model.adapters is not None
        try:
            route = side_by_side(routes, self.model.adapters.names, self.model.device)
            self.model.adapters.require(route)
        except AdapterError:
            return None
        return route

    # ------------------------------------------------------------------ writing

    def write(
        self,
        rows: Sequence[int],
        route: Route,
        begun: Sequence[list[int]],
        tokens: int,
        drawing: Drawing,
        told: Callable[[int, str], object] | None,
    ) -> dict[int, list[int]]:
        """The tokens that follow some of the prompts, by their position."""
        end, shown = self.problem.layout.end, {row: _Shown(self, begun[row]) for row in rows}

        def tell(new: list[int]) -> None:
            for row, token in zip(rows, new, strict=True):
                if told is not None and (piece := shown[row].next(token)):
                    told(row, piece)

        with self.model.under(route), autocast(self.model.device, self.extractor.precision):
            prompts = [begun[row] for row in rows]
            written = continued(self.network, prompts, end, tokens, drawing, None if told is None else tell)
        for row, own in zip(rows, written, strict=True):
            if told is not None and (rest := self.text(begun[row], own)[shown[row].length :]):
                told(row, rest)  # bytes that no whole character came of
        return dict(zip(rows, written, strict=True))


class _Continuing(_Writer):
    """A causal language model, which continues prompts."""

    def begun(self, prompts: Prompts, tokens: int, drop_oldest: bool) -> list[list[int]]:
        """The start and the tokens of each prompt: as many as the network can read with those that are to follow."""
        assert isinstance(prompts, EncodedDocuments)
        found = [[self.problem.layout.start, *ids.tolist()] for ids in prompts.parts()]
        places = positions(self.network)
        if places is None:
            return found
        room = places - tokens
        if room < 1:
            raise DataError(f"{tokens} tokens are to be written, and the network reads {places} at once; ask for fewer")
        for number, ids in enumerate(found, start=1):
            if len(ids) > room and not drop_oldest:
                raise DataError(
                    f"prompt {number} has {len(ids)} tokens, its start among them, and there is room for {room}: the "
                    f"network reads {places} at once, and {tokens} are to follow; ask for fewer, or drop the oldest"
                )
        return [ids[-room:] for ids in found]

    def text(self, begun: Sequence[int], written: Sequence[int]) -> str:
        """What follows a prompt, as it reads after it: some tokenizers leave the first space of a text out."""
        backend = self.problem.tokenizer.backend_tokenizer
        before, whole = (str(backend.decode([*ids], skip_special_tokens=True)) for ids in (begun, (*begun, *written)))
        return whole[len(before) :]

    def likeliest(self, prompts: Prompts, learned: Sequence[str]) -> list[str]:
        """The task whose route has the least −Σ log p(token | tokens before) for each prompt; the first of several."""
        assert isinstance(prompts, EncodedDocuments)
        if not prompts.lengths.all():
            raise DataError("an empty prompt says nothing of its task; name one with --task")
        nats = [measured(self.extractor, prompts, task, np.ones(0, np.bool_))["nll"] for task in learned]
        return [learned[row] for row in np.stack(nats).argmin(axis=0)]


class _Answering(_Writer):
    """An encoder-decoder, which answers prompts."""

    def begun(self, prompts: Prompts, tokens: int, drop_oldest: bool) -> list[list[int]]:
        """The tokens of each prompt, its special ones among them: as many as were learned."""
        assert isinstance(prompts, EncodedAnswers)
        if prompts.truncated and not drop_oldest:
            raise DataError(
                f"{prompts.truncated} of the prompts have more than the {self.problem.layout.width} tokens that were "
                "learned (backbone.max_length); give shorter ones, or drop the oldest"
            )
        return [prompts.part("prompts", row).tolist() for row in range(len(prompts))]

    def text(self, begun: Sequence[int], written: Sequence[int]) -> str:
        """What the tokens of an answer say."""
        return str(self.problem.tokenizer.backend_tokenizer.decode([*written], skip_special_tokens=True))

    def likeliest(self, prompts: Prompts, learned: Sequence[str]) -> list[str]:
        """Refuse: an encoder-decoder says how likely an answer is, and not how likely its prompt."""
        raise UnknownTaskError(
            f"--task {AUTO}: this run says how likely answers are, and not prompts; name a task: {', '.join(learned)}"
        )


class _Shown:
    """What is shown of one text while it is written: what no later token changes, as it reads after the prompt.

    Attributes:
        length: characters so far.
    """

    def __init__(self, writer: _Writer, begun: Sequence[int]) -> None:
        self._writer, self._begun = writer, begun
        self._written, self._ended, self.length = list[int](), False, 0

    def next(self, token: int) -> str:
        """Return what can be shown since the last time; nothing after the end of the text, or inside a character."""
        self._ended = self._ended or token == self._writer.problem.layout.end
        if self._ended:
            return ""
        self._written.append(token)
        name = self._writer.problem.tokenizer.backend_tokenizer.id_to_token(token) or ""
        if _BYTE.fullmatch(name):  # what a run of them says is decided at its end
            return ""
        text = self._writer.text(self._begun, self._written)
        if text.endswith("\N{REPLACEMENT CHARACTER}"):
            return ""
        piece, self.length = text[self.length :], max(len(text), self.length)
        return piece
