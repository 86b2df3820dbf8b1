"""How many queries look through their own masks while a network learns: all at first, none in the end."""

_POWER = 0.9


def shares_masked(progress: float, blocks: int) -> tuple[float, ...]:
    """Return the share of queries that are masked in each of the last n blocks, 1 at first and 0 in the end.

        start_i = (1 + 3 i / (n − 1)) / 6    p_i = (1 − 6 (progress − start_i))^0.9 from start_i to start_i + 1/6

    Args:
        progress: how much of the training is done, 0 to 1.
        blocks: n, at least 1.

    Source: Kerssies et al. 2025 (EoMT, arXiv 2503.19108), and the settings that its authors published.
    """
    starts = [(1 + 3 * block / max(blocks - 1, 1)) / 6 for block in range(blocks)]
    return tuple(min(max(1 - 6 * (progress - start), 0.0), 1.0) ** _POWER for start in starts)
