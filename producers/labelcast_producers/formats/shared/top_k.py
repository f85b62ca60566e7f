"""Top-k labels out of foreign files: checked, and recovered to all classes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import LabelKind
from labelcast.codec.topk import MAX_TOTAL, MISSING_LOGIT, Recovery
from labelcast.errors import InvalidRequestError, LabelFileError, LabelValueError
from labelcast_producers.dense.label_kind import looks_like_probabilities
from labelcast_producers.formats.shared.meaning import (
    exact_below,
    no_distribution,
    require_exact_ids,
)

Ids = NDArray[np.int64]
Values = NDArray[np.float32]


def checked_ids(
    stored: NDArray[Any],
    num_classes: int,
    where: Callable[[int], str],
    *,
    distinct: bool = True,
    beside: NDArray[Any] | None = None,
) -> Ids:
    """Check the class IDs of rows.

    Args:
        stored: integers, or floats that hold integers, shape (n, k).
        num_classes: number of classes, C.
        where: names a row, for messages.
        distinct: whether a row may name a class only once.
        beside: the whole tensor that the IDs are part of, where other values share its type.

    Returns:
        int64, shape (n, k).

    Raises:
        LabelFileError: an ID that is no integer, outside the classes, twice in a row, or beyond
            what its type tells from its neighbours.
    """
    # First, as rounding and overflow may have made IDs that are no classes.
    limit = exact_below(stored if beside is None else beside)
    require_exact_ids(stored, num_classes, where, limit=limit)
    # Written so that NaN fails.
    whole = (stored == np.floor(stored)) if stored.dtype.kind == "f" else np.True_
    # Half precision would round the number of classes too.
    below = (stored.astype(np.float64) if stored.dtype.kind == "f" else stored) < num_classes
    odd = np.logical_not(whole & (stored >= 0) & below)
    if odd.any():
        row, column = (int(at) for at in np.argwhere(odd)[0])
        raise LabelFileError(
            f"{where(row)}: class ID {stored[row, column]} is none of the {num_classes} classes"
            " (0 is the first); give --class-names with all that the teacher knew, or write the"
            " file again"
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


def checked_values(stored: NDArray[Any], kind: LabelKind, where: Callable[[int], str]) -> Values:
    """Probabilities or logits of k classes.

    Args:
        stored: floats, shape (n, k).
        kind: which of the two.
        where: names a row, for messages.

    Returns:
        float32, shape (n, k); probabilities of a row sum to above 0, and to 1 or what rounding
        makes of it.

    Raises:
        LabelValueError: NaN or infinity; a negative probability, or a sum that is 0 or above 1; a
            logit that is as low as those of classes left out.
    """
    values = stored.astype(np.float32)
    if kind is LabelKind.LOGITS:
        # Written so that NaN fails.
        good = (np.abs(values) < -MISSING_LOGIT).all(axis=1)
        if not good.all():
            raise LabelValueError(
                f"{where(int(np.argmin(good)))}: logits are not finite, or lie beyond"
                f" ±{-MISSING_LOGIT:.0f}; label that view again"
            )
        return values
    totals = values.sum(axis=1, dtype=np.float64)
    # Written so that NaN fails.
    good = (values >= 0).all(axis=1) & (totals > 0) & (totals <= MAX_TOTAL)
    if not good.all():
        raise no_distribution(values, int(np.argmin(good)), where, few=True)
    return values


def recovered(
    ids: Ids, values: Values, num_classes: int, recovery: Recovery, kind: LabelKind
) -> NDArray[np.float32]:
    """Labels of all classes, as the codec `topk` decodes them.

    Args:
        ids: shape (n, k), distinct in a row.
        values: shape (n, k), checked.
        num_classes: C.
        recovery: what the other classes get; missing logits are `MISSING_LOGIT`.
        kind: of the values.

    Returns:
        float32, shape (n, C), newly allocated.
    """
    if kind is LabelKind.LOGITS:
        labels = np.full((len(ids), num_classes), MISSING_LOGIT, dtype=np.float32)
        np.put_along_axis(labels, ids, values, axis=1)
        return labels
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
            raise no_distribution(labels, row, where)


def top_k_recovery(recovery: Recovery | None, kind: LabelKind) -> Recovery | None:
    """What the classes beside the k get: logits say nothing of them, so they get nothing.

    Args:
        recovery: what the user says.
        kind: of the labels.

    Raises:
        InvalidRequestError: another rule for logits.
    """
    if kind is LabelKind.PROBABILITIES:
        return recovery
    if recovery not in {None, Recovery.RENORMALISE}:
        raise InvalidRequestError(
            f"--recovery {recovery} is for probabilities; logits of k classes say nothing of the"
            " others: leave it out"
        )
    return Recovery.RENORMALISE
