"""Views → rows, against the order that `views()` spells out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from labelcast.errors import ManifestError, ViewNotFoundError
from labelcast.label_set import GridIndex, RowOrder, SegmentIndex, ViewIndex
from labelcast.views import Views

SAMPLE_IDS = st.sets(st.integers(0, 2**64 - 1), min_size=1, max_size=30)
SEEDS = st.sets(st.integers(0, 2**32 - 1), min_size=1, max_size=10)


def segment_of(
    sample_ids: set[int] | list[int],
    seeds: set[int] | list[int],
    order: RowOrder = RowOrder.SEED_MAJOR,
) -> SegmentIndex:
    return GridIndex(
        np.array(sorted(sample_ids), dtype=np.uint64), np.array(sorted(seeds), np.uint32), order
    )


@given(sample_ids=SAMPLE_IDS, seeds=SEEDS, order=st.sampled_from(RowOrder), data=st.data())
def test_rows_are_those_of_views(
    sample_ids: set[int], seeds: set[int], order: RowOrder, data: st.DataObject
) -> None:
    segment = segment_of(sample_ids, seeds, order)
    views = segment.views()
    assert len(views) == len(sample_ids) * len(seeds)
    chosen = np.array(
        data.draw(st.lists(st.integers(0, len(views) - 1), max_size=50)), dtype=np.intp
    )
    numbers, rows = ViewIndex([segment]).locate(views[chosen])
    assert rows.tolist() == chosen.tolist()
    assert not numbers.any()
    assert numbers.dtype == np.int32
    assert rows.dtype == np.int64


def test_the_two_orders() -> None:
    seed_major = segment_of([7, 9], [1, 2, 3]).views()
    assert seed_major.seeds.tolist() == [1, 1, 2, 2, 3, 3]
    assert seed_major.sample_ids.tolist() == [7, 9] * 3
    sample_major = segment_of([7, 9], [1, 2, 3], RowOrder.SAMPLE_MAJOR).views()
    assert sample_major.seeds.tolist() == [1, 2, 3] * 2
    assert sample_major.sample_ids.tolist() == [7, 7, 7, 9, 9, 9]


@given(sample_ids=SAMPLE_IDS, seeds=SEEDS, data=st.data())
def test_absent_views_are_named(sample_ids: set[int], seeds: set[int], data: st.DataObject) -> None:
    index = ViewIndex([segment_of(sample_ids, seeds)])
    views = index.segments[0].views()
    absent_sample = data.draw(st.integers(0, 2**64 - 1).filter(lambda i: i not in sample_ids))
    absent_seed = data.draw(st.integers(0, 2**32 - 1).filter(lambda s: s not in seeds))
    known_sample, known_seed = int(views.sample_ids[0]), int(views.seeds[0])
    for sample_id, seed in (
        (absent_sample, known_seed),
        (known_sample, absent_seed),
        (absent_sample, absent_seed),
    ):
        asked = Views(
            np.array([known_sample, sample_id], np.uint64), np.array([known_seed, seed], np.uint32)
        )
        with pytest.raises(ViewNotFoundError) as caught:
            index.locate(asked)
        assert caught.value.facts == {"sample_id": str(sample_id), "seed": str(seed), "row": "1"}
        assert "ask only for views that were labelled" in caught.value.message


def test_segments_share_samples_or_seeds_but_no_view() -> None:
    index = ViewIndex(
        [segment_of([1, 2], [0, 1]), segment_of([1, 2], [5]), segment_of([3], [0, 5])]
    )
    numbers, rows = index.locate(Views.of([2, 2, 3, 1], [5, 0, 5, 1]))
    assert numbers.tolist() == [1, 0, 2, 0]
    assert rows.tolist() == [1, 1, 1, 2]
    # Known sample and known seed, but no segment has them together.
    with pytest.raises(ViewNotFoundError):
        index.locate(Views.of([3], [1]))
    with pytest.raises(ManifestError, match="same view"):
        ViewIndex([segment_of([1, 2], [0, 1]), segment_of([2, 3], [1, 2])])


@pytest.mark.parametrize(
    ("sample_ids", "seeds"),
    [([1, 1], [0]), ([2, 1], [0]), ([1], [0, 0]), ([1], [3, 2]), ([1, 2, 2, 3], [0])],
)
def test_tables_increase_strictly(sample_ids: list[int], seeds: list[int]) -> None:
    with pytest.raises(ManifestError, match="strictly increasing"):
        GridIndex(np.array(sample_ids, np.uint64), np.array(seeds, np.uint32), RowOrder.SEED_MAJOR)


def test_no_views_at_all() -> None:
    none: NDArray[np.uint64] = np.zeros(0, np.uint64)
    numbers, rows = ViewIndex([segment_of([1], [1])]).locate(Views(none, none.astype(np.uint32)))
    assert len(numbers) == len(rows) == 0


def test_the_ends_of_the_integers() -> None:
    segment = segment_of([0, 2**63, 2**64 - 1], [0, 2**32 - 1])
    _, rows = ViewIndex([segment]).locate(
        Views(np.array([2**64 - 1, 0, 2**63], np.uint64), np.array([2**32 - 1, 0, 0], np.uint32))
    )
    assert rows.tolist() == [5, 0, 1]


@given(sample_ids=SAMPLE_IDS, seeds=SEEDS, order=st.sampled_from(RowOrder), data=st.data())
def test_views_of_rows_are_those_of_the_whole(
    sample_ids: set[int], seeds: set[int], order: RowOrder, data: st.DataObject
) -> None:
    segment = segment_of(sample_ids, seeds, order)
    views = segment.views()
    numbers = st.lists(st.integers(0, len(views) - 1), max_size=50)
    rows = np.array(data.draw(numbers), dtype=np.int64)
    chosen, expected = segment.views_at(rows), views[rows]
    assert chosen.sample_ids.tolist() == expected.sample_ids.tolist()
    assert chosen.seeds.tolist() == expected.seeds.tolist()
