"""Views → row numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import ManifestError, ViewNotFoundError
from labelcast.label_set.manifest import RowOrder
from labelcast.views import Views


@dataclass(frozen=True, eq=False, slots=True)
class SegmentIndex:
    """The decoded tables of one segment.

    Attributes:
        sample_ids: uint64, strictly increasing.
        seeds: uint32, strictly increasing.
        row_order: of the segment's codes.
    """

    sample_ids: NDArray[np.uint64]
    seeds: NDArray[np.uint32]
    row_order: RowOrder

    def __post_init__(self) -> None:
        for name, table in (("sample_ids", self.sample_ids), ("seeds", self.seeds)):
            if (table[1:] <= table[:-1]).any():
                raise ManifestError(f"the section {name} is not strictly increasing")

    def views(self) -> Views:
        """Every view of the segment, in the order of its rows."""
        samples, seeds = len(self.sample_ids), len(self.seeds)
        if self.row_order is RowOrder.SEED_MAJOR:
            return Views(np.tile(self.sample_ids, seeds), np.repeat(self.seeds, samples))
        return Views(np.repeat(self.sample_ids, seeds), np.tile(self.seeds, samples))

    def views_at(self, rows: NDArray[np.int64]) -> Views:
        """Views of some rows, in the order given; the rows must exist."""
        if self.row_order is RowOrder.SEED_MAJOR:
            seed, sample = np.divmod(rows, len(self.sample_ids))
        else:
            sample, seed = np.divmod(rows, len(self.seeds))
        return Views(self.sample_ids[sample], self.seeds[seed])

    def rows(self, views: Views) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Row of each view, and whether the segment has it: int64 and bool, shape (N,)."""
        sample, sample_known = _positions(self.sample_ids, views.sample_ids)
        seed, seed_known = _positions(self.seeds, views.seeds)
        if self.row_order is RowOrder.SEED_MAJOR:
            rows = seed * len(self.sample_ids) + sample
        else:
            rows = sample * len(self.seeds) + seed
        return rows, sample_known & seed_known


class ViewIndex:
    """Where the views of a label set lie.

    Args:
        segments: one index for each segment of the manifest, in its order.

    Raises:
        ManifestError: two segments hold one view, so its label would be a matter of luck.
    """

    def __init__(self, segments: Sequence[SegmentIndex]) -> None:
        self.segments = tuple(segments)
        for at, first in enumerate(self.segments):
            for second in self.segments[at + 1 :]:
                shared = np.intersect1d(first.seeds, second.seeds).size
                if shared and np.intersect1d(first.sample_ids, second.sample_ids).size:
                    raise ManifestError("two segments hold the same view")

    def locate(self, views: Views) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Segment number and row of each view.

        Returns:
            int32 and int64, shape (N,), in the order of the views.

        Raises:
            ViewNotFoundError: names the first view that the label set lacks.
        """
        segment_numbers = np.full(len(views), -1, dtype=np.int32)
        rows = np.zeros(len(views), dtype=np.int64)
        for number, segment in enumerate(self.segments):
            found_rows, found = segment.rows(views)
            segment_numbers[found], rows[found] = number, found_rows[found]
        if (segment_numbers < 0).any():
            self._refuse(views, int(np.argmax(segment_numbers < 0)))
        return segment_numbers, rows

    def _refuse(self, views: Views, at: int) -> None:
        sample_id, seed = int(views.sample_ids[at]), int(views.seeds[at])
        known = any(sample_id in segment.sample_ids for segment in self.segments)
        what = (
            f"no augmentation seed {seed} for sample ID {sample_id}"
            if known
            else f"no sample ID {sample_id}"
        )
        raise ViewNotFoundError(
            f"the label set has {what} (row {at} of the request);"
            " ask only for sample IDs and seeds that were relabelled",
            sample_id=sample_id,
            seed=seed,
            row=at,
        )


def _positions(
    table: NDArray[np.unsignedinteger], values: NDArray[np.unsignedinteger]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    positions = np.searchsorted(table, values)
    positions[positions == len(table)] = 0
    return positions, table[positions] == values
