"""The diagonal of the Fisher information: how much each parameter, or entry of ΔW, matters to a task's predictions.

With g_c(x) = ∇_θ log p_θ(c | x), of one example at a time, in eval mode:

    exact      F = 1/N Σ_x Σ_c p(c | x) g_c(x)²
    sample     the same with one class drawn from p(· | x)
    empirical  the same with the true class alone
    batched    the square of the mean gradient of a batch: no estimate of any of these, and in wide use

Source: van de Ven 2025 (arXiv 2502.11756) on the estimators and what they do to EWC.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plora.adapters.bank import Bank
from plora.adapters.capture import Passed, captured
from plora.errors import AdapterError
from plora.lesson import Lesson
from plora.model import ContinualModel
from plora.strategies.settings import Estimator

BATCH = 32
"""Examples whose gradients `batched` averages before it squares."""
MEMORY_BYTES = 64 * 2**20
"""What the gradients of one pass may take on a CPU, unless one class of one example takes more; on two cores more is
slower, for they no longer fit its caches."""
GPU_MEMORY_BYTES = 2**30
"""The same on a GPU, which a small pass does not keep busy."""

Squares = Callable[[Tensor], Tensor]
Calls = list[tuple[Tensor, Tensor]]
"""Of each call of a layer: its input `[N, T, I]`, and the gradients at its output `[C, N, T, O]`."""


@dataclass(frozen=True)
class _Gradients:
    """What the gradients at a layer's output are turned into.

    Args:
        of: a layer and its calls → gradients `[C, N, …]` of each example, tokens summed, by name.
        size: numbers of an example's gradients in one layer, for each class.
    """

    of: Callable[[Bank, Calls], dict[str, Tensor]]
    size: Callable[[Bank], int]


def fisher(
    model: ContinualModel, lesson: Lesson, estimator: Estimator = "exact", samples: int = 500
) -> dict[str, Tensor]:
    """Return the diagonal for every open A, B and row of the head, by the parameter's name.

    There is no loop over examples: one backward pass per class gives the gradient of the class's log-probability, of
    all examples of a pass, with respect to each layer's output; the rest are products with its input. Tokens of an
    example are summed before anything is squared. Where the classes of one example do not fit into `MEMORY_BYTES`
    (on a GPU `GPU_MEMORY_BYTES`) together, they come in groups, whose squares are added up.

    Args:
        model: with the task's slot and rows open, left in eval mode.
        lesson: examples, and the rows that compete.
        estimator: see the module.
        samples: at most so many training examples, drawn with the same number per class as far as there are so many.

    Raises:
        AdapterError: the gate gives slots other coefficients than 1.
    """
    names = {id(parameter): name for name, parameter in model.trainable().items()}

    def of_factors(bank: Bank, calls: Calls) -> dict[str, Tensor]:
        A, B, scale = bank.A, bank.B, bank.open_shape.scale
        assert A is not None
        assert B is not None
        found = {}
        if id(A) in names:
            found[names[id(A)]] = _total(torch.einsum("cntr,nti->cnri", scale * (G @ B.T), x) for x, G in calls)
        if id(B) in names:
            found[names[id(B)]] = _total(torch.einsum("cnto,ntr->cnro", scale * G, x @ A.T) for x, G in calls)
        return found

    def size(bank: Bank) -> int:
        return bank.open_shape.rank * (bank.in_features + bank.out_features)

    return _estimated(model, lesson, estimator, samples, _Gradients(of_factors, size))


def fisher_of_updates(
    model: ContinualModel, lesson: Lesson, estimator: Estimator = "exact", samples: int = 500
) -> dict[str, Tensor]:
    """Return the diagonal for every entry of each layer's ΔW, `[O, I]` by the layer's path, and for rows of the head.

    F_W = 1/N Σ_x Σ_c p(c | x) (Σ_tokens g_y ⊗ x)², g_y the gradient of log p(c | x) at the layer's output: the same
    for every pair of factors with the same product. Arguments and errors as for `fisher`; rows of the head are by
    their parameter's name.

    Source: EWC-LoRA (arXiv 2602.17559).
    """
    return _estimated(
        model,
        lesson,
        estimator,
        samples,
        _Gradients(
            lambda bank, calls: {bank.path: _total(torch.einsum("cnto,nti->cnoi", G, x) for x, G in calls)},
            lambda bank: bank.in_features * bank.out_features,
        ),
    )


def _estimated(
    model: ContinualModel, lesson: Lesson, estimator: Estimator, samples: int, gradients: _Gradients
) -> dict[str, Tensor]:
    if model.weighs(lesson.task) or any(value != 1 for value in model.coefficients(lesson.task).values()):
        raise AdapterError("Fisher information is computed for slots that count 1; this gate has other coefficients")
    model.eval()
    chosen = _balanced(lesson.train.rows, samples, lesson.seed)
    sums: dict[str, Tensor] = {}
    uniform = np.random.default_rng(lesson.seed).random(len(lesson.train))
    parts = [*_parts(model, lesson, chosen, estimator, gradients)]
    mine = parts[lesson.processes.share]
    for part in mine or parts[:1]:  # a process without a share has the same names, and zeros
        for name, value in _squared(model, lesson, part, estimator, gradients, uniform[part]).items():
            sums[name] = sums.get(name, 0) + (value if mine else torch.zeros_like(value))
    lesson.processes.sum([*sums.values()])
    count = len(parts) if estimator == "batched" else len(chosen)
    return {name: total / count for name, total in sums.items()}


def _squared(
    model: ContinualModel,
    lesson: Lesson,
    part: NDArray[np.int64],
    estimator: Estimator,
    gradients: _Gradients,
    uniform: NDArray[np.float64],
) -> dict[str, Tensor]:
    """Return the sum of weighted squared gradients over some examples, by name."""
    assert model.adapters is not None
    inputs = {name: t.to(model.device) for name, t in lesson.train.collate(part).inputs.items()}
    rows = torch.from_numpy(lesson.train.rows[part])
    with torch.enable_grad(), captured(model.adapters) as passed:
        with lesson.autocast():
            features = model.features(inputs, lesson.task)
            scores = model.head(features)
        classes = lesson.competing[rows].any(0).nonzero().flatten()
        hidden = ~lesson.competing[rows][:, : scores.shape[1]].to(scores.device)
        log_p = scores.float().masked_fill(hidden, float("-inf")).log_softmax(1)
        picked, weights = _picked(log_p, rows, classes, estimator, uniform)
    outputs = [scores, *(call.y for call in passed)]
    per_token, per_example = _bytes(model, gradients)
    of_a_class = len(part) * (int(lesson.train.costs[part].max()) * per_token + per_example)
    together = max(1, _memory(model) // of_a_class)
    found: dict[str, Tensor] = {}
    for start in range(0, len(picked), together):
        group = range(start, min(start + together, len(picked)))
        counts = weights[group.start : group.stop]
        of_group = _of_group(model, passed, features, _of_outputs(picked, outputs, group), gradients, estimator, counts)
        for name, value in of_group.items():
            found[name] = found[name] + value if name in found else value
    return found


def _of_group(
    model: ContinualModel,
    passed: Sequence[Passed],
    features: Tensor,
    of_outputs: Sequence[Tensor],
    gradients: _Gradients,
    estimator: Estimator,
    weights: Tensor,
) -> dict[str, Tensor]:
    """Return the sum of weighted squared gradients over some examples and classes, by name; `of_outputs` ends here."""
    assert model.adapters is not None
    of_scores, *of_calls = of_outputs
    trained = model.trainable()
    squares: Squares = (
        (lambda g: g.mean(1).square().sum(0))
        if estimator == "batched"
        else (lambda g: torch.einsum("cn,cn...->...", weights, g.square()))
    )
    found = {}
    for path, calls in _by_layer(passed, of_calls).items():
        for name, gradient in gradients.of(model.adapters.banks[path], calls).items():
            found[name] = squares(gradient).detach()
    for name, rows_of in _head_rows(model).items():
        own = of_scores[..., rows_of].float()  # bf16 under autocast
        weight = torch.einsum("cnk,nd->cnkd", own, features.detach())
        found[name] = squares(weight if trained[name].dim() > 1 else own).detach()
    return found


def _total(terms: Iterable[Tensor]) -> Tensor:
    """The sum over the calls of a layer, before anything is squared."""
    return reduce(torch.add, terms)


def _picked(
    log_p: Tensor, rows: Tensor, classes: Tensor, estimator: Estimator, uniform: NDArray[np.float64]
) -> tuple[Tensor, Tensor]:
    """Return the log-probabilities whose gradients count, `[C, N]`, and how much each counts."""
    if estimator == "exact":
        return log_p[:, classes].T, log_p[:, classes].T.exp().detach()
    chosen = rows.to(log_p.device)
    if estimator == "sample":
        below = log_p.detach().exp().double().cumsum(1) <= torch.from_numpy(uniform).to(log_p.device)[:, None]
        chosen = below.sum(1).clamp_max(int(classes.max()))  # a sum of probabilities may end below 1
    picked = log_p.gather(1, chosen[:, None]).T
    return picked, torch.ones_like(picked)


@torch.enable_grad()
def _of_outputs(picked: Tensor, outputs: Sequence[Tensor], group: range) -> list[Tensor]:
    """Return the gradient of some rows of `picked`, summed over examples, with respect to each output: `[C, …]`.

    Examples do not see each other, so the gradient at an example's output is that of its own log-probability.
    """
    found = [
        torch.autograd.grad(picked[number].sum(), outputs, retain_graph=number + 1 < len(picked)) for number in group
    ]
    return [torch.stack(of_output) for of_output in zip(*found, strict=True)]


def _by_layer(passed: Sequence[Passed], gradients: Sequence[Tensor]) -> dict[str, Calls]:
    """Return the calls of each layer."""
    calls: dict[str, Calls] = {}
    for call, gradient in zip(passed, gradients, strict=True):
        x, G = call.x.float(), gradient.float()
        calls.setdefault(call.path, []).append(
            (x.reshape(len(x), -1, x.shape[-1]), G.reshape(*G.shape[:2], -1, G.shape[-1]))
        )
    return calls


def _head_rows(model: ContinualModel) -> dict[str, slice]:
    """Return which rows of the head each of its open parameters holds, by name."""
    found = {}
    for position, block in enumerate(model.head.blocks):
        for kind in ("weight", "bias"):
            name = f"head._open.{kind}:{position}"
            if name in model.trainable():
                found[name] = model.head.slice_of(block)
    return found


def _balanced(rows: NDArray[np.int64], samples: int, seed: int) -> NDArray[np.int64]:
    """Return at most `samples` positions, in random order, taking turns among the classes."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(rows))
    turn = np.zeros(len(rows), dtype=np.int64)
    for row in np.unique(rows):
        own = shuffled[rows[shuffled] == row]
        turn[own] = np.arange(len(own))
    return shuffled[np.argsort(turn[shuffled], kind="stable")][:samples]


