"""Whether labels are logits or probabilities, as their values tell."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import LabelKind
from labelcast.errors import LabelValueError
from labelcast_producers.dense.files import LabelRows

# Probabilities in fp16 are each off by up to 2**-11 of their value; files in the wild are rounded
# further on their way, so one per cent is allowed.
_SUM_TOLERANCE = 1e-2
# A few damaged rows do not turn probabilities into logits.
_MOSTLY = 0.9
_SAMPLE_ROWS = 256
_BLOCK_VALUES = 2**22
_RUN_ROWS, _LEAST_RUN_ROWS = 16, 4


def looks_like_probabilities(block: NDArray[Any], *, share: float = 1.0) -> bool:
    """Whether rows are distributions; False for one class, which cannot tell.

    Args:
        block: shape (n, C).
        share: fraction of the rows that must be distributions.
    """
    if block.shape[1] < 2 or not len(block):
        return False
    return int(_distributions(block).sum()) >= share * len(block)


def run_of_probabilities(block: NDArray[Any]) -> int | None:
    """First of some consecutive rows that are all distributions; None if there are none.

    A few rows of real logits may be distributions by chance, but never sixteen on end. Only every
    sixteenth row is looked at where none is.

    Args:
        block: shape (n, C).
    """
    length = min(_RUN_ROWS, len(block))
    if length < _LEAST_RUN_ROWS or block.shape[1] < 2:
        return None
    firsts = np.flatnonzero(_distributions(block[: len(block) - length + 1 : length])) * length
    runs = (start for start in firsts.tolist() if _distributions(block[start:][:length]).all())
    return next(runs, None)


def check_label_kind(block: NDArray[Any], kind: LabelKind) -> None:
    """Refuse probabilities called logits, and the reverse: a fit on either would look healthy.

    Nine tenths of the rows are enough to recognise probabilities that are called logits; if they
    are called probabilities, every row must be a distribution.

    Args:
        block: shape (n, C), n large enough to tell.
        kind: kind that the caller claims.

    Raises:
        LabelValueError: they look like the other kind.
    """
    if kind is LabelKind.LOGITS and looks_like_probabilities(block, share=_MOSTLY):
        raise _no_logits("nearly every")
    if (
        kind is LabelKind.PROBABILITIES
        and block.shape[1] > 1
        and not looks_like_probabilities(block)
    ):
        raise LabelValueError(
            "some rows are no distributions (in 0…1 and summing to 1); correct them, give"
            " --label-kind logits, or label again after the softmax"
        )


def require_stated_kind(rows: LabelRows, kind: LabelKind) -> None:
    """Refuse labels that are not what they are stated to be, by all of them.

    A description or an option is a statement where `check_label_kind` meets a guess: logits are
    refused only if no row speaks for them, and the first that does ends the search.

    Args:
        rows: every label, at least one.
        kind: what they are stated to be.

    Raises:
        LabelValueError: they are the other kind.
    """
    count = min(_SAMPLE_ROWS, rows.num_rows)
    sample = rows.gather(np.arange(count) * rows.num_rows // count)
    if kind is LabelKind.PROBABILITIES:
        check_label_kind(sample, kind)
        return
    size = max(_BLOCK_VALUES // rows.num_classes, 1)
    blocks = (
        rows.read(start, min(start + size, rows.num_rows))
        for start in range(0, rows.num_rows, size)
    )
    if looks_like_probabilities(sample) and all(map(looks_like_probabilities, blocks)):
        raise _no_logits("every")


def _distributions(block: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows lie in 0…1 and sum to 1: bool, shape (n,)."""
    values = block.astype(np.float32)
    found: NDArray[np.bool_] = (values.min(axis=1) >= 0) & (
        values.max(axis=1) <= 1 + _SUM_TOLERANCE
    )
    # Only of those: the sum of large logits would overflow.
    found[found] = np.abs(values[found].sum(axis=1) - 1) <= _SUM_TOLERANCE
    return found


def _no_logits(which: str) -> LabelValueError:
    return LabelValueError(
        f"{which} row sums to 1 and lies in 0…1: these are probabilities, not logits; give"
        " --label-kind probabilities (a directory: to the import that wrote it), or label again"
        " before the softmax"
    )
