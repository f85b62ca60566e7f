"""How the views of a label set are made, for loops that render them themselves."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import (
    AugmentationPolicy,
    RecordedPolicy,
    RecordedViews,
    Records,
    ViewPolicy,
    draw_records,
)
from labelcast.identifiers import Digest
from labelcast.label_set import ViewIndex
from labelcast.label_set.view_records import ViewRecords, mixing
from labelcast.views import Views


@dataclass(frozen=True, eq=False, slots=True)
class DrawnViews:
    """N views of a label set, and how each is made.

    Attributes:
        label_set: digest of the label set.
        views: views that the rows describe.
        made_by: crop, flip and everything else that the policy draws, one column each; None where
            samples are not augmented, or where labelcast cannot make the views.
        partners: view that each is mixed with; the view itself if it is not mixed.
        partner_share: float32, shape (N,): the partner's share of the view.
    """

    label_set: Digest
    views: Views
    made_by: Records | RecordedViews | None
    partners: Views
    partner_share: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.views)

    def __repr__(self) -> str:
        mixed = int((self.partner_share > 0).sum())
        return f"<DrawnViews of {self.label_set[:19]}…: {len(self)}, {mixed} of them mixed>"


def draw_views(
    label_set: Digest,
    policy: ViewPolicy | None,
    views: Views,
    index: ViewIndex,
    records: ViewRecords | None,
) -> DrawnViews:
    """Draw views again from their seeds, or look up their records.

    Args:
        label_set: digest of the label set.
        policy: policy of its contract.
        views: views to draw.
        index: index of the label set.
        records: recorded views of a recorded policy; None for others.

    Raises:
        ViewNotFoundError: a view that the label set lacks.
    """
    index.locate(views)
    # The table of partners: the manifest guarantees that mixed segments share one.
    table = index.sample_ids
    made_by: Records | RecordedViews | None = None
    if isinstance(policy, AugmentationPolicy):
        made_by = draw_records(policy, views.sample_ids, views.seeds, sample_table=table)
    elif isinstance(policy, RecordedPolicy) and records is not None:
        made_by = records.of(views)
    partners, share = mixing(views, policy, table, records)
    return DrawnViews(label_set, views, made_by, partners, share)
