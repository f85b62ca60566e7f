"""Which values of a row are the largest; of equal ones, those that come first."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.floating[Any])


def largest(values: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Columns of the k largest values of each row, in rising order.

    Args:
        values: float32 without NaN, shape (N, C).
        k: how many, 1 to C.

    Returns:
        int64, shape (N, k).
    """
    if k == values.shape[1]:
        return np.tile(np.arange(k, dtype=np.int64), (len(values), 1))
    place = values.shape[1] - k
    least = np.partition(values, place, axis=1)[:, place, None]
    chosen = values >= least
    for row in np.flatnonzero(chosen.sum(axis=1) > k):
        equal = np.flatnonzero(values[row] == least[row])
        chosen[row, equal[k - np.count_nonzero(values[row] > least[row]) :]] = False
    return np.nonzero(chosen)[1].reshape(len(values), k)


def in_order(
    ids: NDArray[np.int64], values: NDArray[Number]
) -> tuple[NDArray[np.int64], NDArray[Number]]:
    """Sort the values of each row, the largest first; of equal ones, the lower ID first.

    Args:
        ids: int64, shape (N, k).
        values: floating without NaN, shape (N, k).
    """
    order = np.lexsort((ids, -values), axis=1)
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(values, order, axis=1)
