"""Views → context rows: the same bytes on the server and on the edge.

Everything comes from tables that the manifest pins by digest and from the policy in its contract;
nothing is taken from a request. Only integer arithmetic and single IEEE divisions are used, so that
every platform gets the same bits.
"""

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import (
    FIXED_POINT,
    AugmentationPolicy,
    Records,
    draw_records,
    require_known,
)
from labelcast.context.rows import GEOMETRY_WIDTH, Context
from labelcast.views import Rows, Views

_ROTATION_UNIT_DEGREES = 45


class ViewContext:
    """What is known about the views of a label set.

    Args:
        policy: policy of the label set; None for unaugmented samples.
        sample_ids: uint64, shape (S,), strictly increasing: the table that partners are drawn from.
        hard_labels: integers, shape (S,), in the order of `sample_ids`.
    """

    def __init__(
        self,
        policy: AugmentationPolicy | None,
        sample_ids: NDArray[np.uint64],
        hard_labels: NDArray[np.integer],
    ) -> None:
        self.policy = policy
        self.sample_ids = sample_ids
        self.hard_labels = hard_labels.astype(np.int64)

    def rows(self, views: Views) -> Rows:
        """Packed context of views: uint8, shape (N, stride).

        Raises:
            ViewNotFoundError: a sample ID is not in the table.
        """
        return self.of(views).pack()

    def of(self, views: Views) -> Context:
        """Context of views, in their order.

        Raises:
            As `rows`.
        """
        table = self.sample_ids
        if self.policy is None:
            require_known(views.sample_ids, table)
            partner_ids, geometry = views.sample_ids, np.tile(_unaugmented(), (len(views), 1))
        else:
            records = draw_records(self.policy, views.sample_ids, views.seeds, sample_table=table)
            # A view whose box was clipped away shows no partner, whichever was drawn.
            mixed = records.box_pixels() > 0
            partner_ids = np.where(mixed, records.partner_sample_ids, views.sample_ids)
            partners = draw_records(
                self.policy, partner_ids, records.partner_seeds, sample_table=table
            )
            geometry = _geometry(self.policy, records, partners)
        sides = np.searchsorted(table, np.stack([views.sample_ids, partner_ids], axis=1))
        return Context(self.hard_labels[sides], geometry)


def _geometry(
    policy: AugmentationPolicy, records: Records, partners: Records
) -> NDArray[np.float32]:
    height, width = policy.view_height, policy.view_width
    pixels = records.box_pixels()
    # The place of an empty box says nothing about the view.
    box = [
        np.where(pixels > 0, 2 * side / size - 1, -1)
        for side, size in (
            (records.box_top, height),
            (records.box_left, width),
            (records.box_bottom, height),
            (records.box_right, width),
        )
    ]
    share = pixels / (height * width)
    columns = [*_crop(records), *_crop(partners), *box, share]
    return np.stack(columns, axis=1).astype(np.float32)


def _crop(records: Records) -> list[NDArray[np.float64]]:
    return [
        2 * records.crop_top / FIXED_POINT - 1,
        2 * records.crop_left / FIXED_POINT - 1,
        2 * records.crop_height / FIXED_POINT - 1,
        2 * records.crop_width / FIXED_POINT - 1,
        records.rotation / (FIXED_POINT * _ROTATION_UNIT_DEGREES),
        records.flip.astype(np.float64),
    ]


def _unaugmented() -> NDArray[np.float32]:
    whole = [-1.0, -1.0, 1.0, 1.0, 0.0, 0.0]
    empty_box, no_share = [-1.0] * 4, [0.0]
    values = np.array([*whole, *whole, *empty_box, *no_share], dtype=np.float32)
    return values.reshape(1, GEOMETRY_WIDTH)
