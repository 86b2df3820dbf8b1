"""Features that stand in for those of classes whose examples are gone."""

import torch
from torch import Tensor


class Gaussians:
    """A Gaussian for each class, N(μ_c, Σ), whose covariance the classes share.

    Args:
        class_sums: Σ onehot(y) (f, 1)ᵀ `[C, d + 1]`, fp64; the last column counts.
        moments: Σ (f, 1) (f, 1)ᵀ `[d + 1, d + 1]`, fp64.

    Attributes:
        counts: examples of each class `[C]`.
    """

    def __init__(self, class_sums: Tensor, moments: Tensor) -> None:
        self.means, self.counts = means_of(class_sums)
        eigenvalues, basis = torch.linalg.eigh(shared_covariance(class_sums, moments))
        self._root = basis * eigenvalues.clamp_min(0).sqrt()

    @property
    def met(self) -> list[int]:
        """The classes that have examples."""
        return torch.nonzero(self.counts)[:, 0].tolist()

    def draw(self, label: int, number: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return features `[number, d]` of one class, and their one-hot labels `[number, C]`.

        Args:
            label: the class.
            number: how many.
            seed: with the class it decides what is drawn.
        """
        generator = torch.Generator().manual_seed(2**32 * seed + label)
        normal = torch.randn(number, self.means.shape[1], generator=generator, dtype=torch.float64).to(self.means)
        onehot = self.means.new_zeros(number, len(self.means))
        onehot[:, label] = 1
        return self.means[label] + normal @ self._root.T, onehot

    def draw_all(self, each: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return `each` features of every class that has examples, and their one-hot labels."""
        drawn = [self.draw(label, each, seed) for label in self.met]
        return torch.cat([features for features, _ in drawn]), torch.cat([onehot for _, onehot in drawn])


def means_of(class_sums: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of each class `[C, k − 1]`, 0 where it has no examples, and their counts `[C]`.

    Args:
        class_sums: Σ onehot(y) (φ, 1)ᵀ `[C, k]`.
    """
    counts = class_sums[:, -1]
    return class_sums[:, :-1] / counts.clamp_min(1)[:, None], counts


def shared_covariance(class_sums: Tensor, moments: Tensor) -> Tensor:
    """Return 1/N (Σ_n φ φᵀ − Σ_c n_c μ_c μ_cᵀ) `[k − 1, k − 1]`, the covariance within classes.

    Args:
        class_sums: Σ onehot(y) (φ, 1)ᵀ `[C, k]`.
        moments: Σ (φ, 1) (φ, 1)ᵀ `[k, k]`.
    """
    means, counts = means_of(class_sums)
    return (moments[:-1, :-1] - (means * counts[:, None]).T @ means) / moments[-1, -1]
