"""Numbers that train, some for each slot: a share, a magnitude."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from plora.errors import RunError


class SlotNumbers(nn.ParameterDict):
    """Of each slot `[n]` numbers: one, or one for each layer or site of the network.

    A parameter's name may have no dot, and is none of a dictionary's own methods: a slot's is `of` and its name with
    dots escaped.
    """

    def opened(self, slot: str, count: int, start: float) -> None:
        """Make the numbers of a new slot."""
        self[_key(slot)] = nn.Parameter(torch.full((count,), start))

    def deleted(self, slot: str) -> None:
        """Forget the numbers of a slot."""
        if _key(slot) in self:
            del self[_key(slot)]

    @property
    def slots(self) -> list[str]:
        """Names of the slots that have numbers, in an order that does not depend on when they were opened."""
        return sorted(_slot(key) for key in self)

    def of(self, slot: str) -> Tensor:
        """Return the numbers of a slot that has some, `[n]`."""
        found: Tensor = self[_key(slot)]
        return found

    def stacked(self, slots: Sequence[str], without: Tensor) -> Tensor:
        """Return `[n, slots]`; of a slot that has no numbers those of `without`, `[n]`."""
        return torch.stack([self.get(_key(slot), without) for slot in slots], 1)

    def state(self, what: str) -> Iterator[tuple[str, Tensor]]:
        """Yield the numbers of each slot by a name for a checkpoint: what they are, and whose."""
        return ((f"{what} {key}", numbers.detach()) for key, numbers in self.items())

    @classmethod
    def restored(cls, state: Mapping[str, Tensor], what: str, count: int) -> "SlotNumbers":
        """Return numbers as `state` yielded them, among others.

        Raises:
            RunError: there are more or fewer of a slot than `count`.
        """
        made = cls()
        for name, tensor in state.items():
            if not name.startswith(f"{what} "):
                continue
            if tensor.shape != (count,):
                raise RunError(f"the stored gate has '{name}' of shape {list(tensor.shape)}; expected [{count}]")
            made[name.removeprefix(f"{what} ")] = nn.Parameter(tensor.clone())
        return made

    @torch.no_grad()
    def take_up(self, slot: str, sizes: Mapping[str, float], owners: Sequence[int]) -> dict[str, float]:
        """Multiply a slot's magnitudes with the mean size c of what shares them; ΔW / c is then the same function.

        Args:
            slot: its name.
            sizes: of its ΔW by layer path.
            owners: of each path, which of the slot's magnitudes is its own.

        Returns:
            1 / c by path; without those whose c is 0.
        """
        shared: dict[int, list[float]] = {}
        for owner, size in zip(owners, sizes.values(), strict=True):
            shared.setdefault(owner, []).append(size)
        means = {owner: sum(of_owner) / len(of_owner) for owner, of_owner in shared.items()}
        for owner, mean in means.items():
            if mean:
                self.of(slot)[owner] *= mean
        return {path: 1 / means[owner] for path, owner in zip(sizes, owners, strict=True) if means[owner]}


def _key(slot: str) -> str:
    return "of " + slot.replace("%", "%25").replace(".", "%2E")


def _slot(key: str) -> str:
    return key.removeprefix("of ").replace("%2E", ".").replace("%25", "%")
