"""Nobody can change views afterwards: labels would be given for others than were asked for."""

import numpy as np
import pytest

from labelcast import Views


def test_a_buffer_that_is_used_again_changes_no_views() -> None:
    ids, seeds = np.arange(3, dtype=np.uint64), np.zeros(3, dtype=np.uint32)
    locked = ids.view()
    locked.flags.writeable = False
    made = [Views(ids, seeds), Views(ids[::1], seeds), Views(locked, np.broadcast_to(seeds[:1], 3))]
    ids += 7
    seeds += 1
    assert all(views == Views.of([0, 1, 2], 0) for views in made)


def test_columns_cannot_be_written_to() -> None:
    views = Views.of([3, 4], [1, 2])
    for column in (views.sample_ids, views[:1].seeds, Views.joined([views, views]).seeds):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 9


def test_columns_that_nobody_can_change_are_not_copied() -> None:
    views = Views.of(range(100), 0)
    assert np.shares_memory(views[10:20].sample_ids, views.sample_ids)
    assert np.shares_memory(Views(views.sample_ids, views.seeds).seeds, views.seeds)
