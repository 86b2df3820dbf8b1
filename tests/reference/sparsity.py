"""N-LoRA's term entry by entry."""

from collections.abc import Sequence

from reference.lora import Pair


def entries(pair: Pair) -> list[float]:
    """s Σ_k B_ik A_kj of one layer, every i and j."""
    return [
        float(pair.scale * sum(pair.B[i, k] * pair.A[k, j] for k in range(len(pair.A))))
        for i in range(len(pair.B))
        for j in range(len(pair.A[0]))
    ]


def sparsity(layers: Sequence[Pair]) -> float:
    """Σ_layers Σ_ij |ΔW_ij|."""
    total = 0.0
    for pair in layers:
        for value in entries(pair):
            total += abs(value)
    return total


def share_near_zero(pair: Pair) -> float:
    """Share of the entries of one layer that are below 1 % of its largest."""
    values = [abs(value) for value in entries(pair)]
    return sum(value < 0.01 * max(values) for value in values) / len(values)
