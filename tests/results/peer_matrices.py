"""Hand-made matrices in percent that give the numbers which peers print. Row i: after learning task i."""

import numpy as np

from plora.results.record.matrix import Matrix


def as_matrix(rows: str) -> Matrix:
    """Return `[T + 1, T]` fractions; row 0 is NaN."""
    lines = [[float(cell) / 100 if cell else np.nan for cell in line.split(",")] for line in rows.strip().splitlines()]
    return np.array([[np.nan] * len(lines), *lines])


ONE_MATRIX_FIVE_FORMULAS = """
98.20,,,,,,,,,
98.65,95.10,,,,,,,,
89.25,89.18,93.40,,,,,,,
87.09,86.16,87.49,94.60,,,,,,
85.78,84.00,84.47,88.69,91.70,,,,,
84.98,82.68,82.30,85.67,85.79,92.90,,,,
84.50,81.88,80.98,83.50,82.77,86.99,90.80,,,
84.21,81.40,80.19,82.18,80.60,83.97,84.90,93.30,,
84.03,81.11,79.70,81.39,79.28,81.80,81.87,87.40,89.50,
81.54,78.55,77.02,78.52,76.10,78.10,77.32,81.99,87.16,91.20
"""
"""F 13.74 (maximum), 13.69 (initial − last), 13.43 (two tasks left out), 2.89 (consecutive); BWT −13.69 and −9.96."""

TWENTY_CLASSES_PER_TASK = """
87.5,,,,,,,,,
79.2,70.8,,,,,,,,
82.1,72.1,81.0,,,,,,,
81.3,72.0,80.8,81.5,,,,,,
78.5,72.6,74.7,72.8,75.8,,,,,
79.1,69.1,76.8,77.1,76.4,78.7,,,,
78.9,68.4,79.4,73.7,76.4,77.5,73.2,,,
74.7,71.5,74.6,73.7,73.8,76.8,73.9,76.5,,
75.5,72.4,73.0,71.7,75.1,72.9,74.0,76.1,73.7,
75.4,66.5,77.7,71.3,73.1,69.8,72.3,76.0,73.3,81.9
"""
"""F 5.17; 6.11 when each row's columns are sorted as texts ("100-119" before "20-39")."""

CLASS_GROUPS = tuple(f"{20 * k}-{20 * k + 19}" for k in range(10))
