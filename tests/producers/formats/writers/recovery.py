"""Full distributions from the few classes that a format keeps, by plain loops."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Recovered = NDArray[np.float32]


def spread(ids: NDArray[Any], values: NDArray[Any], classes: int) -> Recovered:
    """Share what the kept probabilities leave of 1 among the other classes, (n, C)."""
    out = np.zeros((len(ids), classes))
    for row, (row_ids, row_values) in enumerate(zip(ids, values, strict=True)):
        kept = {int(i): float(v) for i, v in zip(row_ids, row_values, strict=True)}
        # Rounded probabilities may sum to a little more than 1.
        rest = max(0.0, 1.0 - sum(kept.values())) / max(classes - len(kept), 1)
        out[row] = [kept.get(number, rest) for number in range(classes)]
    return out.astype(np.float32)


def renormalised(ids: NDArray[Any], values: NDArray[Any], classes: int) -> Recovered:
    """Divide the kept probabilities by their sum and give the other classes none, (n, C)."""
    out = np.zeros((len(ids), classes))
    for row, (row_ids, row_values) in enumerate(zip(ids, values, strict=True)):
        total = sum(float(value) for value in row_values)
        for number, value in zip(row_ids, row_values, strict=True):
            out[row, int(number)] = float(value) / total
    return out.astype(np.float32)


def scattered(ids: NDArray[Any], values: NDArray[Any], classes: int, missing: float) -> Recovered:
    """Kept values in place and `missing` everywhere else, (n, C)."""
    out = np.full((len(ids), classes), missing)
    for row, (row_ids, row_values) in enumerate(zip(ids, values, strict=True)):
        for number, value in zip(row_ids, row_values, strict=True):
            out[row, int(number)] = float(value)
    return out.astype(np.float32)


def one_hot(classes_of_rows: NDArray[Any], classes: int) -> Recovered:
    """All of the mass on one class a row, (n, C)."""
    out = np.zeros((len(classes_of_rows), classes), dtype=np.float32)
    for row, number in enumerate(classes_of_rows):
        out[row, int(number)] = 1
    return out
