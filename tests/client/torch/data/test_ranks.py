"""Ranks of a run: equally many steps, nothing twice, and the same batches under other worlds."""

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelcast.errors import InvalidRequestError
from labelcast.label_set import MissingViews
from labelcast.plans import Padding, Plan
from labelcast.torch import PlannedBatch, Position, TrainingPlan
from tests.client.torch.data.test_plan import stored_views

Pair = tuple[int, int]


@st.composite
def runs(draw: st.DrawFn) -> dict[str, Any]:
    """What all ranks of a run have in common, with 12 views a step."""
    count = draw(st.integers(1, 50))
    missing = draw(st.sampled_from(MissingViews))
    ids = np.array(draw(st.permutations(range(100, 100 + 3 * count, 3))), dtype=np.uint64)
    present = draw(st.lists(st.integers(0, count * 5 - 1), max_size=count * 5 - 1))
    return {
        "sample_ids": ids,
        "seeds": draw(st.lists(st.integers(0, 6), min_size=1, max_size=3)),
        "order_key": draw(st.integers(0, 2**64 - 1)),
        "missing": missing,
        "stored": (None if missing is MissingViews.REFUSE else stored_views(np.sort(ids), present)),
    }


worlds = st.sampled_from([1, 2, 3, 4, 6, 12])


