"""The small tables of a segment: which samples, which seeds, which rows."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import ManifestError
from labelcast.label_set.index.base import SegmentIndex
from labelcast.label_set.index.grid import GridIndex
from labelcast.label_set.index.masked import MaskedIndex
from labelcast.label_set.index.ragged import RaggedIndex
from labelcast.label_set.section import Section
from labelcast.label_set.segment import RowOrder, Segment


def table_sections(segment: Segment) -> list[Section]:
    """The sections that say which rows a segment has."""
    others = (segment.lengths, segment.presence)
    return [segment.sample_ids, segment.seeds, *(each for each in others if each is not None)]


def index_of(segment: Segment, read: Callable[[Section], NDArray[np.uint8]]) -> SegmentIndex:
    """Build the index of a segment from its tables.

    Args:
        segment: segment of a manifest.
        read: gives the rows of a section: uint8, shape (rows, stride).

    Raises:
        ManifestError: tables that do not increase, or other rows than the codes have.
    """
    sample_ids = _column(read(segment.sample_ids), "<u8").astype(np.uint64)
    seeds = _column(read(segment.seeds), "<u4").astype(np.uint32)
    presence = None if segment.presence is None else read(segment.presence)[:, 0]
    index: SegmentIndex
    if segment.lengths is not None:
        lengths = _column(read(segment.lengths), "<u4").astype(np.uint32)
        index = RaggedIndex(sample_ids, seeds, lengths, presence)
    elif presence is None:
        index = GridIndex(sample_ids, seeds, segment.row_order)
    else:
        index = MaskedIndex(sample_ids, seeds, segment.row_order, presence)
    if index.num_rows != segment.codes.rows:
        raise ManifestError(
            f"a segment has {segment.codes.rows} rows of codes for {index.num_rows} views"
        )
    return index


def index_of_cells(
    sample_ids: NDArray[np.uint64],
    seeds: NDArray[np.uint32],
    row_order: RowOrder,
    cells: NDArray[np.int64] | None,
) -> SegmentIndex:
    """Build the index of a segment that is about to be made.

    Args:
        sample_ids: uint64, shape (S,), strictly increasing.
        seeds: uint32, shape (K,), strictly increasing.
        row_order: order of the segment's rows.
        cells: int64, strictly increasing: cells of the grid samples × seeds, numbered in row order,
            that have a row; None if all have.

    Raises:
        ManifestError: a table that does not increase, or a cell outside the grid.
    """
    if cells is None:
        return GridIndex(sample_ids, seeds, row_order)
    return MaskedIndex.of_cells(sample_ids, seeds, row_order, cells)


def _column(rows: NDArray[np.uint8], dtype: str) -> NDArray[Any]:
    return np.ascontiguousarray(rows).view(dtype)[:, 0]
