"""The memory of what inputs span, against explicit singular value decompositions of the inputs themselves."""

import pytest
import torch
from reference.inf_lora import grown, projector
from torch import Tensor

from plora.projection_memory import ProjectionMemory


def inputs(*energies: float, seed: int = 0, width: int = 8) -> Tensor:
    """X `[d, 30]` with these singular values, in random directions."""
    generator = torch.Generator().manual_seed(seed)
    left, _ = torch.linalg.qr(torch.randn(width, len(energies), generator=generator, dtype=torch.double))
    right, _ = torch.linalg.qr(torch.randn(30, len(energies), generator=generator, dtype=torch.double))
    return left @ torch.tensor(energies, dtype=torch.double).diag() @ right.T


def remembered(memory: ProjectionMemory) -> Tensor:
    """M Mᵀ."""
    free = memory.free()
    return torch.eye(len(free), dtype=torch.double) - free @ free.T


@pytest.mark.parametrize("share", [0.7, 0.9, 0.99])
def test_it_grows_by_the_singular_vectors_of_what_is_not_remembered(share: float) -> None:
    memory, basis = ProjectionMemory.empty(8), torch.empty(8, 0, dtype=torch.double)
    former = remembered(memory)
    for seed, energies in enumerate([(5, 3, 1), (4, 4.5, 0.5, 2), (9, 1, 1.5, 2, 3, 4, 5, 0.25), (1, 2)]):
        X = inputs(*energies, seed=seed)
        memory, basis = memory.grown(X @ X.T, share), grown(basis, X, share)
        assert memory.dimension == basis.shape[1]
        torch.testing.assert_close(remembered(memory), projector(basis), atol=1e-5, rtol=0)
        energy = (remembered(memory) @ X).square().sum() / X.square().sum()
        assert energy >= share - 1e-5
        assert torch.linalg.eigvalsh(remembered(memory) - former)[0] > -1e-5  # what was remembered stays so
        former = remembered(memory)
    assert memory.complement  # more than half: the fewer columns are kept
    assert memory.basis.shape == (8, 8 - memory.dimension)


def test_the_fewest_directions_are_taken() -> None:
    X = inputs(4, 3, 2, 1)  # 16, 9, 4 and 1 thirtieths of the energy
    for share, expected in ((16 / 30 - 0.01, 1), (16 / 30 + 0.01, 2), (25 / 30 + 0.01, 3), (29 / 30 + 0.01, 4), (1, 4)):
        assert ProjectionMemory.empty(8).grown(X @ X.T, share).dimension == expected


def test_a_complement_grows_as_the_memory_itself_would() -> None:
    X = inputs(5, 4, 3, seed=1)
    plain = ProjectionMemory.empty(8).grown(X @ X.T, 1.0)
    other = ProjectionMemory(plain.free().float(), complement=True)
    assert (plain.complement, other.complement) == (False, True)
    assert plain.dimension == other.dimension == 3
    torch.testing.assert_close(remembered(other), remembered(plain), atol=1e-6, rtol=0)
    for seed in (2, 3):
        new = inputs(3, 1, 1, seed=seed)
        plain, other = plain.grown(new @ new.T, 0.95), other.grown(new @ new.T, 0.95)
        torch.testing.assert_close(remembered(other), remembered(plain), atol=1e-5, rtol=0)


def test_nothing_new_leaves_the_same_bits_and_a_whole_space_has_nothing_left() -> None:
    X = inputs(5, 3)
    memory = ProjectionMemory.empty(8).grown(X @ X.T, 1.0)
    assert memory.grown(X @ X.T, 1.0) is memory
    assert memory.grown(torch.zeros(8, 8, dtype=torch.double), 1.0) is memory
    whole = memory.grown(torch.eye(8, dtype=torch.double), 1.0)
    assert whole.dimension == 8
    assert whole.basis.shape == (8, 0)
    energies, directions = whole.unremembered(X @ X.T)
    assert energies.shape == (0,)
    assert directions.shape == (8, 0)
    assert whole.grown(X @ X.T, 1.0) is whole


def test_columns_that_are_no_longer_orthonormal_are_made_so() -> None:
    X = inputs(5, 3, 2)
    memory = ProjectionMemory.empty(8).grown(X @ X.T, 1.0)
    bent = ProjectionMemory(memory.basis + 1e-3 * memory.basis[:, [1, 2, 0]])
    free = bent.free()
    torch.testing.assert_close(free.T @ free, torch.eye(5, dtype=torch.double), atol=1e-12, rtol=0)
    assert (free.T @ X).norm() < 1e-6 * X.norm()
