"""A masked language model out of a frozen encoder: what word stands behind a mask, and texts rewritten word by word."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import MODEL_FOR_MASKED_LM_MAPPING, AutoModelForMaskedLM, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from plora.adapters import Route
from plora.backbones import quiet_loading
from plora.errors import RunError
from plora.generators.word_statistics import frame
from plora.lesson import Lesson
from plora.model import ContinualModel
from plora.problems import TextClassification
from plora.problems.text_classification import TokenizedTexts, texts_of

FIRST_SHARE, LATER_SHARE = 0.8, 0.3
"""How much of a text is masked in the first sweep, and in each later one."""
FIRST_GROUPS = 2
"""The words masked in the first sweep are filled in so many groups, each of which reads those filled before."""
LIKELIEST = 50
"""A word is drawn from so many."""
TOKENS_AT_ONCE = 2048
FITTED_TEXTS, CHECKED_TEXTS = 500, 200
"""Of one task, as many training texts are read to fit a head, and as many validation texts to choose and check it."""
PLACES_AT_ONCE = 1024
SHRINKAGES, SHARPNESSES = (0.1, 1.0, 10.0), (0.0, 0.1, 0.3, 1.0)
_SUMS = ("x", "xx", "xe", "counts")


class WordHead(ABC):
    """Scores words at masked places.

    Attributes:
        vocabulary: `[K]` token ids of the words that can stand there.
    """

    vocabulary: Tensor

    @abstractmethod
    def scores(self, states: Tensor, neighbours: Tensor) -> Tensor:
        """Return log p(v | place) `[n, K]`, up to a constant per place.

        Args:
            states: `[n, d]` last hidden states of the bare network.
            neighbours: `[n, 2]` ids of the tokens before and after.
        """


class OwnHead(WordHead):
    """The head that a pretrained network was trained with, read from its own checkpoint."""

    def __init__(self, network: nn.Module, vocabulary: Tensor) -> None:
        self.network, self.vocabulary = network, vocabulary

    @classmethod
    def of(cls, model: ContinualModel, vocabulary: Tensor) -> "OwnHead | None":
        """Load it from where the backbone came from; None where its weights are not there."""
        config = _network(model).config
        folder = Path(config.name_or_path)
        if type(config) not in MODEL_FOR_MASKED_LM_MAPPING or not (folder / "config.json").is_file():
            return None
        with quiet_loading():
            network, report = AutoModelForMaskedLM.from_pretrained(
                folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, local_files_only=True
            )
        base = network.base_model_prefix
        if any(not name.startswith(f"{base}.") for name in report["missing_keys"]):
            return None  # transformers filled the head with random numbers
        setattr(network, base, _HandsOn())
        return cls(network.eval().requires_grad_(False).to(model.device), vocabulary.to(model.device))

    def scores(self, states: Tensor, neighbours: Tensor) -> Tensor:
        """Return the logits of the words."""
        logits: Tensor = self.network(inputs_embeds=states.unsqueeze(0)).logits
        return logits[0, :, self.vocabulary].float()


class _HandsOn(nn.Module):
    """Stands where the encoder was: hands on the hidden states that it is given."""

    def forward(self, *_: object, inputs_embeds: Tensor, **__: object) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=inputs_embeds)


class FittedHead(WordHead):
    """score_v = β · log N(x; x̄ + M (e_v − ē), Σ) + log p(v), solved; equal up to a constant per place.

    x = (h, e_left, e_right): the hidden state at the masked place, and the input embeddings of its neighbours, `[D]`;
    e_v the input embedding of word v, `[d]`. M is the ridge regression of x on e, Σ the covariance of what it leaves,
    p(v) the share of v among all masked words. Needs the sums Σ x, Σ x xᵀ, Σ x eᵀ and the counts of the words alone.
    A sentence encoder says little about a word that it does not see: hence the neighbours.

    Args:
        sums: what `Sums.tensors` holds.
        embeddings: `[V, d]`, frozen.
        shrinkage: ridge of M and of Σ, each in units of the mean of the diagonal that it is added to.
        sharpness: β; 0 leaves the shares.
    """

    def __init__(self, sums: Mapping[str, Tensor], embeddings: Tensor, shrinkage: float, sharpness: float) -> None:
        self.vocabulary = sums["counts"].nonzero().squeeze(1).to(embeddings.device)
        counts = sums["counts"][self.vocabulary.cpu()].double()
        n, words = counts.sum(), embeddings[self.vocabulary].double().cpu()
        x, e = sums["x"].double() / n, counts @ words / n
        xx = sums["xx"].double() / n - x.outer(x)
        xe = sums["xe"].double() / n - x.outer(e)
        ee = (words.T * counts) @ words / n - e.outer(e)
        self.M = torch.linalg.solve(_shrunk(ee, shrinkage), xe.T).T
        self.covariance = _shrunk(xx - self.M @ xe.T - xe @ self.M.T + self.M @ ee @ self.M.T, shrinkage)
        self.mean = x
        A = torch.linalg.solve(self.covariance, self.M)
        apart = words - e
        self.log_shares = (counts / n).log()
        bias = -0.5 * ((apart @ (self.M.T @ A)) * apart).sum(1) * sharpness + self.log_shares
        self._apart, self._A, self._bias, self._mean = (
            part.float().to(embeddings.device) for part in (apart, sharpness * A, bias, x)
        )
        self._embeddings = embeddings

    def scores(self, states: Tensor, neighbours: Tensor) -> Tensor:
        """Return the scores of the words that were seen."""
        x = evidence(states, neighbours, self._embeddings) - self._mean
        return x @ self._A @ self._apart.T + self._bias


def _shrunk(matrix: Tensor, shrinkage: float) -> Tensor:
    return matrix + shrinkage * matrix.diagonal().mean() * torch.eye(len(matrix), dtype=matrix.dtype)


def evidence(states: Tensor, neighbours: Tensor, embeddings: Tensor) -> Tensor:
    """Return what a fitted head reads of each place, `[n, D]`."""
    return torch.cat([states, embeddings[neighbours[:, 0]], embeddings[neighbours[:, 1]]], dim=1)


@dataclass
class MaskedLanguage:
    """A frozen encoder that fills masks: by its own head, or by one fitted to the training texts of all tasks so far.

    Args:
        sums: of the fitted head; empty before the first task, and where the network has its own.
        head: of the task that is being learned.
        accuracy, baseline: share of masked words of its validation texts that are the likeliest, by the head and by
            the most frequent word alone.
    """

    sums: dict[str, Tensor]
    head: WordHead | None = None
    accuracy: float = 0.0
    baseline: float = 0.0

    def learn(self, model: ContinualModel, lesson: Lesson) -> None:
        """Take the network's own head, or fit one to the task's training texts, labels unread, and to earlier sums."""
        problem = of_texts(model)
        generator = torch.Generator().manual_seed(lesson.seed)
        read, validation = texts_of(lesson.train), texts_of(lesson.validation)
        own = _without_special(problem, model)
        self.head = OwnHead.of(model, own)
        embeddings = _embeddings(model)
        chosen = torch.randperm(len(read), generator=generator)[:FITTED_TEXTS].sort().values.numpy()
        words = _Places.of(model, lesson, read.subset(chosen), generator) if self.head is None else None
        validation = validation.subset(np.arange(min(len(validation), CHECKED_TEXTS)))
        checked = _Places.of(model, lesson, validation, generator)
        if words is not None:
            self.sums = words.added_to(self.sums, embeddings)
            heads = [
                FittedHead(self.sums, embeddings, *setting)
                for setting in [(shrinkage, sharpness) for shrinkage in SHRINKAGES for sharpness in SHARPNESSES]
            ]
            surprises = [checked.surprise(head) for head in heads]
            self.head = heads[int(np.argmin(surprises))]
        assert self.head is not None
        self.accuracy = checked.accuracy(self.head)
        common = read.ids[~np.isin(read.ids, frame(problem))] if words is None else words.words.numpy()
        commonest = int(np.bincount(common, minlength=1).argmax())  # texts may be too short for any mask
        self.baseline = int((checked.words == commonest).sum()) / max(len(checked.words), 1)

    def rewrite(
        self,
        model: ContinualModel,
        lesson: Lesson,
        texts: TokenizedTexts,
        leanings: Tensor,
        sources: NDArray[np.int64],
        sweeps: int,
    ) -> TokenizedTexts:
        """Mask words and fill them again, sweep by sweep; special tokens and lengths stay.

            v ~ softmax over the 50 largest of: score_v + log p(v | c) − log p(v)

        Args:
            model: with the frozen network.
            lesson: decides what is drawn.
            texts: N to begin with.
            leanings: `[S, K]` what is added to the scores for each class.
            sources: `[N]` the class of each text.
            sweeps: the first masks `FIRST_SHARE` of the words, each later one `LATER_SHARE`.
        """
        assert self.head is not None
        device, mask = model.device, of_texts(model).tokenizer.mask_token_id
        generator = torch.Generator().manual_seed(lesson.seed)  # draws the same for any device
        leanings, ids = leanings.to(device), texts.ids.copy()
        done = 0
        for indices in _batches(texts):
            batch = {name: tensor.to(device) for name, tensor in texts.collate(indices).items()}
            words, tokens = _words(batch, of_texts(model)), batch["input_ids"]
            of_class = torch.from_numpy(sources[indices]).to(device)
            for sweep in range(sweeps):
                groups = 1 if sweep else FIRST_GROUPS
                masked = words & (_random(tokens, generator) < (LATER_SHARE if sweep else FIRST_SHARE))
                group = (_random(tokens, generator) * groups).long()
                tokens[masked] = mask
                for number in range(groups):
                    where = masked & (group == number)
                    if not where.any():
                        continue
                    states, neighbours = _read(model, lesson, batch, where)
                    scores = self.head.scores(states, neighbours) + leanings[of_class[where.nonzero()[:, 0]]]
                    best, places = scores.topk(min(LIKELIEST, scores.shape[1]), dim=1)
                    drawn = torch.multinomial(best.softmax(dim=1).cpu(), 1, generator=generator).to(device)
                    tokens[where] = self.head.vocabulary[places.gather(1, drawn).squeeze(1)]
            for index, row, length in zip(indices, tokens.cpu().numpy(), texts.lengths[indices], strict=True):
                ids[texts.starts[index] : texts.starts[index] + length] = row[:length]
            done += len(indices)
            lesson.progress("write old texts", done, len(texts))
        return replace(texts, ids=ids)

    def state(self) -> dict[str, Tensor]:
        """Return the sums."""
        return dict(self.sums)

    @classmethod
    def restored(cls, state: Mapping[str, Tensor], model: ContinualModel) -> "MaskedLanguage":
        """Return a model with sums that were kept.

        Raises:
            RunError: a tensor is missing or does not fit the network.
        """
        if not state:
            return cls({})
        V, d = _embeddings(model).shape
        D = 2 * d + model.head.features
        for name, shape in zip(_SUMS, ((D,), (D, D), (D, d), (V,)), strict=True):
            if name not in state or state[name].shape != shape:
                raise RunError(f"the stored sums have no '{name}' of shape {list(shape)}")
        return cls({name: state[name] for name in _SUMS})


@dataclass(frozen=True)
class _Places:
    """Masked places of some texts: what is read there, `[n, d]` and `[n, 2]`, and `[n]` which word it was."""

    states: Tensor
    neighbours: Tensor
    words: Tensor

    @classmethod
    def of(cls, model: ContinualModel, lesson: Lesson, texts: TokenizedTexts, generator: torch.Generator) -> "_Places":
        """Mask between the shares of the later and of the first sweep of each text, and read."""
        mask, found = of_texts(model).tokenizer.mask_token_id, []
        for indices in _batches(texts):
            batch = texts.collate(indices)
            share = LATER_SHARE + (FIRST_SHARE - LATER_SHARE) * torch.rand(len(indices), 1, generator=generator)
            where = _words(batch, of_texts(model)) & (_random(batch["input_ids"], generator) < share)
            words = batch["input_ids"][where]
            batch["input_ids"][where] = mask
            batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
            found.append((*_read(model, lesson, batch, where.to(model.device)), words))
        return cls(*map(torch.cat, zip(*found, strict=True)))

    def added_to(self, sums: Mapping[str, Tensor], embeddings: Tensor) -> dict[str, Tensor]:
        """Return sums with these places in them: computed in float64, kept in float32."""
        x = evidence(self.states, self.neighbours, embeddings).double().cpu()
        e = embeddings[self.words.to(embeddings.device)].double().cpu()
        counts = torch.bincount(self.words, minlength=len(embeddings))
        own = {"x": x.sum(0), "xx": x.T @ x, "xe": x.T @ e, "counts": counts}
        if not sums:
            return {name: own[name].float() if name != "counts" else counts for name in _SUMS}
        return {name: (sums[name].to(own[name].dtype) + own[name]).to(sums[name].dtype) for name in _SUMS}

    def surprise(self, head: WordHead) -> float:
        """Return mean −log p of the words that a head knows."""
        found = [-scores.log_softmax(1).gather(1, place[:, None]) for scores, place in self._scored(head)]
        return float(torch.cat(found).mean())

    def accuracy(self, head: WordHead) -> float:
        """Return the share of words that are the likeliest by a head; one that it does not know is a miss."""
        right = sum(int((scores.argmax(1) == place).sum()) for scores, place in self._scored(head))
        return right / max(len(self.words), 1)  # of few and short texts no word may have been masked

    def _scored(self, head: WordHead) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield scores `[n, K]` at places whose word a head knows, and `[n]` where the word is in its vocabulary."""
        words = self.words.to(head.vocabulary.device)
        place = torch.searchsorted(head.vocabulary, words).clamp(max=len(head.vocabulary) - 1)
        for known in torch.split((head.vocabulary[place] == words).nonzero().squeeze(1), PLACES_AT_ONCE):
            yield head.scores(self.states[known], self.neighbours[known]), place[known]