def _parts(
    model: ContinualModel,
    lesson: Lesson,
    chosen: NDArray[np.int64],
    estimator: Estimator,
    gradients: _Gradients,
) -> Iterator[NDArray[np.int64]]:
    """Yield the examples of each pass: batches of 32 for `batched`, else as many of one length as memory allows."""
    if estimator == "batched":
        yield from np.split(chosen, range(BATCH, len(chosen), BATCH))
        return
    lengths = lesson.train.costs
    classes = int(lesson.competing.sum(1).max()) if estimator == "exact" else 1
    per_token, per_example = _bytes(model, gradients)
    ordered, start = chosen[np.argsort(lengths[chosen], kind="stable")], 0
    for end in range(1, len(ordered) + 1):
        last = end == len(ordered)
        if not last:
            needed = classes * (end - start + 1) * (int(lengths[ordered[end]]) * per_token + per_example)
        if last or needed > _memory(model):
            yield ordered[start:end]
            start = end


def _memory(model: ContinualModel) -> int:
    return GPU_MEMORY_BYTES if model.device.type == "cuda" else MEMORY_BYTES


def _bytes(model: ContinualModel, gradients: _Gradients) -> tuple[int, int]:
    """Return what one class of one example takes per token, and besides that: the largest gradient and its square."""
    assert model.adapters is not None
    banks, trained = model.adapters.banks.values(), model.trainable()
    matrices = max([*map(gradients.size, banks), *(trained[name].numel() for name in _head_rows(model))])
    return 4 * sum(bank.out_features + bank.in_features for bank in banks), 2 * 4 * matrices
