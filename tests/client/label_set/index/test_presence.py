"""Label sets that lack views: which rows there are, and which stored view is meant."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelcast.errors import ManifestError, ViewNotFoundError
from labelcast.label_set import (
    GridIndex,
    MaskedIndex,
    MissingViews,
    RowOrder,
    SegmentIndex,
    StoredViews,
    ViewIndex,
    index_of_cells,
)
from labelcast.label_set.index.bitmap import RankedBitmap
from labelcast.views import Views


@st.composite
def pruned(draw: st.DrawFn) -> SegmentIndex:
    samples = np.array(
        sorted(draw(st.sets(st.integers(0, 2**64 - 1), min_size=1, max_size=9))), "u8"
    )
    seeds = np.array(sorted(draw(st.sets(st.integers(0, 99), min_size=1, max_size=7))), "u4")
    cells = draw(st.sets(st.integers(0, len(samples) * len(seeds) - 1), min_size=1))
    present = np.array(sorted(cells), np.int64)
    return index_of_cells(samples, seeds, draw(st.sampled_from(RowOrder)), present)


@given(index=pruned())
def test_rows_and_views_are_inverse(index: SegmentIndex) -> None:
    views = index.views()
    rows, known = index.rows(views)
    assert known.all()
    np.testing.assert_array_equal(rows, np.arange(index.num_rows))


@given(index=pruned())
def test_presence_survives_packing(index: SegmentIndex) -> None:
    packed = index.pack_presence()
    assert packed is not None
    read = MaskedIndex(index.sample_ids, index.seeds, index.row_order, packed)
    np.testing.assert_array_equal(read.present, index.present)


@given(index=pruned())
def test_absent_views_are_not_found(index: SegmentIndex) -> None:
    every = GridIndex(index.sample_ids, index.seeds, index.row_order).views()
    held = ViewIndex([index]).holds(every)
    assert held.sum() == index.num_rows
    if not held.all():
        with pytest.raises(ViewNotFoundError):
            ViewIndex([index]).locate(every)


@given(index=pruned(), draw=st.integers(0, 2**32 - 1))
def test_a_drawn_view_is_a_stored_view_of_its_sample(index: SegmentIndex, draw: int) -> None:
    stored, lookup = StoredViews(ViewIndex([index])), ViewIndex([index])
    ids = np.unique(index.views().sample_ids)
    drawn, rows = stored.resolve(Views.of(ids, draw), MissingViews.DRAW_ALL)
    np.testing.assert_array_equal(drawn.sample_ids, ids)
    np.testing.assert_array_equal(rows, np.arange(len(ids)))
    assert lookup.holds(drawn).all()


def test_draws_are_even_over_what_is_stored_in_all_segments() -> None:
    ids = np.array([3, 8], np.uint64)
    seeds = np.arange(4, dtype=np.uint32)
    first = index_of_cells(ids, seeds, RowOrder.SEED_MAJOR, np.array([0, 1, 4, 7]))
    second = index_of_cells(ids, seeds + 4, RowOrder.SAMPLE_MAJOR, np.array([1, 2]))
    stored = StoredViews(ViewIndex([first, second]))
    draws = np.arange(8000, dtype=np.uint32)
    of_three = stored.draw(np.full(8000, 3, np.uint64), draws).seeds
    found, counts = np.unique(of_three, return_counts=True)
    # Sample 3 has the seeds 0 and 2 in the first segment and 5 and 6 in the second.
    np.testing.assert_array_equal(found, [0, 2, 5, 6])
    assert counts.min() > 1800


def test_what_becomes_of_missing_views() -> None:
    ids = np.array([3, 8], np.uint64)
    index = index_of_cells(
        ids, np.arange(2, dtype=np.uint32), RowOrder.SEED_MAJOR, np.array([0, 1, 2])
    )
    stored = StoredViews(ViewIndex([index]))
    asked = Views.of([8, 3, 8], [1, 1, 0])
    with pytest.raises(ViewNotFoundError, match="seed 1 for sample ID 8"):
        stored.resolve(asked, MissingViews.REFUSE)
    dropped, rows = stored.resolve(asked, MissingViews.DROP)
    assert (dropped.sample_ids.tolist(), dropped.seeds.tolist()) == ([3, 8], [1, 0])
    assert rows.tolist() == [1, 2]
    drawn, rows = stored.resolve(asked, MissingViews.DRAW)
    assert (drawn.sample_ids.tolist(), drawn.seeds.tolist()) == ([8, 3, 8], [0, 1, 0])
    assert rows.tolist() == [0, 1, 2]
    with pytest.raises(ViewNotFoundError, match="no view of sample ID 4"):
        stored.draw(np.array([3, 4], np.uint64), np.zeros(2, np.uint32))


@pytest.mark.parametrize(
    ("packed", "cells"), [([1], 9), ([1, 0], 8), ([0b1000], 3)], ids=["short", "long", "beyond"]
)
def test_a_bitmap_of_another_size_is_refused(packed: list[int], cells: int) -> None:
    with pytest.raises(ManifestError):
        RankedBitmap(np.array(packed, np.uint8), cells)


def test_segments_may_share_samples_and_seeds_but_no_view() -> None:
    ids, seeds = np.array([1, 2], np.uint64), np.arange(2, dtype=np.uint32)
    parts = [
        index_of_cells(ids, seeds, RowOrder.SEED_MAJOR, np.array(cells))
        for cells in ([0, 3], [1, 2], [2])
    ]
    ViewIndex(parts[:2])
    with pytest.raises(ManifestError, match="same view"):
        ViewIndex(parts)
