"""Every shape of an index against a plain dict of what its segment holds."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from labelcast.augmentation import philox
from labelcast.errors import ViewNotFoundError
from labelcast.label_set import (
    MissingViews,
    RowOrder,
    SegmentIndex,
    StoredViews,
    ViewIndex,
    index_of_cells,
)
from labelcast.views import Views

View = tuple[int, int]


@dataclass(frozen=True)
class Held:
    """A segment as plain Python sees it.

    Attributes:
        index: that is tested.
        row_of: row of each view.
        sample_ids: known samples, with or without views.
    """

    index: SegmentIndex
    row_of: dict[View, int]
    sample_ids: list[int]


def held(sample_ids: list[int], seeds: list[int], order: RowOrder, cells: list[int] | None) -> Held:
    """Number the views the slow way."""
    if order is RowOrder.SEED_MAJOR:
        grid = [(sample_id, seed) for seed in seeds for sample_id in sample_ids]
    else:
        grid = [(sample_id, seed) for sample_id in sample_ids for seed in seeds]
    taken = grid if cells is None else [grid[cell] for cell in cells]
    index = index_of_cells(
        np.array(sample_ids, np.uint64),
        np.array(seeds, np.uint32),
        order,
        None if cells is None else np.array(cells, np.int64),
    )
    return Held(index, {view: row for row, view in enumerate(taken)}, sample_ids)


def runs(highest: int, most: int) -> st.SearchStrategy[list[int]]:
    """Consecutive numbers, also up to the very last one."""
    start = st.integers(0, highest) | st.integers(highest - most, highest)
    return st.builds(
        lambda first, length: list(range(first, min(first + length, highest + 1))),
        start,
        st.integers(1, most),
    )


def gapped(highest: int, most: int) -> st.SearchStrategy[list[int]]:
    """Sparse, crowded around a few places, or at both ends of the integers."""
    anywhere = st.integers(0, highest)
    crowded = st.builds(
        lambda place, shift: min(place * (highest // 3) + shift, highest),
        st.integers(0, 3),
        st.integers(0, 40),
    )
    values = st.one_of(anywhere, crowded, st.sampled_from([0, 1, highest - 1, highest]))
    return st.sets(values, min_size=1, max_size=most).map(sorted)


SAMPLE_IDS = runs(2**64 - 1, 40) | gapped(2**64 - 1, 40)
SEEDS = runs(2**32 - 1, 12) | gapped(2**32 - 1, 12)


@st.composite
def segments(draw: st.DrawFn) -> Held:
    sample_ids, seeds = draw(SAMPLE_IDS), draw(SEEDS)
    size = len(sample_ids) * len(seeds)
    share = draw(st.sampled_from(["all", "none", "first", "last", "any", "most", "hole"]))
    cells: list[int] | None
    if share == "all":
        cells = draw(st.sampled_from([None, list(range(size))]))
    elif share == "hole":
        low, high = sorted(draw(st.tuples(st.integers(0, size), st.integers(0, size))))
        cells = [*range(low), *range(high, size)]
    else:
        few = draw(st.sets(st.integers(0, size - 1), max_size=20))
        cells = {
            "none": [],
            "first": [0],
            "last": [size - 1],
            "any": sorted(few),
            "most": sorted({*range(size)} - few),
        }[share]
    return held(sample_ids, seeds, draw(st.sampled_from(RowOrder)), cells)


def near(numbers: list[int], highest: int) -> st.SearchStrategy[int]:
    """What a table holds, its neighbours, and anything else."""
    beside = st.builds(
        lambda value, shift: min(max(value + shift, 0), highest),
        st.sampled_from(numbers),
        st.integers(-1, 1),
    )
    return st.sampled_from(numbers) | beside | st.integers(0, highest)


@given(segment=segments(), data=st.data())
@example(segment=held([5, 9], [1], RowOrder.SEED_MAJOR, []), data=None)
@example(segment=held([0, 2**64 - 1], [0, 2**32 - 1], RowOrder.SAMPLE_MAJOR, [0, 3]), data=None)
def test_rows_and_views(segment: Held, data: st.DataObject | None) -> None:
    index = segment.index
    asked = list(segment.row_of)
    if data is not None:
        ids = near(segment.sample_ids, 2**64 - 1)
        seeds = near(index.seeds.tolist(), 2**32 - 1)
        asked += data.draw(st.lists(st.tuples(ids, seeds), max_size=30))
    # Enough of them that every way to look a table up is taken.
    for many in (asked, asked * (600 // max(1, len(asked)) + 1)):
        views = Views.of([view[0] for view in many], [view[1] for view in many])
        rows, found = index.rows(views)
        assert found.tolist() == [view in segment.row_of for view in many]
        assert rows[found].tolist() == [segment.row_of[v] for v in many if v in segment.row_of]
    assert index.num_rows == len(segment.row_of)
    views = index.views()
    assert list(zip(views.sample_ids.tolist(), views.seeds.tolist(), strict=True)) == list(
        segment.row_of
    )
    rows = np.arange(index.num_rows)
    np.testing.assert_array_equal(index.rows_before(index.cells_at(rows)), rows)
    ends = np.array([0, index.num_cells])
    assert index.rows_before(ends).tolist() == [0, index.num_rows]


@st.composite
def label_sets(draw: st.DrawFn) -> list[Held]:
    """Segments of either shape that share samples but no seed."""
    parts = []
    for number in range(draw(st.integers(1, 5))):
        part = draw(segments())
        seeds = [number * 1000 + at for at in range(len(part.index.seeds))]
        present = part.index.present
        parts.append(
            held(
                part.sample_ids,
                seeds,
                part.index.row_order,
                None if present is None else present.tolist(),
            )
        )
    return parts


def drawn(parts: list[Held], sample_id: int, draw: int) -> int | None:
    """The seed that a draw of a sample stands for, by the rule as it is written down."""
    seeds = [
        seed
        for part in parts
        for seed in part.index.seeds.tolist()
        if (sample_id, seed) in part.row_of
    ]
    columns = [np.array([word], np.uint32) for word in (sample_id % 2**32, sample_id >> 32, draw)]
    words = philox((columns[0], columns[1], columns[2], np.array([0xFFFFFFFC], np.uint32)), 0)
    return seeds[int(words[0][0]) * len(seeds) >> 32] if seeds else None


@given(parts=label_sets(), data=st.data())
def test_segments_together(parts: list[Held], data: st.DataObject) -> None:
    whole = ViewIndex([part.index for part in parts])
    place = {
        view: (number, row)
        for number, part in enumerate(parts)
        for view, row in part.row_of.items()
    }
    known = sorted({sample_id for part in parts for sample_id in part.sample_ids})
    one = st.tuples(near(known, 2**64 - 1), st.integers(0, 5000))
    asked = data.draw(
        st.lists(one | st.sampled_from(list(place)) if place else one, min_size=1, max_size=40)
    )
    views = Views.of([view[0] for view in asked], [view[1] for view in asked])
    stored = [view in place for view in asked]
    assert whole.holds(views).tolist() == stored
    if all(stored):
        numbers, rows = whole.locate(views)
        assert list(zip(numbers.tolist(), rows.tolist(), strict=True)) == [place[v] for v in asked]
        back = whole.views_at(numbers, rows)
        assert list(zip(back.sample_ids.tolist(), back.seeds.tolist(), strict=True)) == asked
    else:
        with pytest.raises(ViewNotFoundError) as refused:
            whole.locate(views, first_row=7)
        assert refused.value.facts["row"] == str(7 + stored.index(False))


@given(parts=label_sets(), data=st.data())
def test_draws(parts: list[Held], data: st.DataObject) -> None:
    stored = StoredViews(ViewIndex([part.index for part in parts]))
    known = sorted({sample_id for part in parts for sample_id, _ in part.row_of})
    if known:
        ids = data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=40))
        numbers = data.draw(st.integers(0, 2**32 - 1))
        draws = [(numbers + at) % 2**32 for at in range(len(ids))]
        found, _ = stored.resolve(Views.of(ids, draws), MissingViews.DRAW_ALL)
        expected = [drawn(parts, *each) for each in zip(ids, draws, strict=True)]
        assert found.seeds.tolist() == expected
    stranger = data.draw(st.integers(0, 2**64 - 1).filter(lambda each: each not in known))
    with pytest.raises(ViewNotFoundError, match=f"no view of sample ID {stranger}"):
        stored.draw(np.array([stranger], np.uint64), np.zeros(1, np.uint32))
