"""What a problem promises."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel
from transformers.modeling_outputs import BaseModelOutput

from plora.problems import EncodedInputs, Examples, LabelledExamples, Problem
from plora.results import Score
from plora.streams.base import Split, TextInput, Texts
from plora.testing.examples import check_examples
from plora.testing.promises import Promises
from plora.testing.tiny import WIDTH, own_random_numbers


@own_random_numbers()
def check_problem(problem: Problem, texts: Sequence[TextInput] | Split, network: nn.Module | None = None) -> None:
    """Check that a problem turns inputs into batches and features as the loop expects it.

    - encoding the same split again gives the same, and labels have no part in it;
    - a batch is as wide as its longest input, and holds the inputs in the order that was asked for;
    - the features of an input depend neither on padding, nor on the rest of the batch, nor on its place there;
    - features are finite `[B, d]`, and gradients pass through them to the backbone;
    - splits that follow one another encode as each by itself; some inputs of a split, and inputs that were kept as
      tensors, stay as they are;
    - the fingerprint is one sha256, the same at every call.

    Of a problem whose network answers by itself, on a split and a network of its own: what is random is decided by the
    draw; losses and weights of micro-batches add up, and reach the network; its record takes what it measures.

    Args:
        problem: with the settings to test.
        texts: three inputs or more that it can take, of different lengths; or a split.
        network: in eval mode, for a split: what takes the problem's batches.

    Raises:
        ConformanceError: the first promise that is broken.
    """
    promises = Promises(f"problem {type(problem).__name__}")
    score = getattr(problem, "score", None)
    promises.keep(isinstance(score, Score), "it says what its score is", repr(score), "a Score")
    promises.keep(
        problem.score.name in problem.record.scores, "its record gives its score", score, problem.record.scores
    )
    first, second = problem.fingerprint(), problem.fingerprint()
    promises.keep(first == second and len(first) == 64, "its fingerprint is one sha256", f"{first}, {second}", "one")
    if isinstance(texts, Split):
        assert network is not None, "a split is checked on a network that takes its batches"
        check_examples(problem, texts, network)
        return
    with promises.no_error("it encodes these texts"):
        encoded = _inputs(problem.encode(_split(texts)))
    _check_encoding(promises, problem, encoded, texts)
    _check_features(promises, problem, encoded)
    _check_kept(promises, problem, encoded)


def _check_kept(promises: Promises, problem: Problem, encoded: EncodedInputs) -> None:
    everything = np.arange(len(encoded))
    batch, turned = encoded.collate(everything), everything[::-1].copy()
    some = encoded.subset(turned)
    promises.keep(len(some) == len(encoded), "a subset has what was asked for", len(some), len(encoded))
    expected = {name: tensor.flip(0) for name, tensor in batch.items()}
    _same_batch(promises, "inputs of a subset stay as they are", some.collate(everything), expected)
    with promises.no_error("inputs that were kept as tensors come back"):
        stored = LabelledExamples(encoded, everything).tensors()
        kept = _inputs(problem.restored({name: tensor.clone() for name, tensor in stored.items()}))
    _same_batch(promises, "inputs that were kept as tensors stay as they are", kept.collate(everything), batch)


def _check_encoding(promises: Promises, problem: Problem, encoded: EncodedInputs, texts: Sequence[TextInput]) -> None:
    number, everything = len(texts), np.arange(len(texts))
    lengths = encoded.lengths
    promises.keep(lengths.shape == (number,), "lengths are [N]", list(lengths.shape), [number])
    promises.keep(bool((lengths > 0).all()), "every input costs something", lengths.tolist(), "lengths above 0")
    promises.keep(len(set(lengths.tolist())) > 1, "the texts differ in length", lengths.tolist(), "several lengths")
    promises.keep(0 <= encoded.truncated <= number, "truncated counts inputs", encoded.truncated, f"0 to {number}")
    batch = encoded.collate(everything)
    for name, again in (
        ("encoding twice gives the same", _inputs(problem.encode(_split(texts)))),
        ("labels have no part in the inputs", _inputs(problem.encode(Texts(tuple(texts), everything % 2)))),
        ("splits that follow one another stay as they are", encoded.followed_by([encoded])),
    ):
        _same_batch(promises, name, again.collate(everything), batch)
    joined = encoded.followed_by([encoded])
    promises.keep(len(joined) == 2 * number, "splits follow one another", len(joined), 2 * number)
    _same_batch(promises, "splits that follow one another stay as they are", joined.collate(everything + number), batch)
    turned = everything[::-1].copy()
    expected = {name: tensor.flip(0) for name, tensor in batch.items()}
    _same_batch(promises, "a batch is in the order that was asked for", encoded.collate(turned), expected)
    short = np.flatnonzero(lengths < lengths.max())
    for name, tensor in encoded.collate(short).items():
        width = int(lengths[short].max())
        promises.keep(
            tensor.shape[:2] == (len(short), width),
            f"'{name}' of a batch is as wide as its longest input",
            list(tensor.shape),
            [len(short), width],
        )


def _check_features(promises: Promises, problem: Problem, encoded: EncodedInputs) -> None:
    everything = np.arange(len(encoded))
    network = _network(encoded)
    batch = _features(promises, problem, network, encoded, everything)
    shape = (len(encoded), batch.shape[-1])
    promises.keep(batch.shape == shape, "features are [B, d]", list(batch.shape), list(shape))
    promises.keep(bool(batch.isfinite().all()), "features are finite", "NaN or infinite values", "numbers")
    for index in everything:
        alone = _features(promises, problem, network, encoded, everything[index : index + 1])
        promise = "the features of an input depend neither on padding nor on the rest of the batch"
        _close(promises, promise, batch[index : index + 1], alone)
    turned = _features(promises, problem, network, encoded, everything[::-1].copy())
    _close(promises, "the features of an input do not depend on its place in the batch", turned.flip(0), batch)
    inputs = encoded.collate(everything)
    states = torch.randn(*inputs["input_ids"].shape, WIDTH).requires_grad_()
    features = problem.features(BaseModelOutput(last_hidden_state=states), inputs)
    assert features is not None
    promises.keep(features.requires_grad, "gradients pass through the features", "a constant", "a gradient")
    (gradient,) = torch.autograd.grad(features.sum(), states)
    promises.keep(
        bool(gradient.flatten(1).any(1).all()), "gradients pass through the features", "0 for an input", "another value"
    )


def _network(encoded: EncodedInputs) -> nn.Module:
    """A BERT of one layer with random weights, as large as these inputs need."""
    inputs = encoded.collate(np.arange(len(encoded)))
    config = BertConfig(
        vocab_size=int(inputs["input_ids"].max()) + 1,
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=2 * WIDTH,
        max_position_embeddings=inputs["input_ids"].shape[1],
    )
    network: nn.Module = BertModel(config, add_pooling_layer=False).eval()
    return network


@torch.no_grad()
def _features(
    promises: Promises, problem: Problem, network: nn.Module, encoded: EncodedInputs, indices: np.ndarray
) -> Tensor:
    inputs = encoded.collate(indices)
    with promises.no_error("a backbone takes its batches"):
        found = network(**inputs)
    with promises.no_error("features(found, inputs)"):
        features = problem.features(found, inputs)
    assert features is not None
    return features


def _inputs(examples: Examples) -> EncodedInputs:
    assert isinstance(examples, LabelledExamples)
    return examples.inputs


def _split(texts: Sequence[TextInput]) -> Split:
    return Texts(tuple(texts), np.zeros(len(texts), dtype=np.int64))


def _same_batch(promises: Promises, promise: str, got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    promises.keep(got.keys() == expected.keys(), promise, sorted(got), sorted(expected))
    for name, tensor in expected.items():
        promises.keep(torch.equal(got[name], tensor), promise, f"another '{name}'", "the same")


def _close(promises: Promises, promise: str, got: Tensor, expected: Tensor) -> None:
    difference = (got - expected).abs().max().item()
    promises.keep(difference < 1e-4, promise, f"features that differ by up to {difference:.2g}", "the same")
