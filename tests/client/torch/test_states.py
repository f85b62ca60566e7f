"""States of `SoftLabelLoader`, as frameworks keep and give them back; epochs one at a time."""

import json
from typing import Any

import pytest
import torch

from labelcast.errors import InvalidRequestError
from labelcast.identifiers import Digest
from labelcast.label_set import MissingViews
from labelcast.torch import Batch, Position, SoftLabelLoader
from tests.client.torch.images.test_soft_label_loader import DATA, SEEDS, TABLE, Teacher
from tests.client.torch.test_going_on import assert_same_batch, loader

# 23 samples: five batches of 5 an epoch for one rank, three of 4 for each of two.
EPOCHS = len(SEEDS)
RANKED: dict[str, Any] = {"missing": MissingViews.DRAW, "batch_size": 4, "num_ranks": 2}


def saved(run: SoftLabelLoader) -> dict[str, int | str]:
    """A state as it comes out of a checkpoint."""
    state: dict[str, int | str] = json.loads(json.dumps(run.state_dict()))
    return state


def assert_same_batches(some: list[Batch], others: list[Batch]) -> None:
    for one, other in zip(some, others, strict=True):
        assert_same_batch(one, other)


@pytest.mark.parametrize("options", [{}, RANKED | {"rank": 1}], ids=["alone", "a rank"])
def test_a_state_is_the_place_after_the_last_batch_given_out(options: dict[str, Any]) -> None:
    whole = list(loader(**options))
    run = loader(**options)
    assert run.position == Position()
    batches = iter(run)
    for number in range(len(whole)):
        if number in (0, 3, len(whole) - 1):
            resumed = loader(**options)
            resumed.load_state_dict(saved(run))
            assert_same_batches(list(resumed), whole[number:])
        assert_same_batch(next(batches), whole[number])
        assert run.position == whole[number].next_position
    assert run.position == Position(EPOCHS)
    over = loader(**options)
    over.load_state_dict(saved(run))
    assert (list(over), len(over)) == ([], len(whole))


def test_states_and_start_are_two_ways_of_one_thing() -> None:
    whole = list(loader())
    by_start = loader(start=whole[6].next_position)
    by_state = loader()
    by_state.load_state_dict(saved(by_start))
    assert by_state.position == by_start.position == whole[6].next_position
    assert_same_batches(list(by_state), list(by_start))
    # A new iteration begins at the start, and its state says so before its first batch.
    assert by_start.position == Position(EPOCHS)
    iter(by_start)
    assert by_start.position == whole[6].next_position


def test_a_state_is_given_back_while_an_iteration_runs() -> None:
    whole = list(loader())
    run = loader()
    batches = iter(run)
    state = saved(run)
    for _ in range(4):
        next(batches)
    run.load_state_dict(state)
    assert_same_batches(list(run), whole)


