"""FORMAT.md's golden orders and plans are what the code computes, and what its text says."""

import math
import re
from importlib import resources

import numpy as np
import pytest

from labelcast.label_set import StoredViews, ViewIndex, index_of_sequences
from labelcast.plans import FeistelPermutation, Padding, Plan, SequencePlan
from tests.client.augmentation.test_philox import reference

FORMAT = resources.files("labelcast.codec").joinpath("FORMAT.md").read_text("utf-8")
SECTION = FORMAT.split("## 9. Orders and plans")[1]
NUMBERS = r"(\d+(?: \d+)*)"
ORDERS = re.findall(
    rf"^\| (\d+) \| (\d+) \| (\d+) \| {NUMBERS} \| {NUMBERS} \|$", SECTION, re.MULTILINE
)
PLANS = re.findall(rf"^\| `(\w+)` \| {NUMBERS} \| {NUMBERS} \|$", SECTION, re.MULTILINE)

SEQUENCES = re.findall(rf"^\| (\d) of 2 \| {NUMBERS} \| {NUMBERS} \|$", SECTION, re.MULTILINE)


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split()]


def item_at(place: int, n: int, epoch: int, key: int) -> int:
    """The text of §9 in Python integers."""
    a = math.isqrt(n - 1) + 1
    a += a % 2
    b = -(-n // a)
    while True:
        left, right = divmod(place, b)
        for i in range(24 if n < 1024 else 6):
            m, value = (a, right) if i % 2 == 0 else (b, left)
            word = reference((value // 4, i, epoch, 2**32 - 1), key)[value % 4]
            if i % 2 == 0:
                left = (left + word * m // 2**32) % a
            else:
                right = (right + word * m // 2**32) % b
        place = left * b + right
        if place < n:
            return place


@pytest.mark.parametrize(("n", "epoch", "key", "places", "items"), ORDERS)
def test_golden_orders(n: str, epoch: str, key: str, places: str, items: str) -> None:
    count, at = int(n), numbers(places)
    order = FeistelPermutation(count, epoch=int(epoch), key=int(key))
    assert order.at(np.array(at, dtype=np.uint64)).tolist() == numbers(items)
    assert [item_at(place, count, int(epoch), int(key)) for place in at] == numbers(items)


@pytest.mark.parametrize(("padding", "sample_ids", "seeds"), PLANS)
def test_golden_plans(padding: str, sample_ids: str, seeds: str) -> None:
    plan = Plan(range(100, 107), [5, 9], order_key=3, rank=1, num_ranks=2, padding=Padding(padding))
    views = plan.views(0, len(plan))
    assert views.sample_ids.tolist() == numbers(sample_ids)
    assert views.seeds.tolist() == numbers(seeds)


@pytest.mark.parametrize(("rank", "sample_ids", "positions"), SEQUENCES)
def test_golden_plans_of_sequences(rank: str, sample_ids: str, positions: str) -> None:
    lengths = np.array([2, 1, 3, 1, 2], dtype=np.uint32)
    index = index_of_sequences(np.arange(100, 105, dtype=np.uint64), lengths)
    plan = SequencePlan(
        range(100, 105),
        StoredViews(ViewIndex([index])),
        epochs=2,
        order_key=3,
        rank=int(rank),
        num_ranks=2,
        padding=Padding.UNEVEN,
    )
    views = plan.views(0, len(plan))
    assert views.sample_ids.tolist() == numbers(sample_ids)
    assert views.seeds.tolist() == numbers(positions)


def test_the_tables_are_read_whole() -> None:
    assert len(ORDERS) == 8
    assert {rule for rule, _, _ in PLANS} == set(Padding)
    assert len(SEQUENCES) == 2
