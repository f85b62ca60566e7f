"""Views → row numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import ManifestError, ViewNotFoundError
from labelcast.label_set.segment import RowOrder
from labelcast.views import Views


@dataclass(frozen=True, eq=False, slots=True)
class SegmentIndex:
    """The decoded tables of one segment.

    Attributes:
        sample_ids: uint64, strictly increasing.
        seeds: uint32, strictly increasing.
        row_order: of the segment's codes.
        present: int64, strictly increasing: which cells of the grid samples × seeds, numbered in
            row order, have a row; None where all have.

    Raises:
        ManifestError: a table that does not increase, or a cell outside the grid.
    """

    sample_ids: NDArray[np.uint64]
    seeds: NDArray[np.uint32]
    row_order: RowOrder
    present: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        tables: dict[str, NDArray[Any]] = {"sample_ids": self.sample_ids, "seeds": self.seeds}
        if self.present is not None:
            tables["presence"] = self.present
            if len(self.present) and not 0 <= self.present[0] <= self.present[-1] < self.num_cells:
                raise ManifestError("the section presence names views outside the segment")
        for name, table in tables.items():
            if (table[1:] <= table[:-1]).any():
                raise ManifestError(f"the section {name} is not strictly increasing")

    @property
    def num_cells(self) -> int:
        """Samples × seeds."""
        return len(self.sample_ids) * len(self.seeds)

    @property
    def num_rows(self) -> int:
        """Views that exist."""
        return self.num_cells if self.present is None else len(self.present)

    def views(self) -> Views:
        """Every view of the segment, in the order of its rows."""
        return self.views_at(np.arange(self.num_rows))

    def views_at(self, rows: NDArray[np.int64]) -> Views:
        """Views of some rows, in the order given; the rows must exist."""
        cells = rows if self.present is None else self.present[rows]
        if self.row_order is RowOrder.SEED_MAJOR:
            seed, sample = _divided(cells, len(self.sample_ids))
        else:
            sample, seed = _divided(cells, len(self.seeds))
        return Views(self.sample_ids.take(sample), self.seeds.take(seed))

    def rows(self, views: Views) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Row of each view, and whether the segment has it: int64 and bool, shape (N,)."""
        sample, sample_known = _positions(self.sample_ids, views.sample_ids)
        seed, seed_known = _positions(self.seeds, views.seeds)
        if self.row_order is RowOrder.SEED_MAJOR:
            cells = seed * len(self.sample_ids) + sample
        else:
            cells = sample * len(self.seeds) + seed
        known = sample_known & seed_known
        if self.present is None:
            return cells, known
        rows, present = _positions(self.present, cells)
        return rows, known & present

    def pack_presence(self) -> NDArray[np.uint8] | None:
        """One bit a cell, the lowest bit of a byte first; None where every cell has a row."""
        if self.present is None:
            return None
        bits = np.zeros(self.num_cells, dtype=np.uint8)
        bits[self.present] = 1
        return np.packbits(bits, bitorder="little")


def unpack_presence(packed: NDArray[np.uint8], num_cells: int) -> NDArray[np.int64]:
    """Cells that have a row; the inverse of `SegmentIndex.pack_presence`.

    Raises:
        ManifestError: another number of bytes, or bits beyond the last cell.
    """
    if len(packed) != -(-num_cells // 8):
        raise ManifestError(f"the section presence does not hold {num_cells} bits")
    cells = np.flatnonzero(np.unpackbits(packed, bitorder="little")).astype(np.int64)
    if len(cells) and cells[-1] >= num_cells:
        raise ManifestError("the section presence has bits beyond its last view")
    return cells


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
                if _overlap(first, second):
                    raise ManifestError("two segments hold the same view")

    def locate(
        self, views: Views, *, first_row: int = 0
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Segment number and row of each view.

        Args:
            views: some or all views of a request.
            first_row: of the request, that `views` begin with; for errors.

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
            self._refuse(views, int(np.argmax(segment_numbers < 0)), first_row)
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
        known = any(sample_id in segment.sample_ids for segment in self.segments)
        what = (
            f"no augmentation seed {seed} for sample ID {sample_id}"
            if known
            else f"no sample ID {sample_id}"
        )
        raise ViewNotFoundError(
            f"the label set has {what} (row {first_row + at} of the request);"
            " ask only for views that were labelled, or draw a stored one (`resolve`)",
            sample_id=sample_id,
            seed=seed,
            row=first_row + at,
        )


def _overlap(first: SegmentIndex, second: SegmentIndex) -> bool:
    seeds = np.intersect1d(first.seeds, second.seeds)
    sample_ids = np.intersect1d(first.sample_ids, second.sample_ids)
    if first.present is None and second.present is None:
        return bool(len(seeds) and len(sample_ids))
    for seed in seeds:
        shared = Views.of(sample_ids, seed)
        if (first.rows(shared)[1] & second.rows(shared)[1]).any():
            return True
    return False


def _divided(cells: NDArray[np.int64], width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Quotient and remainder of cells, which are not negative: a third of what divmod takes."""
    quotient = (cells.view(np.uint64) // np.uint64(width)).view(np.int64)
    remainder = quotient * width
    return quotient, np.subtract(cells, remainder, out=remainder)


def _positions(
    table: NDArray[np.integer], values: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    if not len(table):
        return np.zeros(len(values), dtype=np.int64), np.zeros(len(values), dtype=np.bool_)
    positions = np.searchsorted(table, values)
    positions[positions == len(table)] = 0
    return positions, table[positions] == values
