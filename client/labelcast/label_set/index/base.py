"""The contract of an index: which views a segment has, and which view each row holds.

views ── cells of the grid samples × seeds (or of sequences of their own lengths), numbered in row
order ── rows: those cells that exist

Rules:
  * rows are numbered in the order of their cells, without gaps;
  * `views_at` reverses `rows` through the tables, not through what `rows` remembers: a reply's
    proof of whose labels it carries depends on it;
  * an index is never changed, and threads may share it.
"""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from labelcast.label_set.index.sorted_table import SortedTable
from labelcast.label_set.segment import RowOrder
from labelcast.views import Views


class SegmentIndex(ABC):
    """Which views a segment has, and in which rows.

    Args:
        sample_ids: uint64, shape (S,), strictly increasing.
        seeds: uint32, shape (K,), strictly increasing.
        row_order: order of the segment's rows.

    Raises:
        ManifestError: a table that does not increase.
    """

    def __init__(
        self, sample_ids: NDArray[np.uint64], seeds: NDArray[np.uint32], row_order: RowOrder
    ) -> None:
        self._samples = SortedTable(sample_ids, "sample_ids")
        self._seeds = SortedTable(seeds, "seeds")
        self.row_order = row_order

    @property
    def sample_ids(self) -> NDArray[np.uint64]:
        """The samples: uint64, shape (S,), strictly increasing."""
        return self._samples.values

    @property
    def seeds(self) -> NDArray[np.uint32]:
        """The seeds: uint32, shape (K,), strictly increasing."""
        return self._seeds.values

    @property
    def num_cells(self) -> int:
        """Views that could exist: samples × seeds, unless samples differ in length."""
        return len(self.sample_ids) * len(self.seeds)

    @property
    @abstractmethod
    def num_rows(self) -> int:
        """Views that exist."""

    @property
    @abstractmethod
    def present(self) -> NDArray[np.int64] | None:
        """Cells that have a row: int64, increasing, newly unpacked; None if all have."""

    @abstractmethod
    def pack_presence(self) -> NDArray[np.uint8] | None:
        """One bit per cell, the lowest bit of a byte first; None if every cell has a row."""

    def lengths(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Cells of each sample, given by position: of a sequence, its positions: int64, (N,)."""
        return np.full(len(samples), len(self.seeds), dtype=np.int64)

    @abstractmethod
    def rows(self, views: Views) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Row of each view, and whether the segment has it: int64 and bool, shape (N,)."""

    @abstractmethod
    def cells_at(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Cells of some rows, which must exist: int64, in the order given."""

    @abstractmethod
    def rows_before(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows before each cell; `num_cells` is allowed too: int64, shape (N,)."""

    @abstractmethod
    def count_views(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Views that exist of each sample, given by position: int64, shape (N,)."""

    @abstractmethod
    def nth_seeds(
        self, samples: NDArray[np.int64], numbers: NDArray[np.int64]
    ) -> NDArray[np.uint32]:
        """The seed of a sample's n-th view, in the order of seeds.

        Args:
            samples: int64, shape (N,): positions.
            numbers: int64, shape (N,), each from 0 to the sample's `count_views` − 1.
        """

    def sample_positions(
        self, sample_ids: NDArray[np.uint64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Position of each sample ID in the table, and whether the table has it: shape (N,)."""
        return self._samples.positions(sample_ids)

    def views(self) -> Views:
        """Every view of the segment, in the order of its rows."""
        return self.views_at(np.arange(self.num_rows))

    def views_at(self, rows: NDArray[np.int64]) -> Views:
        """Views of some rows, in the order given; the rows must exist."""
        cells = self.cells_at(rows)
        if self.row_order is RowOrder.SEED_MAJOR:
            seed, sample = _divided(cells, len(self.sample_ids))
        else:
            sample, seed = _divided(cells, len(self.seeds))
        return Views(self.sample_ids.take(sample), self.seeds.take(seed))

    def _cells(self, views: Views) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Cell of each view, and whether there is such a cell; if not, any cell of the grid."""
        sample, sample_known = self._samples.positions(views.sample_ids)
        seed, seed_known = self._seeds.positions(views.seeds)
        if self.row_order is RowOrder.SEED_MAJOR:
            seed *= len(self.sample_ids)
        else:
            sample *= len(self.seeds)
        sample += seed
        sample_known &= seed_known
        return sample, sample_known


def _divided(cells: NDArray[np.int64], width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Quotient and remainder of cells, which are not negative: a third of the time of divmod."""
    quotient = (cells.view(np.uint64) // np.uint64(width)).view(np.int64)
    remainder = quotient * width
    return quotient, np.subtract(cells, remainder, out=remainder)
