"""A plan is what it says, row by row, and what torch's sampler does with its ranks."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DistributedSampler

from labelcast.errors import InvalidRequestError
from labelcast.plans import MAX_COUNT, MAX_EPOCHS, FeistelPermutation, Padding, Plan
from labelcast.views import Views


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    first = draw(st.integers(0, 2**64 - 60))
    count = draw(st.integers(1, 50))
    listed = st.lists(st.integers(0, 2**64 - 1), min_size=count, max_size=count)
    padding = draw(st.sampled_from(Padding))
    num_ranks = draw(st.integers(1, 60 if padding is Padding.REPEAT else count))
    return Plan(
        draw(st.just(range(first, first + count)) | listed),
        draw(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5)),
        order_key=draw(st.none() | st.integers(0, 2**64 - 1)),
        rank=draw(st.integers(0, num_ranks - 1)),
        num_ranks=num_ranks,
        padding=padding,
    )


def pairs(views: Views) -> list[tuple[int, int]]:
    return list(zip(views.sample_ids.tolist(), views.seeds.tolist(), strict=True))


def listed(plan: Plan) -> list[tuple[int, int]]:
    """Every row of a plan, by the words of its docstring."""
    samples, rows = list(plan.samples), []
    for epoch, seed in enumerate(plan.seeds):
        order = list(range(len(samples)))
        if plan.order_key is not None:
            network = FeistelPermutation(len(samples), epoch=epoch, key=plan.order_key)
            order = network.at(np.arange(len(samples), dtype=np.uint64)).tolist()
        if plan.padding is Padding.DROP:
            order = order[: len(order) // plan.num_ranks * plan.num_ranks]
        if plan.padding is Padding.REPEAT:
            whole = -(-len(order) // plan.num_ranks) * plan.num_ranks
            order = list(itertools.islice(itertools.cycle(order), whole))
        rows += [(int(samples[at]), int(seed)) for at in order[plan.rank :: plan.num_ranks]]
    return rows


@given(plans(), st.data())
def test_any_part_of_a_plan_is_that_part_of_the_whole(plan: Plan, data: st.DataObject) -> None:
    rows = listed(plan)
    assert len(plan) == len(rows)
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    assert pairs(plan.views(start, stop)) == rows[start:stop]
    assert pairs(plan.views(stop, start)) == []
    assert pairs(plan.views(stop, len(rows) + 9)) == rows[stop:]


@given(plans(), st.integers(1, 60), st.data())
def test_batches_cover_their_rows_and_cross_no_epoch(
    plan: Plan, size: int, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(plan)))
    stop = data.draw(st.integers(start, len(plan)))
    batches = plan.batches(size, start=start, stop=stop)
    cut = list(batches)
    assert len(batches) == len(cut)
    assert [pair for views in cut for pair in pairs(views)] == listed(plan)[start:stop]
    whole = set(np.cumsum([len(views) for views in plan.batches(size)]).tolist())
    ends = start + np.cumsum([len(views) for views in cut], dtype=np.int64)
    assert set(ends[:-1].tolist()) == {end for end in whole if start < end < stop}


@pytest.mark.parametrize(("count", "num_ranks"), [(10, 3), (9, 3), (2, 5), (1, 1), (7, 4)])
@pytest.mark.parametrize("padding", [Padding.DROP, Padding.REPEAT])
def test_ranks_share_an_epoch_as_torch_shares_it(
    count: int, num_ranks: int, padding: Padding
) -> None:
    items: Any = range(count)
    dropping = padding is Padding.DROP
    for rank in range(num_ranks):
        sampler = DistributedSampler[int](items, num_ranks, rank, shuffle=False, drop_last=dropping)
        expected = list(sampler)
        share: dict[str, Any] = {"rank": rank, "num_ranks": num_ranks, "padding": padding}
        if expected:
            plan = Plan(items, [3], order_key=None, **share)
            assert pairs(plan.views(0, len(plan))) == [(at, 3) for at in expected]
        else:
            with pytest.raises(InvalidRequestError, match="without rows"):
                Plan(items, [3], order_key=None, **share)


@given(st.integers(1, 200), st.data(), st.integers(0, 2**64 - 1))
def test_ranks_together_read_an_epoch_once(count: int, data: st.DataObject, key: int) -> None:
    num_ranks = data.draw(st.integers(1, count))
    seen = [
        pair
        for rank in range(num_ranks)
        for plan in [
            Plan(
                range(count),
                range(3),
                order_key=key,
                rank=rank,
                num_ranks=num_ranks,
                padding=Padding.UNEVEN,
            )
        ]
        for pair in pairs(plan.views(0, len(plan)))
    ]
    assert sorted(seen) == sorted(itertools.product(range(count), range(3)))


def test_the_order_of_an_epoch_follows_from_its_index() -> None:
    whole = Plan(range(100), [7, 7, 8], order_key=1)
    first, second = whole.views(0, 100), whole.views(100, 200)
    assert first.sample_ids.tolist() != second.sample_ids.tolist()
    assert first.seeds.tolist() == second.seeds.tolist() == [7] * 100
    rest = Plan(range(100), [7, 8], order_key=1).views(0, 100)
    assert rest.sample_ids.tolist() != second.sample_ids.tolist()


def test_integers_in_a_row_are_a_range() -> None:
    plan = Plan(np.arange(5, 9, dtype=np.uint64), [3, 4, 5])
    assert plan.samples == range(5, 9)
    assert plan.seeds == range(3, 6)
    assert not isinstance(Plan([5, 6, 8], [3, 3]).samples, range)
    assert not isinstance(Plan(range(0, 10, 2), [1, 0]).samples, range)


def test_large_plans_take_no_time_and_no_memory() -> None:
    plan = Plan(range(2**64 - MAX_COUNT, 2**64), range(MAX_EPOCHS), order_key=1)
    assert len(plan) == MAX_COUNT * MAX_EPOCHS
    last = plan.views(len(plan) - 2, len(plan))
    assert last.seeds.tolist() == [MAX_EPOCHS - 1] * 2
    assert int(last.sample_ids.min()) >= 2**64 - MAX_COUNT


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"samples": range(0)}, "1 to 4294967296 samples, not 0"),
        ({"samples": []}, "1 to 4294967296 samples, not 0"),
        ({"samples": range(2**63)}, "samples, not 9223372036854775808"),
        ({"samples": range(-1, 5)}, "a sample ID"),
        ({"samples": range(2**64 - 1, 2**64 + 1)}, "a sample ID"),
        ({"samples": [1.5]}, "a sample ID"),
        ({"seeds": range(2**20 + 1)}, "epochs, not 1048577"),
        ({"seeds": range(2**32 - 1, 2**32 + 1)}, "an augmentation seed"),
        ({"seeds": [-1]}, "an augmentation seed"),
        ({"order_key": -1}, "order_key must be from 0"),
        ({"order_key": 2**64}, "order_key must be from 0"),
        ({"order_key": 1.5}, "order_key must be from 0"),
        ({"num_ranks": 0}, "num_ranks must be from 1"),
        ({"num_ranks": 2**32}, "num_ranks must be from 1"),
        ({"rank": 1}, "rank must be from 0 to 0, not 1"),
        ({"rank": -1}, "rank must be from 0 to 0, not -1"),
        ({"rank": 5, "num_ranks": 6, "padding": Padding.UNEVEN}, "without rows"),
        ({"num_ranks": 6, "padding": Padding.DROP}, "without rows"),
        ({"padding": "wrap"}, "drop, repeat, uneven, not 'wrap'"),
    ],
)
def test_impossible_plans_are_refused(wrong: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"samples": range(5), "seeds": [0]} | wrong
    with pytest.raises(InvalidRequestError, match=message):
        Plan(arguments.pop("samples"), arguments.pop("seeds"), **arguments)


@pytest.mark.parametrize(
    ("size", "start", "stop"), [(0, 0, 1), (1, -1, 1), (1, 2, 1), (1, 0, 6), (1, 7, 7)]
)
def test_rows_that_a_plan_does_not_have_are_refused(size: int, start: int, stop: int) -> None:
    with pytest.raises(InvalidRequestError):
        Plan(range(5), [0]).batches(size, start=start, stop=stop)
