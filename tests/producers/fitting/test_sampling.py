import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelcast_producers.fitting.sampling import Split, batch_rows, spaced

splits = st.builds(
    Split,
    num_rows=st.integers(1, 200),
    block_rows=st.integers(1, 30),
    holdout_every=st.sampled_from([0, 2, 3, 6]),
)


@given(splits)
def test_every_row_is_either_seen_or_unseen(split: Split) -> None:
    seen = split.seen(np.arange(split.seen_rows))
    unseen = split.unseen(np.arange(split.unseen_rows))
    assert sorted([*seen.tolist(), *unseen.tolist()]) == list(range(split.num_rows))
    if split.holdout_every:
        assert all(
            row // split.block_rows % split.holdout_every == split.holdout_every - 1
            for row in unseen
        )
    else:
        assert not len(unseen)


@given(splits, st.integers(0, 2**63 - 1), st.integers(0, 10**6), st.integers(1, 70))
def test_batches_hold_fitted_rows_and_depend_on_nothing_else(
    split: Split, seed: int, step: int, count: int
) -> None:
    rows = batch_rows(split, seed=seed, step=step, count=count, run_rows=8)
    assert rows.shape == (count,)
    assert set(rows.tolist()) <= set(split.seen(np.arange(split.seen_rows)).tolist())
    np.testing.assert_array_equal(
        rows, batch_rows(split, seed=seed, step=step, count=count, run_rows=8)
    )


def test_batches_differ_between_steps_and_seeds_and_reach_every_row() -> None:
    split = Split(600, 10, 6)
    first = batch_rows(split, seed=0, step=0, count=64, run_rows=8)
    for seed, step in ((0, 1), (1, 0)):
        other = batch_rows(split, seed=seed, step=step, count=64, run_rows=8)
        assert not np.array_equal(first, other)
    reached = {
        row
        for step in range(200)
        for row in batch_rows(split, seed=0, step=step, count=64, run_rows=8).tolist()
    }
    assert len(reached) == split.seen_rows


def test_runs_are_consecutive_rows() -> None:
    rows = batch_rows(Split(10_000, 10_000, 0), seed=3, step=4, count=64, run_rows=8)
    assert (np.diff(rows.reshape(8, 8)) == 1).mean() > 0.9


@pytest.mark.parametrize(
    ("rows_per_seed", "block_rows", "expected"), [(40, None, 40), (40, 7, 7), (None, None, 8)]
)
def test_a_block_is_a_seed_unless_told_otherwise(
    rows_per_seed: int | None, block_rows: int | None, expected: int
) -> None:
    split = Split.of(480, rows_per_seed=rows_per_seed, block_rows=block_rows, holdout_every=6)
    assert split.block_rows == expected


@given(st.integers(0, 10**6), st.integers(1, 100))
def test_spaced_positions_ascend_within_bounds(count: int, limit: int) -> None:
    positions = spaced(count, limit)
    assert len(positions) == min(count, limit)
    assert (np.diff(positions) > 0).all()
    assert not len(positions) or (positions[0] == 0 and positions[-1] < count)
