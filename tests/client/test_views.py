"""Views: two columns of one length, or a refusal."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelcast import Views
from labelcast.errors import InvalidRequestError

IDS = st.lists(st.integers(0, 2**64 - 1), max_size=40)


@given(IDS, st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_batches_are_the_views_in_order(ids: list[int], size: int, seed: int) -> None:
    views = Views.of(np.array(ids, dtype=np.uint64), seed)
    batches = list(views.batches(size))
    assert [int(value) for batch in batches for value in batch.sample_ids] == ids
    assert {int(value) for batch in batches for value in batch.seeds} <= {seed}
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(1 <= len(batch) <= size for batch in batches)


@given(IDS.filter(bool))
def test_plain_integers_of_any_size_are_taken(ids: list[int]) -> None:
    views = Views.of(ids, np.arange(len(ids)))
    assert (views.sample_ids.dtype.name, views.seeds.dtype.name) == ("uint64", "uint32")
    assert views.sample_ids.tolist() == ids
    assert views[1:].seeds.tolist() == list(range(1, len(ids)))
    assert views[np.array([0, 0])].sample_ids.tolist() == [ids[0], ids[0]]


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_of_nothing_is_refused(size: int) -> None:
    with pytest.raises(InvalidRequestError, match="at least one view"):
        list(Views.of([1, 2], 3).batches(size))


def test_scalars_and_nothing() -> None:
    assert len(Views.of(5, 6)) == 1
    assert len(Views.of([], [])) == 0
    assert Views.of([1, 2], 3).seeds.tolist() == [3, 3]


REFUSED: list[tuple[Any, Any]] = [
    ([-1], [0]),
    ([1.0], [0]),
    ([True], [0]),
    (["1"], [0]),
    ([2**64], [0]),
    ([2**64 - 1, -1], [0, 0]),
    ([1], [-1]),
    ([1], [2**32]),
    ([1], [0.5]),
    ([1, 2], [0]),
    ([1], [0, 1]),
    ([[1, 2]], [[0, 0]]),
    ([[1, 2]], 0),
]


@pytest.mark.parametrize(("ids", "seeds"), REFUSED, ids=str)
def test_what_is_no_column_of_unsigned_integers_is_refused(ids: Any, seeds: Any) -> None:
    with pytest.raises(InvalidRequestError):
        Views.of(ids, seeds)


def test_refusals_are_sentences() -> None:
    with pytest.raises(InvalidRequestError, match=r"^a sample ID must be a non-negative integer"):
        Views.of([-1], [0])
    with pytest.raises(InvalidRequestError, match=r"^an augmentation seed must be at most"):
        Views.of([1], [2**32])


def test_the_columns_themselves_are_checked() -> None:
    ids: Any = np.arange(3)
    seeds = np.zeros(3, dtype=np.uint32)
    with pytest.raises(InvalidRequestError, match=r"Views\.of"):
        Views(ids, seeds)
    with pytest.raises(InvalidRequestError, match="one length"):
        Views(ids.astype(np.uint64), seeds[:2])


def test_equality_is_that_of_both_columns() -> None:
    views = Views.of([3, 2**64 - 1], [0, 7])
    assert views == Views.of(np.array([3, 2**64 - 1], dtype=np.uint64), [0, 7])
    for other in (Views.of([3, 2**64 - 1], [0, 8]), Views.of([3, 4], [0, 7]), views[:1], "views"):
        assert views != other
    with pytest.raises(TypeError, match="unhashable"):
        hash(views)


def test_they_are_shown_shortly() -> None:
    assert repr(Views.of([3, 2**64 - 1], [0, 7])) == "<Views of 2: 3@0, 18446744073709551615@7>"
    assert repr(Views.of(range(10**6), 5)) == "<Views of 1000000: 0@5, 1@5, 2@5, …>"
    assert repr(Views.of([], [])) == "<Views of 0: >"
