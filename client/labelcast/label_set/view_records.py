"""The recorded views of a label set, by view: what students replay and the service checks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import (
    AugmentationPolicy,
    Mix,
    MixTable,
    RecordedPolicy,
    RecordedViews,
    RecordLayout,
    ViewPolicy,
    draw_records,
)
from labelcast.errors import ManifestError
from labelcast.label_set import LabelContract, Section, Segment, ViewIndex
from labelcast.views import Views

_BLOCK_ROWS = 2**18


@dataclass(frozen=True, eq=False, slots=True)
class SegmentRecords:
    """Records of one segment.

    Attributes:
        layout: layout of a packed record.
        rows: uint8, shape (rows of the segment, stride).
        mixes: what batches share; None if no view is mixed.
    """

    layout: RecordLayout
    rows: NDArray[np.uint8]
    mixes: MixTable | None


class ViewRecords:
    """Recorded views of a label set.

    Args:
        policy: policy of the label set.
        index: index of every view.
        segments: records of each segment, in the order of the index.

    Raises:
        ManifestError: not one record for each row.
    """

    def __init__(
        self, policy: RecordedPolicy, index: ViewIndex, segments: Sequence[SegmentRecords]
    ) -> None:
        self.policy = policy
        self._index = index
        self._segments = tuple(segments)
        if [len(part.rows) for part in segments] != [part.num_rows for part in index.segments]:
            raise ManifestError("there must be one record for each row of the label set")

    def of(self, views: Views) -> RecordedViews:
        """Records of views, in their order.

        Raises:
            ViewNotFoundError: a view that the label set lacks.
            ManifestError: a record that is no view.
        """
        numbers, rows = self._index.locate(views)
        records = RecordedViews.plain(views.sample_ids, views.seeds, self.policy)
        for number in np.unique(numbers).tolist():
            at = np.flatnonzero(numbers == number)
            records.place(at, self._unpack(number, rows[at], views[at]))
        return records

    def check(self) -> None:
        """Refuse records that cannot be replayed.

        Raises:
            ManifestError: a field out of range, or a partner that the label set lacks.
        """
        for number, index in enumerate(self._index.segments):
            for start in range(0, index.num_rows, _BLOCK_ROWS):
                rows = np.arange(start, min(start + _BLOCK_ROWS, index.num_rows))
                views = index.views_at(rows)
                records = self._unpack(number, rows, views)
                partners = Views(records.partner_sample_ids, records.partner_seeds)
                if not index.rows(partners)[1].all():
                    raise ManifestError(
                        f"segments[{number}]: a view is mixed with one that the segment lacks"
                    )

    def _unpack(self, number: int, rows: NDArray[np.int64], views: Views) -> RecordedViews:
        part = self._segments[number]
        return part.layout.unpack(
            self.policy,
            part.rows[rows],
            sample_ids=views.sample_ids,
            seeds=views.seeds,
            sample_table=self._index.segments[number].sample_ids,
            mixes=part.mixes,
        )


def record_sections(segment: Segment) -> list[Section]:
    """The sections that hold a segment's recorded views."""
    kept = segment.augmentation
    if kept is None:
        return []
    return [kept.records, *([] if kept.mixes is None else [kept.mixes])]


def read_records(
    contract: LabelContract,
    segments: Sequence[Segment],
    index: ViewIndex,
    read: Callable[[Section], NDArray[np.uint8]],
) -> ViewRecords | None:
    """Assemble the records of a label set.

    Args:
        contract: contract of the label set.
        segments: segments of its manifest.
        index: index of every view.
        read: gives the rows of a section: uint8, shape (rows, stride).

    Returns:
        None where views are drawn from seeds.

    Raises:
        ManifestError: a mix is malformed, or there is not one record for each row.
    """
    policy = contract.policy
    if not isinstance(policy, RecordedPolicy):
        return None
    parts = []
    for segment in segments:
        kept = segment.augmentation
        if kept is None:
            raise ManifestError("a recorded policy needs records in every segment")
        mixes = None if kept.mixes is None else MixTable.unpack(read(kept.mixes), policy)
        parts.append(SegmentRecords(kept.layout, read(kept.records), mixes))
    return ViewRecords(policy, index, parts)


def mixing(
    views: Views,
    policy: ViewPolicy | None,
    sample_table: NDArray[np.uint64],
    records: ViewRecords | None,
) -> tuple[Views, NDArray[np.float32]]:
    """Find each view's mix partner, and the partner's share.

    Args:
        views: N views.
        policy: policy of the label set.
        sample_table: uint64, shape (S,), strictly increasing: table that seeded partners are drawn
            from.
        records: recorded views of a recorded policy; None for others.

    Returns:
        The partner of each view, the view itself if nothing of a partner shows, and the partner's
        share: float32, shape (N,).

    Raises:
        ViewNotFoundError: a view has no sample in the table.
    """
    if isinstance(policy, RecordedPolicy) and records is not None:
        recorded = records.of(views)
        share = recorded.partner_share(policy)
        partner_ids, seeds = recorded.partner_sample_ids, recorded.partner_seeds
    elif isinstance(policy, AugmentationPolicy) and policy.mix is not Mix.NONE:
        drawn = draw_records(policy, views.sample_ids, views.seeds, sample_table=sample_table)
        share = (drawn.box_pixels() / (policy.view_height * policy.view_width)).astype(np.float32)
        partner_ids, seeds = drawn.partner_sample_ids, drawn.partner_seeds
    else:
        return views, np.zeros(len(views), dtype=np.float32)
    shown = share > 0
    partners = Views(
        np.where(shown, partner_ids, views.sample_ids), np.where(shown, seeds, views.seeds)
    )
    return partners, share
