"""A causal language model with a LoRA slot per task: it learns to write a task's texts when given a class."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from plora.adapters import Adapters, LoRA, SlotShape
from plora.backbones import TRUST_HINT, BackboneConfig
from plora.backbones.continuing import Drawing, continued, drawing_from
from plora.errors import AdapterError, BackboneError, NonFiniteLossError, RunError, TrainingError
from plora.gates.one_hot import OneHot
from plora.generators.writing import Writing
from plora.heads.own import OwnHead
from plora.lesson import Lesson, Practice
from plora.model import ContinualModel
from plora.problems import ProblemSettings
from plora.streams.base import Texts

TEXTS_AT_ONCE = 64
"""Texts of one class that are written together."""
LATER_WORDS = 1e-5
"""As much, of the largest score, may a score change with a later token: rounding."""
_SLOTS, _FINGERPRINT = "slots/", "fingerprint"
_SETTINGS = ProblemSettings(kind="writing")


@dataclass(frozen=True)
class Drill:
    """How a slot learns a task's texts: AdamW without weight decay, the rate falling in a line to 0."""

    epochs: int
    learning_rate: float
    batch_size: int


class CausalLanguage:
    """p(text | class) of each task, as one frozen network writes it with that task's slot alone.

    It is a model like that of a run, told the task, and learns in the one loop as that does.

    Args:
        network: the causal language model; its parameters are frozen, and its slots are put into it.
        problem: turns texts into its tokens.
        lora: geometry of each slot.
        fingerprint: of the network's files.
    """

    def __init__(self, network: PreTrainedModel, problem: Writing, lora: LoRA, fingerprint: str = "") -> None:
        self.network, self.problem, self.lora, self.fingerprint = network, problem, lora, fingerprint
        try:
            self.adapters = Adapters.inject(network, lora.targets, lora.layers)
            for bank in self.adapters.banks.values():
                bank.require_rank(lora.rank)
        except AdapterError as error:
            raise AdapterError(f"generator.lora: {error}") from None
        network.config.use_cache = False  # whole texts are learned; who writes asks for it
        self._require_causal()
        self.model = ContinualModel(network, problem, OwnHead(0), self.adapters, OneHot()).eval()

    @classmethod
    def load(cls, config: BackboneConfig, lora: LoRA, device: torch.device) -> "CausalLanguage":
        """Load a network with its head that continues texts.

        Raises:
            BackboneError, AdapterError: it is not there, is damaged, is no causal language model, or does not fit.
        """
        try:
            found = Writing.load(_SETTINGS, config)
        except BackboneError as error:
            said = str(error).replace("backbone.id", "generator.id")
            said = said.replace(
                TRUST_HINT, "code of its own is never run for what writes texts; choose another generator.id"
            )
            raise BackboneError(f"what writes texts: {said}") from None
        problem = Writing.around(_SETTINGS, found, config, None)
        fingerprint = hashlib.sha256(f"{found.fingerprint} {problem.words}".encode()).hexdigest()
        return cls(found.network.to(device), problem, lora, fingerprint)

    @torch.no_grad()
    def _require_causal(self) -> None:
        """Refuse a network whose scores for a token depend on later ones: it would learn to copy, not to write."""
        device, words = self.network.device, self.network.get_input_embeddings().num_embeddings
        one = torch.arange(8, device=device)[None] % words
        other = one.clone()
        other[0, -1] = (one[0, -1] + 1) % words
        first, second = (self.network(input_ids=ids).logits[:, :-1] for ids in (one, other))
        if (first - second).abs().max() > LATER_WORDS * first.abs().max():
            raise BackboneError(
                f"what writes texts ({type(self.network).__name__}) reads what comes after and cannot continue texts; "
                "set generator.id to a causal language model"
            )

    def learn(
        self, task: str, examples: Sequence[tuple[str, str]], drill: Drill, lesson: Lesson
    ) -> tuple[float, float]:
        """Train a new slot on the texts of one task, and freeze it.

            L = − 1/n Σ log p(token | class, tokens before), over the n tokens of a batch's texts

        Args:
            task: name of the slot.
            examples: name of the class and text of each.
            drill: how.
            lesson: decides the seed, the precision, and the processes, which all end with the same slot.

        Returns:
            Perplexity of the texts in the first pass over them and in the last, dropout on: exp of the mean of L.

        Raises:
            TrainingError: it diverged.
        """
        encoded = self.problem.encode(Texts(tuple(examples), np.zeros(len(examples), np.int64)))
        with drawing_from(lesson.seed):
            self.adapters.open_task(task, self.lora)
            practice = Practice(
                what=f"learn to write {task}",
                model=self.model,
                task=task,
                examples=encoded,
                epochs=drill.epochs,
                learning_rate=drill.learning_rate,
                batch_size=drill.batch_size,
            )
            try:
                nats = lesson.practise(practice, lesson)
            except NonFiniteLossError:
                self.adapters.delete(task)
                raise TrainingError(
                    f"what writes texts diverged while it learned task {lesson.position + 1}; set a smaller "
                    f"generator.learning_rate (now {drill.learning_rate:g})"
                ) from None
        self.model.eval().commit()
        return math.exp(min(nats[0], 99)), math.exp(min(nats[-1], 99))

    @torch.no_grad()
    def write(
        self,
        task: str,
        name: str,
        count: int,
        top_k: int,
        temperature: float,
        lesson: Lesson,
        wrote: Callable[[int], None] = lambda _: None,
    ) -> list[str]:
        """Return `count` texts of a class of a task, drawn token by token.

            token ~ softmax over the `top_k` largest of: score / `temperature`

        Args:
            task: whose slot writes, alone.
            name: of the class.
            count: how many.
            top_k, temperature: how tokens are drawn.
            lesson: decides the precision; the caller decides the random numbers.
            wrote: told after each batch how many texts it had.
        """
        prompt, drawing = self.problem.prompt(name), Drawing(temperature, top_k)
        texts: list[str] = []
        with self.adapters.using(task), lesson.autocast():
            while len(texts) < count:
                prompts = [prompt] * min(TEXTS_AT_ONCE, count - len(texts))
                for own in continued(self.network, prompts, self.problem.end, self.problem.length, drawing):
                    texts.append(self.problem.tokenizer.decode(own, skip_special_tokens=True).strip())
                wrote(len(prompts))
        return texts

    def state(self) -> dict[str, Tensor]:
        """Return every slot, and the fingerprint of the network that they belong to."""
        found = {_FINGERPRINT: torch.tensor([*bytes.fromhex(self.fingerprint)], dtype=torch.uint8)}
        for slot in self.adapters:
            for path in slot.A:
                found[f"{_SLOTS}{slot.name}/{path}/A"] = slot.A[path].cpu().clone()
                found[f"{_SLOTS}{slot.name}/{path}/B"] = slot.B[path].cpu().contiguous()
        return found

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take the slots back, in the order of their tasks, in place of those that there are.

        Raises:
            RunError: they were learned with another network, or one of them is incomplete.
        """
        stored = bytes(state[_FINGERPRINT].tolist()).hex() if _FINGERPRINT in state else "no fingerprint"
        if stored != self.fingerprint:
            raise RunError(
                f"the slots of the language model belong to other weights ({stored[:12]}…) than those of generator.id "
                f"({self.fingerprint[:12]}…); use the network that the run began with"
            )
        self.model.reset()
        shape = self.lora.shape()
        names = {name.removeprefix(_SLOTS).split("/")[0]: None for name in state if name.startswith(_SLOTS)}
        for name in sorted(names):
            own: dict[str, tuple[SlotShape, Tensor, Tensor]] = {}
            for path in self.adapters.banks:
                try:
                    A, B = (state[f"{_SLOTS}{name}/{path}/{matrix}"] for matrix in "AB")
                except KeyError as error:
                    raise RunError(f"the stored slots of the language model lack {error}") from None
                own[path] = (shape, A, B)
            self.adapters.append(name, own)
