"""Top-k probabilities from other projects' files: checked, and recovered to all classes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.codec.topk import MAX_TOTAL, Recovery
from labelcast.errors import LabelFileError, LabelValueError
from labelcast_producers.dense.files import looks_like_probabilities

Ids = NDArray[np.int64]
Probabilities = NDArray[np.float32]


def checked_ids(
    stored: NDArray[Any], num_classes: int, where: Callable[[int], str], *, distinct: bool = True
) -> Ids:
    """Check the class IDs of rows.

    Args:
        stored: integers, or floats that hold integers, shape (n, k).
        num_classes: number of classes, C.
        where: names a row, for messages.
        distinct: whether a row may name a class only once.

    Returns:
        int64, shape (n, k).

    Raises:
        LabelFileError: an ID is no integer, outside the classes, or twice in a row.
    """
    # Written so that NaN fails.
    whole = (stored == np.floor(stored)) if stored.dtype.kind == "f" else np.True_
    odd = np.logical_not(whole & (stored >= 0) & (stored < num_classes))
    if odd.any():
        row, column = (int(at) for at in np.argwhere(odd)[0])
        raise LabelFileError(
            f"{where(row)}: class ID {stored[row, column]} is none of the {num_classes} classes"
            " (0 is the first); give the number of classes that the teacher had, or write the file"
            " again"
        )
    ids = stored.astype(np.int64)
    if distinct:
        in_order = np.sort(ids, axis=1)
        twice = (in_order[:, 1:] == in_order[:, :-1]).any(axis=1)
        if twice.any():
            raise LabelFileError(
                f"{where(int(np.argmax(twice)))}: names one class twice; write the file again"
            )
    return ids


def checked_probabilities(stored: NDArray[Any], where: Callable[[int], str]) -> Probabilities:
    """Check the probabilities of k classes.

    Args:
        stored: floats, shape (n, k).
        where: names a row, for messages.

    Returns:
        float32, shape (n, k); each row sums to more than 0 and, up to rounding, at most 1.

    Raises:
        LabelValueError: NaN, infinity, a negative value, or a sum of 0 or above 1.
    """
    values = stored.astype(np.float32)
    totals = values.sum(axis=1, dtype=np.float64)
    # Written so that NaN fails.
    good = (values >= 0).all(axis=1) & (totals > 0) & (totals <= MAX_TOTAL)
    if not good.all():
        row = int(np.argmin(good))
        raise LabelValueError(
            f"{where(row)}: no probabilities: not finite, negative, or their sum"
            f" ({totals[row]:.6g}) is not above 0 and at most 1; label that view again"
        )
    return values


def recovered(
    ids: Ids, values: Probabilities, num_classes: int, recovery: Recovery
) -> NDArray[np.float32]:
    """Recover the probabilities of all classes, as the codec `topk` decodes them.

    Args:
        ids: shape (n, k), distinct in a row.
        values: shape (n, k), checked.
        num_classes: C.
        recovery: what the other classes get.

    Returns:
        float32, shape (n, C), newly allocated.
    """
    totals = values.sum(axis=1, keepdims=True, dtype=np.float64)
    labels = np.zeros((len(ids), num_classes), dtype=np.float32)
    others = num_classes - ids.shape[1]
    if recovery is Recovery.SPREAD and others:
        labels += (np.maximum(1 - totals, 0) / others).astype(np.float32)
    elif recovery is not Recovery.ZERO:
        values = (values / totals).astype(np.float32)
    np.put_along_axis(labels, ids, values, axis=1)
    return labels


def check_distributions(labels: NDArray[Any], where: Callable[[int], str]) -> None:
    """Refuse rows that are not distributions over all classes.

    Args:
        labels: shape (n, C).
        where: names a row, for messages.

    Raises:
        LabelValueError: a row is none; names the first.
    """
    if labels.shape[1] < 2 or looks_like_probabilities(labels):
        return
    for row in range(len(labels)):
        if not looks_like_probabilities(labels[row : row + 1]):
            raise LabelValueError(
                f"{where(row)}: no distribution (in 0…1 and summing to 1); label that view again"
                " after the softmax"
            )
