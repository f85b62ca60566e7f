"""Whether a student's side is the one that labels were made for: one comparison, for everybody."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import ViewPolicy
from labelcast.errors import ContractMismatchError, MisalignedLabelsError
from labelcast.label_set.contract import policy_digest


class Unchecked(Enum):
    """Type of `UNCHECKED`."""

    UNCHECKED = auto()


UNCHECKED: Final = Unchecked.UNCHECKED
"""What a side says that does not know: a comparison is left out only where this is written."""

Known: TypeAlias = NDArray[np.integer] | Unchecked


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Side:
    """What views and samples are to one side, the student's or the labels'.

    Attributes:
        policy: by which views are made; None for samples as they are.
        sample_ids: uint64, shape (S,), strictly increasing: of the whole data set.
        hard_labels: integers, shape (S,), in that order.
    """

    policy: ViewPolicy | Unchecked | None
    sample_ids: Known
    hard_labels: Known


def require_same_side(student: Side, labels: Side) -> None:
    """Refuse labels that were made for other views, samples or classes.

    Raises:
        ContractMismatchError: the views are made by another policy.
        MisalignedLabelsError: other samples, or other hard labels.
    """
    require_same_policy(student.policy, labels.policy)
    _require_same(student.sample_ids, labels.sample_ids, "samples")
    _require_same(student.hard_labels, labels.hard_labels, "hard labels")


def require_same_policy(
    student: ViewPolicy | Unchecked | None, labels: ViewPolicy | Unchecked | None
) -> None:
    """The part of `require_same_side` that is known before any sample is.

    Raises:
        ContractMismatchError: the views are made by another policy.
    """
    if isinstance(student, Unchecked) or isinstance(labels, Unchecked):
        return
    expected, actual = policy_digest(student), policy_digest(labels)
    if expected != actual:
        raise ContractMismatchError(
            "the labels are of views that are made by another policy; give"
            " policy=label_set.contract.policy",
            field="augmentation",
            expected=expected,
            actual=actual,
        )


def _require_same(student: Known, labels: Known, what: str) -> None:
    if isinstance(student, Unchecked) or isinstance(labels, Unchecked):
        return
    if not np.array_equal(student, labels):
        raise MisalignedLabelsError(
            f"the label set was made for other {what} than this data set has: check data set,"
            " sample IDs and class order"
        )