def ranks_of(run: dict[str, Any], num_ranks: int, **more: Any) -> list[TrainingPlan]:
    share: dict[str, Any] = {"batch_size": 12 // num_ranks, "num_ranks": num_ranks} | more
    return [TrainingPlan(**run, **share, rank=rank) for rank in range(num_ranks)]


def pairs(batch: PlannedBatch, repeated: bool) -> list[Pair]:
    views = batch.views[np.flatnonzero(batch.repeated == repeated)]
    return list(zip(views.sample_ids.tolist(), views.seeds.tolist(), strict=True))


def steps(ranks: list[TrainingPlan]) -> list[Counter[Pair]]:
    """Views of each step of all ranks together, without repeated ones."""
    batches = [list(plan) for plan in ranks]
    assert [len(own) for own in batches] == [len(plan) for plan in ranks]
    return [
        Counter(pair for batch in step for pair in pairs(batch, repeated=False))
        for step in zip(*batches, strict=True)
    ]


@given(run=runs(), world=worlds)
def test_every_view_is_one_rank_s_and_repeated_ones_are_marked(
    run: dict[str, Any], world: int
) -> None:
    alone = list(TrainingPlan(**run, batch_size=7))
    everything = Counter(pair for batch in alone for pair in pairs(batch, repeated=False))
    assert not any(batch.repeated.any() for batch in alone)
    ranks = ranks_of(run, world)
    assert sum(steps(ranks), Counter()) == everything
    for batches in zip(*ranks, strict=True):
        assert len({len(batch.views) for batch in batches}) == 1
        assert len({(batch.position, batch.next_position) for batch in batches}) == 1
        for batch in batches:
            # Of this epoch's views, so that nothing comes that is not in it.
            assert all(pair in everything for pair in pairs(batch, repeated=True))
            assert not batch.repeated[:-1].any()


@given(run=runs(), world=worlds)
def test_dropping_leaves_out_the_tail_alone(run: dict[str, Any], world: int) -> None:
    if world > len(run["sample_ids"]):
        return
    dropping = steps(ranks_of(run, world, padding=Padding.DROP))
    whole = Counter[Pair]()
    for views in steps(ranks_of(run, 1)):
        whole += views
    kept = sum(dropping, Counter())
    assert not kept - whole
    assert (whole - kept).total() <= (world - 1) * len(run["seeds"])
    assert not any(
        batch.repeated.any()
        for plan in ranks_of(run, world, padding=Padding.DROP)
        for batch in plan
    )


@given(run=runs(), worlds=st.tuples(worlds, worlds), data=st.data())
def test_another_number_of_ranks_goes_on_with_the_same_batches(
    run: dict[str, Any], worlds: tuple[int, int], data: st.DataObject
) -> None:
    before, after = (ranks_of(run, world) for world in worlds)
    whole = steps(before)
    assert steps(after) == whole
    done = data.draw(st.integers(0, len(whole)))
    states = {json.dumps(plan.state_at(place)) for plan, place in zip_places(before, done)}
    assert len(states) == 1
    state = json.loads(states.pop())
    resumed = [plan.resumed(state) for plan in after]
    assert steps(resumed) == whole[done:]
    # The state of the resumed run at once is the same place.
    again = resumed[0].state_at(resumed[0].start)
    assert [plan.resumed(again).start for plan in before] == [
        place for _, place in zip_places(before, done)
    ]


def zip_places(ranks: list[TrainingPlan], done: int) -> list[tuple[TrainingPlan, Position]]:
    """Each rank with its place after so many steps."""
    places = [[Position(), *(batch.next_position for batch in plan)][done] for plan in ranks]
    return list(zip(ranks, places, strict=True))


@given(run=runs(), world=worlds, data=st.data())
def test_epochs_one_by_one_are_the_run(
    run: dict[str, Any], world: int, data: st.DataObject
) -> None:
    plan = ranks_of(run, world)[data.draw(st.integers(0, world - 1))]
    rows = [batch.position for batch in plan]
    start = data.draw(st.sampled_from([Position(), *rows]))
    rest = plan.starting(start)
    epochs = [rest.epoch(number) for number in range(len(run["seeds"]))]
    assert [batch.position for part in epochs for batch in part] == [
        batch.position for batch in rest
    ]
    for part in epochs:
        assert len(part) == len(list(part)) == len(list(part.batches))
        assert [batch.views for batch in part] == list(part.batches)


def test_a_rank_reads_what_a_service_expands() -> None:
    ids = np.arange(10, dtype=np.uint64)
    plan = TrainingPlan(ids, [3, 4], batch_size=2, order_key=5, rank=2, num_ranks=3)
    own = Plan(ids, [3, 4], order_key=5, rank=2, num_ranks=3)
    assert [batch.views for batch in plan] == list(own.batches(2)) == list(plan.batches)
    assert [batch.repeated.tolist() for batch in plan] == [[False, False], [False, True]] * 2


RUN: dict[str, Any] = {
    "sample_ids": np.arange(50, dtype=np.uint64) * 2,
    "seeds": [5, 6, 7],
    "batch_size": 6,
    "order_key": 1,
    "num_ranks": 2,
}


def changed(**options: Any) -> TrainingPlan:
    return TrainingPlan(**(RUN | options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": [6, 7]}, "3 epochs, and this run has 2; give the full list of seeds"),
        ({"seeds": [5, 6, 8]}, "other seeds; give those that the run began with"),
        ({"seeds": [5, 6, 8, 7]}, "other seeds"),
        ({"order_key": 2}, "order_key=1, and this run has order_key=2"),
        ({"sample_ids": RUN["sample_ids"][:25]}, "50 samples, and this run has 25; .* rank="),
        ({"sample_ids": RUN["sample_ids"][::-1].copy()}, "the same in another order"),
        ({"sample_ids": np.arange(50, dtype=np.uint64)}, "other sample IDs"),
        ({"padding": Padding.DROP}, "padding=repeat, and this run has padding=drop"),
        ({"num_ranks": 5}, "12 views a step, which 5 ranks cannot share; .* divides 12"),
        ({"num_ranks": 3}, "12 views a step, .* has 18; give batch_size=4 to each of 3 ranks"),
        ({"batch_size": 5}, "give batch_size=6 to each of 2 ranks"),
        (
            {
                "missing": MissingViews.DRAW,
                "stored": stored_views(np.arange(50, dtype=np.uint64) * 2, []),
            },
            "missing=refuse, and this run has missing=draw",
        ),
    ],
)
def test_a_state_of_another_run_is_refused(options: dict[str, Any], message: str) -> None:
    state = changed().state_at(Position(1, 12))
    with pytest.raises(InvalidRequestError, match=message) as caught:
        changed(**options).resumed(state)
    assert caught.value.facts["field"] == "state"


def test_a_place_inside_a_batch_goes_on_where_ranks_can_share_it() -> None:
    state = changed().state_at(Position(0, 3))
    assert changed(batch_size=4, num_ranks=3).resumed(state).start == Position(0, 2)
    with pytest.raises(InvalidRequestError, match="row 6, inside a batch, where 4 ranks"):
        changed(batch_size=3, num_ranks=4).resumed(state)


def test_dropping_goes_on_where_the_same_samples_are_dropped() -> None:
    dropping = {"padding": Padding.DROP}
    state = changed(**dropping).state_at(Position(0, 6))
    # 50 samples leave nothing over for 1 or 2 ranks, 2 for 3 ranks.
    assert changed(**dropping, batch_size=12, num_ranks=1).resumed(state).start == Position(0, 12)
    with pytest.raises(InvalidRequestError, match=r"3 ranks would drop other samples; .* 2 ranks"):
        changed(**dropping, batch_size=4, num_ranks=3).resumed(state)


def test_a_run_may_be_made_longer() -> None:
    state = changed().state_at(Position(3))
    longer = changed(seeds=[5, 6, 7, 8]).resumed(state)
    assert [batch.position.epoch for batch in longer] == [3] * len(longer)
    assert len(longer) == 5
    assert list(changed().resumed(state)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"row": -1},
        {"row": 1.0},
        {"epoch": True},
        {"global_batch_size": 0},
        {"num_ranks": 0},
        {"padding": 3},
        {"more": 1},
    ],
)
def test_what_is_no_state_is_refused(change: dict[str, Any]) -> None:
    state = changed().state_at(Position())
    with pytest.raises(InvalidRequestError, match=r"give what state_dict\(\) returned"):
        changed().resumed(state | change)
    with pytest.raises(InvalidRequestError, match="no state of a run"):
        changed().resumed({"epoch": 0})


def test_a_state_beyond_the_epoch_is_refused() -> None:
    state = changed().state_at(Position()) | {"row": 60}
    with pytest.raises(InvalidRequestError, match="row 30 of epoch 0, which has 25 rows"):
        changed().resumed(state)


def test_ranks_that_would_wait_for_others_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="wait for them forever; use repeat or drop"):
        changed(padding=Padding.UNEVEN)
    for padding in (Padding.REPEAT, Padding.DROP):
        ranks = [changed(padding=padding, num_ranks=3, rank=rank) for rank in range(3)]
        assert len({len(plan) for plan in ranks}) == 1
    assert len(changed(padding=Padding.UNEVEN, num_ranks=1)) == 27
    with pytest.raises(InvalidRequestError, match="rank"):
        changed(rank=2)


@pytest.mark.parametrize("number", [-1, 3])
def test_an_epoch_that_the_run_lacks_is_refused(number: int) -> None:
    with pytest.raises(InvalidRequestError, match="it has 3, counted from 0; give one seed for"):
        changed().epoch(number)
    assert len(changed(seeds=[5, 6, 7, 8]).epoch(3)) == 5
