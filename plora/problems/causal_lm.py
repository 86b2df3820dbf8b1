"""Documents that a causal language model continues, scored in nats per byte."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from plora.backbones import (
    Backbone,
    BackboneConfig,
    TextBackbone,
    load_backbone,
    new_text_backbone,
    positions,
    quiet_loading,
    save_text_backbone,
)
from plora.errors import AdapterError, BackboneError, DataError, RunError
from plora.moment import Moment
from plora.problems.base import Batch, Columns, Examples, Problem, stored
from plora.problems.encoded_documents import ARRAYS, LOSS, MARKS, NOT_SCORED, EncodedDocuments, Layout
from plora.problems.learned_words import words_of
from plora.problems.rendering import READ, Rendering, chat_template, not_writable
from plora.problems.settings import CHAT, CausalLMSettings, ProblemSettings
from plora.problems.tokenizer_state import tokenizer_state
from plora.problems.vocabulary_loss import likeliest, token_nats
from plora.results import SCORES, TokenLikelihoods
from plora.streams.base import Scenario, Split, Stream
from plora.streams.dialogues import Dialogue
from plora.streams.documents import Documents

_ROUNDING = 1e-4
"""What may differ, as a share of the largest number."""
_SHOWN = 150
"""Characters at each end of a part of a document that is shown."""
_SCALED = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")
"""Settings of networks that do something with the scores of words before they are compared."""


@dataclass(frozen=True)
class Continued:
    """What a language model makes of a batch, before words have scores.

    Args:
        states: `[W, T, d]`, in the type in which scores are computed.
        words: `[V, d]` the head's weight.
        bias: `[V]` of the head, or None.
    """

    states: Tensor
    words: Tensor
    bias: Tensor | None


class CausalLM(Problem):
    """L = − Σ log p(token | tokens before) over the tokens of documents; the network answers by itself.

    An example is a document. It is read after a token that begins a text, and what ends it is learned, but counts
    neither in nats nor in bytes when it is scored, so that networks with other words can be compared:

        nats per byte = Σ − log p(tokens of a text) / Σ bytes of it in UTF-8

    Of a document with answers these alone are learned, each with its end, and their texts alone count. Whether greedy
    decoding writes them to the letter needs no decoding: it does where the likeliest token is right at each place.

    Args:
        tokenizer: of the network.
        layout: how documents become rows.
        template: in which prompts and answers are written, in Jinja; None: one right after the other.
        score: name of what a cell of the matrix is.
    """

    record = TokenLikelihoods
    classifies: ClassVar[bool] = False
    items = "documents"
    size_key = "backbone.max_length"

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        layout: Layout,
        template: str | None = None,
        score: str = "nats_per_byte",
    ) -> None:
        self.tokenizer, self.layout, self.score = tokenizer, layout, SCORES[score]
        self.rendering = Rendering(tokenizer, template, layout.start, layout.end)

    @classmethod
    def load(cls, settings: ProblemSettings, config: BackboneConfig) -> TextBackbone:
        """Load a network with the head that continues texts, and its tokenizer.

        Raises:
            BackboneError: as `load_backbone`, or it has another head than words · states, no token that ends a text,
                or fewer positions than a row; or it sees later tokens, or in packed rows other documents.
        """
        if config.kind == "new":
            raise BackboneError("backbone.kind=new: a new network learns its words from a stream; none was given")
        return cls._checked(settings, config, load_backbone(config, writes=True))

    @classmethod
    def load_for(cls, settings: ProblemSettings, config: BackboneConfig, stream: Callable[[], Stream]) -> TextBackbone:
        """Load a network, or make one whose words are learned from the training texts of a stream.

        Raises:
            BackboneError: as `load`, or a new network has no `backbone.vocabulary`.
            DataError: the stream has no documents to learn words from.
        """
        if config.kind != "new":
            return cls.load(settings, config)
        tokenizer = words_of(stream(), config)
        return cls._checked(settings, config, new_text_backbone(config, tokenizer))

    @classmethod
    def around(cls, settings: ProblemSettings, backbone: Backbone, config: BackboneConfig, cache: Path | None) -> Self:
        """Return the problem on a network that `load` returned."""
        assert isinstance(settings, CausalLMSettings)
        assert isinstance(backbone, TextBackbone)
        tokenizer, width = backbone.tokenizer, config.max_length
        end = tokenizer.eos_token_id
        if end is None:
            raise BackboneError(
                f"the tokenizer of backbone '{config.label}' has no token that ends a text (eos_token), so none could "
                "be told from the next; add one to its files"
            )
        start = end if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        context = width // 2 if settings.context is None else settings.context
        if context >= width:
            raise BackboneError(
                f"problem.context={context} leaves nothing to predict in rows of backbone.max_length={width} tokens; "
                f"set it to {width - 1} or less"
            )
        template = chat_template(tokenizer, config.label) if settings.template == CHAT else settings.template
        layout = Layout(int(start), int(end), width, context, settings.packing)
        return cls(tokenizer, layout, template, settings.score)

    @classmethod
    def _checked(cls, settings: ProblemSettings, config: BackboneConfig, backbone: TextBackbone) -> TextBackbone:
        places = positions(backbone.network)
        if places is not None and config.max_length > places:
            raise BackboneError(
                f"backbone.max_length={config.max_length}, but '{config.label}' has {places} positions; set "
                f"backbone.max_length={places} or less"
            )
        _require_plain(cls.around(settings, backbone, config, None), backbone.network, config.label)
        return backbone

    def save(self, backbone: Backbone, folder: Path) -> None:
        """Write network and tokenizer as an ordinary `transformers` folder."""
        assert isinstance(backbone, TextBackbone)
        save_text_backbone(backbone, folder)

    def check(self, stream: Stream, scenario: Scenario) -> None:
        """Refuse splits without a byte, and documents without the answers that are asked for."""
        for task in stream.tasks:
            for name, split in task.splits():
                assert isinstance(split, Documents)
                if not any(split.texts):
                    raise DataError(f"task '{task.name}': every document of the {name} split is empty")
                asked = [text.answered if isinstance(text, Dialogue) else None for text in split.texts]
                if False in asked:
                    raise DataError(
                        f"task '{task.name}': document {asked.index(False) + 1} of the {name} split has no answer, so "
                        "nothing of it would be learned; leave it out"
                    )
                if None in asked and self.score == SCORES["exact_match"]:
                    raise DataError(
                        f"problem.score=exact_match needs answers, and document {asked.index(None) + 1} of the {name} "
                        f"split of task '{task.name}' is a text without one; set problem.score=nats_per_byte"
                    )

    def check_network(self, network: nn.Module) -> None:
        """Refuse slots in the head that gives words their scores: it is read piece by piece, as it is."""
        if not isinstance(network.get_output_embeddings(), nn.Linear):  # type: ignore[operator]
            raise AdapterError(
                "the head that gives words their scores is adapted, and problem 'causal_lm' computes these piece by "
                "piece from its weight alone; leave it out of lora.targets and modules"
            )

    def encode(self, split: Split, first_row: int = 0) -> EncodedDocuments:
        """Return the documents of a split as tokens; what looks like a special token in a text is text."""
        assert isinstance(split, Documents)
        plain = [text for text in split.texts if isinstance(text, str)]
        if len(plain) < len(split):
            return self._marked(split)
        bytes_ = []
        for number, text in enumerate(plain, start=1):
            try:
                bytes_.append(len(text.encode()))
            except UnicodeEncodeError as error:
                raise DataError(not_writable(number, error)) from None
        own = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}  # long ones are no news
        ids = [np.asarray(one, np.int32) for one in self.tokenizer(plain, **own)["input_ids"]]
        return EncodedDocuments(
            np.concatenate([np.empty(0, np.int32), *ids]),
            np.array([len(one) for one in ids], np.int64),
            np.array(bytes_, np.int64),
            self.layout,
            split.fingerprint(),
        )

    def _marked(self, split: Documents) -> EncodedDocuments:
        """Documents of which some have answers; a prompt that is too long loses its beginning, so that these stay."""
        found, too_long = [], 0
        for document, one in zip(split.texts, self.rendering.marked(split.texts), strict=True):
            over = 1 + len(one.ids) - self.layout.width
            if over > 0 and isinstance(document, Dialogue) and document.answered:
                too_long += 1
                lost = over if not one.marks[:over].any() else 0  # else it is cut into windows, as a text is
                one = one._replace(ids=one.ids[lost:], marks=one.marks[lost:])
            found.append(one)
        return EncodedDocuments(
            np.concatenate([one.ids for one in found]),
            np.array([len(one.ids) for one in found], np.int64),
            np.array([one.bytes for one in found], np.int64),
            self.layout,
            split.fingerprint(),
            np.concatenate([one.marks for one in found]),
            too_long,
        )

    def given(self, inputs: Sequence[object]) -> Documents:
        """Return texts as documents; with a template, as the prompts that it writes."""
        texts = tuple(text for text in inputs if isinstance(text, str))
        if len(texts) < len(inputs):
            raise DataError(f"expected texts, one for each document, got {type(inputs[0]).__name__}")
        if self.rendering.template is None:
            return Documents(texts)
        return Documents(tuple(Dialogue((("user", text),)) for text in texts))

    def shown(self, examples: Examples) -> str | None:
        """Return the tokens of the first document as text, what is learned in ⟦ ⟧; None where that is all of it."""
        if not isinstance(examples, EncodedDocuments) or examples.marks is None:
            return None
        length, decode = int(examples.lengths[0]), self.tokenizer.backend_tokenizer.decode
        ids = [self.layout.start, *examples.ids[:length].tolist(), self.layout.end]
        learned = [False, *(examples.marks[:length] != READ).tolist(), True]
        found = ""
        for is_learned, part in groupby(zip(learned, ids, strict=True), key=lambda one: one[0]):
            text = str(decode([token for _, token in part], skip_special_tokens=False))
            short = text if len(text) <= 2 * _SHOWN else f"{text[:_SHOWN]} … {text[-_SHOWN:]}"
            found += f"⟦{short}⟧" if is_learned else short
        return found

    def restored(self, tensors: Mapping[str, Tensor]) -> EncodedDocuments:
        """Return documents that were kept as tensors.

        Raises:
            RunError: a tensor is missing or has another type or length.
        """
        arrays = {name: tensor.numpy() for name, tensor in stored(tensors, ARRAYS, "documents").items()}
        lengths = arrays["lengths"]
        if int(lengths.sum()) != len(arrays["ids"]) or len(arrays["bytes"]) != len(lengths) or (lengths < 0).any():
            raise RunError("the parts of the stored documents differ in length")
        marks = None
        if MARKS in tensors:
            marks = stored(tensors, {MARKS: torch.uint8}, "documents")[MARKS].numpy()
            if len(marks) != len(arrays["ids"]):
                raise RunError("the parts of the stored documents differ in length")
        return EncodedDocuments(arrays["ids"], lengths, arrays["bytes"], self.layout, marks=marks)

    def run(
        self, network: nn.Module, inputs: Mapping[str, Tensor], asked: Mapping[str, bool], at: Moment | None = None
    ) -> Continued:
        """Run the network without the head that gives words their scores."""
        head = network.get_output_embeddings()  # type: ignore[operator]
        # In packed rows documents are told apart by positions, which `transformers` looks at where there is no mask.
        given = {name: tensor for name, tensor in inputs.items() if name != "attention_mask" or not self.layout.packing}
        with quiet_loading():  # it would warn that padding has no mask; what fills a row is seen by none
            states = network.base_model(**given, use_cache=False, **asked).last_hidden_state  # type: ignore[operator]
        device = states.device.type
        if torch.is_autocast_enabled(device):  # as the head itself would
            states = states.to(torch.get_autocast_dtype(device))
        return Continued(states, head.weight, head.bias)

    def features(self, found: Any, inputs: Mapping[str, Tensor]) -> None:  # noqa: ANN401  (as every problem has it)
        """Return none: the network answers by itself."""

    def outputs(self, found: Continued, scores: Tensor | None) -> dict[str, Tensor]:
        """Return `states` `[W, T, d]`, `words` `[V, d]`, and `bias` `[V]` where the head has one."""
        outputs = {"states": found.states, "words": found.words}
        return outputs if found.bias is None else {**outputs, "bias": found.bias}

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch, competing: Tensor) -> dict[str, Tensor]:
        """Return the summed `nats` of the tokens that count."""
        return {LOSS: _nats(outputs, batch)[0].sum()}

    def measure(self, outputs: Mapping[str, Tensor], batch: Batch, visible: NDArray[np.bool_]) -> Columns:
        """Return nats, tokens and bytes of each document, and of those with answers whether these are exact."""
        nats, counted = _nats(outputs, batch)
        owner = batch.targets["owner"][counted].cpu().numpy()
        found = nats.detach().double().cpu().numpy()
        number, asked = len(batch.targets["bytes"]), "texts" in batch.targets
        own = batch.targets["texts"][counted].cpu().numpy() if asked else np.ones(len(owner), np.bool_)
        columns: Columns = {
            "nll": np.bincount(owner[own], found[own], number),
            "tokens": np.bincount(owner[own], minlength=number).astype(np.int64),
            "bytes": batch.targets["bytes"].cpu().numpy(),
        }
        if asked:
            best = likeliest(outputs["states"][counted], outputs["words"], outputs.get("bias"))
            wrong = (best != batch.targets["labels"][counted]).cpu().numpy()
            columns["exact"] = np.bincount(owner, wrong, number) == 0
        return columns

    def mixed(self, each: Sequence[Columns]) -> Columns:
        """Return − log of the mean of p_k(document) = exp(− nats of model k), for each document.

        Which token the mean finds likeliest nobody has measured, so that no answer is said to be exact.
        """
        nats = np.stack([columns["nll"] for columns in each]).astype(np.float64)
        same = {name: each[0][name] for name in ("tokens", "bytes")}
        return {"nll": np.log(len(each)) - np.logaddexp.reduce(-nats, axis=0), **same}

    def measurements(
        self, task: NDArray[np.str_], example: NDArray[np.int32], columns: Columns, names: tuple[str, ...]
    ) -> TokenLikelihoods:
        """Return the record."""
        return TokenLikelihoods(task, example, **columns)  # type: ignore[arg-type]

    def fingerprint(self) -> str:
        """Return the sha256 of the tokenizer's whole state and of how documents become rows."""
        template = self.rendering.template
        told = (tokenizer_state(self.tokenizer), self.layout, *(() if template is None else (template,)))
        return hashlib.sha256("|".join(map(str, told)).encode()).hexdigest()


