"""Hard labels of views: what a loop learns from where soft labels are missing."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelcast.augmentation import RecordedPolicy, UnrenderedPolicy, require_known
from labelcast.errors import InvalidRequestError
from labelcast.label_set.student_side import UNCHECKED, Side, require_same_side
from labelcast.label_set.view_records import mixing
from labelcast.views import Views

if TYPE_CHECKING:
    from labelcast.opening.label_set import LabelSet


class HardLabels:
    """Hard labels of the views of a label set.

    Args:
        label_set: label set; its tables are read now.
        given: sample IDs and their classes, each of shape (S,); None for those of the label set's
            context.

    Raises:
        InvalidRequestError: nothing says the hard labels, they are no classes, or nobody knows what
            the views show.
        MisalignedLabelsError: they are of other samples, or other than the label set's.
    """

    def __init__(
        self, label_set: "LabelSet", given: tuple[ArrayLike, ArrayLike] | None = None
    ) -> None:
        contract = label_set.contract
        if isinstance(contract.policy, UnrenderedPolicy):
            raise InvalidRequestError(
                f"views by {contract.policy.name} may show what nobody knows, so that they have no"
                " hard label; leave their rows out with on_miss=OnMiss.SKIP"
            )
        self._policy = contract.policy
        self._num_classes = contract.num_classes
        self._sample_ids, self._classes = _table(label_set, given)
        self._partner_table = label_set.index().sample_ids
        self._records = label_set.records()

    def require_known_if_not_stored(self) -> None:
        """Refuse if views that are not stored show nobody knows what.

        Raises:
            InvalidRequestError: the views were recorded.
        """
        if isinstance(self._policy, RecordedPolicy):
            raise InvalidRequestError(
                "a recorded view that is not stored has no record of what it shows; leave such rows"
                " out with on_miss=OnMiss.SKIP"
            )

    def of(self, views: Views, chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Distributions over the classes of sample and partner, by the area that each shows.

        Args:
            views: N views.
            chosen: bool, shape (N,): the M of them that are asked for.

        Returns:
            float32, shape (M, C).

        Raises:
            ViewNotFoundError: a sample without hard label.
        """
        views = views[np.flatnonzero(chosen)]
        if not len(views):
            return np.zeros((0, self._num_classes), np.float32)
        require_known(views.sample_ids, self._partner_table)
        partners, share = mixing(views, self._policy, self._partner_table, self._records)
        hard, every = np.zeros((len(views), self._num_classes), np.float32), np.arange(len(views))
        hard[every, self._classes_of(views)] = 1 - share
        # The two may be of one class.
        hard[every, self._classes_of(partners)] += share
        return hard

    def _classes_of(self, views: Views) -> NDArray[np.int64]:
        require_known(views.sample_ids, self._sample_ids)
        return self._classes[np.searchsorted(self._sample_ids, views.sample_ids)]


def _table(
    label_set: "LabelSet", given: tuple[ArrayLike, ArrayLike] | None
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Sample IDs in order, and their classes."""
    context = label_set.context()
    if given is None:
        if context is None:
            raise InvalidRequestError(
                "this label set does not say the hard labels of its samples; give"
                " hard_labels=(sample_ids, classes)"
            )
        return context.sample_ids, context.hard_labels
    sample_ids, classes = _sorted(*given, num_classes=label_set.contract.num_classes)
    require_same_side(
        Side(
            policy=UNCHECKED,
            sample_ids=sample_ids,
            hard_labels=classes,
            chosen=sample_ids,
            num_classes=UNCHECKED,
            class_list=UNCHECKED,
        ),
        Side(
            policy=label_set.contract.policy,
            sample_ids=label_set.index().sample_ids,
            hard_labels=UNCHECKED if context is None else context.hard_labels,
            num_classes=UNCHECKED,
            class_list=UNCHECKED,
        ),
    )
    return sample_ids, classes


def _sorted(
    sample_ids: ArrayLike, classes: ArrayLike, *, num_classes: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    ids, found = Views.of(sample_ids, 0).sample_ids, np.asarray(classes)
    integers = found.dtype.kind in "iu" and found.shape == ids.shape
    if not integers or not ((found >= 0) & (found < num_classes)).all():
        raise InvalidRequestError(
            f"hard labels are one class from 0 to {num_classes - 1} for each of the {len(ids)}"
            f" sample IDs, not {found.dtype} of shape {found.shape}"
        )
    ordered, first = np.unique(ids, return_index=True)
    if len(ordered) < len(ids):
        raise InvalidRequestError(
            f"hard_labels name {len(ids) - len(ordered)} sample IDs twice; give each one once"
        )
    return ordered, found[first].astype(np.int64)
