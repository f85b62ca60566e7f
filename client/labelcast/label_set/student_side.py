"""Checks that a student's data are those that the labels were made for: one comparison for all."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import AugmentationPolicy, Mix, RecordedPolicy, ViewPolicy
from labelcast.errors import ContractMismatchError, MisalignedLabelsError
from labelcast.label_set.contract import policy_digest
from labelcast.label_set.digests import class_list_digest


class Unchecked(Enum):
    """Marks a comparison that is deliberately left out."""

    UNCHECKED = auto()


UNCHECKED: Final = Unchecked.UNCHECKED
"""Says that one side does not know: only this leaves a comparison out."""

Known: TypeAlias = NDArray[np.integer] | Unchecked

_RESTORE = "Restore what was added, removed or renamed since the labels were made"
_MOVED = "sample IDs are positions, so that one image more or less moves those of all that follow"


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Side:
    """What one side, the student's or the labels', knows about views and samples.

    Attributes:
        policy: policy that makes the views; None for samples without augmentation.
        sample_ids: uint64, shape (S,), strictly increasing: samples of the whole data set.
        hard_labels: integers, shape (S,), in the order of `sample_ids`.
        num_classes: number of classes, C.
        class_list: digest of the ordered class names.
        id_scheme: how sample IDs follow from files, such as "position" or "name"; named in errors.
        chosen: uint64: samples that a student names because it trains on these alone, such as those
            of a rank, a federated client or a stage; None for a student that trains on all.
        images_compared: whether each image is compared with the one that its labels were made of;
            False where the labels tell nothing of theirs, UNCHECKED where that is meant. Of a
            student.
    """

    policy: ViewPolicy | Unchecked | None
    sample_ids: Known
    hard_labels: Known
    num_classes: int | Unchecked
    class_list: str | Unchecked
    id_scheme: str | Unchecked = UNCHECKED
    chosen: NDArray[np.uint64] | None = None
    images_compared: bool | Unchecked = UNCHECKED


NOTHING_KNOWN: Final = Side(
    policy=UNCHECKED,
    sample_ids=UNCHECKED,
    hard_labels=UNCHECKED,
    num_classes=UNCHECKED,
    class_list=UNCHECKED,
)
"""Labels of which nobody knows what they were made for."""


def require_same_side(student: Side, labels: Side) -> None:
    """Refuse labels that were made for other views, samples or classes.

    A student that names its part of the samples may hold fewer or more than the labels are of. Not
    where sample IDs are positions on both sides and no image is compared: then one image more or
    less moves the IDs of all that follow, which nothing but the number of samples shows. Federated
    clients and stages keep the IDs of the whole, so that theirs are no positions in what they hold;
    one that holds the first samples of all looks alike, and says that this is meant.

    Raises:
        ContractMismatchError: the views are made by another policy, or other classes.
        MisalignedLabelsError: other samples, or other hard labels.
    """
    require_same_policy(student.policy, labels.policy)
    _require_same_classes(student, labels)
    _require_same_samples(student, labels)
    _require_same_hard_labels(student, labels)


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


def class_list_of(digest: str, num_classes: int, *, from_images: bool) -> str | Unchecked:
    """The class list that a contract names; UNCHECKED where its maker knew no names.

    Labels that came without images or names have their classes numbered, from "0" on.

    Args:
        digest: of the contract.
        num_classes: C.
        from_images: the labels were made of a data set that was at hand, so that numbers are names.
    """
    numbered = class_list_digest([str(number) for number in range(num_classes)])
    return UNCHECKED if digest == numbered and not from_images else digest


def _require_same_classes(student: Side, labels: Side) -> None:
    _require_same(
        "num_classes",
        student.num_classes,
        labels.num_classes,
        f"the labels are of {labels.num_classes} classes, this data set has {student.num_classes};"
        " remove or restore the classes that differ",
    )
    _require_same(
        "class_list",
        student.class_list,
        labels.class_list,
        "the labels are of classes with other names, or in another order, than this data set has;"
        " give class_names as the teacher's data set had them",
    )


def _require_same(field: str, ours: object, theirs: object, message: str) -> None:
    known = not isinstance(ours, Unchecked) and not isinstance(theirs, Unchecked)
    if known and ours != theirs:
        raise ContractMismatchError(message, field=field, expected=ours, actual=theirs)


def _require_same_samples(student: Side, labels: Side) -> None:
    ours, theirs = student.sample_ids, labels.sample_ids
    if isinstance(ours, Unchecked) or isinstance(theirs, Unchecked):
        return
    policy = labels.policy if isinstance(student.policy, Unchecked) else student.policy
    drawn = isinstance(policy, AugmentationPolicy) and policy.mix is not Mix.NONE
    moved = len(ours) != len(theirs) and _are_positions(ours) and _are_positions(theirs)
    whole = student.chosen is None or drawn or (moved and student.images_compared is False)
    if whole and not np.array_equal(ours, theirs):
        raise MisalignedLabelsError(
            "the label set was made for other samples than this data set has:"
            f" {_difference(ours, theirs)}. {_advice(student, labels, drawn=drawn, moved=moved)}"
        )
    if whole or student.chosen is None:
        return
    advice = _other_scheme(student, labels) or "Check data set and sample IDs"
    _require_within(student.chosen, theirs, "the label set has no sample", advice)
    if isinstance(policy, RecordedPolicy) and policy.mix is not Mix.NONE:
        lacks = "views are mixed with others, and this data set lacks sample"
        _require_within(theirs, ours, lacks, f"{_RESTORE}: {_MOVED}" if moved else _RESTORE)


def _are_positions(sample_ids: NDArray[np.integer]) -> bool:
    return np.array_equal(sample_ids, np.arange(len(sample_ids)))


def _difference(ours: NDArray[np.integer], theirs: NDArray[np.integer]) -> str:
    if len(ours) != len(theirs):
        return f"it is of {len(theirs)} samples, this data set has {len(ours)}"
    return f"of {len(ours)} sample IDs {len(np.setdiff1d(ours, theirs))} are not in it"


def _advice(student: Side, labels: Side, *, drawn: bool, moved: bool) -> str:
    if scheme := _other_scheme(student, labels):
        return scheme
    if drawn:
        return f"{_RESTORE}; mix partners are drawn from all samples, so that no part will do"
    if moved and student.images_compared is not True:
        return (
            f"{_RESTORE}: {_MOVED}. Labels imported with --images tell which differ; only where the"
            " last images alone were added or removed, name the others with sample_ids= and"
            " fingerprints=UNCHECKED"
        )
    return f"{_RESTORE}; name a part that is meant with sample_ids="


def _other_scheme(student: Side, labels: Side) -> str:
    ours, theirs = student.id_scheme, labels.id_scheme
    if isinstance(ours, Unchecked) or isinstance(theirs, Unchecked) or ours == theirs:
        return ""
    return f"Its sample IDs are by {theirs}, yours by {ours}: open images with ids={theirs!r}"


def _require_within(
    sample_ids: NDArray[np.integer], known: NDArray[np.integer], what: str, advice: str
) -> None:
    strangers = np.setdiff1d(sample_ids, known)
    if len(strangers):
        raise MisalignedLabelsError(
            f"{what} ID {strangers[0]} ({len(strangers)} of {len(sample_ids)} are missing)."
            f" {advice}"
        )


def _require_same_hard_labels(student: Side, labels: Side) -> None:
    ours, theirs = _tables(student), _tables(labels)
    if ours is None or theirs is None:
        return
    common, here, there = np.intersect1d(
        ours[0], theirs[0], assume_unique=True, return_indices=True
    )
    differs = ours[1][here] != theirs[1][there]
    if differs.any():
        raise MisalignedLabelsError(
            "the label set was made for other hard labels than this data set has, first for sample"
            f" ID {common[np.argmax(differs)]}: check data set, sample IDs and class order"
        )


def _tables(side: Side) -> tuple[NDArray[np.integer], NDArray[np.integer]] | None:
    ids, hard = side.sample_ids, side.hard_labels
    return None if isinstance(ids, Unchecked) or isinstance(hard, Unchecked) else (ids, hard)
