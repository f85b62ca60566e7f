"""Sequences of different lengths: every position of each, or those that are labelled."""

from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import ManifestError
from labelcast.label_set.index.base import SegmentIndex
from labelcast.label_set.index.bitmap import RankedBitmap
from labelcast.label_set.segment import RowOrder
from labelcast.views import Views


class RaggedIndex(SegmentIndex):
    """Index of a segment whose samples have positions 0 to their own length − 1 as seeds.

    Cells are numbered sample after sample. Lengths take 4 bytes a sample, where a mask over samples
    × longest takes a bit for each cell, however few sequences are long.

    Args:
        sample_ids: uint64, shape (S,), strictly increasing.
        seeds: uint32, shape (K,): positions 0, 1, … up to those of the longest sample.
        lengths: uint32, shape (S,), in the order of `sample_ids`: positions of each, at least 1.
        presence: says which cells have a row: uint8, one bit per cell, the lowest bit of a byte
            first; None if all have.

    Raises:
        ManifestError: a table that does not increase, lengths or positions that contradict each
            other, or another number of bits than there are cells.
    """

    def __init__(
        self,
        sample_ids: NDArray[np.uint64],
        seeds: NDArray[np.uint32],
        lengths: NDArray[np.uint32],
        presence: NDArray[np.uint8] | None = None,
    ) -> None:
        super().__init__(sample_ids, seeds, RowOrder.SAMPLE_MAJOR)
        if len(lengths) != len(sample_ids) or not len(lengths) or not lengths.min():
            raise ManifestError("the section lengths must say at least 1 for each sample")
        # Counted first: a length that lies would take gigabytes of positions.
        positions = np.arange(len(seeds), dtype=np.uint32)
        if len(seeds) != int(lengths.max()) or not np.array_equal(seeds, positions):
            raise ManifestError("the section seeds must be the positions of the longest sample")
        self._starts = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=self._starts[1:])
        self._bitmap = None if presence is None else RankedBitmap(presence, self.num_cells)

    @classmethod
    def of_positions(
        cls,
        sample_ids: NDArray[np.uint64],
        lengths: NDArray[np.uint32],
        labelled: NDArray[np.bool_] | None,
    ) -> Self:
        """Make the index of a segment from what is known of its sequences.

        Args:
            sample_ids: see the class.
            lengths: see the class.
            labelled: bool, shape (sum of lengths,), sequence after sequence: positions that have a
                row; None if all have.

        Raises:
            ManifestError: as of the class.
        """
        seeds = np.arange(int(lengths.max(initial=0)), dtype=np.uint32)
        packed = None if labelled is None else np.packbits(labelled, bitorder="little")
        return cls(sample_ids, seeds, lengths, packed)

    @property
    def num_cells(self) -> int:
        return int(self._starts[-1])

    @property
    def num_rows(self) -> int:
        return self.num_cells if self._bitmap is None else self._bitmap.count

    @property
    def present(self) -> NDArray[np.int64] | None:
        return None if self._bitmap is None else self._bitmap.cells()

    def pack_presence(self) -> NDArray[np.uint8] | None:
        return None if self._bitmap is None else self._bitmap.packed()

    def lengths(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        first, last = self._ends(samples)
        return last - first

    def rows(self, views: Views) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        samples, known = self.sample_positions(views.sample_ids)
        cells, last = self._ends(samples)
        cells += views.seeds
        known &= cells < last
        # Of those beyond their sequence any cell, since they are not known.
        np.minimum(cells, last - 1, out=cells)
        if self._bitmap is None:
            return cells, known
        rows, taken = self._bitmap.find(cells)
        known &= taken
        return rows, known

    def views_at(self, rows: NDArray[np.int64]) -> Views:
        cells = self.cells_at(rows)
        samples = self._sequence_starts.rank(cells + 1) - 1
        positions = (cells - self._starts.take(samples)).astype(np.uint32)
        return Views.taking(self.sample_ids.take(samples), positions)

    def cells_at(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return rows if self._bitmap is None else self._bitmap.select(rows)

    def rows_before(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        return cells if self._bitmap is None else self._bitmap.rank(cells)

    def count_views(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        first, last = self._ends(samples)
        return self.rows_before(last) - self.rows_before(first)

    def nth_seeds(
        self, samples: NDArray[np.int64], numbers: NDArray[np.int64]
    ) -> NDArray[np.uint32]:
        first = self._starts.take(samples)
        cells = self.cells_at(self.rows_before(first) + numbers)
        return (cells - first).astype(np.uint32)

    def _ends(self, samples: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first cell of each sample and the one after its last, newly allocated."""
        return self._starts.take(samples), self._starts.take(samples + 1)

    @cached_property
    def _sequence_starts(self) -> RankedBitmap:
        # Only the proof of a reply needs it. Its ranks say whose cell it is without a search.
        bits = np.zeros(self.num_cells, dtype=np.uint8)
        bits[self._starts[:-1]] = 1
        return RankedBitmap(np.packbits(bits, bitorder="little"), self.num_cells)
