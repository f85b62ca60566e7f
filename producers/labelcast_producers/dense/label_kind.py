"""Whether labels are logits or probabilities, as their values tell."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import LabelKind
from labelcast.errors import LabelValueError

# Probabilities in fp16 are each off by up to 2**-11 of themselves; files in the wild are also
# rounded on their way, so a whole per cent is granted.
_SUM_TOLERANCE = 1e-2
# A few spoiled rows do not turn probabilities into logits.
_MOSTLY = 0.9


def looks_like_probabilities(block: NDArray[Any], *, share: float = 1.0) -> bool:
    """Whether rows are distributions; of one class nothing can be told.

    Args:
        block: shape (n, C).
        share: of the rows that must be.
    """
    values = block.astype(np.float32)
    if values.shape[1] < 2 or not len(values):
        return False
    in_range = (values.min(axis=1) >= 0) & (values.max(axis=1) <= 1 + _SUM_TOLERANCE)
    # Only of those: the sum of large logits would overflow.
    sums = values[in_range].sum(axis=1)
    distributions = int((np.abs(sums - 1) <= _SUM_TOLERANCE).sum())
    return distributions >= share * len(values)


def check_label_kind(block: NDArray[Any], kind: LabelKind) -> None:
    """Refuse probabilities called logits, and the reverse: a fit on either would look healthy.

    Nine tenths of the rows are enough to tell probabilities that are called logits; where they are
    called probabilities, every row must be one.

    Args:
        block: shape (n, C), n large enough to tell.
        kind: what the caller says that they are.

    Raises:
        LabelValueError: they look like the other kind.
    """
    if kind is LabelKind.LOGITS and looks_like_probabilities(block, share=_MOSTLY):
        raise LabelValueError(
            "nearly every row sums to 1 and lies in 0…1: these are probabilities, not logits;"
            " give --label-kind probabilities, or label again before the softmax"
        )
    if (
        kind is LabelKind.PROBABILITIES
        and block.shape[1] > 1
        and not looks_like_probabilities(block)
    ):
        raise LabelValueError(
            "some rows are no distributions (in 0…1 and summing to 1); correct them, give"
            " --label-kind logits, or label again after the softmax"
        )
