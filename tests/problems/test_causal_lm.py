"""Causal language models: what is predicted, from what, and how it is counted."""

from pathlib import Path

import numpy as np
import pytest
import torch
from reference.continuing import nats_of_tokens
from tiny_writers import SHAPES, TEXTS, around, load, network, write

from plora.problems import CausalLM
from plora.streams.documents import Documents
from plora.testing import check_problem

SPLIT = Documents(TEXTS)


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
    check_problem(*(lambda pair: (pair[0], SPLIT, pair[1]))(load(gpt2, packing=packing)))


@pytest.mark.parametrize("kind", sorted(SHAPES))
@pytest.mark.parametrize("context", [0, 5, 15])
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
