"""Batches that were copied over others, whose samples then get the labels of other images."""

import hashlib
from collections.abc import Sequence

import numpy as np

from labelcast_producers.formats.batches.batch import Batch
from labelcast_producers.formats.batches.layout import Kind
from labelcast_producers.formats.batches.numbering import SampleIDs
from labelcast_producers.formats.batches.scanning import opened_records, require_record
from labelcast_producers.formats.shared.copies import copied, differ_within, pairs_of_same_draws


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
