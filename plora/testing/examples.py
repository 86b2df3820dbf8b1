"""What the examples of any problem promise, whatever they hold: texts, images, maps of classes."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from plora.heads import LinearHead
from plora.problems import Batch, Examples, Problem
from plora.problems.base import Columns
from plora.streams.base import Split
from plora.testing.promises import Promises
from plora.testing.tiny import own_random_numbers

_DRAWS = (None, 0, 1)
_ROWS = 64
"""Of the head, where the problem has features that one reads: at least as many as the split has classes."""


@own_random_numbers()
def check_examples(problem: Problem, split: Split, network: nn.Module) -> None:
    """Check that a problem whose examples have not one class each gives the loop what it expects.

    - encoding the same split again gives the same; the fingerprint is one sha256, the same at every call;
    - an example is a function of draw and position: neither the rest of the batch nor its order has a part in it, and
      where examples are said to be fixed, the draw has none either;
    - subsets, examples that follow one another, and examples that were kept as tensors stay as they are;
    - outputs are finite and depend on nothing else in the batch; gradients pass through each loss to the network;
    - each loss is a sum and has a weight: over parts of a batch both add up to those of the whole;
    - what is measured is one row per example, and the record of it gives the score.

    Args:
        problem: that does not classify, with the settings to test.
        split: three examples or more.
        network: what `Problem.load` returns as a network. Where the problem fills rows of a head, features become
            scores of 64 rows here.

    Raises:
        ConformanceError: the first promise that is broken.
    """
    promises = Promises(f"problem {type(problem).__name__}")
    first, second = problem.fingerprint(), problem.fingerprint()
    promises.keep(first == second and len(first) == 64, "its fingerprint is one sha256", f"{first}, {second}", "one")
    promises.keep(
        problem.score.name in problem.record.scores, "its record gives its score", problem.score, problem.record.scores
    )
    with promises.no_error("it encodes this split"):
        examples = problem.encode(split)
    promises.keep(len(examples) == len(split), "it encodes every example", len(examples), len(split))
    promises.keep(bool((examples.costs > 0).all()), "every example costs something", examples.costs.tolist(), "above 0")
    _check_kept(promises, problem, split, examples)
    _check_losses(promises, problem, examples, network)
    _check_record(promises, problem, examples, network)


def _check_kept(promises: Promises, problem: Problem, split: Split, examples: Examples) -> None:
    number, everything = len(examples), np.arange(len(examples))
    turned = everything[::-1].copy()
    whole = examples.collate(everything)
    joined = examples.followed_by([examples])
    with promises.no_error("examples that were kept as tensors come back"):
        kept = problem.restored({name: tensor.clone() for name, tensor in examples.tensors().items()})
    for promise, batch in (
        ("encoding twice gives the same", problem.encode(split).collate(everything)),
        ("examples that follow one another stay as they are", joined.collate(everything + number)),
        ("examples of a subset stay as they are", examples.subset(turned).collate(turned)),
        ("examples that were kept as tensors stay as they are", kept.collate(everything)),
    ):
        _same(promises, promise, batch, whole)
    for draw in _DRAWS:
        drawn = examples.collate(everything, draw)
        _same(promises, "the same draw gives the same batch", examples.collate(everything, draw), drawn)
        again = examples.collate(turned, draw)
        for name, tensor in _tensors(again).items() if _a_row_each(examples, again) else ():
            same = torch.equal(tensor.flip(0), _tensors(drawn)[name])
            promises.keep(same, "what is random about an example depends on draw and position", f"another {name}", "")
        if examples.fixed:
            _same(promises, "fixed examples do not depend on the draw", drawn, whole)


def _check_losses(promises: Promises, problem: Problem, examples: Examples, network: nn.Module) -> None:
    everything, competing = np.arange(len(examples)), torch.ones(0, 0, dtype=torch.bool)
    parameters = [parameter.requires_grad_() for parameter in network.eval().parameters()]
    batch = examples.collate(everything)
    with promises.no_error("the network takes its batches, and the problem what it returns"):
        outputs = _outputs(problem, batch, network)
        whole = problem.losses(outputs, batch, competing)
    for name, tensor in outputs.items():
        promises.keep(bool(tensor.isfinite().all()), f"output '{name}' is finite", "NaN or infinite values", "numbers")
    parts = [examples.collate(part) for part in np.split(everything, [1])]
    found = [problem.losses(_outputs(problem, part, network), part, competing) for part in parts]
    for name, loss in whole.items():
        promises.keep(name in batch.weights, f"loss '{name}' has a weight", sorted(batch.weights), name)
        weight = sum(part.weights[name] for part in parts)
        same = abs(weight - batch.weights[name]) <= 1e-6 * abs(weight)
        promises.keep(same, f"weights of loss '{name}' add up", weight, batch.weights[name])
        total = torch.stack([losses[name].detach() for losses in found]).sum()
        near = torch.allclose(total, loss.detach(), rtol=1e-4, atol=1e-5)
        promises.keep(near, f"loss '{name}' is a sum over examples", total.item(), loss.item())
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        moved = any(gradient is not None and bool(gradient.any()) for gradient in gradients)
        promises.keep(moved, f"gradients of loss '{name}' pass through to the network", "none", "a gradient")


@torch.no_grad()
def _check_record(promises: Promises, problem: Problem, examples: Examples, network: nn.Module) -> None:
    everything = np.arange(len(examples))
    columns = _measured(problem, examples.collate(everything), network.eval())
    for name, column in columns.items():
        promises.keep(len(column) == len(examples), f"'{name}' has a row per example", len(column), len(examples))
    for draw in _DRAWS:
        if _a_row_each(examples, examples.collate(everything, draw)):
            continue  # compared as it is
        drawn = _measured(problem, examples.collate(everything, draw), network)
        for name, column in _measured(problem, examples.collate(everything[::-1].copy(), draw), network).items():
            promise = "what is measured of an example depends on draw and position"
            promises.keep(
                np.allclose(column[::-1], drawn[name], rtol=1e-4, atol=1e-6), promise, f"another {name}", "the same"
            )
    tasks = np.full(len(examples), "task")
    names = tuple(f"class {row}" for row in range(_ROWS))
    with promises.no_error("what is measured becomes a record"):
        record = problem.with_names(problem.measurements(tasks, everything.astype(np.int32), columns, names), ())
        value = record.value(problem.score)
    inside = problem.score.low <= value <= problem.score.high
    promises.keep(inside, "its score is in its range", value, [problem.score.low, problem.score.high])


def _a_row_each(examples: Examples, batch: Batch) -> bool:
    """Whether rows are examples; where one takes several, or several share one, what is measured tells."""
    number = len(batch.indices)
    return not examples.packed and all(len(tensor) == number for tensor in _tensors(batch).values())


def _outputs(problem: Problem, batch: Batch, network: nn.Module) -> Mapping[str, Tensor]:
    found = problem.run(network, batch.inputs, {})
    features = problem.features(found, batch.inputs)
    if features is None:
        return problem.outputs(found, None)
    head = LinearHead(features.shape[-1])
    head.open("task", _ROWS, torch.Generator().manual_seed(0))
    return problem.outputs(found, head(features))


def _measured(problem: Problem, batch: Batch, network: nn.Module) -> Columns:
    return problem.measure(_outputs(problem, batch, network), batch, np.ones(_ROWS * problem.has_rows, np.bool_))


def _tensors(batch: Batch) -> Mapping[str, Tensor]:
    return {**batch.inputs, **{f"target {name}": tensor for name, tensor in batch.targets.items()}}


def _same(promises: Promises, promise: str, got: Batch, expected: Batch) -> None:
    found, wanted = _tensors(got), _tensors(expected)
    promises.keep(found.keys() == wanted.keys(), promise, sorted(found), sorted(wanted))
    for name, tensor in wanted.items():
        promises.keep(torch.equal(found[name], tensor), promise, f"another '{name}'", "the same")
    promises.keep(got.weights == expected.weights, promise, dict(got.weights), dict(expected.weights))
