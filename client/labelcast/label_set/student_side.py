"""Checks that a student's data are those that the labels were made for: one comparison for all."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import ViewPolicy
from labelcast.errors import ContractMismatchError, MisalignedLabelsError
from labelcast.label_set.contract import policy_digest


class Unchecked(Enum):
    """Marks a comparison that is deliberately left out."""

    UNCHECKED = auto()


UNCHECKED: Final = Unchecked.UNCHECKED
"""Says that one side does not know: only this leaves a comparison out."""

Known: TypeAlias = NDArray[np.integer] | Unchecked


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Side:
    """What one side, the student's or the labels', knows about views and samples.

    Attributes:
        policy: policy that makes the views; None for samples without augmentation.
        sample_ids: uint64, shape (S,), strictly increasing: samples of the whole data set.
        hard_labels: integers, shape (S,), in the order of `sample_ids`.
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
    """The part of `require_same_side` that is known before any sample is read.

    Raises:
        ContractMismatchError: the views are made by another policy.
    """
    if isinstance(student, Unchecked) or isinstance(labels, Unchecked):
        return
    expected, actual = policy_digest(student), policy_digest(labels)
    if expected != actual:
        raise ContractMismatchError(
            "the labels are for views made by another policy; give"
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
