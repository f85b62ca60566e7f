"""What the batches of a set show beside each other: copies of others, and mixed kinds of values."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import LabelValueError
from labelcast_producers.formats.batches.batch import Batch, Place
from labelcast_producers.formats.batches.layout import Kind
from labelcast_producers.formats.batches.numbering import SampleIDs
from labelcast_producers.formats.batches.scanning import opened_records, require_record
from labelcast_producers.formats.shared.copies import copied, differ_within, pairs_of_same_draws
from labelcast_producers.formats.shared.meaning import within_a_distribution

# Views of different images. A few may have small logits, but not all of a batch where none of
# another batch has.
_TELLING_ROWS = 16


def require_no_copies(batches: Sequence[Batch], ids: Sequence[SampleIDs], kind: Kind) -> None:
    """Refuse a batch that holds the crops and the labels of another, of other samples.

    Reads the labels of those batches alone whose crops are the same.

    Args:
        batches: scanned batches.
        ids: sample IDs of each.
        kind: of their layout.

    Raises:
        LabelFileError: names both.
    """
    for original, copy in pairs_of_same_draws([_drawn(batch) for batch in batches]):
        one, other = batches[original], batches[copy]
        if np.array_equal(ids[original], ids[copy]):
            continue
        if _labels(one, kind) == _labels(other, kind):
            files = one.place.file.path, other.place.file.path
            raise copied(*files, at=(one.place.at, other.place.at))


class KindComparison:
    """Compares the batches of a set with each other, in whatever order they are read.

    Values of k classes that lie in 0…1 may be logits; what tells is that every row of one batch
    could be of a distribution, and no row of another. Batches of one class, or of fewer than
    sixteen views, tell nothing.
    """

    def __init__(self) -> None:
        self._like: Place | None = None
        self._unlike: Place | None = None

    def require_alike(self, values: NDArray[Any], place: Place) -> None:
        """Compare a batch with those before it.

        Args:
            values: its top-k values, finite, shape (B, k).
            place: where it is.

        Raises:
            LabelValueError: of it and one before it, one holds probabilities and the other does
                not; names the one that does.
        """
        if len(values) < _TELLING_ROWS or values.shape[1] < 2:
            return
        fitting = within_a_distribution(values)
        if fitting.all():
            self._like = self._like or place
        elif not fitting.any():
            self._unlike = self._unlike or place
        if self._like is not None and self._unlike is not None:
            raise LabelValueError(
                f"{self._like}: all its labels lie in 0…1 and sum to 1 at most, and not one of"
                f" {self._unlike} does: the former are probabilities, the latter logits; fetch that"
                " batch again, or label it again before the softmax; --label-kind logits keeps"
                " both as they are",
                path=self._like.file.path,
            )


def _drawn(batch: Batch) -> bytes | None:
    """Digest of everything that was drawn for the views of a batch."""
    if not differ_within(batch.coords):
        return None
    hasher = hashlib.blake2b(f"{batch.mix} {batch.lam} {batch.box}".encode(), digest_size=16)
    for table in (
        batch.coords,
        batch.flip,
        batch.cutout,
        batch.operations,
        batch.magnitudes,
        batch.mix_index,
        batch.patches,
    ):
        hasher.update(b"-" if table is None else np.ascontiguousarray(table).tobytes())
    return hasher.digest()


def _labels(batch: Batch, kind: Kind) -> bytes:
    position = batch.place.number if kind is Kind.EPOCH_FILES else 0
    with opened_records(batch.place.file, kind) as records:
        record = require_record(records[position][1], batch.place, None)
        indices = b"" if record.indices is None else record.indices.read().tobytes()
        return indices + record.labels.read().tobytes()