@pytest.mark.parametrize("other", [1, 2, 4])
def test_other_numbers_of_ranks_go_on(other: int) -> None:
    def ranks(count: int) -> list[SoftLabelLoader]:
        share = RANKED | {"batch_size": 8 // count, "num_ranks": count}
        return [loader(**share, rank=rank) for rank in range(count)]

    def views(batches: tuple[Batch, ...]) -> list[tuple[int, int]]:
        return sorted(
            (int(sample_id), int(seed))
            for batch in batches
            for sample_id, seed, repeated in zip(
                batch.views.sample_ids, batch.views.seeds, batch.repeated.tolist(), strict=True
            )
            if not repeated
        )

    before = ranks(2)
    steps = [views(step) for step in zip(*before, strict=True)]
    # 23 samples for 2 ranks: one comes again at the end of each epoch, on the last rank.
    assert sum(map(len, steps)) == EPOCHS * len(TABLE)
    begun = [iter(run) for run in before]
    for _ in range(4):
        for batches in begun:
            next(batches)
    assert saved(before[0]) == saved(before[1])
    after = ranks(other)
    for run in after:
        run.load_state_dict(saved(before[0]))
    assert [views(step) for step in zip(*after, strict=True)] == steps[4:]


def test_labels_belong_to_the_views_of_a_rank() -> None:
    for rank in range(3):
        run = loader(missing=MissingViews.DROP, rank=rank, num_ranks=3, batch_size=4)
        for batch, planned in zip(run, run.plan, strict=True):
            assert batch.repeated.dtype == torch.bool
            assert batch.repeated.tolist() == planned.repeated.tolist()
            positions = TABLE.sample_ids.searchsorted(batch.views.sample_ids)
            assert batch.labels[:, 0].tolist() == positions.tolist()
            assert batch.labels[:, 1].tolist() == batch.views.seeds.tolist()


def test_a_loop_over_epochs_of_its_own_sees_the_run() -> None:
    whole, run, seen = list(loader()), loader(), []
    for epoch in range(EPOCHS):
        run.sampler.set_epoch(epoch)
        assert run.position == Position(epoch)
        of_epoch = list(run)
        assert len(run) == len(of_epoch)
        assert {batch.epoch for batch in of_epoch} == {epoch}
        assert run.position == Position(epoch + 1)
        seen += of_epoch
    assert_same_batches(seen, whole)
    # The same epoch again is the same batches, as of torch's samplers.
    assert_same_batches(list(run), [batch for batch in whole if batch.epoch == EPOCHS - 1])


def test_a_loop_over_epochs_goes_on_inside_one() -> None:
    whole, run = list(loader()), loader()
    run.set_epoch(1)
    batches = iter(run)
    kept = [next(batches), next(batches)]
    state, rest = saved(run), loader()
    rest.set_epoch(0)
    rest.load_state_dict(state)
    # As torch counts: frameworks compare the number of batches already done with this.
    assert len(rest) == len([batch for batch in whole if batch.epoch == 1])
    seen = []
    for epoch in range(rest.position.epoch, EPOCHS):
        rest.set_epoch(epoch)
        seen += list(rest)
    assert_same_batches(kept + seen, [batch for batch in whole if batch.epoch >= 1])


@pytest.mark.parametrize("start", [Position(2), Position(2, 5), Position(EPOCHS)])
def test_a_loop_that_begins_anew_passes_what_is_over(start: Position) -> None:
    run, seen = loader(), []
    run.load_state_dict(loader(start=start).state_dict())
    for epoch in range(EPOCHS):
        run.set_epoch(epoch)
        assert run.position == max(start, Position(epoch))
        seen += list(run)
    assert_same_batches(seen, [batch for batch in loader() if batch.position >= start])
    with pytest.raises(InvalidRequestError, match=f"no epoch {EPOCHS}"):
        run.set_epoch(EPOCHS)


def test_a_state_of_the_end_leaves_nothing_of_an_epoch() -> None:
    over = loader()
    over.set_epoch(3)
    over.load_state_dict(loader(start=Position(EPOCHS)).state_dict())
    assert list(over) == []


def test_an_epoch_may_be_set_after_iter() -> None:
    """Lightning makes its iterator, loads the state and sets the epoch in this order."""
    run, whole = loader(), list(loader())
    batches = iter(run)
    run.load_state_dict(loader(start=Position(1)).state_dict())
    run.set_epoch(0)
    assert list(batches) == []
    batches = iter(run)
    run.set_epoch(1)
    assert_same_batches(list(batches), [batch for batch in whole if batch.epoch == 1])


def test_a_state_of_another_run_changes_nothing() -> None:
    run, whole = loader(), list(loader())
    with pytest.raises(InvalidRequestError, match="order_key"):
        run.load_state_dict(loader(order_key=4).state_dict())
    assert_same_batches(list(run), whole)


def test_frameworks_move_batches() -> None:
    batch = next(iter(loader()))
    assert_same_batch(batch.to("cpu"), batch)
    moved = batch.to("meta")
    assert (moved.views, moved.position) == (batch.views, batch.position)
    tensors = [moved.images, moved.labels, moved.shown, moved.mixed_area, moved.repeated]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_a_state_with_other_labels_is_refused() -> None:
    """A tag may have moved between a crash and the resume."""

    class Labelled(Teacher):
        def __init__(self, digest: str | None) -> None:
            super().__init__()
            self.digest = None if digest is None else Digest(digest)

    def of(digest: str | None) -> SoftLabelLoader:
        return SoftLabelLoader(DATA, Labelled(digest), seeds=SEEDS, batch_size=5)

    state = saved(of("sha256:one"))
    of("sha256:one").load_state_dict(state)
    for other in ("sha256:two", None):
        with pytest.raises(InvalidRequestError, match=r"of sha256:one.* open the label set by"):
            of(other).load_state_dict(state)
    with pytest.raises(InvalidRequestError, match="labels of no label set"):
        of("sha256:one").load_state_dict(saved(of(None)))
    for unsaid in ({"label_set": 7}, {}):
        with pytest.raises(InvalidRequestError, match="give what state_dict"):
            of("sha256:one").load_state_dict(
                {name: value for name, value in state.items() if name != "label_set"} | unsaid
            )


def test_rank_and_number_of_ranks_come_together() -> None:
    for given in ({"rank": 0}, {"num_ranks": 2}):
        with pytest.raises(InvalidRequestError, match="give rank= and num_ranks= together"):
            loader(**given)
