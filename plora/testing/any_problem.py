"""What a problem promises of any kind of inputs, on a network that is given."""

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from plora.problems import Batch, Examples, Problem
from plora.problems.base import Columns, Indices
from plora.streams.base import Split
from plora.testing.promises import Promises


def check_any(promises: Promises, problem: Problem, split: Split, network: nn.Module) -> None:
    """Check a problem whose network answers by itself; see `check_problem`."""
    with promises.no_error("it encodes this split"):
        examples, again = problem.encode(split), problem.encode(split)
    everything = np.arange(len(examples))
    promises.keep(len(examples) == len(split) >= 3, "it has all of three examples or more", len(examples), len(split))
    promises.keep(bool((examples.costs > 0).all()), "every example costs something", examples.costs.tolist(), "> 0")
    batch, turned = examples.collate(everything), everything[::-1].copy()
    _same(promises, "encoding twice gives the same", again.collate(everything), batch)
    joined = examples.followed_by([examples])
    promises.keep(len(joined) == 2 * len(examples), "splits follow one another", len(joined), 2 * len(examples))
    _same(promises, "splits that follow one another stay as they are", joined.collate(everything + len(split)), batch)
    subset = examples.subset(turned).collate(turned)
    _same(promises, "some examples of a split stay as they are", subset, batch)
    with promises.no_error("examples that were kept as tensors come back"):
        kept = problem.restored({name: tensor.clone() for name, tensor in examples.tensors().items()})
    _same(promises, "examples that were kept as tensors stay as they are", kept.collate(everything), batch)
    _check_draws(promises, examples, batch)
    _check_sums(promises, problem, examples, network)
    _check_gradients(promises, problem, batch, network)
    _check_measures(promises, problem, examples, network)


def _check_draws(promises: Promises, examples: Examples, batch: Batch) -> None:
    """What is random about an example is a function of the draw and of its position alone."""
    everything = np.arange(len(examples))
    drawn = examples.collate(everything, 7)
    _same(promises, "a draw decides all that is random", examples.collate(everything, 7), drawn)
    _same(promises, "what is scored is not random", examples.collate(everything), batch)
    if examples.fixed:
        _same(promises, "what is fixed is the same in every draw", drawn, batch)


@torch.no_grad()
def _check_sums(promises: Promises, problem: Problem, examples: Examples, network: nn.Module) -> None:
    """Losses and weights of micro-batches add up to those of the batch."""
    everything = np.arange(len(examples))
    for draw in (None, 7):
        whole, weights = _losses(promises, problem, examples.collate(everything, draw), network)
        unknown = sorted(whole.keys() - weights.keys())
        promises.keep(not unknown, "every loss has a weight", f"none of {unknown}", "one each")
        parts = [_losses(promises, problem, examples.collate(one, draw), network) for one in np.split(everything, [1])]
        for name, value in whole.items():
            summed, weight = sum(float(part[0][name]) for part in parts), sum(part[1][name] for part in parts)
            promises.keep(weight == weights[name], f"weights of '{name}' add up", weight, weights[name])
            close = bool(np.isclose(summed, float(value), rtol=1e-3, atol=1e-4))
            promises.keep(close, f"loss '{name}' is a sum over what its weight counts", summed, float(value))


def _check_gradients(promises: Promises, problem: Problem, batch: Batch, network: nn.Module) -> None:
    trained = copy.deepcopy(network).requires_grad_(True)
    losses, _ = _losses(promises, problem, batch, trained)
    total = torch.stack([*losses.values()]).sum()
    promises.keep(total.requires_grad, "losses reach the backbone", "a constant", "a gradient")
    gradients = torch.autograd.grad(total, [*trained.parameters()], allow_unused=True)
    reached = any(g is not None and bool(g.any()) for g in gradients)
    promises.keep(reached, "losses reach the backbone", "no gradient", "one")


@torch.no_grad()
def _check_measures(promises: Promises, problem: Problem, examples: Examples, network: nn.Module) -> None:
    everything, nothing = np.arange(len(examples)), np.zeros(0, np.bool_)

    def measured(indices: Indices) -> Columns:
        batch = examples.collate(indices)
        with promises.no_error("it measures a batch"):
            return problem.measure(_outputs(promises, problem, batch, network), batch, nothing)

    whole, parts = measured(everything), [measured(one) for one in np.split(everything, [1])]
    for name, column in whole.items():
        got = np.concatenate([part[name] for part in parts])
        promises.keep(got.shape == column.shape, f"column '{name}' is [B, …]", got.shape, column.shape)
        close = np.allclose(got.astype(np.float64), column.astype(np.float64), rtol=1e-3, atol=1e-4)
        promises.keep(close, f"column '{name}' does not depend on the rest of the batch", "other numbers", "the same")
    with promises.no_error("its record takes what it measures"):
        names = np.full(len(examples), "task")
        record = problem.measurements(names, np.arange(len(examples), dtype=np.int32), whole, ())
        value = record.value(problem.score)
    promises.keep(bool(np.isfinite(value)), "its record gives its score", value, "a number")


def _losses(
    promises: Promises, problem: Problem, batch: Batch, network: nn.Module
) -> tuple[Mapping[str, Tensor], Mapping[str, float]]:
    with promises.no_error("it has losses"):
        outputs = _outputs(promises, problem, batch, network)
        return problem.losses(outputs, batch, torch.zeros(0, 0, dtype=torch.bool)), batch.weights


def _outputs(promises: Promises, problem: Problem, batch: Batch, network: nn.Module) -> dict[str, Tensor]:
    with promises.no_error("the network takes its batches"):
        return problem.outputs(network(**batch.inputs), None)


def _same(promises: Promises, promise: str, got: Batch, expected: Batch) -> None:
    pairs: Sequence[tuple[Mapping[str, Tensor], Mapping[str, Tensor]]] = (
        (got.inputs, expected.inputs),
        (got.targets, expected.targets),
    )
    for one, two in pairs:
        promises.keep(one.keys() == two.keys(), promise, sorted(one), sorted(two))
        for name, tensor in two.items():
            promises.keep(torch.equal(one[name], tensor), promise, f"another '{name}'", "the same")
