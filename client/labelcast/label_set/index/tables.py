"""The small tables of a segment: which samples, which seeds, which rows."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import ManifestError
from labelcast.label_set.index.whole import SegmentIndex, unpack_presence
from labelcast.label_set.section import Section
from labelcast.label_set.segment import Segment


def table_sections(segment: Segment) -> list[Section]:
    """What must be read to know which rows a segment has."""
    presence = [] if segment.presence is None else [segment.presence]
    return [segment.sample_ids, segment.seeds, *presence]


def index_of(segment: Segment, read: Callable[[Section], NDArray[np.uint8]]) -> SegmentIndex:
    """The tables of a segment.

    Args:
        segment: of a manifest.
        read: gives the rows of a section: uint8, shape (rows, stride).

    Raises:
        ManifestError: tables that do not increase, or other rows than the codes have.
    """
    sample_ids = _column(read(segment.sample_ids), "<u8").astype(np.uint64)
    seeds = _column(read(segment.seeds), "<u4").astype(np.uint32)
    present = None
    if segment.presence is not None:
        cells = len(sample_ids) * len(seeds)
        present = unpack_presence(read(segment.presence)[:, 0], cells)
    index = SegmentIndex(sample_ids, seeds, segment.row_order, present)
    if index.num_rows != segment.codes.rows:
        raise ManifestError(
            f"a segment has {segment.codes.rows} rows of codes for {index.num_rows} views"
        )
    return index


def _column(rows: NDArray[np.uint8], dtype: str) -> NDArray[Any]:
    return np.ascontiguousarray(rows).view(dtype)[:, 0]
