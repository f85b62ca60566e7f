"""Checked labels of token positions.

Probabilities can sum to more than 1 because of rounding and of the fit to the tail. Up to 1 % is
scaled back to 1; more is refused, unless `renormalise` divides every label by its sum. A tail that
does not fall is left unchanged: order means nothing here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelcast.codec.sparse.distillkit.decompress import class_ids, log_probabilities
from labelcast.codec.sparse.distillkit.settings import Settings
from labelcast.codec.topk import Recovery
from labelcast.errors import LabelFileError, LabelValueError
from labelcast_producers.formats.distillkit.config import SETTINGS_NAME
from labelcast_producers.formats.distillkit.parquet import SequenceFile, Sequences, locate

MAX_SCALED_TOTAL = 1.01
# The smallest number of fp16, in which probabilities are stored: a label below it is all zero.
_SMALLEST = 2.0**-24
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False, slots=True)
class Block:
    """Labels of n token positions.

    Attributes:
        ids: int64, shape (n, k): distinct classes.
        probabilities: float32, shape (n, k): their probabilities, which sum to 1 at most.
        totals: float64, shape (n,): sums of the probabilities as stored.
    """

    ids: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    totals: NDArray[np.float64]


def decoded(
    file: SequenceFile, sequences: Sequences, rows: slice, settings: Settings, recovery: Recovery
) -> Block:
    """Decode and check some labels.

    Args:
        file: file that they are in, for messages.
        sequences: sequences of the file.
        rows: slice of the labels in `sequences`, with a start.
        settings: settings that the file was written with.
        recovery: whether to divide by the sum.

    Raises:
        LabelFileError: an index is outside the vocabulary, or twice in a label.
        LabelValueError: NaN, infinity, or probabilities that sum to too much or to nothing.
    """

    def where(wrong: ArrayLike) -> str:
        at = rows.start + int(np.argmax(wrong))
        row, token = locate(sequences.num_labels, at)
        return f"{file.path}: row {sequences.first_row + row}, token {token}"

    ids = class_ids(sequences.indices[rows], settings)
    outside = (ids >= settings.d).any(axis=1)
    if outside.any():
        found = int(ids[np.argmax(outside)].max())
        raise LabelFileError(
            f"{where(outside)}: index {found} is outside the {settings.d} tokens of d;"
            " is d that of the model which wrote the file?"
        )
    in_order = np.sort(ids, axis=1)
    twice = (in_order[:, 1:] == in_order[:, :-1]).any(axis=1)
    if twice.any():
        raise LabelFileError(
            f"{where(twice)}: an index comes twice; are k and d those of the file?"
        )
    logs = log_probabilities(sequences.values[rows], settings)
    odd = ~np.isfinite(logs).all(axis=1)
    if odd.any():
        raise LabelValueError(
            f"{where(odd)}: a log-probability is NaN or infinite; leave the sequence out, or check"
            f" {SETTINGS_NAME}"
        )
    with np.errstate(over="ignore", under="ignore"):
        probabilities = np.exp(logs)
    totals = probabilities.sum(axis=1, dtype=np.float64)
    renormalise = recovery is Recovery.RENORMALISE
    # Written so that infinity fails.
    large = np.logical_not(totals <= (_LARGEST if renormalise else MAX_SCALED_TOTAL))
    if large.any():
        raise LabelValueError(
            f"{where(large)}: probabilities sum to {totals[np.argmax(large)]:.4g}: the fit to their"
            " tail gives several per cent too much where few are exact; --recovery renormalise"
            f" divides by the sum, as DistillKit's trainer does; or check {SETTINGS_NAME}"
        )
    low = probabilities.max(axis=1) < _SMALLEST
    if low.any():
        raise LabelValueError(
            f"{where(low)}: no log-probability is above that of the smallest fp16 number;"
            f" check {SETTINGS_NAME}"
        )
    divisors = totals if renormalise else np.maximum(totals, 1)
    probabilities = (probabilities / divisors[:, None]).astype(np.float32)
    return Block(ids, probabilities, totals)
