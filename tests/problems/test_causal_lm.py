"""Causal language models: what is predicted, from what, and how it is counted."""

from pathlib import Path

import numpy as np
import pytest
import torch
from reference.continuing import nats_of_tokens
from tiny_writers import SHAPES, TEXTS, around, load, network, write

from plora.errors import BackboneError
from plora.problems import CausalLM
from plora.streams.documents import Documents
from plora.testing import check_problem

SPLIT = Documents(TEXTS)
LLAMA = SHAPES["llama"]


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("gpt2"))


@torch.no_grad()
def scored(problem: CausalLM, network: torch.nn.Module, size: int) -> dict[str, np.ndarray]:
    """What is measured of `TEXTS` in batches of a size."""
    examples = problem.encode(SPLIT)
    found = []
    for first in range(0, len(examples), size):
        batch = examples.collate(np.arange(first, min(first + size, len(examples))))
        outputs = problem.outputs(problem.run(network, batch.inputs, {}), None)
        found.append(problem.measure(outputs, batch, np.ones(0, np.bool_)))
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}


@pytest.mark.parametrize("packing", [True, False])
def test_it_conforms(gpt2: Path, packing: bool) -> None:
    problem, made = load(gpt2, packing=packing)
    check_problem(problem, SPLIT, made)


@pytest.mark.parametrize(
    ("kind", "context"), [("gpt2", 0), ("gpt2", 15), ("gpt2", 5), ("llama", 5), ("mistral", 5), ("qwen2", 5)]
)
def test_each_token_is_scored_once_however_documents_are_batched(kind: str, context: int) -> None:
    made = network(kind)
    packed, apart = (around(made, context=context, packing=packing) for packing in (True, False))
    examples = packed.encode(SPLIT)
    texts = np.split(examples.ids, np.cumsum(examples.lengths)[:-1])
    expected = [nats_of_tokens(made, [0, *text.tolist()], 16, context) for text in texts]
    for problem in (packed, apart):
        for size in (1, 3, 128):
            found = scored(problem, made, size)
            np.testing.assert_allclose(found["nll"], [sum(one) for one in expected], rtol=1e-5)
            assert found["tokens"].tolist() == [len(one) for one in expected]
            assert found["bytes"].tolist() == [len(text.encode()) for text in TEXTS]


@pytest.mark.parametrize("kind", sorted(SHAPES))
@torch.no_grad()
def test_documents_in_one_row_do_not_see_each_other(kind: str) -> None:
    made = network(kind)
    problem = around(made, width=64)
    states = []
    for first in ("abc", "xyz"):  # as many tokens
        examples = problem.encode(Documents((first, "and next")))
        batch = examples.collate(np.arange(2), draw=0)
        assert batch.inputs["input_ids"].shape[0] == 1
        states.append((batch, problem.run(made, batch.inputs, {}).states))
    (batch, one), (_, other) = states
    owner, inside = batch.targets["owner"], batch.inputs["attention_mask"].bool()
    changed = (one != other).any(-1)
    assert not changed[(owner == 1) & inside].any()
    assert changed[(owner == 0) & inside].any()


def test_learned_a_document_ends_and_every_token_counts_once(gpt2: Path) -> None:
    problem, _ = load(gpt2)
    examples = problem.encode(SPLIT)
    batch = examples.collate(np.arange(len(examples)), draw=0)
    labels, owner = batch.targets["labels"], batch.targets["owner"]
    for document, length in enumerate(examples.lengths.tolist()):
        start = examples.starts[document]
        expected = [*examples.ids[start : start + length].tolist(), 0]
        own = labels[(owner == document) & (labels >= 0)]
        assert sorted(own.tolist()) == sorted(expected)
    assert batch.weights == {"nats": int(examples.lengths.sum()) + len(examples)}
    assert (batch.inputs["input_ids"].shape[1]) <= 16


def test_an_empty_document_has_no_token_that_is_scored(gpt2: Path) -> None:
    problem, made = load(gpt2)
    examples = problem.encode(Documents(("", "a b")))
    batch = examples.collate(np.arange(2))
    columns = problem.measure(problem.outputs(problem.run(made, batch.inputs, {}), None), batch, np.ones(0, np.bool_))
    assert columns["nll"][0] == columns["tokens"][0] == columns["bytes"][0] == 0 < columns["nll"][1]
    assert examples.collate(np.arange(1), draw=0).weights == {"nats": 1}  # its end is learned


@torch.no_grad()
def test_bytes_do_not_depend_on_the_words_and_likelihoods_are_comparable() -> None:
    """Networks that find all words alike: ln V nats for each token, whatever the words."""
    for words in (257, 300):
        made = network("gpt2", words)
        made.transformer.ln_f.weight.zero_()
        found = scored(around(made, words=words), made, 3)
        assert found["bytes"].tolist() == [len(text.encode()) for text in TEXTS]
        np.testing.assert_allclose(found["nll"], found["tokens"] * np.log(words), rtol=1e-6)
        assert (found["tokens"] == found["bytes"]).all() == (words == 257)  # bytes alone, or pairs of them too


def test_what_looks_like_the_end_of_a_text_is_text(gpt2: Path) -> None:
    problem, _ = load(gpt2)
    assert 0 not in problem.encode(Documents(("the end <|end|> is",))).ids


@pytest.mark.parametrize(
    ("kind", "more", "width", "message"),
    [
        (
            "gemma2",
            {**LLAMA, "head_dim": 8, "final_logit_softcapping": 3.0},
            16,
            r"final_logit_softcapping=3.0\), which are",
        ),
        ("cohere", {**LLAMA, "logit_scale": 0.5}, 16, r"logit_scale=0.5"),
        ("gpt2", {}, 128, r"max_length=128, but .* has 64 positions; set backbone.max_length=64 or less"),
        ("bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 2}, 16, r"set problem.packing=false"),
    ],
)
def test_networks_that_do_not_fit_are_refused(
    tmp_path: Path, kind: str, more: dict[str, object], width: int, message: str
) -> None:
    folder = write(tmp_path, kind, **more)
    with pytest.raises(BackboneError, match=message):
        load(folder, width)
    if kind == "bloom":  # it tells documents apart where each has a row
        load(folder, width, packing=False)


@pytest.mark.parametrize(("kind", "tied"), [("gpt2", True), ("llama", True), ("llama", False)])
def test_loss_and_gradients_are_those_of_transformers(kind: str, tied: bool) -> None:
    made = network(kind, tie_word_embeddings=tied)
    problem = around(made, width=64)
    examples = problem.encode(Documents(("the cat sat on the mat",)))
    batch = examples.collate(np.arange(1), draw=0)
    found = problem.losses(problem.outputs(problem.run(made, batch.inputs, {}), None), batch, torch.ones(0, 0))["nats"]
    ids = torch.tensor([[0, *examples.ids.tolist(), 0]])
    expected = made(input_ids=ids, labels=ids).loss
    torch.testing.assert_close(found / batch.weights["nats"], expected)
    parameters = [*made.parameters()]
    gradients = torch.autograd.grad(found / batch.weights["nats"], parameters)
    for got, wanted in zip(gradients, torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)
