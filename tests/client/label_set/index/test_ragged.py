"""Sequences of their own lengths, against a plain dictionary."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labelcast.errors import ManifestError, ViewNotFoundError
from labelcast.label_set import (
    GridIndex,
    MaskedIndex,
    RaggedIndex,
    ViewIndex,
    index_of_sequences,
)
from labelcast.views import Views


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_rows_and_views_are_those_of_a_dictionary(data: st.DataObject) -> None:
    lengths = np.array(data.draw(st.lists(st.integers(1, 70), min_size=1, max_size=20)), np.uint32)
    gaps = data.draw(st.lists(st.integers(1, 2**40), min_size=len(lengths), max_size=len(lengths)))
    sample_ids = np.cumsum(np.array(gaps, dtype=np.uint64))
    labelled = None
    if data.draw(st.booleans()):
        labelled = data.draw(arrays(np.bool_, int(lengths.sum())))
    index = index_of_sequences(sample_ids, lengths, labelled)
    every = [
        (sample, position)
        for sample, length in zip(sample_ids.tolist(), lengths.tolist(), strict=True)
        for position in range(length)
    ]
    flags = np.ones(len(every), dtype=np.bool_) if labelled is None else labelled
    kept = [view for view, flag in zip(every, flags.tolist(), strict=True) if flag]
    assert index.num_rows == len(kept)
    views = Views.of(*np.array(kept, dtype=np.uint64).reshape(-1, 2).T)
    rows, known = index.rows(views)
    assert known.all()
    assert rows.tolist() == list(range(len(kept)))
    assert index.views() == views
    beyond = Views.of(sample_ids, lengths)
    assert not index.rows(beyond)[1].any()
    ignored = [view for view, flag in zip(every, flags.tolist(), strict=True) if not flag]
    if ignored:
        assert not index.rows(Views.of(*np.array(ignored, dtype=np.uint64).T))[1].any()
    samples = np.arange(len(sample_ids))
    counts = index.count_views(samples)
    wanted = {sample: [p for s, p in kept if s == sample] for sample in sample_ids.tolist()}
    assert counts.tolist() == [len(wanted[sample]) for sample in sample_ids.tolist()]
    assert index.lengths(samples).tolist() == lengths.tolist()
    for sample, sample_id in enumerate(sample_ids.tolist()):
        numbers = np.arange(len(wanted[sample_id]))
        seeds = index.nth_seeds(np.full(len(numbers), sample), numbers)
        assert seeds.tolist() == wanted[sample_id]


def test_the_cheapest_index_is_taken() -> None:
    ids = np.arange(3, dtype=np.uint64)
    even, uneven = np.full(3, 4, dtype=np.uint32), np.array([1, 4, 2], dtype=np.uint32)
    some = np.arange(12) % 3 > 0
    assert isinstance(index_of_sequences(ids, even), GridIndex)
    assert isinstance(index_of_sequences(ids, even, np.ones(12, np.bool_)), GridIndex)
    assert isinstance(index_of_sequences(ids, even, some), MaskedIndex)
    ragged = index_of_sequences(ids, uneven)
    assert isinstance(ragged, RaggedIndex)
    assert ragged.pack_presence() is None
    assert index_of_sequences(ids, uneven, some[:7]).pack_presence() is not None


def test_what_contradicts_itself_is_refused() -> None:
    ids, lengths = np.arange(3, dtype=np.uint64), np.array([1, 4, 2], dtype=np.uint32)
    positions = np.arange(4, dtype=np.uint32)
    for wrong_lengths in (lengths[:2], np.array([1, 4, 0], dtype=np.uint32)):
        with pytest.raises(ManifestError, match="at least 1 for each sample"):
            RaggedIndex(ids, positions, wrong_lengths)
    for wrong in (positions[:3], np.arange(5, dtype=np.uint32), positions + np.uint32(1)):
        with pytest.raises(ManifestError, match="positions of the longest"):
            RaggedIndex(ids, wrong, lengths)
    with pytest.raises(ManifestError, match="does not hold 7 bits"):
        RaggedIndex(ids, positions, lengths, np.zeros(2, dtype=np.uint8))
    with pytest.raises(ManifestError, match="not one for each position"):
        index_of_sequences(ids, lengths, np.ones(8, dtype=np.bool_))
    with pytest.raises(ManifestError, match="at least 1 for each sample"):
        index_of_sequences(ids, np.zeros(3, dtype=np.uint32))


def test_a_label_set_says_how_long_its_sequences_are() -> None:
    one = index_of_sequences(
        np.array([3, 9], dtype=np.uint64), np.array([5, 2], dtype=np.uint32), np.arange(7) > 2
    )
    other = index_of_sequences(np.array([4], dtype=np.uint64), np.array([8], dtype=np.uint32))
    index = ViewIndex([one, other])
    assert index.lengths(np.array([9, 4, 3, 9], dtype=np.uint64)).tolist() == [2, 8, 5, 2]
    with pytest.raises(ViewNotFoundError, match="no sample ID 5"):
        index.lengths(np.array([9, 5], dtype=np.uint64))
    with pytest.raises(ManifestError, match="two segments"):
        ViewIndex([one, index_of_sequences(one.sample_ids, np.array([4, 3], dtype=np.uint32))])


def test_a_length_that_lies_takes_no_memory() -> None:
    ids, positions = np.arange(3, dtype=np.uint64), np.arange(4, dtype=np.uint32)
    tracemalloc.start()
    try:
        with pytest.raises(ManifestError, match="positions of the longest"):
            RaggedIndex(ids, positions, np.array([1, 4, 2**28], dtype=np.uint32))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20
