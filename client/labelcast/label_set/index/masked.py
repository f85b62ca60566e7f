"""Some of the views of samples under seeds: a bitmap says which."""

from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import ManifestError
from labelcast.label_set.index.base import SegmentIndex
from labelcast.label_set.index.bitmap import RankedBitmap
from labelcast.label_set.segment import RowOrder
from labelcast.views import Views


class MaskedIndex(SegmentIndex):
    """Index of a segment in which some views are missing.

    Args:
        sample_ids: uint64, shape (S,), strictly increasing.
        seeds: uint32, shape (K,), strictly increasing.
        row_order: order of the segment's rows and of the cells.
        presence: section that says which cells of the grid have a row: uint8, one bit per cell, the
            lowest bit of a byte first.

    Raises:
        ManifestError: a table that does not increase, another number of bytes, or bits beyond the
            last cell.
    """

    def __init__(
        self,
        sample_ids: NDArray[np.uint64],
        seeds: NDArray[np.uint32],
        row_order: RowOrder,
        presence: NDArray[np.uint8],
    ) -> None:
        super().__init__(sample_ids, seeds, row_order)
        self._bitmap = RankedBitmap(presence, self.num_cells)

    @classmethod
    def of_cells(
        cls,
        sample_ids: NDArray[np.uint64],
        seeds: NDArray[np.uint32],
        row_order: RowOrder,
        cells: NDArray[np.int64],
    ) -> Self:
        """Make the index of a segment from the numbers of its cells.

        Args:
            sample_ids: see the class.
            seeds: see the class.
            row_order: see the class.
            cells: int64, strictly increasing: cells that have a row.

        Raises:
            ManifestError: a table that does not increase, or a cell outside the grid.
        """
        size = len(sample_ids) * len(seeds)
        if len(cells) and not 0 <= cells[0] <= cells[-1] < size:
            raise ManifestError("the section presence names views outside the segment")
        if (cells[1:] <= cells[:-1]).any():
            raise ManifestError("the section presence is not strictly increasing")
        bits = np.zeros(size, dtype=np.uint8)
        bits[cells] = 1
        return cls(sample_ids, seeds, row_order, np.packbits(bits, bitorder="little"))

    @property
    def num_rows(self) -> int:
        return self._bitmap.count

    @property
    def present(self) -> NDArray[np.int64]:
        return self._bitmap.cells()

    def pack_presence(self) -> NDArray[np.uint8]:
        return self._bitmap.packed()

    def rows(self, views: Views) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        cells, known = self._cells(views)
        rows, taken = self._bitmap.find(cells)
        known &= taken
        return rows, known

    def cells_at(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._bitmap.select(rows)

    def rows_before(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._bitmap.rank(cells)

    def count_views(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        first, last = self._rows_of(samples)
        return last - first

    def nth_seeds(
        self, samples: NDArray[np.int64], numbers: NDArray[np.int64]
    ) -> NDArray[np.uint32]:
        first, _ = self._rows_of(samples)
        cells = self._by_sample.select(first + numbers)
        return self.seeds.take(cells - samples * len(self.seeds))

    def _rows_of(self, samples: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first row of each sample and the one after its last, in sample-major order."""
        cells = samples * len(self.seeds)
        return self._by_sample.rank(cells), self._by_sample.rank(cells + len(self.seeds))

    @cached_property
    def _by_sample(self) -> RankedBitmap:
        # Only drawing needs it, so it is built at the first draw.
        if self.row_order is RowOrder.SAMPLE_MAJOR:
            return self._bitmap
        return self._bitmap.transposed(len(self.sample_ids))
