"""Drawn views are part of the contract: other draws would train another student."""

import hashlib

import numpy as np

from labelcast.label_set import (
    GridIndex,
    MaskedIndex,
    MissingViews,
    RowOrder,
    StoredViews,
    ViewIndex,
)
from labelcast.views import Views

IDS = np.array([3, 8, 2**40, 2**63 + 5, 2**64 - 1], np.uint64)
# Of 20,000 views under all three rules that find something else.
DIGEST = "4d1ba49b12093abf07bda833ccb22f467af997ceaa8c422632802eaaefaf3fb9"


def test_draws_never_change() -> None:
    seed_major = MaskedIndex.of_cells(
        IDS,
        np.array([0, 1, 2, 9, 2**32 - 1], np.uint32),
        RowOrder.SEED_MAJOR,
        np.flatnonzero(np.arange(25) % 3 != 1),
    )
    sample_major = MaskedIndex.of_cells(
        IDS[1:],
        np.arange(100, 107, dtype=np.uint32),
        RowOrder.SAMPLE_MAJOR,
        np.array([0, 1, 2, 9, 11, 13, 20, 26, 27]),
    )
    whole = GridIndex(
        np.arange(3, 20, dtype=np.uint64), np.array([50, 51], np.uint32), RowOrder.SEED_MAJOR
    )
    stored = StoredViews(ViewIndex([seed_major, sample_major, whole]))
    asked = Views.of(np.tile(IDS, 4000), np.repeat(np.arange(4000), 5))
    first = stored.draw(asked.sample_ids[:10], asked.seeds[:10]).seeds.tolist()
    assert first == [2**32 - 1, 100, 102, 106, 1, 2**32 - 1, 1, 104, 106, 105]
    hasher = hashlib.sha256()
    for missing in (MissingViews.DRAW, MissingViews.DRAW_ALL, MissingViews.DROP):
        views, rows = stored.resolve(asked, missing)
        hasher.update(views.sample_ids.astype("<u8").tobytes())
        hasher.update(views.seeds.astype("<u4").tobytes())
        hasher.update(rows.astype("<i8").tobytes())
    assert hasher.hexdigest() == DIGEST
