"""All segments together: views → segment and row, and back."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import ManifestError, ViewNotFoundError
from labelcast.label_set.index.base import SegmentIndex
from labelcast.label_set.index.grid import GridIndex
from labelcast.views import Views


class ViewIndex:
    """Index of the views of a label set.

    Args:
        segments: one index for each segment of the manifest, in its order.
        of_sequences: whether samples are sequences, and seeds positions in them; for errors.

    Raises:
        ManifestError: two segments hold one view, so its label would be a matter of luck.
    """

    def __init__(self, segments: Sequence[SegmentIndex], *, of_sequences: bool = False) -> None:
        self.segments = tuple(segments)
        self._of_sequences = of_sequences
        for at, first in enumerate(self.segments):
            for second in self.segments[at + 1 :]:
                if _overlap(first, second):
                    raise ManifestError("two segments hold the same view")

    @cached_property
    def sample_ids(self) -> NDArray[np.uint64]:
        """Sample IDs of all segments: uint64, shape (S,), strictly increasing."""
        first, *others = [segment.sample_ids for segment in self.segments]
        if all(np.array_equal(first, other) for other in others):
            return first
        return np.unique(np.concatenate([first, *others]))

    def labelled_sample_ids(self) -> NDArray[np.uint64]:
        """Samples that have a view at least: uint64, strictly increasing."""
        found = list[NDArray[np.uint64]]()
        for segment in self.segments:
            counts = segment.count_views(np.arange(len(segment.sample_ids)))
            found.append(segment.sample_ids[counts > 0])
        return np.unique(np.concatenate(found))

    def lengths(self, sample_ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Positions of sequences: int64, shape (N,); ignored ones count.

        Args:
            sample_ids: uint64, shape (N,).

        Raises:
            ViewNotFoundError: the label set lacks a sample.
        """
        lengths = np.zeros(len(sample_ids), dtype=np.int64)
        for segment in self.segments:
            samples, known = segment.sample_positions(sample_ids)
            lengths[known] = segment.lengths(samples[known])
        if not lengths.all():
            at = int(np.argmin(lengths))
            self._refuse(Views.of(sample_ids[at : at + 1], 0), 0, at)
        return lengths

    def locate(
        self, views: Views, *, first_row: int = 0
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Segment number and row of each view.

        Args:
            views: some or all views of a request.
            first_row: row of the request at which `views` begin; for errors.

        Returns:
            int32 and int64, shape (N,), in the order of the views.

        Raises:
            ViewNotFoundError: names the first view that the label set lacks.
        """
        if len(self.segments) == 1:
            rows, found = self.segments[0].rows(views)
            if not found.all():
                self._refuse(views, int(np.argmin(found)), first_row)
            return np.zeros(len(views), dtype=np.int32), rows
        segment_numbers = np.full(len(views), -1, dtype=np.int32)
        rows = np.zeros(len(views), dtype=np.int64)
        left = np.arange(len(views))
        for number, segment in enumerate(self.segments):
            found_rows, found = segment.rows(views[left])
            at = left[found]
            segment_numbers[at], rows[at] = number, found_rows[found]
            left = left[~found]
        if len(left):
            self._refuse(views, int(left[0]), first_row)
        return segment_numbers, rows

    def views_at(self, segment_numbers: NDArray[np.int32], rows: NDArray[np.int64]) -> Views:
        """Views of located rows: the inverse of `locate`, through the tables."""
        if len(self.segments) == 1:
            return self.segments[0].views_at(rows)
        sample_ids = np.empty(len(rows), dtype=np.uint64)
        seeds = np.empty(len(rows), dtype=np.uint32)
        for number in np.unique(segment_numbers).tolist():
            inside = segment_numbers == number
            views = self.segments[number].views_at(rows[inside])
            sample_ids[inside], seeds[inside] = views.sample_ids, views.seeds
        return Views(sample_ids, seeds)

    def holds(self, views: Views) -> NDArray[np.bool_]:
        """Which views the label set has: bool, shape (N,)."""
        held: NDArray[np.bool_] = np.zeros(len(views), dtype=np.bool_)
        for segment in self.segments:
            held |= segment.rows(views)[1]
        return held

    def _refuse(self, views: Views, at: int, first_row: int) -> None:
        sample_id, seed = int(views.sample_ids[at]), int(views.seeds[at])
        length = self._length(views.sample_ids[at : at + 1])
        facts = {"sample_id": sample_id, "seed": seed, "row": first_row + at}
        if not length:
            what = f"no sample ID {sample_id}"
        elif self._of_sequences:
            facts["length"] = length
            what = (
                f"no label at position {seed} of sample ID {sample_id}, a sequence of {length}"
                f" positions{' of which some are ignored' if seed < length else ''}"
            )
        else:
            what = f"no augmentation seed {seed} for sample ID {sample_id}"
        raise ViewNotFoundError(
            f"the label set has {what} (row {first_row + at} of the request);"
            " ask only for views that were labelled, or draw a stored one (`resolve`)",
            **facts,
        )

    def _length(self, sample_id: NDArray[np.uint64]) -> int:
        """Seeds, or positions, of one sample; 0 where there is no such sample."""
        found = 0
        for segment in self.segments:
            position, known = segment.sample_positions(sample_id)
            if known[0]:
                found = max(found, int(segment.lengths(position)[0]))
        return found


def _overlap(first: SegmentIndex, second: SegmentIndex) -> bool:
    seeds = np.intersect1d(first.seeds, second.seeds)
    sample_ids = np.intersect1d(first.sample_ids, second.sample_ids)
    if isinstance(first, GridIndex) and isinstance(second, GridIndex):
        return bool(len(seeds) and len(sample_ids))
    for seed in seeds:
        shared = Views.of(sample_ids, seed)
        if (first.rows(shared)[1] & second.rows(shared)[1]).any():
            return True
    return False
