"""What a head promises."""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from plora.errors import RunError
from plora.heads import ClosedFormHead, Head
from plora.testing.promises import Promises
from plora.testing.tiny import WIDTH, own_random_numbers

_CLASSES = {"first": 3, "second": 2}


@own_random_numbers()
def check_head(head: Callable[[int, bool], Head]) -> None:
    """Check that a head can stand in `HEADS`, both where its blocks compete for a prediction and where they do not.

    - a block adds rows, drawn from the generator alone; scores are finite `[N, rows]`;
    - learning a block changes its scores and its hash, every open parameter has a gradient, and `commit` changes
      nothing more and leaves nothing that trains;
    - committed rows do not move: neither when the parameters that they came from change, nor when another block is
      opened, learned and committed (rows that are solved together may, and the hash of the block says so);
    - a block that is taken back into training goes on with its values;
    - a copy is a head of its own;
    - what `tensors` returns restores the same scores to the bit, and damaged tensors are refused.

    Args:
        head: makes a head for d features; the second argument says whether its blocks compete.

    Raises:
        ConformanceError: the first promise that is broken.
    """
    for pooled in (False, True):
        _check(head, pooled)


def _check(make: Callable[[int, bool], Head], pooled: bool) -> None:
    head = make(WIDTH, pooled)
    promises = Promises(f"head {type(head).__name__}{' (pooled)' if pooled else ''}")
    features = torch.randn(12, WIDTH)
    solved_together = pooled and isinstance(head, ClosedFormHead)

    # ---------------------------------------------------------- open
    before = torch.get_rng_state()
    _open(promises, head, "first")
    drawn = not torch.equal(before, torch.get_rng_state())
    promises.keep(not drawn, "rows are drawn from the generator alone", "a changed random state", "the same one")
    twin = make(WIDTH, pooled)
    _open(promises, twin, "first")
    promises.keep(
        _hash(promises, twin, "first") == _hash(promises, head, "first"),
        "rows are drawn from the generator alone",
        "other rows from the same generator",
        "the same ones",
    )

    # ---------------------------------------------------------- learn, and commit
    untrained, start = _scores(promises, head, features), _hash(promises, head, "first")
    parameters = _learn(promises, head, "first", features)
    learned, content = _scores(promises, head, features), _hash(promises, head, "first")
    promises.keep(not torch.equal(learned, untrained), "learning changes the scores", "the same scores", "others")
    promises.keep(content != start, "block_hash follows what is learned", "the same hash after learning", "another")
    _commit(promises, head)
    _stays(promises, "commit changes no score", _scores(promises, head, features), learned)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(1.0)
    moved = "committed rows do not move when the parameters that they came from do"
    _stays(promises, moved, _scores(promises, head, features), learned)
    promises.keep(_hash(promises, head, "first") == content, "commit keeps block_hash", "another hash", "the same")

    # ---------------------------------------------------------- another block
    _open(promises, head, "second")
    _learn(promises, head, "second", features)
    _commit(promises, head)
    scores = _scores(promises, head, features)
    rows = head.slice_of("first")
    same_hash = _hash(promises, head, "first") == content
    if not solved_together:
        _stays(promises, "committed rows do not move when another block is learned", scores[:, rows], learned)
        promises.keep(same_hash, "the hash of committed rows does not move", "another hash", "the same")
    if same_hash:
        _stays(promises, "a block with the same hash has the same scores", scores[:, rows], learned)

    # ---------------------------------------------------------- back into training
    hashes = {block: _hash(promises, head, block) for block in _CLASSES}
    with promises.no_error("a committed block can be opened again"):
        head.open("first", _CLASSES["first"], torch.Generator().manual_seed(9))
    promises.keep(head.blocks == _CLASSES, "opening a block again adds no rows", head.blocks, _CLASSES)
    _stays(promises, "a block that is opened again keeps its values", _scores(promises, head, features), scores)
    _commit(promises, head)
    kept = {block: _hash(promises, head, block) for block in _CLASSES}
    promises.keep(kept == hashes, "a block that is opened again keeps its hash", "another hash", "the same")

    # ---------------------------------------------------------- copies
    other = copy.deepcopy(head)
    with promises.no_error("a copy can grow"):
        other.open("third", 2, torch.Generator().manual_seed(2))
        other(features)
    promises.keep(head.blocks == _CLASSES, "a copy is a head of its own", head.blocks, _CLASSES)
    _stays(promises, "a copy is a head of its own", _scores(promises, head, features), scores)

    # ---------------------------------------------------------- to disk and back
    state = head.tensors()
    restored = make(WIDTH, pooled)
    with promises.no_error("restore takes what tensors returned"):
        restored.restore(dict(head.blocks), {name: tensor.clone() for name, tensor in state.items()})
    again = _scores(promises, restored, features)
    same = torch.equal(again, scores)
    promises.keep(same, "restoring gives the same scores to the bit", _difference(again, scores), "the same scores")
    kept = {block: _hash(promises, restored, block) for block in _CLASSES}
    promises.keep(kept == hashes, "restoring gives the same block_hash", "another hash", "the same")
    _nothing_trains(promises, restored, "restore leaves nothing that trains")
    for name in state:
        for damage, tensors in (
            ("is missing", {key: tensor for key, tensor in state.items() if key != name}),
            ("has another shape", {**state, name: state[name][None]}),
        ):
            _check_refusal(
                promises, make(WIDTH, pooled), head.blocks, tensors, f"restore refuses '{name}' that {damage}"
            )


