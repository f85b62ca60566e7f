"""Orders that can be had in parts: bijections, alike in all parts, and as good as random."""

import hashlib
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from labelcast.errors import InvalidRequestError
from labelcast.plans import MAX_COUNT, FeistelPermutation

EPOCHS = st.integers(0, 2**32 - 1)
KEYS = st.integers(0, 2**64 - 1)


def places(*values: int) -> NDArray[np.uint64]:
    return np.array(values, dtype=np.uint64)


def order_of(count: int, *, epoch: int = 0, key: int = 0) -> NDArray[np.uint64]:
    return FeistelPermutation(count, epoch=epoch, key=key).at(np.arange(count, dtype=np.uint64))


def unlikely(counts: NDArray[Any], freedom: int) -> float:
    """How far chi-square of equally likely counts is above its mean, in standard deviations."""
    expected = counts.sum() / len(counts)
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return (statistic - freedom) / math.sqrt(2 * freedom)


@given(st.integers(1, 3000), EPOCHS, KEYS)
def test_every_item_has_one_place(count: int, epoch: int, key: int) -> None:
    order = order_of(count, epoch=epoch, key=key)
    assert order.dtype == np.uint64
    assert np.array_equal(np.sort(order), np.arange(count))


@pytest.mark.parametrize("count", [50_000, 1_000_003])
def test_every_item_of_a_large_set_has_one_place(count: int) -> None:
    assert np.array_equal(np.sort(order_of(count)), np.arange(count))


@given(st.integers(1, MAX_COUNT), EPOCHS, KEYS, st.data())
def test_places_are_alike_in_any_company(
    count: int, epoch: int, key: int, data: st.DataObject
) -> None:
    order = FeistelPermutation(count, epoch=epoch, key=key)
    asked = data.draw(st.lists(st.integers(0, count - 1), max_size=5, unique=True))
    found = order.at(places(*asked)).tolist()
    assert found == [int(order.at(places(place))[0]) for place in asked]
    assert len(set(found)) == len(asked)
    assert all(item < count for item in found)


def test_asking_changes_no_places() -> None:
    asked = np.arange(100, dtype=np.uint64)
    order = FeistelPermutation(100, epoch=0, key=0)
    assert np.array_equal(order.at(asked), order.at(asked))
    assert np.array_equal(asked, np.arange(100))


def test_orders_stay_what_they_are() -> None:
    order = order_of(10_000, epoch=2**32 - 1, key=2**64 - 1).astype("<u8")
    assert hashlib.sha256(order.tobytes()).hexdigest() == GOLDEN


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_every_order_of_few_items_is_as_likely(count: int) -> None:
    orders = math.factorial(count)
    drawn = np.array([order_of(count, epoch=epoch) for epoch in range(max(2000, 8 * orders))])
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == orders
    assert unlikely(counts, orders - 1) < 4


@pytest.mark.parametrize("count", [50, 1500])
def test_every_place_is_as_likely_for_an_item(count: int) -> None:
    asked = places(0, 1, count // 2, count - 1)
    drawn = np.array(
        [FeistelPermutation(count, epoch=epoch, key=5).at(asked) for epoch in range(4000)]
    )
    for column in (drawn * 50 // count).T:
        assert unlikely(np.bincount(column.astype(np.int64), minlength=50), 49) < 4


@pytest.mark.parametrize("count", [1024, 1031, 90_000])
@pytest.mark.parametrize("apart", ["neighbours", "one row", "two rows", "another epoch", "key"])
def test_distances_are_as_likely_as_between_strangers(count: int, apart: str) -> None:
    """Neighbours share a half of the network, places b apart nearly the other."""
    width = -(-count // (math.isqrt(count - 1) + 1))
    bins = 64
    counts: NDArray[Any] = np.zeros(bins, dtype=np.int64)
    for epoch in range(8):
        order = order_of(count, epoch=2 * epoch).astype(np.int64)
        if apart == "another epoch":
            first, second = order, order_of(count, epoch=2 * epoch + 1).astype(np.int64)
        elif apart == "key":
            first, second = order, order_of(count, epoch=2 * epoch, key=1).astype(np.int64)
        else:
            step = {"neighbours": 1, "one row": width, "two rows": 2 * width}[apart]
            first, second = order[:-step], order[step:]
        distance = (second - first) % count
        counts += np.bincount(distance * bins // count, minlength=bins)
    assert unlikely(counts, bins - 1) < 4


@pytest.mark.parametrize(
    ("count", "epoch", "key"),
    [(0, 0, 0), (MAX_COUNT + 1, 0, 0), (2**63, 0, 0), (5, -1, 0), (5, 2**32, 0), (5, 0, 2**64)],
)
def test_numbers_out_of_range_are_refused(count: int, epoch: int, key: int) -> None:
    with pytest.raises(InvalidRequestError, match="must be from"):
        FeistelPermutation(count, epoch=epoch, key=key)


@pytest.mark.parametrize("place", [5, 2**63, 2**64 - 1])
def test_a_place_outside_is_refused(place: int) -> None:
    with pytest.raises(InvalidRequestError, match="no such position"):
        FeistelPermutation(5, epoch=0, key=0).at(places(0, place))


def test_no_places_have_no_items() -> None:
    assert len(FeistelPermutation(5, epoch=0, key=0).at(places())) == 0


# Changing this is a breaking change: students would meet their samples in another order.
GOLDEN = "ae388f9e76914eaa58b54cfb8393cd322d1a874445873708162710ea17090e9e"
