"""Plans of whole sequences: each once an epoch, with all its labels, whoever shares them."""

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from labelcast.errors import InvalidRequestError, ViewNotFoundError
from labelcast.label_set import StoredViews, ViewIndex, index_of_sequences
from labelcast.plans import Padding, Plan, SequencePlan
from labelcast.plans import sequence_plan as bounds
from labelcast.views import Views


class Lengths:
    """Sequences of 1 to 9 labels, at every other position."""

    def count_views(self, sample_ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        return (sample_ids % np.uint64(9)).astype(np.int64) + 1

    def nth_seeds(
        self, sample_ids: NDArray[np.uint64], numbers: NDArray[np.int64]
    ) -> NDArray[np.uint32]:
        assert (numbers < self.count_views(sample_ids)).all()
        return (2 * numbers).astype(np.uint32)


def listed(plan: SequencePlan) -> Views:
    """What the plan means, label after label."""
    order, ids, seeds = plan.order, list[int](), list[int]()
    for sample_id in order.views(0, len(order)).sample_ids.tolist():
        count = sample_id % 9 + 1
        ids += [sample_id] * count
        seeds += range(0, 2 * count, 2)
    return Views.of(np.array(ids, dtype=np.uint64), np.array(seeds, dtype=np.uint64))


@st.composite
def some_plans(draw: st.DrawFn) -> SequencePlan:
    count = draw(st.integers(1, 30))
    num_ranks = draw(st.integers(1, count))
    return SequencePlan(
        draw(st.just(range(7, 7 + count)) | st.permutations(range(0, 3 * count, 3))),
        Lengths(),
        epochs=draw(st.integers(1, 4)),
        order_key=draw(st.none() | st.integers(0, 2**64 - 1)),
        rank=draw(st.integers(0, num_ranks - 1)),
        num_ranks=num_ranks,
        padding=draw(st.sampled_from(Padding)),
    )


@given(some_plans(), st.data())
def test_any_rows_are_what_the_whole_says(plan: SequencePlan, data: st.DataObject) -> None:
    whole = listed(plan)
    assert len(plan) == len(whole)
    start = data.draw(st.integers(0, len(plan)))
    stop = data.draw(st.integers(start, len(plan) + 3))
    assert plan.views(start, stop) == whole[start:stop]


@given(some_plans(), st.integers(1, 40), st.booleans(), st.data())
def test_batches_are_the_rows_in_order(
    plan: SequencePlan, size: int, whole_sequences: bool, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(plan)))
    stop = data.draw(st.integers(start, len(plan)))
    cut: dict[str, Any] = {"sequences" if whole_sequences else "tokens": size}
    batches = plan.batches(**cut, start=start, stop=stop)
    found = list(batches)
    assert len(batches) == len(found)
    assert all(len(batch) for batch in found)
    rows = [start, *np.cumsum([len(batch) for batch in found]).__add__(start).tolist()]
    assert rows[-1] == stop
    for batch, (first, last) in zip(found, pairwise(rows), strict=True):
        assert batch == plan.views(first, last)
        assert plan.place(first)[0] == plan.place(last - 1)[0]
        assert next(iter(batches.rest(first))) == batch
        if whole_sequences:
            assert last == stop or last == plan.sequence_start(*ended(plan, last))
        else:
            assert len(batch) <= size


def ended(plan: SequencePlan, row: int) -> tuple[int, int]:
    """The sequence that begins with a row, as the one after the last of its epoch if it is that."""
    epoch, number = plan.sequence_at(row - 1)
    return epoch, number + 1


@pytest.mark.parametrize("padding", Padding)
def test_ranks_together_read_every_sequence_once(padding: Padding) -> None:
    shares = [
        SequencePlan(range(20), Lengths(), epochs=2, rank=rank, num_ranks=3, padding=padding)
        for rank in range(3)
    ]
    first = [share.views(0, share.epoch_start(1)) for share in shares]
    seen = Counter(
        each
        for views in first
        for each in zip(views.sample_ids.tolist(), views.seeds.tolist(), strict=True)
    )
    samples = {sample for sample, _ in seen}
    assert len(samples) == (18 if padding is Padding.DROP else 20)
    for sample in samples:
        assert {seed for each, seed in seen if each == sample} == set(
            range(0, 2 * (sample % 9) + 2, 2)
        )
    again = sum(seen.values()) - len(seen)
    assert (again > 0) is (padding is Padding.REPEAT)
    second = [share.views(share.epoch_start(1), len(share)) for share in shares]
    assert second != first


def test_positions_are_those_that_have_labels() -> None:
    ids, lengths = np.array([3, 5], dtype=np.uint64), np.array([3, 2], dtype=np.uint32)
    labelled = np.array([False, True, True, True, False])
    stored = StoredViews(ViewIndex([index_of_sequences(ids, lengths, labelled)]))
    plan = SequencePlan(ids, stored, epochs=1, order_key=None)
    assert plan.views(0, 9) == Views.of([3, 3, 5], [1, 2, 0])
    with pytest.raises(ViewNotFoundError, match="no view of sample ID 4"):
        SequencePlan([3, 4], stored, epochs=1)


def test_bounds_are_said_and_their_advice_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_SEQUENCES", 10)
    with pytest.raises(InvalidRequestError, match="make several plans, each of a part of the samp"):
        SequencePlan(range(11), Lengths(), epochs=1)
    for part in (range(10), range(10, 11)):
        assert SequencePlan(part, Lengths(), epochs=1)
    monkeypatch.setattr(bounds, "MAX_DEALT_SEQUENCES", 10)
    shared: dict[str, Any] = {"rank": 1, "num_ranks": 2}
    assert SequencePlan(range(10), Lengths(), epochs=9)
    with pytest.raises(InvalidRequestError, match="plan for fewer epochs, and the next with anoth"):
        SequencePlan(range(10), Lengths(), epochs=3, **shared)
    for key in (0, 1):
        assert SequencePlan(range(10), Lengths(), epochs=2, order_key=key, **shared)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({}, "give one of the two"),
        ({"sequences": 1, "tokens": 1}, "give one of the two"),
        ({"sequences": 0}, "at least one sequence"),
        ({"tokens": 0}, "at least one view"),
        ({"tokens": 1, "stop": 10**6}, "has no rows from 0 to 1000000"),
    ],
)
def test_impossible_batches_are_refused(wrong: dict[str, int], words: str) -> None:
    plan = SequencePlan(range(3), Lengths(), epochs=1)
    with pytest.raises(InvalidRequestError, match=words):
        plan.batches(**wrong)
    assert len(plan.batches(sequences=2)) == 2


def test_orders_are_those_of_plans() -> None:
    plan = SequencePlan(range(50), Lengths(), epochs=3, order_key=11)
    order = Plan(range(50), range(3), order_key=11)
    _, at = np.unique(plan.views(0, plan.epoch_start(1)).sample_ids, return_index=True)
    ids = plan.views(0, plan.epoch_start(1)).sample_ids[np.sort(at)]
    np.testing.assert_array_equal(ids, order.views(0, 50).sample_ids)
