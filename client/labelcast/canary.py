"""How often a label's likeliest class is one that its view shows: the canary's measure.

A label set records the figure when it is encoded; a student measures it again on the labels that
it receives. Labels of other samples or in another class order agree hardly more often than chance.
Labels of another seed lose only the partner's class, which shows if views are mixed and cannot be
detected if they are not.
"""

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import ViewPolicy
from labelcast.errors import MisalignedLabelsError
from labelcast.label_set.view_records import ViewRecords, mixing
from labelcast.views import Views

_MARGIN = 0.05
_DEVIATIONS = 5.0
_LEAST_VIEWS = 200


def shown_classes(
    views: Views,
    policy: ViewPolicy | None,
    sample_table: NDArray[np.uint64],
    hard_labels: NDArray[np.int64],
    records: ViewRecords | None = None,
) -> NDArray[np.int64]:
    """Hard labels of each view's sample and of its partner.

    Args:
        views: N views.
        policy: policy of the label set.
        sample_table: uint64, shape (S,), strictly increasing.
        hard_labels: int64, shape (S,), in the order of `sample_table`.
        records: recorded views; None where views are drawn.

    Returns:
        int64, shape (2, N); twice the same where a view is not mixed.
    """
    partners, _ = mixing(views, policy, sample_table, records)
    sides = np.stack([views.sample_ids, partners.sample_ids])
    return hard_labels[np.searchsorted(sample_table, sides)]


class Canary:
    """Watches the first labels of a run.

    Args:
        expected: agreement recorded for the label set.
        views_to_watch: number of views after which the labels are trusted.
    """

    def __init__(self, expected: float, *, views_to_watch: int = 4096) -> None:
        self._expected = expected
        self._views_to_watch = views_to_watch
        self._views = 0
        self._agreeing = 0

    @property
    def watching(self) -> bool:
        """Whether it still wants labels."""
        return self._views < self._views_to_watch

    def watch(self, likeliest: NDArray[np.integer], shown: NDArray[np.int64]) -> None:
        """Check a batch.

        Args:
            likeliest: arg-max of each label, shape (N,).
            shown: output of `shown_classes`, shape (2, N).

        Raises:
            MisalignedLabelsError: the agreement is too low to be chance.
        """
        self._views += shown.shape[1]
        self._agreeing += int((shown == likeliest).any(axis=0).sum())
        observed, expected = self._agreeing / self._views, self._expected
        # Chance is that of the lowest agreement that passes: a recorded 100 % has none itself.
        least = max(expected - _MARGIN, 0.0)
        deviation = (least * (1 - least) / self._views) ** 0.5
        if self._views >= _LEAST_VIEWS and observed < least - _DEVIATIONS * deviation:
            raise MisalignedLabelsError(
                f"over the first {self._views} views {observed:.1%} of the labels name a class that"
                f" the view shows; {expected:.1%} did when the set was made. The labels do not"
                " belong to these views: check data set, sample IDs, class order and policy",
                observed=observed,
                expected=expected,
            )
