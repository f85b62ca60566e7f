"""Runs that are cut anywhere and taken up again see what they would have seen."""

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelcast.errors import InvalidRequestError, ViewNotFoundError
from labelcast.label_set import MissingViews, RowOrder, StoredViews, ViewIndex, index_of_cells
from labelcast.torch import Position, TrainingPlan

Row = tuple[Position, int, int]
STORED_SEEDS = 5


def stored_views(sample_ids: np.ndarray[Any, Any], present: list[int]) -> StoredViews:
    """Views under seeds 0 to 4, of which every sample has the first and those in `present`."""
    seeds = np.arange(STORED_SEEDS, dtype=np.uint32)
    rows = np.union1d(np.arange(len(sample_ids)), np.array(present, dtype=np.int64))
    return StoredViews(ViewIndex([index_of_cells(sample_ids, seeds, RowOrder.SEED_MAJOR, rows)]))


@st.composite
def runs(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of a plan, all but its start."""
    count = draw(st.integers(1, 20))
    missing = draw(st.sampled_from(MissingViews))
    ids = 100 + 3 * np.arange(count, dtype=np.uint64)
    highest = count * STORED_SEEDS - 1
    present = draw(st.lists(st.integers(0, highest), max_size=highest))
    return {
        "sample_ids": ids,
        # Nothing is stored under 5 and 6, so that whole epochs may be dropped.
        "seeds": draw(st.lists(st.integers(0, 6), max_size=5)),
        "batch_size": draw(st.integers(1, 25)),
        "order_key": draw(st.integers(0, 3)),
        "missing": missing,
        "stored": None if missing is MissingViews.REFUSE else stored_views(ids, present),
    }


def rows_of(plan: TrainingPlan) -> list[Row]:
    return [
        (Position(batch.position.epoch, batch.position.row + at), sample_id, seed)
        for batch in plan
        for at, (sample_id, seed) in enumerate(
            zip(batch.views.sample_ids.tolist(), batch.views.seeds.tolist(), strict=True)
        )
    ]


def cuts(plan: TrainingPlan) -> list[tuple[Position, Position]]:
    return [(batch.position, batch.next_position) for batch in plan]


@given(run=runs(), data=st.data())
def test_a_run_that_goes_on_anywhere_sees_what_is_left(
    run: dict[str, Any], data: st.DataObject
) -> None:
    whole = TrainingPlan(**run)
    rows, batches = rows_of(whole), cuts(whole)
    assert len(whole) == len(batches)
    epochs = len(run["seeds"])
    places = [position for position, _, _ in rows]
    places += [Position(epoch) for epoch in range(epochs + 1)]
    start = data.draw(st.sampled_from(places))
    rest = TrainingPlan(**run, start=start)
    assert rows_of(rest) == [row for row in rows if row[0] >= start]
    assert len(rest) == len(list(rest))
    # Batches end where they would have ended.
    assert [end for _, end in cuts(rest)] == [end for _, end in batches if end > start]


@given(run=runs(), data=st.data())
def test_a_run_can_be_cut_after_any_batch_again_and_again(
    run: dict[str, Any], data: st.DataObject
) -> None:
    seen: list[Row] = []
    at = Position()
    while left := list(TrainingPlan(**run, start=at)):
        taken = data.draw(st.integers(1, len(left)))
        seen += rows_of(TrainingPlan(**run, start=at))[: sum(len(b.views) for b in left[:taken])]
        at = Position.from_json(json.loads(json.dumps(left[taken - 1].next_position.as_json())))
    assert seen == rows_of(TrainingPlan(**run))


def test_an_epoch_goes_on_into_the_next() -> None:
    plan = TrainingPlan(np.arange(5, dtype=np.uint64), [7, 7], batch_size=3)
    assert cuts(plan) == [
        (Position(0, 0), Position(0, 3)),
        (Position(0, 3), Position(1, 0)),
        (Position(1, 0), Position(1, 3)),
        (Position(1, 3), Position(2, 0)),
    ]


def test_a_start_inside_a_batch_begins_with_the_rest_of_it() -> None:
    ids = np.arange(7, dtype=np.uint64)
    whole = list(TrainingPlan(ids, [0], batch_size=3))
    first, *others = TrainingPlan(ids, [0], batch_size=3, start=Position(0, 2))
    assert first.views.sample_ids.tolist() == whole[0].views.sample_ids.tolist()[2:]
    assert [one.views.sample_ids.tolist() for one in others] == [
        one.views.sample_ids.tolist() for one in whole[1:]
    ]


def test_what_is_left_of_the_seeds_is_no_way_to_go_on() -> None:
    """The fault that `start` is there for: other orders, under other numbers."""
    ids = np.arange(50, dtype=np.uint64)
    right = list(TrainingPlan(ids, range(4), batch_size=50, start=Position(2)))
    wrong = list(TrainingPlan(ids, range(2, 4), batch_size=50))
    for one, other in zip(right, wrong, strict=True):
        assert one.views.seeds.tolist() == other.views.seeds.tolist()
        assert one.views.sample_ids.tolist() != other.views.sample_ids.tolist()
        assert one.position != other.position
    with pytest.raises(InvalidRequestError, match="full list of seeds of the run"):
        TrainingPlan(ids, range(2, 4), batch_size=50, start=Position(3))


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (Position(0, 5), r"row 5 of epoch 0, which has 5 rows; .* start at Position\(1, 0\)"),
        (Position(1, 99), "row 99 of epoch 1"),
        (Position(2, 1), "epoch 2, row 1: it has 2 epochs; give the full list of seeds"),
        (Position(3), "epoch 3, row 0: it has 2 epochs"),
    ],
)
def test_starts_that_the_run_does_not_have_are_refused(start: Position, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message) as caught:
        TrainingPlan(np.arange(5, dtype=np.uint64), [0, 1], batch_size=2, start=start)
    assert caught.value.facts["field"] == "start"


def test_rows_are_counted_after_views_were_dropped() -> None:
    ids = np.arange(6, dtype=np.uint64)
    # Of the views under seed 1, only those of samples 1 and 4 are stored.
    run: dict[str, Any] = {
        "sample_ids": ids,
        "seeds": [1, 0],
        "batch_size": 4,
        "missing": MissingViews.DROP,
        "stored": stored_views(ids, [7, 10]),
    }
    assert cuts(TrainingPlan(**run)) == [
        (Position(0, 0), Position(1, 0)),
        (Position(1, 0), Position(1, 4)),
        (Position(1, 4), Position(2, 0)),
    ]
    assert len(TrainingPlan(**run, start=Position(0, 1))) == 3
    with pytest.raises(InvalidRequestError, match="row 2 of epoch 0, which has 2 rows"):
        TrainingPlan(**run, start=Position(0, 2))


def test_a_sample_without_any_view_is_refused_where_one_must_be_drawn() -> None:
    stored = stored_views(np.arange(3, dtype=np.uint64), [])
    plan = TrainingPlan(
        np.arange(4, dtype=np.uint64),
        [0],
        batch_size=2,
        missing=MissingViews.DRAW_ALL,
        stored=stored,
    )
    with pytest.raises(ViewNotFoundError):
        list(plan)


@pytest.mark.parametrize("value", [-1, 1.0, True, None, "1", np.int64(1)])
@pytest.mark.parametrize("field", ["epoch", "row"])
def test_a_position_is_two_whole_numbers(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequestError, match=rf"{field} must be an integer .* next_position"):
        Position(**{field: value})


@pytest.mark.parametrize("value", [None, [0, 0], {}, {"epoch": 1}, {"epoch": 0, "row": 0, "x": 0}])
def test_other_values_are_no_positions(value: Any) -> None:
    with pytest.raises(InvalidRequestError, match="a position has an epoch and a row"):
        Position.from_json(value)


def test_later_places_are_greater() -> None:
    places = [Position(0, 0), Position(0, 9), Position(1, 0), Position(1, 1), Position(2, 0)]
    assert all(one < other for one, other in pairwise(places))
    assert len(set(places)) == len(places)