def of_texts(model: ContinualModel) -> TextClassification:
    """Return the problem of a model that reads texts and knows a mask token.

    Raises:
        RunError: it does not.
    """
    problem = model.problem
    if not isinstance(problem, TextClassification) or problem.tokenizer.mask_token_id is None:
        raise RunError(
            "generator 'mlm' needs an encoder of texts whose tokenizer has a mask token, and this backbone has none; "
            "choose one such as distilbert/distilbert-base-uncased, or another method"
        )
    return problem


def _without_special(problem: TextClassification, model: ContinualModel) -> Tensor:
    special = torch.tensor(sorted({*problem.tokenizer.all_special_ids}))
    ids = torch.arange(min(len(problem.tokenizer), len(_embeddings(model))))
    return ids[~torch.isin(ids, special)]


def _embeddings(model: ContinualModel) -> Tensor:
    embeddings = _network(model).get_input_embeddings()
    assert isinstance(embeddings, nn.Embedding)
    return embeddings.weight.detach().float()


def _network(model: ContinualModel) -> PreTrainedModel:
    assert isinstance(model.backbone, PreTrainedModel)
    return model.backbone


def _words(batch: Mapping[str, Tensor], problem: TextClassification) -> Tensor:
    """Return where a batch has words, `[B, T]` bool."""
    special = torch.from_numpy(frame(problem)).to(batch["input_ids"].device)
    return batch["attention_mask"].bool() & ~torch.isin(batch["input_ids"], special)


@torch.no_grad()
def _read(model: ContinualModel, lesson: Lesson, batch: Mapping[str, Tensor], where: Tensor) -> tuple[Tensor, Tensor]:
    """Return the bare network's states, and the neighbouring tokens, at some places of a batch."""
    bare: AbstractContextManager[None] = nullcontext()
    if model.adapters is not None:
        bare = model.adapters.switch.using(Route())
    with lesson.autocast(), bare:
        states = model.backbone(**batch).last_hidden_state.float()
    ids = batch["input_ids"]
    around = torch.stack([ids.roll(1, dims=1), ids.roll(-1, dims=1)], dim=2)
    return states[where], around[where]


def _random(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=generator).to(like.device)


def _batches(texts: TokenizedTexts) -> Iterator[NDArray[np.int64]]:
    """Yield positions of texts of about one length, so many that a batch is at most `TOKENS_AT_ONCE` tokens wide."""
    order = np.argsort(texts.lengths, kind="stable")
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and (end + 1 - start) * texts.lengths[order[end]] <= TOKENS_AT_ONCE:
            end += 1
        yield order[start:end]
        start = end
