"""A causal language model with a LoRA slot per task: it learns to write a task's texts when given a class."""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from plora.adapters import Adapters, LoRA, SlotShape
from plora.backbones import TRUST_HINT, BackboneConfig, load_backbone, positions
from plora.errors import AdapterError, BackboneError, RunError, TrainingError
from plora.lesson import Lesson, Practice

TEXTS_AT_ONCE = 64
"""Texts of one class that are written together."""
LATER_WORDS = 1e-5
"""As much, of the largest score, may a score change with a later token: rounding."""
NOT_SCORED = -100
_SLOTS, _FINGERPRINT = "slots/", "fingerprint"


@dataclass(frozen=True)
class Drill:
    """How a slot learns a task's texts: AdamW without weight decay, the rate falling in a line to 0."""

    epochs: int
    learning_rate: float
    batch_size: int


class CausalLanguage:
    """p(text | class) of each task, as one frozen network writes it with that task's slot alone.

    An example is `<start> class: text <end>`; of the loss the tokens after the colon count, the end included.

    Args:
        network: the causal language model; its parameters are frozen, and its slots are put into it.
        tokenizer: its tokenizer.
        lora: geometry of each slot.
        length: most tokens of a text.
        fingerprint: of the network's files.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        lora: LoRA,
        length: int,
        fingerprint: str = "",
    ) -> None:
        if tokenizer.eos_token_id is None:
            raise BackboneError(
                f"the tokenizer of {type(network).__name__} has no token that ends a text (eos_token), so what it "
                "writes would never end; choose another generator.id"
            )
        self.network, self.tokenizer, self.lora, self.length = network, tokenizer, lora, length
        self.fingerprint = fingerprint
        self.end = int(tokenizer.eos_token_id)
        self.start = self.end if tokenizer.bos_token_id is None else int(tokenizer.bos_token_id)
        try:
            self.adapters = Adapters.inject(network, lora.targets, lora.layers)
            for bank in self.adapters.banks.values():
                bank.require_rank(lora.rank)
        except AdapterError as error:
            raise AdapterError(f"generator.lora: {error}") from None
        self._require_causal()
        network.generation_config = GenerationConfig()  # how its makers would have it write is not asked for here

    @classmethod
    def load(cls, config: BackboneConfig, lora: LoRA, device: torch.device) -> "CausalLanguage":
        """Load a network with its head that continues texts.

        Raises:
            BackboneError, AdapterError: it is not there, is damaged, is no causal language model, or does not fit.
        """
        try:
            found = load_backbone(config, writes=True)
        except BackboneError as error:
            said = str(error).replace("backbone.id", "generator.id")
            said = said.replace(
                TRUST_HINT, "code of its own is never run for what writes texts; choose another generator.id"
            )
            raise BackboneError(f"what writes texts: {said}") from None
        network = found.network.to(device)
        words = f"{found.tokenizer.backend_tokenizer.to_str()} {found.tokenizer.eos_token} {found.tokenizer.bos_token}"
        fingerprint = hashlib.sha256(f"{found.fingerprint} {words}".encode()).hexdigest()
        return cls(network, found.tokenizer, lora, config.max_length, fingerprint)

    @torch.no_grad()
    def _require_causal(self) -> None:
        """Refuse a network whose scores for a token depend on later ones: it would learn to copy, not to write."""
        device, words = self.network.device, self.network.get_input_embeddings().num_embeddings
        one = torch.arange(8, device=device)[None] % words
        other = one.clone()
        other[0, -1] = (one[0, -1] + 1) % words
        first, second = (self.network(input_ids=ids, use_cache=False).logits[:, :-1] for ids in (one, other))
        if (first - second).abs().max() > LATER_WORDS * first.abs().max():
            raise BackboneError(
                f"what writes texts ({type(self.network).__name__}) reads what comes after and cannot continue texts; "
                "set generator.id to a causal language model"
            )

    def prompt(self, name: str) -> list[int]:
        """Return the tokens that a text of a class begins after.

        Raises:
            BackboneError: with a text after them they are more than the network has positions for.
        """
        found = [self.start, *self.tokenizer(f"{name}:", add_special_tokens=False)["input_ids"]]
        places = positions(self.network)
        if places is not None and len(found) + self.length + 1 > places:
            raise BackboneError(
                f"what writes texts has {places} positions; {len(found)} for '{name}' and {self.length} for its text "
                f"do not fit; set backbone.max_length={max(places - len(found) - 1, 0)} or less, or choose another "
                "generator.id"
            )
        return found

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
            Perplexity of the texts in the first pass over them and in the last, dropout on.
        """
        prompts = {name: self.prompt(name) for name in {name for name, _ in examples}}
        tokens = []
        for name, text in examples:
            ids = self.tokenizer(f" {text}", add_special_tokens=False)["input_ids"][: self.length]
            tokens.append((prompts[name], [*ids, self.end]))

        def loss(indices: Tensor) -> tuple[Tensor, float]:
            return self._loss([tokens[i] for i in indices.tolist()])

        with drawing_from(lesson.seed):
            self.adapters.open_task(task, self.lora)
            self.adapters.use(task)
            practice = Practice(
                what=f"learn to write {task}",
                parameters=self.adapters.named_open(),
                loss=loss,
                examples=len(tokens),
                epochs=drill.epochs,
                learning_rate=drill.learning_rate,
                batch_size=drill.batch_size,
            )
            self.network.train()
            nats = lesson.practise(practice, lesson.progress)
            self.network.eval()
        learned = all(bool(matrix.isfinite().all()) for matrix in self.adapters.parameters())
        if not (learned and math.isfinite(nats[-1])):
            self.adapters.delete(task)
            raise TrainingError(
                f"what writes texts diverged while it learned task {lesson.position + 1}; set a smaller "
                f"generator.learning_rate (now {drill.learning_rate:g})"
            )
        with torch.no_grad():  # the main process's slot is everyone's, should their arithmetic differ in a last bit
            trained = [parameter.data for parameter in self.adapters.parameters()]
            if not lesson.processes.main:
                for matrix in trained:
                    matrix.zero_()
            lesson.processes.sum(trained)
        self.adapters.commit()
        return math.exp(min(nats[0], 99)), math.exp(min(nats[-1], 99))

    def _loss(self, tokens: Sequence[tuple[list[int], list[int]]]) -> tuple[Tensor, int]:
        """Return the summed surprise of the texts' tokens, and how many they are."""
        width = max(len(prompt) + len(text) for prompt, text in tokens)
        ids = torch.full((len(tokens), width), self.end)
        wanted = torch.full((len(tokens), width), NOT_SCORED)
        inside = torch.zeros(len(tokens), width, dtype=torch.long)
        for row, (prompt, text) in enumerate(tokens):
            both = len(prompt) + len(text)
            ids[row, :both] = torch.tensor(prompt + text)
            wanted[row, len(prompt) : both] = torch.tensor(text)
            inside[row, :both] = 1
        device = self.network.device
        scores = self.network(input_ids=ids.to(device), attention_mask=inside.to(device), use_cache=False).logits
        wanted = wanted[:, 1:].to(device)
        loss = F.cross_entropy(scores[:, :-1].float().transpose(1, 2), wanted, ignore_index=NOT_SCORED, reduction="sum")
        return loss, int((wanted != NOT_SCORED).sum())

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
        settings = GenerationConfig(
            do_sample=True,
            top_k=top_k,
            temperature=temperature,
            max_new_tokens=self.length,
            pad_token_id=self.end,
            eos_token_id=self.end,
        )
        begun = torch.tensor(self.prompt(name), device=self.network.device)
        texts: list[str] = []
        with self.adapters.using(task), lesson.autocast():
            while len(texts) < count:
                ids = begun.expand(min(TEXTS_AT_ONCE, count - len(texts)), -1)
                written = self.network.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
                for row in written[:, len(begun) :].tolist():
                    own = row[: row.index(self.end)] if self.end in row else row
                    texts.append(self.tokenizer.decode(own, skip_special_tokens=True).strip())
                wrote(len(ids))
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
        for name in self.adapters.names:
            self.adapters.delete(name)
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


@contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """Let the network draw from a seed; the run's own random numbers go on as if undisturbed."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