def _open(promises: Promises, head: Head, block: str) -> None:
    blocks = {**head.blocks, block: _CLASSES[block]}
    with promises.no_error(f"open('{block}', {_CLASSES[block]}, …)"):
        head.open(block, _CLASSES[block], torch.Generator().manual_seed(len(blocks)))
    promises.keep(head.blocks == blocks, "opening a block adds it to blocks", head.blocks, blocks)


def _learn(promises: Promises, head: Head, block: str, features: Tensor) -> list[Tensor]:
    """Solve a closed form; else descend by hand, with decay, and return the parameters that were trained."""
    labels = torch.arange(len(features)) % head.blocks[block]
    if isinstance(head, ClosedFormHead):
        with promises.no_error(f"fit('{block}', …)"):
            head.fit(block, features, labels, features, labels)
        return []
    named = {name: parameter for name, parameter in head.named_parameters() if parameter.requires_grad}
    promises.keep(bool(named), "an open block trains", "no parameter", "one at least")
    for _ in range(3):
        loss = F.cross_entropy(head(features)[:, head.slice_of(block)], labels)
        promises.keep(loss.requires_grad, "an open block trains", "scores without a gradient", "one on its rows")
        gradients = torch.autograd.grad(loss, [*named.values()], allow_unused=True)
        for (name, parameter), gradient in zip(named.items(), gradients, strict=True):
            alive = gradient is not None and bool(gradient.any())
            promises.keep(alive, f"open parameter '{name}' has a gradient", "none", "one")
            assert gradient is not None
            with torch.no_grad():
                parameter.sub_(gradient + 0.1 * parameter)
    return [*named.values()]


def _commit(promises: Promises, head: Head) -> None:
    with promises.no_error("commit()"):
        head.commit()
    _nothing_trains(promises, head, "commit leaves nothing that trains")


def _nothing_trains(promises: Promises, head: Head, promise: str) -> None:
    left = [name for name, parameter in head.named_parameters() if parameter.requires_grad]
    promises.keep(not left, promise, left, "no parameter with a gradient")


@torch.no_grad()
def _scores(promises: Promises, head: Head, features: Tensor) -> Tensor:
    with promises.no_error("forward"):
        scores: Tensor = head(features)
    shape = (len(features), head.rows)
    promises.keep(scores.shape == shape, "scores are [N, rows]", list(scores.shape), list(shape))
    promises.keep(bool(scores.isfinite().all()), "scores are finite", "NaN or infinite values", "numbers")
    return scores


def _hash(promises: Promises, head: Head, block: str) -> str:
    with promises.no_error(f"block_hash('{block}')"):
        return head.block_hash(block)


def _stays(promises: Promises, promise: str, got: Tensor, expected: Tensor) -> None:
    """Equal up to the rounding of a matrix product with other rows beside it."""
    promises.keep(torch.allclose(got, expected, rtol=1e-5, atol=1e-6), promise, _difference(got, expected), "the same")


def _difference(got: Tensor, expected: Tensor) -> str:
    return f"scores that differ by up to {(got - expected).abs().max().item():.2g}"


def _check_refusal(
    promises: Promises, head: Head, blocks: dict[str, int], tensors: dict[str, Tensor], promise: str
) -> None:
    try:
        head.restore(dict(blocks), tensors)
    except RunError:
        return
    except Exception as error:
        promises.keep(False, promise, type(error).__name__, "RunError")
    promises.keep(False, promise, "no error", "RunError")
