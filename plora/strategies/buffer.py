"""A few examples of the tasks learned: a uniform sample of all that was offered."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plora.errors import RunError
from plora.model import ContinualModel
from plora.problems import Examples

_OWN = ("keys", "scores")


@dataclass
class Buffer:
    """At most `capacity` examples, with their scores when they came in.

    Every example ever offered draws a number in [0, 1), and the `capacity` smallest stay: what reservoir sampling
    keeps (Vitter 1985, algorithm R), without its loop.

    Args:
        examples: M of them.
        keys: `[M]` their numbers.
        scores: `[M, rows]` float32, NaN in rows that the head did not have yet; `[M, 0]` where there are none.
    """

    examples: Examples
    keys: NDArray[np.float64]
    scores: Tensor

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def offered(cls, former: "Buffer | None", split: Examples, scores: Tensor, capacity: int, seed: int) -> "Buffer":
        """Return what stays when every example of a split is offered.

        Args:
            former: what was kept until now.
            split: N examples.
            scores: `[N, rows]` of them.
            capacity: how many may stay.
            seed: decides which.
        """
        keys = np.random.default_rng(seed).random(len(split))
        examples = split
        if former is not None:
            examples, keys = former.examples.followed_by([split]), np.concatenate([former.keys, keys])
            missing = scores.shape[1] - former.scores.shape[1]
            padded = torch.nn.functional.pad(former.scores, (0, missing), value=torch.nan)
            scores = torch.cat([padded, scores])
        kept = np.sort(np.argsort(keys, kind="stable")[:capacity])
        return cls(examples.subset(kept), keys[kept], scores[torch.from_numpy(kept)].contiguous())

    def draw(self, count: int, seed: int) -> NDArray[np.int64]:
        """Return `count` positions, uniform and without repeating one while there are enough."""
        rng = np.random.default_rng(seed)
        return rng.choice(len(self), count, replace=count > len(self))

    def state(self) -> dict[str, Tensor]:
        """Return it as tensors."""
        return {"keys": torch.from_numpy(self.keys), "scores": self.scores, **self.examples.tensors()}

    @classmethod
    def restored(cls, state: Mapping[str, Tensor], model: ContinualModel) -> "Buffer":
        """Return what `state` returned as a buffer.

        Raises:
            RunError: a tensor is missing or they do not fit each other.
        """
        if missing := [name for name in _OWN if name not in state]:
            raise RunError(f"the stored buffer has no '{missing[0]}'")
        examples = model.problem.restored({name: tensor for name, tensor in state.items() if name not in _OWN})
        keys, scores = (state[name] for name in _OWN)
        if {len(examples), len(keys), len(scores)} != {len(examples)} or scores.dim() != 2:
            raise RunError("the parts of the stored buffer differ in length")
        return cls(examples, keys.numpy(), scores)
