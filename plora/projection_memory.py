"""What the inputs of learned tasks span, so that a new one stays out of it (gradient projection memory)."""

from dataclasses import dataclass

import torch
from torch import Tensor

ROUNDING = 1e-10
"""Energy, as a share of the whole, that is taken for rounding: inputs have relative errors of about 1e-6 in fp32."""


@dataclass(frozen=True)
class ProjectionMemory:
    """A subspace span(M) of ℝ^d that grows: the directions that hold most of the energy of the inputs so far.

    M has orthonormal columns. Where they are more than d/2, those of the orthogonal complement are kept in their stead
    (DualGPM), which is the same subspace in fewer numbers. All is computed in fp64, from columns that a QR
    decomposition makes orthonormal again, for they are kept in fp32.

    Args:
        basis: `[d, k]` fp32, k ≤ d/2: M, or a basis of its complement.
        complement: which of the two.

    Source: Liang and Li 2023 (arXiv 2303.00250), after Saha et al. 2021 (arXiv 2103.09762).
    """

    basis: Tensor
    complement: bool = False

    @classmethod
    def empty(cls, width: int, device: torch.device | None = None) -> "ProjectionMemory":
        """Return a memory of nothing in ℝ^width."""
        return cls(torch.empty(width, 0, device=device))

    @property
    def dimension(self) -> int:
        """Of span(M)."""
        width, columns = self.basis.shape
        return width - columns if self.complement else columns

    def free(self) -> Tensor:
        """Return an orthonormal basis of what is not remembered, `[d, d − dim M]` fp64."""
        kept = self.basis.shape[1]
        columns: Tensor = torch.linalg.qr(self.basis.double(), mode="reduced" if self.complement else "complete")[0]
        return columns if self.complement else columns[:, kept:]

    def unremembered(self, gram: Tensor) -> tuple[Tensor, Tensor]:
        """Return the energies `[n]`, largest first, and the directions `[d, n]` of P G P, n = d − dim M, both fp64.

        P = I − M Mᵀ projects onto what is not remembered, and so do all of the directions, those without energy too.
        They are the left singular vectors of P X, X Xᵀ = G, and the energies are its squared singular values.

        Args:
            gram: G `[d, d]`, fp64.
        """
        free = self.free()
        energies, inner = torch.linalg.eigh(free.T @ gram @ free)
        return energies.flip(0).clamp_min(0), free @ inner.flip(1)

    def grown(self, gram: Tensor, share: float) -> "ProjectionMemory":
        """Return the memory with as few more directions as hold `share` of the energy of G, with those that it has.

        The smallest m with tr(MᵀGM) + Σ_{i≤m} λ_i ≥ share · tr(G), λ_i the energies of `unremembered`; never one that
        is rounding.

        Args:
            gram: G `[d, d]`, fp64.
            share: ε, in (0, 1].
        """
        energies, directions = self.unremembered(gram)
        total = float(gram.trace())
        missing = float(energies.sum()) - (1 - share) * total
        more = int((energies.cumsum(0) < missing).sum()) + 1 if missing > ROUNDING * total else 0
        more = min(more, int((energies > ROUNDING * total).sum()))
        if not more:
            return self
        width, left = len(gram), directions.shape[1] - more
        if left < width / 2:
            return ProjectionMemory(directions[:, more:].float(), complement=True)
        remembered = torch.linalg.qr(self.basis.double())[0]
        return ProjectionMemory(torch.cat([remembered, directions[:, :more]], 1).float())
