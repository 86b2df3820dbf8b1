"""Merging as loops over entries: a task vector is a list of layers, a layer a list of rows of numbers."""

Layer = list[list[float]]
Vector = list[Layer]


def average(vectors: list[Vector]) -> Vector:
    """1/T Σ_t τ_t."""
    return _entry_by_entry(vectors, lambda values: sum(values) / len(values))


def ties(vectors: list[Vector], keep: float) -> Vector:
    """Trim each vector as a whole, elect the sign of the sum, average those who have it."""
    return _entry_by_entry([_trimmed(vector, keep) for vector in vectors], _elected)


def magmax(vectors: list[Vector]) -> Vector:
    """The entry of largest magnitude, of equal ones the first."""
    return _entry_by_entry(vectors, lambda values: max(values, key=abs))


def _trimmed(vector: Vector, keep: float) -> Vector:
    magnitudes = sorted((abs(value) for layer in vector for row in layer for value in row), reverse=True)
    least = magnitudes[max(int(keep * len(magnitudes)), 1) - 1]
    return [[[value if abs(value) >= least else 0.0 for value in row] for row in layer] for layer in vector]


def _elected(values: list[float]) -> float:
    total = sum(values)
    agreeing = [value for value in values if value * total > 0]
    return sum(agreeing) / len(agreeing) if agreeing else 0.0


def _entry_by_entry(vectors, merged):  # type: ignore[no-untyped-def]
    return [
        [[merged([vector[k][i][j] for vector in vectors]) for j in range(len(row))] for i, row in enumerate(layer)]
        for k, layer in enumerate(vectors[0])
    ]
