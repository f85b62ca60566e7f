"""The index that sequences of tokens get."""

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import ManifestError
from labelcast.label_set.index.base import SegmentIndex
from labelcast.label_set.index.ragged import RaggedIndex
from labelcast.label_set.index.tables import index_of_cells
from labelcast.label_set.segment import RowOrder


def index_of_sequences(
    sample_ids: NDArray[np.uint64],
    lengths: NDArray[np.uint32],
    labelled: NDArray[np.bool_] | None = None,
) -> SegmentIndex:
    """Build the index of sequences that are about to be written, in the cheapest form.

    Sequences of one length, as packed text is cut, make a grid of samples × positions, or a masked
    one where some positions are ignored: readers of any version know both. Lengths that differ make
    a ragged index, with a bit for each position where some are ignored.

    Args:
        sample_ids: uint64, shape (S,), strictly increasing.
        lengths: uint32, shape (S,): positions of each sequence, at least 1.
        labelled: bool, shape (sum of lengths,), sequence after sequence: positions that have a
            label; None if all have.

    Raises:
        ManifestError: a table that does not increase, an empty sequence, or not one flag for each
            position.
    """
    if labelled is not None:
        if labelled.shape != (int(lengths.sum(dtype=np.int64)),):
            raise ManifestError(f"{labelled.size} flags are not one for each position")
        labelled = None if labelled.all() else labelled
    if not len(lengths) or (lengths != lengths[0]).any() or not lengths[0]:
        return RaggedIndex.of_positions(sample_ids, lengths, labelled)
    positions = np.arange(int(lengths[0]), dtype=np.uint32)
    cells = None if labelled is None else np.flatnonzero(labelled)
    return index_of_cells(sample_ids, positions, RowOrder.SAMPLE_MAJOR, cells)