def _nats(outputs: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
    """− log p of each token that counts, and where these are predicted."""
    labels = batch.targets["labels"]
    counted = labels != NOT_SCORED
    return token_nats(outputs["states"][counted], outputs["words"], outputs.get("bias"), labels[counted]), counted


@torch.no_grad()
def _require_plain(problem: CausalLM, network: nn.Module, label: str) -> None:
    """Refuse a network whose scores are not words · states, that sees what comes later, or what stands beside."""
    head = network.get_output_embeddings()  # type: ignore[operator]
    if not isinstance(head, nn.Linear):
        raise BackboneError(
            f"backbone '{label}': {type(network).__name__} has no linear head that gives words their scores; choose a "
            "causal language model"
        )
    if any(parameter.is_meta for parameter in network.parameters()):
        return
    words = len(head.weight)
    one, other = (torch.arange(first, first + 4) * 17 % words for first in (1, 30))

    def states(*documents: Tensor) -> Tensor:
        inputs = {"input_ids": torch.cat(documents)[None]}
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        if problem.layout.packing:
            inputs["position_ids"] = torch.cat([torch.arange(len(document)) for document in documents])[None]
        return problem.run(network, inputs, {}).states[0]

    whole = states(one)
    scores = network(input_ids=one[None], attention_mask=torch.ones_like(one[None]), use_cache=False).logits[0]
    expected = nn.functional.linear(whole, head.weight, head.bias)
    if not _near(scores, expected):
        settings = getattr(network, "config", None)
        said = [f"{name}={value}" for name in _SCALED if (value := getattr(settings, name, None)) is not None]
        reason = f" ({', '.join(said)})" if said else ""
        raise BackboneError(
            f"backbone '{label}': {type(network).__name__} changes the scores of words after its head{reason}, which "
            "are computed piece by piece as weight · states here; choose a network that does not"
        )
    changed = torch.cat([one[:-1], (one[-1:] + 1) % words])
    if not _near(states(changed)[:-1], whole[:-1]):
        raise BackboneError(
            f"backbone '{label}': {type(network).__name__} sees tokens that come later, so it cannot be asked for the "
            "next one; choose a causal language model"
        )
    if problem.layout.packing and not _near(states(other, one)[len(other) :], whole):
        raise BackboneError(
            f"backbone '{label}': {type(network).__name__} does not tell documents in one row apart by their "
            "positions, so one would see the other; set problem.packing=false"
        )


def _near(found: Tensor, expected: Tensor) -> bool:
    return float((found - expected).abs().max()) <= _ROUNDING * float(expected.abs().max().clamp(min=1e-12))
